//! Versions of events that came without one.
//!
//! Such an event got its version from the domain's owner: the time at which it was accepted, or one more than the
//! stored version. The log does not know it. A replay gives it a version that only depends on the log, so that it is
//! the same each time: one that is above the item's versions before it, below every time at which it can have been
//! accepted, and rising with its place. So an item gets the same newest event, and what is stored already, under the
//! version that its owner gave, stays.

use std::collections::HashMap;

use kindred_shared::event::{Event, MAX_VERSION};
use kindred_shared::{DomainName, ItemId};
use xxhash_rust::xxh3::Xxh3;

/// The version of the first event of a log: as a time, in the year 2001. Counters of publishers are below it, times of
/// any owner above it.
pub(super) const FIRST: u64 = 1_000_000_000_000;

/// The highest version of each item so far.
#[derive(Debug, Default)]
pub(super) struct Versions(HashMap<u128, u64>);

impl Versions {
    /// Gives an event of an item that has none a version; `place` is its place in the log.
    pub(super) fn assign(&mut self, event: &mut Event, place: u64) {
        let Some(id) = event.id() else {
            return;
        };
        let highest = self.0.entry(key(event.domain(), id)).or_default();
        let version = event.version().unwrap_or_else(|| {
            let next = FIRST.saturating_add(place).max(*highest + 1);
            next.min(MAX_VERSION)
        });
        *highest = version.max(*highest);
        match event {
            Event::Upsert(upsert) => upsert.version = Some(version),
            Event::Patch(patch) => patch.version = Some(version),
            Event::Delete(delete) => delete.version = Some(version),
            Event::Configure(_) | Event::Model(_) | Event::Record(_) | Event::Remove(_) => {}
        }
    }
}

/// Stands for an item: names may be long, and there are many.
fn key(domain: &DomainName, id: &ItemId) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(domain.as_str().as_bytes());
    hasher.update(&[0]);
    hasher.update(id.as_str().as_bytes());
    hasher.digest128()
}
