//! Runs jobs.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kindred_shared::job::{Job, Reply, Task};
use kindred_similarity::Kernel;
use rayon::ThreadPool;

use crate::models::{ExtractError, Models};

/// Runs one job at a time on a pool of threads.
///
/// Replies depend on the job alone, not on the kernel or the number of threads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Worker {
    models: Models,
    kernel: Kernel,
    pool: Arc<ThreadPool>,
}

impl Worker {
    /// A worker that extracts and compares on this pool.
    pub fn new(models: Models, kernel: Kernel, pool: Arc<ThreadPool>) -> Self {
        Self {
            models,
            kernel,
            pool,
        }
    }

    /// The same worker on other threads. Called from one of them, it does a job there and then, and
    /// waits for no other.
    pub fn on(&self, pool: Arc<ThreadPool>) -> Self {
        Self {
            pool,
            ..self.clone()
        }
    }

    /// Runs a job and blocks the calling thread meanwhile, which must not run async tasks. A job
    /// that cannot be done, even one that makes a kernel panic, is answered with [`Reply::Failed`],
    /// and the worker continues.
    pub fn perform(&self, job: &Job) -> Reply {
        self.perform_unless(job, &AtomicBool::new(false))
    }

    /// The same, but a comparison fails soon after `cancelled` becomes true: each thread finishes
    /// only its current two tiles.
    pub fn perform_unless(&self, job: &Job, cancelled: &AtomicBool) -> Reply {
        let done = catch_unwind(AssertUnwindSafe(|| {
            self.pool.install(|| match &job.task {
                Task::Extract(task) => match self.models.extract(task) {
                    Ok(features) => Reply::Extracted(features),
                    Err(ExtractError::UnknownModel(model)) => Reply::UnknownModel(model),
                    Err(error) => Reply::Failed(error.to_string()),
                },
                Task::Compare(task) => match task.compare(self.kernel, cancelled) {
                    Ok(reply) => Reply::Compared(reply),
                    Err(error) => Reply::Failed(error.to_string()),
                },
            })
        }));
        done.unwrap_or_else(|panic| {
            let why = words_of(panic.as_ref());
            tracing::error!(domain = %job.domain, task = ?job.task, why, "job failed");
            Reply::Failed(why.to_owned())
        })
    }

    /// The threads it runs on, for other work of a job: parsing it, encoding its reply.
    pub fn pool(&self) -> &Arc<ThreadPool> {
        &self.pool
    }

    /// The kernel it compares with.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }
}

/// The message of a panic.
pub(crate) fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::job::{CompareTask, ExtractTask, Floor, Side, TermCounts};
    use kindred_shared::{BlockBuilder, DomainName, Feature, ItemId, Space};
    use kindred_similarity::RowMask;

    use super::*;
    use crate::pool;
    use crate::word_vectors::Vectors;

    fn side(dimension: usize, floors: Vec<Floor>) -> Side {
        let mut builder = BlockBuilder::new(Space::own(dimension), dimension);
        let feature = Feature::new(vec![1.0; dimension], vec![], vec![]).unwrap();
        builder.push(ItemId::new(&format!("i{dimension}")).unwrap(), 1, &feature);
        Side {
            block: Arc::new(builder.build()),
            live: RowMask::all(1),
            floors,
        }
    }

    fn job(task: Task) -> Job {
        Job {
            domain: DomainName::new("news.example").unwrap(),
            task,
        }
    }

    #[test]
    fn a_poisonous_job_is_answered_and_the_next_one_done() {
        let pool = Arc::new(pool(2).unwrap());
        let name = pool.install(|| std::thread::current().name().map(str::to_owned));
        assert!(name.unwrap().starts_with("kindred-compute-"));
        let models = Models::new(Arc::new(Vectors::none()));
        let worker = Worker::new(models, Kernel::Auto, pool);
        let poison = CompareTask {
            left: side(3, vec![]),
            within_left: false,
            rights: vec![side(4, vec![])],
            keep: 1,
        };
        let reply = worker.perform(&job(Task::Compare(Arc::new(poison))));
        assert!(
            matches!(&reply, Reply::Failed(why) if why.contains("equally long")),
            "{reply:?}"
        );
        let uneven = CompareTask {
            left: side(3, vec![Floor::Open; 2]),
            within_left: true,
            rights: vec![],
            keep: 1,
        };
        let reply = worker.perform(&job(Task::Compare(Arc::new(uneven))));
        assert!(
            matches!(&reply, Reply::Failed(why) if why.contains("floor")),
            "{reply:?}"
        );
        let fine = CompareTask {
            left: side(3, vec![Floor::Open]),
            within_left: true,
            rights: vec![],
            keep: 1,
        };
        let fine = job(Task::Compare(Arc::new(fine)));
        let reply = worker.perform_unless(&fine, &AtomicBool::new(true));
        assert!(matches!(&reply, Reply::Failed(why) if why == "cancelled"));
        assert!(matches!(worker.perform(&fine), Reply::Compared(_)));
        let unknown = ExtractTask {
            space: Space::stored("words-0/en"),
            rows: vec![],
        };
        let reply = worker.perform(&job(Task::Extract(Arc::new(unknown))));
        assert!(matches!(reply, Reply::UnknownModel(model) if model == "words-0"));
        let good = ExtractTask {
            space: Space::stored("words-1/en"),
            rows: vec![TermCounts {
                id: ItemId::new("a").unwrap(),
                terms: vec![("mouse".into(), 1)],
            }],
        };
        let reply = worker.perform(&job(Task::Extract(Arc::new(good))));
        assert!(matches!(reply, Reply::Extracted(features) if !features[0].is_zero()));
    }
}
