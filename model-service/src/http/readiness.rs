//! Whether the service can work.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use kindred_api::problem::ProblemKind;

use super::error::Error;

/// When to ask a service again that is not ready, in seconds.
const RETRY_S: u32 = 1;

/// Whether the service can work, and if not, why. Each part reports for itself.
#[derive(Debug, Default)]
pub struct Readiness {
    reasons: Reasons,
    degraded: Reasons,
}

impl Readiness {
    /// Ready: no part reports a reason.
    pub fn ready() -> Self {
        Self::default()
    }

    /// Not ready until `part` reports otherwise.
    pub fn waiting_for(part: &'static str, reason: impl Into<String>) -> Self {
        let readiness = Self::default();
        readiness.not_ready(part, reason);
        readiness
    }

    /// `part` cannot work, for this reason, which replaces its previous one.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        self.reasons.set(part, reason.into());
    }

    /// `part` cannot work, for this reason, but readers can be answered without it.
    pub fn degrade(&self, part: &'static str, reason: impl Into<String>) {
        self.degraded.set(part, reason.into());
    }

    /// `part` can work.
    pub fn set_ready(&self, part: &'static str) {
        self.reasons.remove(part);
        self.degraded.remove(part);
    }

    /// Why the service is not ready, as `part: reason`; empty if it is.
    pub fn reasons(&self) -> Vec<String> {
        self.reasons.told()
    }

    /// What the service lacks, as `part: reason`.
    pub fn degraded(&self) -> Vec<String> {
        self.degraded.told()
    }
}

/// Reasons by part.
#[derive(Debug, Default)]
struct Reasons(RwLock<BTreeMap<&'static str, String>>);

impl Reasons {
    fn set(&self, part: &'static str, reason: String) {
        let mut reasons = self.0.write().unwrap_or_else(PoisonError::into_inner);
        reasons.insert(part, reason);
    }

    fn remove(&self, part: &'static str) {
        let mut reasons = self.0.write().unwrap_or_else(PoisonError::into_inner);
        reasons.remove(part);
    }

    fn told(&self) -> Vec<String> {
        let reasons = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let told = reasons.iter();
        told.map(|(part, reason)| format!("{part}: {reason}"))
            .collect()
    }
}

/// Whether a part works, from repeated checks: a part that fails only now and then counts as
/// working.
#[derive(Debug)]
pub(crate) struct Steady {
    /// How long all checks must fail.
    patience: Duration,
    failing_since: Option<Duration>,
}

impl Steady {
    /// A part that works.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            failing_since: None,
        }
    }

    /// A check at `now`, with its result. Returns whether the part counts as working.
    pub(crate) fn seen(&mut self, now: Duration, works: bool) -> bool {
        if works {
            self.failing_since = None;
            return true;
        }
        let since = *self.failing_since.get_or_insert(now);
        now.saturating_sub(since) < self.patience
    }
}

/// The service is not ready, for these reasons.
pub(crate) fn not_ready(reasons: Vec<String>) -> Error {
    Error::new(
        ProblemKind::NotReady,
        format!("{}. It recovers by itself; try again.", reasons.join("; ")),
    )
    .reasons(reasons)
    .retry_after(RETRY_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_no_part_has_a_reason_left() {
        let readiness = Readiness::waiting_for("store", "opening");
        readiness.not_ready("lease", "held by another");
        readiness.not_ready("store", "compacting");
        assert_eq!(
            readiness.reasons(),
            ["lease: held by another", "store: compacting"]
        );
        readiness.set_ready("store");
        readiness.set_ready("lease");
        assert!(readiness.reasons().is_empty());
    }

    #[test]
    fn what_is_degraded_is_ready() {
        let readiness = Readiness::waiting_for("broker", "not connected yet");
        readiness.set_ready("broker");
        readiness.degrade("broker", "not connected");
        assert!(readiness.reasons().is_empty());
        assert_eq!(readiness.degraded(), ["broker: not connected"]);
        readiness.set_ready("broker");
        assert!(readiness.degraded().is_empty());
    }

    #[test]
    fn a_part_fails_when_all_looks_at_it_fail_for_long() {
        let at = Duration::from_secs;
        let mut steady = Steady::new(at(10));
        for second in 0..100 {
            assert!(steady.seen(at(second), second % 10 == 0), "{second}");
        }
        assert!(steady.seen(at(100), false));
        assert!(!steady.seen(at(110), false));
        assert!(steady.seen(at(111), true));
        assert!(steady.seen(at(112), false));
    }
}
