//! Runs work on many things, any of which may panic or hang without harming the others.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rayon::ThreadPool;
use rayon::prelude::*;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

/// Why one thing has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// The work panicked.
    #[error("{0}")]
    Panicked(String),
    /// The work hangs. Its thread is lost.
    #[error("it did not end")]
    Stuck,
}

/// No thread is left to start on the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AllStuck;

/// The results of all things, in any order. A thing is abandoned if it is still being worked on
/// after `looks` checks, `look` apart. (Checks rather than time: a process that was suspended
/// meanwhile has made none.)
pub(super) async fn each<T, R>(
    pool: &ThreadPool,
    things: Vec<T>,
    look: Duration,
    looks: u32,
    work: impl Fn(&T) -> R + Send + Sync + 'static,
) -> Result<Vec<(T, Result<R, Unfit>)>, AllStuck>
where
    T: Clone + Send + Sync + 'static,
    R: Send + 'static,
{
    let begun: Arc<[AtomicBool]> = things.iter().map(|_| AtomicBool::new(false)).collect();
    let things: Arc<[T]> = things.into();
    // Unbounded, because each thing has one outcome.
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    let (on_pool, begun_on_pool) = (Arc::clone(&things), Arc::clone(&begun));
    pool.spawn(move || {
        let all = on_pool.par_iter().zip(&*begun_on_pool).enumerate();
        // One at a time, so that nothing queues behind a stuck one.
        all.with_max_len(1).for_each(|(n, (thing, begun))| {
            begun.store(true, Ordering::Relaxed);
            let done = catch_unwind(AssertUnwindSafe(|| work(thing)));
            let done = done.map_err(|panic| Unfit::Panicked(words_of(&*panic)));
            // The receiver may have abandoned it.
            let _ = sender.send((n, done));
        });
    });
    let mut done: Vec<Option<Result<R, Unfit>>> = things.iter().map(|_| None).collect();
    let mut seen = vec![0_u32; things.len()];
    let (mut left, mut idle) = (things.len(), 0_u32);
    let mut ticks = interval(look);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while left > 0 {
        tokio::select! {
            biased;
            Some((n, outcome)) = outcomes.recv() => {
                // An abandoned thing may end after all.
                if done[n].is_none() {
                    left -= 1;
                }
                done[n] = Some(outcome);
                idle = 0;
            }
            _ = ticks.tick() => {
                let mut working = false;
                for (n, begun) in begun.iter().enumerate() {
                    if done[n].is_some() || !begun.load(Ordering::Relaxed) {
                        continue;
                    }
                    working = true;
                    seen[n] += 1;
                    if seen[n] > looks {
                        done[n] = Some(Err(Unfit::Stuck));
                        left -= 1;
                    }
                }
                // Other work may keep the pool busy meanwhile, but not forever.
                idle = if working { 0 } else { idle + 1 };
                if idle > LONG * looks {
                    return Err(AllStuck);
                }
            }
        }
    }
    let outcomes = done.into_iter().flatten();
    Ok(things.iter().cloned().zip(outcomes).collect())
}

/// How many times longer than one thing the pool may take to start another.
const LONG: u32 = 10;

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(20);
    /// Longer than a busy machine may delay a thread whose work takes no time.
    const LOOKS: u32 = 100;

    fn pool(threads: usize) -> ThreadPool {
        compute_worker::pool(threads).unwrap()
    }

    /// Panics at 3; hangs at 5 and above 100.
    fn work(n: &u32) -> u32 {
        match n {
            // Bypasses the panic hook, which is slow to print the location.
            3 => std::panic::resume_unwind(Box::new("no three")),
            5 | 101.. => loop {
                std::thread::park();
            },
            n => n * 2,
        }
    }

    #[tokio::test]
    async fn what_panics_or_never_ends_harms_only_itself() {
        let things = (0..100).collect::<Vec<u32>>();
        let done = each(&pool(2), things, LOOK, LOOKS, work).await.unwrap();
        assert_eq!(done.len(), 100);
        for (n, outcome) in done {
            match n {
                3 => assert_eq!(outcome, Err(Unfit::Panicked("no three".to_owned()))),
                5 => assert_eq!(outcome, Err(Unfit::Stuck)),
                n => assert_eq!(outcome, Ok(n * 2)),
            }
        }
    }

    #[tokio::test]
    async fn it_is_told_when_no_thread_is_left() {
        let (pool, things) = (pool(2), vec![101, 102, 1, 2, 103]);
        let done = each(&pool, things, LOOK, 2, work).await;
        assert_eq!(done.map(|done| done.len()), Err(AllStuck));
        // Dropping a pool would wait for its threads.
        std::mem::forget(pool);
    }
}
