//! What a machine's shell waits for: the answer to a request, and the machine's alarm.

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

/// Waits for the answer, then clears the request. Without a request it never resolves. Cancel-safe:
/// the request stays.
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

/// Resolves at this moment, or never.
pub(super) async fn alarm(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
