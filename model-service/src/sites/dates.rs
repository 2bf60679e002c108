//! Parses dates as people write them in front matter, feeds and pages.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime};

/// Longest text that may be a date, in bytes.
const MAX_BYTES: usize = 100;
/// Formats with a time and an offset.
const WITH_OFFSET: [&str; 6] = [
    "%Y-%m-%d %H:%M:%S%.f %z",
    "%Y-%m-%d %H:%M %z",
    "%Y-%m-%dT%H:%M:%S%.f%z",
    "%Y-%m-%dT%H:%M%z",
    "%Y/%m/%d %H:%M:%S %z",
    "%a %b %d %Y %H:%M:%S GMT%z",
];
/// Formats with a time, taken as UTC.
const WITH_TIME: [&str; 7] = [
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%B %d, %Y %H:%M",
];
/// Formats without a time.
const DAYS: [&str; 8] = [
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%B %d, %Y",
    "%B %d %Y",
    "%d %B %Y",
    "%d. %B %Y",
    "%d %B, %Y",
    "%Y%m%d",
];

/// Parses a timestamp with its offset; without an offset it is UTC, without a time of day it is
/// midnight.
pub(super) fn parse(text: &str) -> Option<DateTime<FixedOffset>> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_BYTES {
        return None;
    }
    let parsed = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_rfc2822(text))
        .ok();
    let parsed = parsed.or_else(|| {
        // A zone name in brackets, as JavaScript writes it, repeats the offset.
        let bare = text.split(" (").next().unwrap_or(text);
        let bare = match bare
            .strip_suffix("UTC")
            .or_else(|| bare.strip_suffix("GMT"))
        {
            Some(bare) => bare.trim_end(),
            None => bare.strip_suffix('Z').unwrap_or(bare),
        };
        let with_offset = || {
            let spaced = spaced_offset(bare);
            WITH_OFFSET.iter().find_map(|form| {
                let parsed = DateTime::parse_from_str(&spaced, form)
                    .or_else(|_| DateTime::parse_from_str(bare, form));
                parsed.ok()
            })
        };
        let with_time = || {
            let parse = |form: &&str| NaiveDateTime::parse_from_str(bare, form).ok();
            Some(WITH_TIME.iter().find_map(parse)?.and_utc().fixed_offset())
        };
        let day = || {
            let parse = |form: &&str| NaiveDate::parse_from_str(bare, form).ok();
            let day = DAYS.iter().find_map(parse)?;
            first_moment(day)
        };
        with_offset().or_else(with_time).or_else(day)
    });
    // Some programs write year 1 for a missing date.
    parsed.filter(|at| at.timestamp() > -62_000_000_000 && at.timestamp() < 253_000_000_000)
}

fn first_moment(day: NaiveDate) -> Option<DateTime<FixedOffset>> {
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().fixed_offset())
}

/// Inserts a space before the offset at the end, if there is one.
fn spaced_offset(text: &str) -> String {
    let Some(at) = text.rfind(['+', '-']) else {
        return text.to_owned();
    };
    let (before, offset) = text.split_at(at);
    if at > 10 && before.contains(':') && !before.ends_with(' ') && before.contains(' ') {
        format!("{before} {offset}")
    } else {
        text.to_owned()
    }
}

/// The date that a name starts with, `2026-11-29-…`, and the rest.
pub(super) fn of_name(name: &str) -> Option<(DateTime<FixedOffset>, &str)> {
    let day = name.get(..10)?;
    let rest = &name[10..];
    let rest = rest
        .strip_prefix(['-', '_'])
        .or(rest.is_empty().then_some(rest))?;
    let is_day = day.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if !is_day {
        return None;
    }
    let day = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?;
    Some((first_moment(day)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_they_are_written() {
        for (text, expected) in [
            ("2026-11-29", "2026-11-29T00:00:00+00:00"),
            ("2026-11-29T10:20:30Z", "2026-11-29T10:20:30+00:00"),
            ("2026-11-29T10:20:30+02:00", "2026-11-29T08:20:30+00:00"),
            ("2026-11-29 10:20:30 +0200", "2026-11-29T08:20:30+00:00"),
            ("2026-11-29 10:20:30+02:00", "2026-11-29T08:20:30+00:00"),
            ("2026-11-29 10:20 -0500", "2026-11-29T15:20:00+00:00"),
            ("2026-11-29 10:20", "2026-11-29T10:20:00+00:00"),
            ("2026-11-29 10:20 UTC", "2026-11-29T10:20:00+00:00"),
            ("2026-11-29T10:20", "2026-11-29T10:20:00+00:00"),
            ("2026/11/29", "2026-11-29T00:00:00+00:00"),
            ("Nov 29 2026", "2026-11-29T00:00:00+00:00"),
            ("November 29, 2026", "2026-11-29T00:00:00+00:00"),
            ("29 Nov 2026", "2026-11-29T00:00:00+00:00"),
            ("Sun, 29 Nov 2026 10:20:30 GMT", "2026-11-29T10:20:30+00:00"),
            (
                "Sun Nov 29 2026 10:20:30 GMT+0100 (Central European Standard Time)",
                "2026-11-29T09:20:30+00:00",
            ),
            ("20261129", "2026-11-29T00:00:00+00:00"),
        ] {
            let parsed = parse(text).map(|at| at.to_utc().to_rfc3339());
            assert_eq!(parsed.as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "soon",
            "2026-13-01",
            "0001-01-01T00:00:00Z",
            "29",
            "5:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_begin_with_days() {
        let rest = |name| of_name(name).map(|(at, rest)| (at.timestamp(), rest));
        assert_eq!(rest("1970-01-02-a-b"), Some((86_400, "a-b")));
        assert_eq!(rest("1970-01-02"), Some((86_400, "")));
        for name in ["1970-1-2-a", "1970-01-02a", "1970-13-02-a", "a", "éééééé"] {
            assert_eq!(rest(name), None, "{name}");
        }
    }
}
