//! Decides which domain's job is computed next. A few jobs are computed at once; for the others, domains take turns by
//! the time that their jobs take. The jobs may come from several services.
//!
//! Memory: the jobs in hand, limited by the broker's prefetch per queue.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kindred_shared::{DomainName, FairQueue};
use tokio::sync::oneshot;

/// Grants turns to compute. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Mutex<TurnQueue>>);

struct TurnQueue {
    /// Free turns. While there are any, no job waits.
    free: usize,
    waiting: FairQueue<DomainName, oneshot::Sender<Turn>>,
}

/// The holder may compute. Dropping it passes the turn on.
#[must_use]
pub(crate) struct Turn(Turns);

impl Turns {
    /// Grants at most `together` turns at a time.
    pub(crate) fn new(together: usize) -> Self {
        Self(Arc::new(Mutex::new(TurnQueue {
            free: together,
            waiting: FairQueue::default(),
        })))
    }

    /// Waits for a turn to compute a domain's job that takes `effort`. Dropping the future gives up the place in the
    /// queue.
    pub(crate) async fn next(&self, domain: DomainName, effort: Duration) -> Turn {
        let given = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Turn(self.clone());
            }
            let (give, given) = oneshot::channel();
            let cost = u64::try_from(effort.as_micros()).unwrap_or(u64::MAX);
            state.waiting.push(domain, cost, give);
            given
        };
        given
            .await
            .expect("a job that waits is in the queue until its turn")
    }

    fn pass_on(&self) {
        let next = {
            let mut state = self.state();
            let Some((_, next)) = state.waiting.pop() else {
                state.free += 1;
                return;
            };
            next
        };
        // If the receiver has given up, the turn comes back here and is passed on.
        drop(next.send(Turn(self.clone())));
    }

    /// Code under the lock cannot panic, so the data behind a poisoned lock is intact.
    fn state(&self) -> MutexGuard<'_, TurnQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Turns")
            .field("free", &state.free)
            .field("waiting", &state.waiting.len())
            .finish()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::pin::Pin;

    use futures_util::FutureExt;

    use super::*;

    type Wait<'a> = (&'static str, Pin<Box<dyn Future<Output = Turn> + 'a>>);

    /// Waits for turns, in this order.
    fn wait<'a>(turns: &'a Turns, domains: &[&'static str]) -> Vec<Wait<'a>> {
        let wait = |domain: &&'static str| {
            let name = DomainName::new(domain).unwrap();
            let mut turn: Wait<'a> = (
                *domain,
                Box::pin(turns.next(name, Duration::from_millis(40))),
            );
            assert!(turn.1.as_mut().now_or_never().is_none(), "none is free");
            turn
        };
        domains.iter().map(wait).collect()
    }

    /// The domains whose turn has come. Their turns end here.
    fn had(waits: &mut Vec<Wait<'_>>) -> Vec<&'static str> {
        let mut had = Vec::new();
        let mut turns = Vec::new();
        waits.retain_mut(|(domain, wait)| match wait.now_or_never() {
            Some(turn) => {
                had.push(*domain);
                turns.push(turn);
                false
            }
            None => true,
        });
        had
    }

    #[test]
    fn domains_take_turns_whatever_came_first() {
        let turns = Turns::new(1);
        let domain = |name| DomainName::new(name).unwrap();
        let first = turns.next(domain("a"), Duration::ZERO).now_or_never();
        let mut waits = wait(&turns, &["a", "a", "a", "b"]);
        assert!(had(&mut waits).is_empty());
        drop(first.unwrap());
        let order: Vec<_> = (0..4).flat_map(|_| had(&mut waits)).collect();
        assert_eq!(order, ["a", "b", "a", "a"]);
        assert_eq!(turns.state().free, 1);
    }

    #[test]
    fn whoever_stops_waiting_takes_no_turn_along() {
        let turns = Turns::new(2);
        let domain = |name| DomainName::new(name).unwrap();
        let held: Vec<_> = ["a", "b"]
            .map(|name| turns.next(domain(name), Duration::ZERO).now_or_never())
            .into();
        let mut waits = wait(&turns, &["a", "a", "b", "b"]);
        // One whose turn had come, and one that still waited.
        drop(waits.remove(0));
        drop(held);
        drop(waits.remove(0));
        assert_eq!(had(&mut waits), ["b", "b"]);
        assert_eq!(turns.state().free, 2);
    }
}
