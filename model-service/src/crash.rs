//! Crash points: places where a test kills this process, to see that nothing is lost.
//!
//! Only in builds with debug assertions, and only when asked: `KINDRED_TEST_CRASH_AT=<name>:<n>`
//! kills with SIGKILL at the n-th passing of the point (`<name>` alone: the first). In release
//! builds [`point`] does nothing.

/// Every point, in the order of an event's way.
pub const POINTS: &[&str] = &[
    "received",
    "before-store",
    "after-store",
    "after-ack",
    "after-extract",
    "before-features",
    "after-features",
    "after-compare",
    "before-flush",
    "after-flush",
    "before-clean",
    "after-clean",
];

/// Passes a point of [`POINTS`].
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static ASKED: LazyLock<Option<(String, AtomicI64)>> = LazyLock::new(|| {
        let asked = std::env::var("KINDRED_TEST_CRASH_AT").ok()?;
        let (name, times) = asked.split_once(':').unwrap_or((&asked, "1"));
        Some((name.to_owned(), AtomicI64::new(times.parse().ok()?)))
    });
    debug_assert!(POINTS.contains(&name), "{name} is not listed");
    if let Some((asked, left)) = &*ASKED
        && asked == name
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        // SIGKILL, without `unsafe`: nothing of this process runs after it.
        let pid = std::process::id().to_string();
        let _ = std::process::Command::new("kill")
            .args(["-9", &pid])
            .status();
        loop {
            std::thread::park();
        }
    }
}

/// Does nothing: this is no test build.
#[cfg(not(debug_assertions))]
pub fn point(_name: &'static str) {}
