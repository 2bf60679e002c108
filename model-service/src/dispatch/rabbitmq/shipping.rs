//! Shipping: large blocks to where workers find them, ahead of jobs that need them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kindred_shared::block_store::BlockStore;
use kindred_shared::job::{Job, Side, Task};
use kindred_shared::wire::{BlockHash, encode_block, hash_of};
use kindred_shared::{Block, DomainName};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{STORE_DEADLINE, Shared};

/// Smallest block that is worth it: smaller ones may travel in the job.
const LARGE: usize = 256 << 10;

/// Domains whose blocks are on their way.
#[derive(Default)]
pub(super) struct Shipping(Mutex<HashSet<DomainName>>);

impl Shipping {
    fn domains(&self) -> MutexGuard<'_, HashSet<DomainName>> {
        // No code that can panic runs under the lock, so a poisoned one is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// The large blocks that a job needs and that are not stored.
    pub(super) fn unshipped<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = &'a Arc<Block>> {
        let sides = match &job.task {
            Task::Compare(task) => Some(std::iter::once(&task.left).chain(&task.rights)),
            Task::Extract(_) => None,
        };
        let blocks = sides.into_iter().flatten().map(|side: &Side| &side.block);
        blocks.filter(|block| {
            block.bytes() >= LARGE && self.stored.known(&job.domain, block).is_none()
        })
    }
}

/// Stores the large blocks that a job needs, one after the other; one job a domain at a time.
pub(super) fn ship(shared: &Arc<Shared>, blocks: &Arc<dyn BlockStore>, job: &Job) {
    if !shared.shipping.domains().insert(job.domain.clone()) {
        return;
    }
    let large: Vec<Arc<Block>> = shared.unshipped(job).cloned().collect();
    let (shared, blocks, domain) = (Arc::clone(shared), Arc::clone(blocks), job.domain.clone());
    tokio::spawn(async move {
        for block in large {
            // Another window may have merged it away meanwhile.
            if Arc::strong_count(&block) == 1 {
                continue;
            }
            let Some((hash, bytes)) = encoded(&block).await else {
                break;
            };
            match timeout(STORE_DEADLINE, blocks.put(&domain, &hash, &bytes)).await {
                Ok(Ok(())) => shared.stored.insert(&domain, &block, hash),
                // The next window tries again.
                Ok(Err(_)) | Err(_) => break,
            }
        }
        shared.shipping.domains().remove(&domain);
    });
}

async fn encoded(block: &Arc<Block>) -> Option<(BlockHash, Vec<u8>)> {
    let (answer, encoded) = oneshot::channel();
    let block = Arc::clone(block);
    rayon::spawn(move || {
        let bytes = encode_block(&block);
        let _ = answer.send((hash_of(&bytes), bytes));
    });
    encoded.await.ok()
}
