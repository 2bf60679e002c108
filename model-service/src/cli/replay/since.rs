//! From when on the log is replayed.

use std::fmt;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};

/// Where a replay begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// With the oldest event.
    Start,
    /// With the events of this time.
    Time(DateTime<Utc>),
}

impl Since {
    /// Parses a value of the command line.
    ///
    /// # Errors
    /// In words, what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "start" {
            return Ok(Self::Start);
        }
        let date = || {
            let date = text.parse::<NaiveDate>().ok()?;
            Some(date.and_hms_opt(0, 0, 0)?.and_utc())
        };
        let time = DateTime::parse_from_rfc3339(text).ok();
        let time = time.map(|time| time.to_utc()).or_else(date);
        match time {
            Some(time) if time.timestamp() >= 0 => Ok(Self::Time(time)),
            Some(_) | None => Err(format!(
                "{text:?}: expected `start`, a time such as 2026-11-23T09:00:00Z or \
                2026-11-23T10:00:00+01:00, or a date such as 2026-11-23, which begins at midnight \
                in UTC"
            )),
        }
    }

    /// The time, if it is one.
    pub(super) fn time(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Start => None,
            Self::Time(time) => Some(time),
        }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Time(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        }
    }
}
