//! The threads that compute.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// A pool of threads named `kindred-compute-0`, `kindred-compute-1`, … for all CPU work; 0 takes
/// every core.
///
/// # Errors
/// When the operating system gives no more threads.
pub fn pool(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("kindred-compute-{number}"))
        .build()
}
