//! What the shell of a machine waits for: the answer to something it asked, and the machine's alarm.

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

/// The answer, once there is one; then nothing is asked any more. While nothing is asked it never comes.
/// Cancel-safe: what is asked stays asked.
pub(super) async fn answer<T>(asked: &mut Option<BoxFuture<'static, T>>) -> T {
    match asked {
        Some(question) => {
            let answer = question.await;
            *asked = None;
            answer
        }
        None => std::future::pending().await,
    }
}

/// Ends at this moment, or never.
pub(super) async fn alarm(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
