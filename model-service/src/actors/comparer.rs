//! Comparing all rows of a domain with all: done in this process, where its blocks are.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kindred_shared::job::{CompareReply, KEEP};
use kindred_shared::{Block, compare_all};
use kindred_similarity::{Kernel, RowMask};
use tokio::sync::oneshot;

use kindred_domain::intake::Failure;

/// Compares all rows with all, on threads of its own: what other domains need done in the meantime has a
/// pool to itself, and the system shares the CPUs between both.
#[derive(Debug, Clone)]
pub struct Comparer {
    kernel: Kernel,
    pool: Arc<rayon::ThreadPool>,
}

/// Ends a comparison that nobody waits for any more.
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Comparer {
    /// One that compares on this pool.
    pub fn new(kernel: Kernel, pool: rayon::ThreadPool) -> Self {
        Self {
            kernel,
            pool: Arc::new(pool),
        }
    }

    /// For every live row of the blocks of a space its best others. Ends early when the future is dropped.
    ///
    /// # Errors
    /// When the comparison failed, which is a bug of this program or the lack of its kernel here.
    pub async fn compare_all(
        &self,
        blocks: Vec<(Arc<Block>, RowMask)>,
    ) -> Result<CompareReply, Failure> {
        let cancel = Cancel(Arc::default());
        let (cancelled, kernel) = (Arc::clone(&cancel.0), self.kernel);
        let (done, answer) = oneshot::channel();
        self.pool.spawn(move || {
            let compare = || compare(kernel, &blocks, &cancelled);
            // A panic on a thread of the pool would end the process.
            let compared = catch_unwind(AssertUnwindSafe(compare));
            let _ = done.send(compared.unwrap_or_else(|_| Err("it panicked".to_owned())));
        });
        let compared = answer.await;
        drop(cancel);
        let compared = compared.unwrap_or_else(|_| Err("its threads are gone".to_owned()));
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
