//! Configuration of the log of events.

use std::time::Duration;

use super::section::Role::{ModelService, Standalone};
use super::section::{Role, Validate, section};
use super::values;
use crate::amqp::LogRetention;

/// Roles that keep a log.
const KEEPING: &[Role] = &[Standalone, ModelService];
/// Longest retention: ten years.
const LONGEST: Duration = Duration::from_secs(3_650 * 86_400);

section! {
    /// The log of events, for `kindred replay`.
    struct EventLog;

    /// How long item events are kept for `kindred replay`: by a standalone in its data directory, else by the broker,
    /// in the stream kindred.log. off: they are not kept.
    log_retention: Option<Duration> = "off" {
        roles: KEEPING,
        expects: "off, or a duration of 1s to 3650days, such as 30days",
        read: retention,
        show: show_retention,
    }

    /// Most bytes of the log of events; beyond it, the oldest are dropped.
    log_size: usize = "10GiB" {
        roles: KEEPING,
        expects: "a size of 1MiB to 1024GiB, such as 10GiB",
        read: |text| values::size(text, 1 << 20, 1 << 40),
        show: values::show_size,
    }
}

impl Validate for EventLog {}

impl EventLog {
    /// What the broker's stream of events keeps; `None`: events are not kept.
    pub fn retention(&self) -> Option<LogRetention> {
        self.log_retention.map(|age| LogRetention {
            age,
            bytes: self.log_size as u64,
        })
    }
}

#[allow(clippy::option_option)] // no retention is a value; no reading is a refusal
fn retention(text: &str) -> Option<Option<Duration>> {
    match text {
        "off" => Some(None),
        _ => values::duration(text, Duration::from_secs(1), LONGEST).map(Some),
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // called through one table with all others
fn show_retention(retention: &Option<Duration>) -> String {
    retention.map_or_else(|| "off".to_owned(), |time| values::show_duration(&time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_off_or_a_time() {
        assert_eq!(retention("off"), Some(None));
        let month = Duration::from_secs(30 * 86_400);
        assert_eq!(retention("30days"), Some(Some(month)));
        assert_eq!(retention(&show_retention(&Some(month))), Some(Some(month)));
        assert_eq!(retention(&show_retention(&None)), Some(None));
        for refused in ["", "0s", "on", "true", "10GiB", "4000days"] {
            assert_eq!(retention(refused), None, "{refused}");
        }
    }
}
