//! A model service's own worker, for jobs that no other worker takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use compute_worker::Worker;
use compute_worker::models::Models;
use compute_worker::word_vectors::Vectors;
use kindred_runtime::config::Texts;
use kindred_shared::ModelInputs;
use kindred_shared::job::{Job, Reply, Task};
use kindred_similarity::Kernel;
use rayon::ThreadPool;

/// Does jobs in this process. Word vectors (40 MB for English) and encoders are read for the first
/// text and kept until [`Self::rest`].
pub struct OwnWorker {
    texts: Texts,
    /// The model inputs that the store was opened with.
    inputs: Vec<ModelInputs>,
    comparing: Worker,
    extracting: Mutex<Option<Worker>>,
}

impl OwnWorker {
    /// A worker with these threads. It extracts with the configured word vectors, in addition to
    /// those compiled in, and encoders, if models then have exactly these inputs.
    pub fn new(
        kernel: Kernel,
        pool: Arc<ThreadPool>,
        texts: Texts,
        inputs: Vec<ModelInputs>,
    ) -> Self {
        let models = Models::new(Arc::new(Vectors::none()));
        Self {
            comparing: Worker::new(models, kernel, pool),
            texts,
            inputs,
            extracting: Mutex::default(),
        }
    }

    /// Does a job. If its word vectors or encoder are missing, it answers that it does not know the model,
    /// which does not blame the text.
    pub fn perform(&self, job: &Job) -> Reply {
        self.perform_on(self.pool(), job)
    }

    /// The same, on other threads.
    pub fn perform_on(&self, pool: &Arc<ThreadPool>, job: &Job) -> Reply {
        match &job.task {
            Task::Compare(_) => self.comparing.on(Arc::clone(pool)).perform(job),
            Task::Extract(task) => match self.extracting() {
                Ok(worker) => worker.on(Arc::clone(pool)).perform(job),
                Err(why) => {
                    tracing::warn!(why, "texts wait for a worker");
                    Reply::UnknownModel(task.space.model().to_string())
                }
            },
        }
    }

    /// Frees the word vectors and encoders.
    pub fn rest(&self) {
        *self.slot() = None;
    }

    /// Its threads.
    pub fn pool(&self) -> &Arc<ThreadPool> {
        self.comparing.pool()
    }

    /// Its kernel.
    pub fn kernel(&self) -> Kernel {
        self.comparing.kernel()
    }

    fn extracting(&self) -> Result<Worker, String> {
        let mut slot = self.slot();
        if let Some(worker) = &*slot {
            return Ok(worker.clone());
        }
        let models = Models::configured(&self.texts, self.kernel());
        let models = models.map_err(|error| error.to_string())?;
        if models.inputs() != self.inputs {
            return Err(
                "word vectors or encoders have changed since the service started".to_owned(),
            );
        }
        let worker = Worker::new(models, self.kernel(), Arc::clone(self.pool()));
        Ok(slot.insert(worker).clone())
    }

    /// No code that can panic changes what is under the lock, so a poisoned lock is harmless.
    fn slot(&self) -> MutexGuard<'_, Option<Worker>> {
        self.extracting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::job::{ExtractTask, TermCounts};
    use kindred_shared::{DomainName, ItemId, Space};

    use super::*;

    /// Neither vectors nor encoders.
    fn texts() -> Texts {
        Texts {
            languages: vec!["en".to_owned()],
            default_language: "en".to_owned(),
            vectors: vec![],
            encoders: None,
        }
    }

    fn text() -> Job {
        Job {
            domain: DomainName::new("news").unwrap(),
            task: Task::Extract(Arc::new(ExtractTask {
                space: Space::stored("words-1/en"),
                rows: vec![TermCounts {
                    id: ItemId::new("a").unwrap(),
                    terms: vec![("glacier".into(), 1)],
                }],
            })),
        }
    }

    #[test]
    fn it_makes_the_features_that_workers_make_or_none() {
        let pool = Arc::new(compute_worker::pool(2).unwrap());
        let models = Models::new(Arc::new(Vectors::builtin()));
        let inputs = models.inputs();
        let theirs = Worker::new(models, Kernel::Auto, Arc::clone(&pool)).perform(&text());
        let own = OwnWorker::new(Kernel::Auto, Arc::clone(&pool), texts(), inputs);
        for _ in 0..2 {
            let (Reply::Extracted(ours), Reply::Extracted(theirs)) =
                (own.perform(&text()), &theirs)
            else {
                panic!("a good job is done");
            };
            assert_eq!(&ours, theirs);
            assert!(own.slot().is_some());
            own.rest();
            assert!(own.slot().is_none());
        }
        let others = Models::new(Arc::new(Vectors::none())).inputs();
        let own = OwnWorker::new(Kernel::Auto, pool, texts(), others);
        assert!(matches!(own.perform(&text()), Reply::UnknownModel(model) if model == "words-1"));
    }
}
