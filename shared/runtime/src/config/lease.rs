//! Configuration of leases.

use std::time::Duration;

use super::section::{DECIDING, Validate, section};
use super::{ConfigError, Origins, values};

/// The shortest and the longest time allowed.
const TIMES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(300));

section! {
    /// The intervals of leases. All instances of a cluster must have the same.
    struct Lease;

    /// How often a partition's owner renews its lease.
    lease_beat: Duration = "2s" {
        roles: DECIDING,
        expects: "a duration of 100ms to 5m, such as 2s",
        read: |text| values::duration(text, TIMES.0, TIMES.1),
        show: values::show_duration,
    }

    /// How long an owner continues without a confirmed renewal; at least twice lease_beat.
    lease_stop: Duration = "5s" {
        roles: DECIDING,
        expects: "a duration of 100ms to 5m, such as 5s",
        read: |text| values::duration(text, TIMES.0, TIMES.1),
        show: values::show_duration,
    }

    /// How long a lease must go unrenewed before another instance takes the partition; at least half of lease_beat
    /// more than lease_stop.
    lease_take: Duration = "6s" {
        roles: DECIDING,
        expects: "a duration of 100ms to 5m, such as 6s",
        read: |text| values::duration(text, TIMES.0, TIMES.1),
        show: values::show_duration,
    }
}

impl Validate for Lease {
    fn validate(&self, origins: &Origins) -> Result<(), ConfigError> {
        let at_least = |name: &'static str, value: &Duration, least: Duration, why: &str| {
            if *value >= least {
                return Ok(());
            }
            let (value, least) = (values::show_duration(value), values::show_duration(&least));
            let expected = format!("at least {least}: {why}");
            Err(ConfigError::unsuitable(
                name,
                &value,
                origins.of(name),
                expected,
            ))
        };
        let (stop, take) = (self.lease_beat * 2, self.lease_stop + self.lease_beat / 2);
        at_least(
            "lease_stop",
            &self.lease_stop,
            stop,
            "two beats, so that one may be lost",
        )?;
        let why = "an owner must have stopped before another takes over";
        at_least("lease_take", &self.lease_take, take, why)
    }
}
