//! Quotas of a domain: the number of items, the number of events per second, and the length of texts. Pure.
//!
//! Events that take something away from readers ([`Event::takes_away`](kindred_shared::event::Event::takes_away)) are
//! never refused because of a quota.

use std::time::Duration;

use kindred_shared::event::{Reason, Refusal, Upsert};

use crate::settings::DomainSettings;

/// A token bucket for events, with the capacity of one second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket(Option<(f64, Duration)>);

impl Bucket {
    /// Takes a token of `most` per second. `now` never goes back.
    ///
    /// # Errors
    /// The time until there is a token.
    pub fn take(&mut self, most: u64, now: Duration) -> Result<(), Duration> {
        let most = most as f64;
        let saved = self.saved(most, now);
        let is_there = saved >= 1.0;
        self.0 = Some((if is_there { saved - 1.0 } else { saved }, now));
        if is_there {
            return Ok(());
        }
        // A wait that is slightly too short would be retried at once, again and again.
        let wait = ((1.0 - saved) / most).clamp(MOMENT.as_secs_f64(), LONGEST.as_secs_f64());
        Err(Duration::from_secs_f64(wait))
    }

    fn saved(&self, most: f64, now: Duration) -> f64 {
        let (saved, at) = self.0.unwrap_or((most, now));
        let since = now.saturating_sub(at).as_secs_f64();
        (saved + since * most).min(most)
    }
}

/// Shortest wait that is returned.
const MOMENT: Duration = Duration::from_micros(100);
/// Longest wait that is returned: with a limit of 0, which no setting allows, this is the interval of retries.
const LONGEST: Duration = Duration::from_secs(60);

/// Checks an item's text against the limit.
///
/// # Errors
/// Why it is refused.
pub fn fits(settings: &DomainSettings, upsert: &Upsert) -> Result<(), Refusal> {
    let bytes = upsert.text.as_ref().map_or(0, String::len) as u64;
    match settings.max_text {
        Some(most) if bytes > most => {
            let detail = format!(
                "`text` has {bytes} bytes, more than the {most} that texts of this domain may have; shorten it, or raise max_text"
            );
            Err(Refusal::new(Reason::OverQuota, Some("text"), detail))
        }
        _ => Ok(()),
    }
}

/// The refusal of an item because the domain has as many as it may.
pub fn no_room(most: u64) -> Refusal {
    let detail = format!(
        "the domain has reached its limit of {most} items; delete some, or raise max_items"
    );
    Refusal::new(Reason::OverQuota, None, detail)
}

/// The refusal of an event because the domain has more events than it may.
pub fn too_many(most: u64) -> Refusal {
    let detail = format!(
        "the domain accepts at most {most} events per second; send them more slowly, or raise \
        max_events_per_second"
    );
    Refusal::new(Reason::OverQuota, None, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_second_are_saved_up_and_no_more() {
        let mut bucket = Bucket::default();
        let mut admit = |ms: u64| bucket.take(10, Duration::from_millis(ms));
        assert!((0..10).all(|_| admit(0) == Ok(())));
        assert_eq!(admit(0), Err(Duration::from_millis(100)));
        assert!(admit(99).is_err());
        assert_eq!(admit(101), Ok(()));
        // A long pause saves up no more than one second's tokens.
        assert!((0..10).all(|_| admit(60_000) == Ok(())));
        assert!(admit(60_000).is_err());
    }

    #[test]
    fn a_wait_that_is_told_is_long_enough() {
        for most in [1, 3, 7, 1_000] {
            let mut bucket = Bucket::default();
            let mut now = Duration::from_secs(5);
            for _ in 0..most + 20 {
                if let Err(wait) = bucket.take(most, now) {
                    now += wait + Duration::from_micros(1);
                    assert_eq!(bucket.take(most, now), Ok(()), "{most} a second");
                }
            }
        }
    }
}
