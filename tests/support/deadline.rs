//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none within `limit`; says what was waited for and the last state seen.
#[track_caller]
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(answer) => return answer,
            Err(state) if started.elapsed() > limit => {
                panic!("{what}: not within {limit:?}; last seen: {state}")
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
