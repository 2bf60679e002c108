//! What one reader did, and which of its events were counted lately. It is one complete row of the store, so an event
//! counts once whatever crashes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ring::digest::{SHA256, digest};
use xxhash_rust::xxh3::xxh3_64;

use super::feedback::{FeedbackKind, MAX_AHEAD};

/// How long a repeated event is recognised, in minutes: 48 hours, plus the time by which an event's time may be ahead.
const KNOWN_MINUTES: u32 = 48 * 60 + MAX_AHEAD.num_minutes() as u32;
/// Most events of a reader in that time; further ones are refused.
pub const MAX_RECENT: usize = 2_000;
/// Version of the format that [`Tally::to_bytes`] writes.
const FORMAT: u8 = 1;
/// Bytes of an arm, and of an event, in that format.
const ARM_BYTES: usize = 9;
const RECENT_BYTES: usize = 12;

/// A reader in the store: a hash, so that readers' names are stored nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderKey(pub [u8; 16]);

impl ReaderKey {
    /// The key of the reader with this name.
    pub fn of(reader: &str) -> Self {
        let hash = digest(&SHA256, reader.as_bytes());
        let first = hash.as_ref().first_chunk::<16>().copied();
        // A hash has 32 bytes.
        Self(first.unwrap_or_default())
    }
}

/// What a reader did in one arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Views.
    pub seen: u32,
    /// Clicks.
    pub clicked: u32,
}

/// What a reader did in an experiment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// By the index of the arm; most readers have one.
    arms: BTreeMap<u8, Counts>,
    /// Events of the last 48 hours.
    recent: Vec<Recent>,
}

/// An event that was counted: a hash of its name, and the time in minutes since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Recent {
    event: u64,
    minute: u32,
}

/// The outcome of counting an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It counts: the reader's counts in the arm before and after.
    Now(Counts, Counts),
    /// It was counted before.
    Before,
    /// The reader has had as many events in 48 hours as are kept.
    TooMany,
}

impl Tally {
    /// Counts an event of the reader. Within 48 hours an event counts once, even if it says something else the second
    /// time.
    pub fn count(
        &mut self,
        event: &str,
        arm: u8,
        kind: FeedbackKind,
        now: DateTime<Utc>,
    ) -> Counted {
        let minute = minute(now);
        // Clocks may go back a little.
        self.recent
            .retain(|recent| minute.saturating_sub(recent.minute) <= KNOWN_MINUTES);
        let event = xxh3_64(event.as_bytes());
        if self.recent.iter().any(|recent| recent.event == event) {
            return Counted::Before;
        }
        if self.recent.len() >= MAX_RECENT {
            return Counted::TooMany;
        }
        self.recent.push(Recent { event, minute });
        let counts = self.arms.entry(arm).or_default();
        let before = *counts;
        match kind {
            FeedbackKind::Seen => counts.seen = counts.seen.saturating_add(1),
            FeedbackKind::Clicked => counts.clicked = counts.clicked.saturating_add(1),
        }
        Counted::Now(before, *counts)
    }

    /// What the reader did, by the index of the arm.
    pub fn arms(&self) -> impl Iterator<Item = (usize, Counts)> {
        self.arms
            .iter()
            .map(|(arm, counts)| (usize::from(*arm), *counts))
    }

    /// The stored form, at most about 24 KB.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = 2 + ARM_BYTES * self.arms.len() + RECENT_BYTES * self.recent.len();
        let mut written = Vec::with_capacity(bytes);
        written.push(FORMAT);
        // Arms are 16 at most.
        written.push(self.arms.len() as u8);
        for (arm, counts) in &self.arms {
            written.push(*arm);
            written.extend_from_slice(&counts.seen.to_le_bytes());
            written.extend_from_slice(&counts.clicked.to_le_bytes());
        }
        for recent in &self.recent {
            written.extend_from_slice(&recent.event.to_le_bytes());
            written.extend_from_slice(&recent.minute.to_le_bytes());
        }
        written
    }

    /// Reads the stored form; `None`: Kindred did not write this.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let ([format, arms], rest) = bytes.split_first_chunk::<2>()?;
        let (arms, recent) = rest.split_at_checked(ARM_BYTES * usize::from(*arms))?;
        if *format != FORMAT || recent.len() > RECENT_BYTES * MAX_RECENT {
            return None;
        }
        let (arms, _) = arms.as_chunks::<ARM_BYTES>();
        let arms = arms.iter().map(|[arm, s0, s1, s2, s3, c0, c1, c2, c3]| {
            let counts = Counts {
                seen: u32::from_le_bytes([*s0, *s1, *s2, *s3]),
                clicked: u32::from_le_bytes([*c0, *c1, *c2, *c3]),
            };
            (*arm, counts)
        });
        let (recent, left) = recent.as_chunks::<RECENT_BYTES>();
        let recent = recent
            .iter()
            .map(|[e0, e1, e2, e3, e4, e5, e6, e7, m0, m1, m2, m3]| Recent {
                event: u64::from_le_bytes([*e0, *e1, *e2, *e3, *e4, *e5, *e6, *e7]),
                minute: u32::from_le_bytes([*m0, *m1, *m2, *m3]),
            });
        left.is_empty().then(|| Self {
            arms: arms.collect(),
            recent: recent.collect(),
        })
    }
}

fn minute(at: DateTime<Utc>) -> u32 {
    u32::try_from(at.timestamp() / 60).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_424_400 + 60 * minutes, 0).unwrap()
    }

    fn counts(seen: u32, clicked: u32) -> Counts {
        Counts { seen, clicked }
    }

    #[test]
    fn an_event_counts_once_in_48_hours() {
        let mut tally = Tally::default();
        let counted = tally.count("e1", 0, FeedbackKind::Seen, at(0));
        assert_eq!(counted, Counted::Now(counts(0, 0), counts(1, 0)));
        // Even if it says something else the second time.
        assert_eq!(
            tally.count("e1", 1, FeedbackKind::Clicked, at(48 * 60)),
            Counted::Before
        );
        let counted = tally.count("e2", 0, FeedbackKind::Clicked, at(1));
        assert_eq!(counted, Counted::Now(counts(1, 0), counts(1, 1)));
        // Its time may have been five minutes ahead: until now it would not be refused as too old.
        assert_eq!(
            tally.count("e1", 0, FeedbackKind::Seen, at(48 * 60 + 5)),
            Counted::Before
        );
        let late = at(48 * 60 + 5) + TimeDelta::minutes(1);
        let counted = tally.count("e1", 0, FeedbackKind::Seen, late);
        assert_eq!(counted, Counted::Now(counts(1, 1), counts(2, 1)));
        assert_eq!(tally.arms().collect::<Vec<_>>(), [(0, counts(2, 1))]);
    }

    #[test]
    fn a_reader_has_so_many_events_and_then_more_later() {
        let mut tally = Tally::default();
        for n in 0..MAX_RECENT {
            let counted = tally.count(&n.to_string(), 0, FeedbackKind::Seen, at(0));
            assert!(matches!(counted, Counted::Now(..)));
        }
        assert_eq!(
            tally.count("more", 0, FeedbackKind::Seen, at(10)),
            Counted::TooMany
        );
        // One that was counted is still known.
        assert_eq!(
            tally.count("7", 0, FeedbackKind::Seen, at(10)),
            Counted::Before
        );
        assert!(tally.to_bytes().len() < 25_000);
        assert_eq!(Tally::from_bytes(&tally.to_bytes()), Some(tally.clone()));
        let counted = tally.count("more", 0, FeedbackKind::Seen, at(49 * 60));
        assert!(matches!(counted, Counted::Now(..)));
    }

    proptest! {
        #[test]
        fn a_tally_is_read_back_as_it_was_written(
            events in prop::collection::vec((0..50_u8, 0..16_u8, any::<bool>(), 0..6_000_i64), 0..100)
        ) {
            let mut tally = Tally::default();
            for (event, arm, is_click, minute) in events {
                let kind = if is_click { FeedbackKind::Clicked } else { FeedbackKind::Seen };
                tally.count(&event.to_string(), arm, kind, at(minute));
            }
            prop_assert_eq!(Tally::from_bytes(&tally.to_bytes()), Some(tally));
        }

        #[test]
        fn bytes_that_are_no_tally_are_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(tally) = Tally::from_bytes(&bytes) {
                let again = Tally::from_bytes(&tally.to_bytes());
                prop_assert_eq!(again, Some(tally));
            }
        }
    }
}
