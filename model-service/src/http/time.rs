//! Timestamps, as answers write them.

use chrono::{DateTime, SecondsFormat, Utc};

/// The current time in ms since 1970.
pub(crate) fn now_ms() -> i64 {
    Utc::now().timestamp_millis()
}

/// A timestamp as answers write it: RFC 3339, UTC, ms.
pub(crate) fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A timestamp in ms since 1970 as answers write it.
pub(crate) fn rfc3339_ms(at: i64) -> String {
    rfc3339(DateTime::from_timestamp_millis(at).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_utc_with_ms() {
        assert_eq!(rfc3339_ms(1_795_424_400_007), "2026-11-23T09:00:00.007Z");
    }
}
