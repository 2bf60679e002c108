//! Configuration of domains.

use std::time::Duration;

use super::section::{DECIDING, Validate, section};
use super::values::MemorySize;
use super::{ConfigError, Origins, values};

section! {
    /// Partitions, windows, registration, sleep and memory of domains.
    struct Domains;

    /// How long a domain's upserts are collected before they are processed together.
    window: Duration = "250ms" {
        roles: DECIDING,
        expects: "a duration of 1ms to 1m, such as 250ms",
        read: |text| values::duration(text, Duration::from_millis(1), Duration::from_secs(60)),
        show: values::show_duration,
    }

    /// Most upserts of one window; a full window closes at once.
    window_events: usize = "1000" {
        roles: DECIDING,
        expects: "a whole number of 1 to 100000",
        read: |text| values::count(text, 1, 100_000),
        show: usize::to_string,
    }

    /// Whether an event of an unknown domain registers the domain.
    auto_register: bool = "true" {
        roles: DECIDING,
        expects: "true or false",
        read: values::truth,
        show: bool::to_string,
    }

    /// How long a quiet domain stays in memory after its last event or query.
    idle_after: Duration = "10m" {
        roles: DECIDING,
        expects: "a duration of 1s to 365days, such as 10m",
        read: |text| values::duration(text, Duration::from_secs(1), Duration::from_secs(365 * 86_400)),
        show: values::show_duration,
    }

    /// Most memory of all active domains together: a size, or a share of this machine's or control group's memory,
    /// such as 50%. Beyond it, the domains used longest ago sleep.
    memory: MemorySize = "50%" {
        roles: DECIDING,
        expects: "a size of 1MiB and more, such as 512MiB, or a share of 1% to 100%, such as 50%",
        read: |text| values::memory_size(text, 1 << 20),
        show: values::show_memory_size,
    }

    /// Number of partitions, the same for all model services; standalone has 1.
    partitions: u16 = "1" {
        roles: DECIDING,
        expects: "a whole number of 1 to 1024",
        read: |text| values::count(text, 1, 1024),
        show: u16::to_string,
    }
}

impl Validate for Domains {}

impl Domains {
    /// Checks what standalone requires beyond what every program checks.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when `partitions` is not 1.
    pub fn check_standalone(&self, origins: &Origins) -> Result<(), ConfigError> {
        if self.partitions == 1 {
            return Ok(());
        }
        Err(ConfigError::unsuitable(
            "partitions",
            &self.partitions.to_string(),
            origins.of("partitions"),
            "1: everything in one process is one partition".to_owned(),
        ))
    }
}
