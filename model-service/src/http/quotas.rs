//! Quotas of domains, applied to events over HTTP: the number of items, events per second, the
//! length of texts. Removals are never refused.
//!
//! Each instance applies what it knows: for a domain in another instance's memory, the number of
//! items may be seconds old, and each instance admits that many events per second.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kindred_domain::quota::{Bucket, too_many};
use kindred_domain::settings::DomainSettings;
use kindred_shared::DomainName;
use kindred_shared::event::Refusal;

use super::error::Error;

/// How long a read number of items is used; items admitted meanwhile are added.
const COUNTED: Duration = Duration::from_secs(1);
/// Domains with quotas that are remembered; beyond it all are forgotten and start with a second's
/// allowance.
const REMEMBERED: usize = 10_000;

/// How much of its quotas each domain has used recently.
#[derive(Debug)]
pub(crate) struct Quotas {
    /// The origin of times.
    begun: Instant,
    used: Mutex<HashMap<DomainName, Used>>,
}

#[derive(Debug, Default)]
struct Used {
    /// Events that are allowed now.
    events: Bucket,
    /// The number of live items, and when it was read.
    items: Option<(u64, Instant)>,
    /// Items admitted since.
    let_in: u64,
}

/// Why an event is not admitted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Over {
    /// It may be sent later.
    Rate(Duration),
    /// The domain has as many items as allowed, or the text is too long.
    Size(Refusal),
}

impl Over {
    /// As the answer to one event.
    pub(super) fn into_error(self, settings: &DomainSettings) -> Error {
        match self {
            Self::Size(refusal) => refusal.into(),
            Self::Rate(wait) => {
                let most = settings.max_events_per_second.unwrap_or_default();
                let seconds = wait.as_secs_f64().ceil().clamp(1.0, 60.0);
                Error::from(too_many(most)).retry_after(seconds as u32)
            }
        }
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            used: Mutex::default(),
        }
    }
}

impl Quotas {
    /// Uses one of the events that a domain may send now; at most a second's allowance accumulates.
    pub(super) fn is_in_time(
        &self,
        domain: &DomainName,
        most: u64,
        now: Instant,
    ) -> Result<(), Over> {
        let since = now.saturating_duration_since(self.begun);
        let mut all = self.used(domain);
        let used = all.entry(domain.clone()).or_default();
        used.events.take(most, since).map_err(Over::Rate)
    }

    /// Reserves room for an item, if there is some as far as known.
    pub(super) fn takes_room(
        &self,
        domain: &DomainName,
        most: u64,
        live: Option<u64>,
        now: Instant,
    ) -> bool {
        let mut all = self.used(domain);
        let used = all.entry(domain.clone()).or_default();
        let is_recent = |at: Instant| now.saturating_duration_since(at) < COUNTED;
        if let Some(live) = live {
            match used.items {
                // Admitted items are not in the count yet.
                Some((before, at))
                    if is_recent(at) && live < before.saturating_add(used.let_in) => {}
                _ => (used.items, used.let_in) = (Some((live, now)), 0),
            }
        }
        match used.items {
            Some((live, at)) if is_recent(at) => {
                let has_room = live.saturating_add(used.let_in) < most;
                used.let_in += u64::from(has_room);
                has_room
            }
            _ => false,
        }
    }

    fn used(&self, domain: &DomainName) -> MutexGuard<'_, HashMap<DomainName, Used>> {
        // Every change leaves the map consistent.
        let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED && !all.contains_key(domain) {
            all.clear();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_in_takes_room_before_it_is_counted() {
        let quotas = Quotas::default();
        let domain = DomainName::new("d").expect("a domain");
        let begun = Instant::now();
        let takes =
            |live: Option<u64>, after: Duration| quotas.takes_room(&domain, 3, live, begun + after);
        let now = Duration::ZERO;
        assert!(!takes(None, now), "nothing is known");
        assert!(takes(Some(1), now));
        assert!(takes(None, now));
        assert!(!takes(None, now));
        assert!(!takes(Some(1), now), "two are on their way");
        assert!(!takes(Some(3), now));
        // A deletion counts once the last reading is too old.
        assert!(!takes(Some(2), now));
        assert!(!takes(None, COUNTED));
        assert!(takes(Some(2), COUNTED));
    }

    #[test]
    fn each_domain_has_its_own_events_a_second() {
        let quotas = Quotas::default();
        let [one, other] = ["d", "e"].map(|name| DomainName::new(name).expect("a domain"));
        let now = Instant::now();
        assert_eq!(quotas.is_in_time(&one, 1, now), Ok(()));
        assert_eq!(
            quotas.is_in_time(&one, 1, now),
            Err(Over::Rate(Duration::from_secs(1)))
        );
        assert_eq!(quotas.is_in_time(&other, 1, now), Ok(()));
    }
}
