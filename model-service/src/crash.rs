//! Crash points: places where a test kills this process, to verify that nothing is lost.
//!
//! Only in builds with debug assertions, and only on request: `KINDRED_TEST_CRASH_AT=<name>:<n>`
//! kills with SIGKILL when the point is passed for the n-th time (`<name>` alone: the first). In
//! release builds [`point`] does nothing.
//!
//! Likewise an event whose text contains `KINDRED_TEST_CRASH_ON_TEXT` kills this process when a
//! domain takes it in, and one with `KINDRED_TEST_STALL_ON_TEXT` blocks its thread forever:
//! [`taken_in`]. `KINDRED_TEST_STALL_LIMIT_S` makes [`crate::actors::watchdog`] act sooner.

use std::time::Duration;

use kindred_shared::event::Event;

/// Every point, in the order in which an event passes them.
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

/// Points that a domain passes once each time it is loaded; the second one only if an event arrives
/// before it is loaded.
pub const LOADING_POINTS: &[&str] = &["after-open", "after-items-read", "after-load"];

/// Points that a domain passes when it is removed; `before-sweep` and `after-sweep` once per step.
pub const REMOVAL_POINTS: &[&str] = &[
    "before-removal",
    "after-removal",
    "before-sweep",
    "after-sweep",
    "before-removed",
    "after-removed",
];

/// Points that a domain passes when an entry of its log is copied from the row of its settings.
pub const LOG_POINTS: &[&str] = &["before-log", "after-log"];

/// Points that an append to the log of events passes: half of it is written; all of it, but not synced.
pub const EVENT_LOG_POINTS: &[&str] = &["event-log-torn", "event-log-written"];

/// Points that a replay passes: `before-replayed-event` once per event that it applies.
pub const REPLAY_POINTS: &[&str] = &["before-replayed-event"];

/// Passes a point of one of these lists.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static ASKED: LazyLock<Option<(String, AtomicI64)>> = LazyLock::new(|| {
        let asked = std::env::var("KINDRED_TEST_CRASH_AT").ok()?;
        let (name, times) = asked.split_once(':').unwrap_or((&asked, "1"));
        Some((name.to_owned(), AtomicI64::new(times.parse().ok()?)))
    });
    let lists = [
        POINTS,
        LOADING_POINTS,
        REMOVAL_POINTS,
        LOG_POINTS,
        EVENT_LOG_POINTS,
        REPLAY_POINTS,
    ];
    let is_listed = lists.iter().any(|points| points.contains(&name));
    debug_assert!(is_listed, "{name} is not listed");
    if let Some((asked, left)) = &*ASKED
        && asked == name
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        die();
    }
}

/// SIGKILL without `unsafe`: nothing of this process runs afterwards.
#[cfg(debug_assertions)]
fn die() -> ! {
    let pid = std::process::id().to_string();
    let _ = std::process::Command::new("kill")
        .args(["-9", &pid])
        .status();
    stall()
}

#[cfg(debug_assertions)]
fn stall() -> ! {
    loop {
        std::thread::park();
    }
}

/// Called when a domain takes in an event.
#[cfg(debug_assertions)]
pub fn taken_in(event: &Event) {
    use std::sync::LazyLock;

    static CRASH: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("KINDRED_TEST_CRASH_ON_TEXT").ok());
    static STALL: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("KINDRED_TEST_STALL_ON_TEXT").ok());
    let Event::Upsert(upsert) = event else {
        return;
    };
    let has = |asked: &Option<String>| {
        (asked.as_ref().zip(upsert.text.as_ref())).is_some_and(|(asked, text)| text.contains(asked))
    };
    if has(&CRASH) {
        die();
    }
    if has(&STALL) {
        stall();
    }
}

/// Does nothing: this is not a test build.
#[cfg(not(debug_assertions))]
pub fn taken_in(_event: &Event) {}

/// How long a thread may stall: `usual`, unless a test sets another limit.
pub fn stall_limit(usual: Duration) -> Duration {
    let asked = cfg!(debug_assertions)
        .then(|| std::env::var("KINDRED_TEST_STALL_LIMIT_S").ok())
        .flatten();
    let seconds = asked.and_then(|asked| asked.parse().ok());
    seconds.map_or(usual, Duration::from_secs)
}

/// Does nothing: this is not a test build.
#[cfg(not(debug_assertions))]
pub fn point(_name: &'static str) {}
