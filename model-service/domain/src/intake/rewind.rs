//! Decides when messages that could not be stored are handed over again: all at once, in order, after a growing delay.
//! Nothing is handed over meanwhile. Pure.

use std::time::Duration;

use kindred_shared::Backoff;

/// Delays before messages that were not stored are handed over again.
const REWIND: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));

/// The state of handing over one queue's messages again.
#[derive(Debug)]
pub struct Rewinding {
    delays: Backoff,
    is_due: bool,
}

impl Default for Rewinding {
    fn default() -> Self {
        Self {
            delays: REWIND,
            is_due: false,
        }
    }
}

impl Rewinding {
    /// Whether messages may be handed over.
    pub fn may_hand_over(&self) -> bool {
        !self.is_due
    }

    /// A message is stored.
    pub fn stored(&mut self) {
        self.delays.worked();
    }

    /// A message that was handed over could not be stored (`is_handed`: it was handed over since the last rewind).
    /// Returns the delay after which all are handed over again; `None`: that is due anyway, or the failure is outdated.
    pub fn failed(&mut self, is_handed: bool) -> Option<Duration> {
        if !is_handed || std::mem::replace(&mut self.is_due, true) {
            return None;
        }
        Some(self.delays.failed())
    }

    /// All were handed over again, or the connection is new and redelivers them.
    pub fn done(&mut self) {
        self.is_due = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_has_all_handed_over_again_and_the_next_ones_wait_longer() {
        let mut rewinding = Rewinding::default();
        assert_eq!(rewinding.failed(false), None, "of before");
        assert!(rewinding.may_hand_over());
        let first = rewinding.failed(true).expect("it is due");
        assert!(!rewinding.may_hand_over());
        assert_eq!(rewinding.failed(true), None, "it is due anyway");
        rewinding.done();
        assert!(rewinding.may_hand_over());
        let second = rewinding.failed(true).expect("it is due");
        assert!(second > first);
        rewinding.done();
        rewinding.stored();
        assert_eq!(rewinding.failed(true), Some(first));
    }
}
