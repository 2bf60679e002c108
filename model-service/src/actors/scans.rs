//! Scans: computes queries on threads of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use kindred_similarity::Kernel;
use rayon::{ThreadPool, ThreadPoolBuildError};
use tokio::sync::{Semaphore, oneshot};

use crate::metrics::Metrics;

/// Scans computed at a time: each uses all threads as far as it can, and the second fills what the
/// first leaves idle. Each needs some 24 bytes per item.
const COMPUTED: usize = 2;
/// Scans that may wait for their turn: about a second's work on a domain of 100,000 items.
const WAITING: usize = 64;

/// Computes queries on threads with lower priority than those of windows.
#[derive(Debug, Clone)]
pub struct Scans {
    kernel: Kernel,
    pool: Arc<ThreadPool>,
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

/// Why a scan has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanError {
    /// Too many are waiting already.
    Busy,
    /// A bug in this program, or the service is stopping.
    Failed(&'static str),
}

/// Cancels a scan when nobody waits for it any more.
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A place in the waiting line.
struct WaitingSlot(Arc<AtomicUsize>);

impl WaitingSlot {
    /// Takes a place, if one is free.
    fn take(waiting: &Arc<AtomicUsize>) -> Option<Self> {
        let next = |count: usize| (count < WAITING).then_some(count + 1);
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()?;
        Some(Self(Arc::clone(waiting)))
    }
}

impl Drop for WaitingSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Scans {
    /// Scans with this kernel on `threads` threads; 0 uses every core.
    ///
    /// # Errors
    /// When the operating system refuses to start threads.
    pub fn new(
        kernel: Kernel,
        threads: usize,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ThreadPoolBuildError> {
        let waiting = Arc::<AtomicUsize>::default();
        let waits = Arc::clone(&waiting);
        metrics.on_scrape(Box::new(move |metrics| {
            let waiting = i64::try_from(waits.load(Ordering::Relaxed));
            metrics.scans_waiting.set(waiting.unwrap_or(i64::MAX));
        }));
        Ok(Self {
            kernel,
            pool: Arc::new(compute_worker::pool_behind(threads)?),
            turns: Arc::new(Semaphore::new(COMPUTED)),
            waiting,
            metrics,
        })
    }

    /// The kernel that computes scores.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The threads that compute.
    pub fn pool(&self) -> &Arc<ThreadPool> {
        &self.pool
    }

    /// Runs the work when it is its turn. The flag it is given becomes true when the future is
    /// dropped; the work should then end soon, since it occupies its turn until it ends.
    ///
    /// # Errors
    /// [`ScanError`].
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
    ) -> Result<T, ScanError> {
        let Some(place) = WaitingSlot::take(&self.waiting) else {
            self.metrics.scans_refused.inc();
            return Err(ScanError::Busy);
        };
        let begun = Instant::now();
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| ScanError::Failed("the service is stopping"))?;
        drop(place);
        let cancel = Cancel(Arc::default());
        let cancelled = Arc::clone(&cancel.0);
        let (done, answer) = oneshot::channel();
        self.pool.spawn(move || {
            // A panic on a pool thread would end the process.
            let result = catch_unwind(AssertUnwindSafe(|| work(&cancelled)));
            drop(turn);
            let _ = done.send(result);
        });
        let result = answer.await;
        drop(cancel);
        self.metrics.scan.observe(begun.elapsed().as_secs_f64());
        match result {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(ScanError::Failed("it panicked")),
            Err(_) => Err(ScanError::Failed("its threads have stopped")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    fn of_threads(threads: usize) -> Scans {
        Scans::new(Kernel::Scalar, threads, Arc::new(Metrics::new())).unwrap()
    }

    #[tokio::test]
    async fn so_many_wait_and_no_more() {
        let scans = of_threads(COMPUTED);
        let gates: Vec<_> = (0..COMPUTED).map(|_| mpsc::channel::<()>()).collect();
        let (open, shut): (Vec<_>, Vec<_>) = gates.into_iter().unzip();
        let mut computed: Vec<_> = shut
            .into_iter()
            .map(|gate| Box::pin(scans.run(move |_| gate.recv().is_ok())))
            .collect();
        for one in &mut computed {
            assert!(one.as_mut().now_or_never().is_none());
        }
        let mut waiting: Vec<_> = (0..WAITING)
            .map(|n| Box::pin(scans.run(move |_| n)))
            .collect();
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none());
        }
        assert_eq!(scans.run(|_| ()).await, Err(ScanError::Busy));
        let metrics = scans.metrics.render();
        assert!(metrics.contains(&format!("kindred_scans_waiting {WAITING}\n")));
        assert!(metrics.contains("kindred_scans_refused_total 1\n"));
        assert!(metrics.contains("kindred_scan_seconds_count 0\n"));
        // A caller that gives up makes room.
        drop(waiting.pop());
        assert!(
            Box::pin(scans.run(|_| ()))
                .as_mut()
                .now_or_never()
                .is_none()
        );
        for gate in &open {
            gate.send(()).unwrap();
        }
        for one in computed {
            assert_eq!(one.await, Ok(true));
        }
        for (n, one) in waiting.into_iter().enumerate() {
            assert_eq!(one.await, Ok(n));
        }
        let metrics = scans.metrics.render();
        assert!(metrics.contains("kindred_scans_waiting 0\n"));
        let done = COMPUTED + WAITING - 1;
        assert!(metrics.contains(&format!("kindred_scan_seconds_count {done}\n")));
    }

    #[tokio::test]
    async fn a_scan_is_told_that_nobody_waits_for_it() {
        let scans = of_threads(1);
        let (told, was_told) = mpsc::channel();
        let until = Instant::now() + Duration::from_secs(30);
        let mut scan = Box::pin(scans.run(move |cancelled: &AtomicBool| {
            while !cancelled.load(Ordering::Relaxed) && Instant::now() < until {
                std::thread::yield_now();
            }
            told.send(cancelled.load(Ordering::Relaxed)).unwrap();
        }));
        assert!(scan.as_mut().now_or_never().is_none());
        drop(scan);
        assert!(was_told.recv_timeout(Duration::from_secs(30)).unwrap());
    }

    #[tokio::test]
    async fn a_panic_harms_no_other_scan() {
        let scans = of_threads(1);
        for _ in 0..=COMPUTED {
            let failed = scans.run(|_| -> u8 { panic!("a bug") }).await;
            assert_eq!(failed, Err(ScanError::Failed("it panicked")));
        }
        assert_eq!(scans.run(|_| 7).await, Ok(7));
    }
}
