//! Tracks whether a quorum of replicas answers, as requests find out.
//!
//! A node that has not noticed yet that others died holds every QUORUM request until it times out,
//! on one of a limited number of threads, and requests at ONE wait behind these. So once one got no
//! answer, only one request per [`GIVEN_UP`] tries QUORUM again; the others skip it at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use tokio::time::Instant;

/// How long QUORUM is skipped after a request got no answer.
const GIVEN_UP: Duration = Duration::from_secs(2);
/// How often the loss is logged.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Whether a quorum of replicas answers.
#[derive(Debug, Default)]
pub(super) struct Quorum(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// When a quorum last answered.
    answered: Option<Instant>,
    /// Skipped until then; `None`: a quorum answers, as far as known.
    lost_until: Option<Instant>,
    said: Option<Instant>,
}

impl Quorum {
    /// Whether to try QUORUM. While none answers, one request per [`GIVEN_UP`] does.
    pub(super) fn is_worth_asking(&self) -> bool {
        self.is_worth_asking_at(Instant::now())
    }

    fn is_worth_asking_at(&self, now: Instant) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.lost_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                seen.lost_until = Some(now + GIVEN_UP);
                true
            }
        }
    }

    /// Records the outcome of a QUORUM request that began at `begun`.
    pub(super) fn asked<T>(&self, begun: Instant, outcome: &Result<T, ExecutionError>) {
        match outcome {
            Ok(_) => self.answered(Instant::now()),
            Err(error) if is_missing(error) => self.lost(begun, Instant::now(), error),
            Err(_) => {}
        }
    }

    fn answered(&self, now: Instant) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.answered = Some(now);
        seen.lost_until = None;
    }

    /// A request got no answer. That means nothing if another one got one meanwhile.
    fn lost(&self, begun: Instant, now: Instant, error: &ExecutionError) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.answered.is_some_and(|answered| answered >= begun) {
            return;
        }
        seen.lost_until = Some(now + GIVEN_UP);
        if seen
            .said
            .is_none_or(|said| now.duration_since(said) >= SAY_EVERY)
        {
            seen.said = Some(now);
            tracing::warn!(%error, "no quorum: readers get possibly stale answers from one replica");
        }
    }
}

/// Whether a request failed because nodes are missing or too slow.
fn is_missing(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::RequestTimeout(_)
        | ExecutionError::ConnectionPoolError(_)
        | ExecutionError::EmptyPlan => true,
        ExecutionError::LastAttemptError(attempt) => matches!(
            attempt,
            RequestAttemptError::BrokenConnectionError(_)
                | RequestAttemptError::DbError(
                    DbError::Unavailable { .. } | DbError::ReadTimeout { .. },
                    _
                )
        ),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn timed_out() -> ExecutionError {
        ExecutionError::RequestTimeout(SECOND)
    }

    #[test]
    fn while_none_answers_one_request_in_two_seconds_asks() {
        let (quorum, start) = (Quorum::default(), Instant::now());
        let at = |seconds: u32| start + seconds * SECOND;
        assert!(quorum.is_worth_asking_at(at(0)));
        quorum.lost(at(0), at(1), &timed_out());
        assert!(!quorum.is_worth_asking_at(at(2)));
        assert!(quorum.is_worth_asking_at(at(3)));
        assert!(!quorum.is_worth_asking_at(at(3)), "one has gone to ask");
        quorum.answered(at(4));
        assert!(quorum.is_worth_asking_at(at(4)));
    }

    #[test]
    fn one_that_fails_among_others_says_nothing() {
        let (quorum, start) = (Quorum::default(), Instant::now());
        quorum.answered(start + SECOND);
        quorum.lost(start, start + 2 * SECOND, &timed_out());
        assert!(quorum.is_worth_asking_at(start + 2 * SECOND));
        quorum.lost(start + 2 * SECOND, start + 3 * SECOND, &timed_out());
        assert!(!quorum.is_worth_asking_at(start + 3 * SECOND));
    }

    #[test]
    fn errors_of_a_request_are_no_want_of_nodes() {
        let db = |error| {
            ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, String::new()))
        };
        assert!(is_missing(&timed_out()));
        assert!(!is_missing(&db(DbError::Invalid)));
        assert!(is_missing(&db(DbError::Unavailable {
            consistency: scylla::statement::Consistency::Quorum,
            required: 2,
            alive: 1,
        })));
    }
}
