//! Shipping: stores large blocks where workers find them, ahead of the jobs that need them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kindred_shared::block_store::BlockStore;
use kindred_shared::job::{Job, Side, Task};
use kindred_shared::wire::{BlockHash, encode_block, hash_of};
use kindred_shared::{Block, DomainName};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{STORE_DEADLINE, Shared};

/// Smallest block worth shipping: smaller ones may travel with the job.
const LARGE: usize = 256 << 10;

/// Domains whose blocks are being shipped.
#[derive(Default)]
pub(super) struct Shipping(Mutex<HashSet<DomainName>>);

impl Shipping {
    fn domains(&self) -> MutexGuard<'_, HashSet<DomainName>> {
        // No code that can panic runs under the lock, so a poisoned lock is harmless.
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

/// Stores the large blocks that a job needs, one after the other; for one job per domain at a time.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_runtime::amqp::Names;
    use kindred_shared::block_store::MemoryBlockStore;
    use kindred_shared::job::{CompareTask, KEEP};
    use kindred_shared::{BlockBuilder, Feature, ItemId, Space};
    use kindred_similarity::RowMask;

    use super::super::RabbitJobsOptions;
    use super::*;

    fn side(rows: u32) -> Side {
        let mut builder = BlockBuilder::new(Space::stored("words-1/en"), 1_000);
        for row in 0..rows {
            let feature = Feature::new(vec![row as f32 + 1.0; 1_000], vec![], vec![]).unwrap();
            builder.push(ItemId::new(&format!("{row}")).unwrap(), 1, &feature);
        }
        Side {
            block: Arc::new(builder.build()),
            live: RowMask::all(rows as usize),
            floors: vec![],
        }
    }

    #[tokio::test]
    async fn large_blocks_are_brought_to_where_workers_find_them() {
        let shared = Arc::new(Shared::new(RabbitJobsOptions {
            names: Names::default(),
            boot_id: "boot".to_owned(),
            capacity: 1,
        }));
        let store = Arc::new(MemoryBlockStore::default());
        let blocks = Arc::<MemoryBlockStore>::clone(&store) as Arc<dyn BlockStore>;
        let job = Job {
            domain: DomainName::new("news").unwrap(),
            task: Task::Compare(Arc::new(CompareTask {
                left: side(1),
                within_left: false,
                rights: vec![side(100), side(2), side(200)],
                keep: KEEP,
            })),
        };
        let unshipped = || -> Vec<usize> {
            let blocks = shared.unshipped(&job);
            blocks.map(|block| block.rows()).collect()
        };
        assert_eq!(unshipped(), [100, 200]);
        ship(&shared, &blocks, &job);
        // Shipping while that is already in progress does nothing.
        ship(&shared, &blocks, &job);
        let shipped = async {
            while !shared.shipping.domains().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(STORE_DEADLINE, shipped).await.unwrap();
        assert!(unshipped().is_empty());
        let Task::Compare(task) = &job.task else {
            panic!("it compares");
        };
        for side in [&task.rights[0], &task.rights[2]] {
            let hash = shared.stored.known(&job.domain, &side.block).unwrap();
            let found = store.get(&job.domain, &hash).await.unwrap();
            assert_eq!(found, Some(encode_block(&side.block)));
        }
    }
}
