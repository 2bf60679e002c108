//! Compares all rows of a domain with each other, in this process, where its blocks are.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kindred_shared::job::{CompareReply, KEEP};
use kindred_shared::{Block, compare_all};
use kindred_similarity::{Kernel, RowMask};
use rayon::{ThreadPool, ThreadPoolBuildError};
use tokio::sync::{Semaphore, oneshot};

use kindred_domain::intake::Failure;

/// Most rows of a small domain: all its pairs are some 30 million, which take a few tenths of a
/// second.
const SMALL: usize = 8_192;

/// Compares all rows with each other, on threads with lower priority than those of windows.
///
/// Large domains are compared one at a time, so that only one comparison's memory is needed (some
/// 520 bytes per row). Small domains have a pool of their own, so that none waits for a large one;
/// the operating system shares the CPUs between both.
#[derive(Debug, Clone)]
pub struct Comparer {
    kernel: Kernel,
    large: Arc<ThreadPool>,
    /// Permits the comparison of one large domain.
    turn: Arc<Semaphore>,
    small: Arc<ThreadPool>,
}

/// Cancels a comparison when nobody waits for it any more.
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Comparer {
    /// Compares with this kernel on `threads` threads; 0 uses every core.
    ///
    /// # Errors
    /// When the operating system refuses to start threads.
    pub fn new(kernel: Kernel, threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let pool = || compute_worker::pool_behind(threads).map(Arc::new);
        Ok(Self {
            kernel,
            large: pool()?,
            turn: Arc::new(Semaphore::new(1)),
            small: pool()?,
        })
    }

    /// The best other rows for every live row of the blocks of a space. Ends early when the future
    /// is dropped.
    ///
    /// # Errors
    /// When the comparison failed: this program has a bug, or lacks its kernel on this machine.
    pub async fn compare_all(
        &self,
        blocks: Vec<(Arc<Block>, RowMask)>,
    ) -> Result<CompareReply, Failure> {
        let rows: usize = blocks.iter().map(|(_, live)| live.count()).sum();
        if rows <= SMALL {
            return self.compare_on(&self.small, blocks, ()).await;
        }
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|_| Failure::passing("the service is stopping"))?;
        self.compare_on(&self.large, blocks, turn).await
    }

    /// The same on this pool; `until_done` is held until the comparison ends, even if nobody waits
    /// for it any more.
    async fn compare_on(
        &self,
        pool: &ThreadPool,
        blocks: Vec<(Arc<Block>, RowMask)>,
        until_done: impl Send + 'static,
    ) -> Result<CompareReply, Failure> {
        let cancel = Cancel(Arc::default());
        let (cancelled, kernel) = (Arc::clone(&cancel.0), self.kernel);
        let (done, answer) = oneshot::channel();
        pool.spawn(move || {
            let compare = || compare(kernel, &blocks, &cancelled);
            // A panic on a pool thread would end the process.
            let compared = catch_unwind(AssertUnwindSafe(compare));
            drop(until_done);
            let _ = done.send(compared.unwrap_or_else(|_| Err("it panicked".to_owned())));
        });
        let compared = answer.await;
        drop(cancel);
        let compared = compared.unwrap_or_else(|_| Err("its threads have stopped".to_owned()));
        compared.map_err(|why| Failure::passing(format!("the rows could not be compared: {why}")))
    }
}

fn compare(
    kernel: Kernel,
    blocks: &[(Arc<Block>, RowMask)],
    cancelled: &AtomicBool,
) -> Result<CompareReply, String> {
    let blocks: Vec<(&Block, &RowMask)> = blocks
        .iter()
        .map(|(block, live)| (&**block, live))
        .collect();
    let rows: u64 = blocks.iter().map(|(_, live)| live.count() as u64).sum();
    let found = compare_all(kernel, &blocks, KEEP, cancelled).map_err(|error| error.to_string())?;
    Ok(CompareReply {
        pairs: rows * rows.saturating_sub(1) / 2,
        found,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use futures_util::FutureExt;
    use kindred_shared::{BlockBuilder, Feature, ItemId, Space};

    use super::*;

    fn blocks(rows: usize) -> Vec<(Arc<Block>, RowMask)> {
        let feature = Feature::new(vec![1.0], vec![], vec![]).unwrap();
        let mut builder = BlockBuilder::new(Space::own(1), 1);
        for row in 0..rows {
            builder.push(ItemId::new(&format!("i{row}")).unwrap(), 1, &feature);
        }
        vec![(Arc::new(builder.build()), RowMask::all(rows))]
    }

    #[tokio::test]
    async fn small_domains_wait_for_no_large_one() {
        let comparer = Comparer::new(Kernel::Auto, 1).unwrap();
        let turn = comparer.turn.try_acquire().unwrap();
        let three = vec![blocks(4_000), blocks(4_000), blocks(4_000)];
        let mut large = Box::pin(comparer.compare_all(three.into_iter().flatten().collect()));
        assert!(
            large.as_mut().now_or_never().is_none(),
            "another has the turn"
        );
        let small = comparer.compare_all(blocks(100)).await.unwrap();
        assert_eq!((small.pairs, small.found.len()), (100 * 99 / 2, 100));
        assert!(large.as_mut().now_or_never().is_none());
        drop((turn, large));
        assert_eq!(comparer.turn.available_permits(), 1);
    }
}
