//! Events that this process has published and waits to see settled, perhaps by itself as their
//! domain's owner.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kindred_domain::intake::Settled;
use kindred_shared::event::Refusal;
use tokio::sync::oneshot;

/// The events that are awaited here, by the correlation id of their messages.
#[derive(Debug)]
pub struct Settlements {
    /// Unique per start of a process.
    boot_id: String,
    next: AtomicU64,
    waiting: Mutex<HashMap<String, oneshot::Sender<Result<Settled, Refusal>>>>,
}

impl Settlements {
    /// The events awaited by this start of this process.
    pub fn new(boot_id: String) -> Arc<Self> {
        Arc::new(Self {
            boot_id,
            next: AtomicU64::new(0),
            waiting: Mutex::default(),
        })
    }

    /// Starts waiting for one more event; its message must carry the wait's id.
    pub(super) fn expect(self: &Arc<Self>) -> Wait {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}#{n}", self.boot_id);
        let (tell, told) = oneshot::channel();
        self.lock().insert(id.clone(), tell);
        Wait {
            id,
            told,
            of: Arc::clone(self),
        }
    }

    /// The event with this id was settled or refused.
    pub(super) fn settled(&self, id: &str, settled: Result<Settled, Refusal>) {
        if let Some(tell) = self.lock().remove(id) {
            // The waiting task has gone.
            let _ = tell.send(settled);
        }
    }

    fn lock(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Result<Settled, Refusal>>>> {
        // Every change leaves the map consistent.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wait for one event. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) id: String,
    told: oneshot::Receiver<Result<Settled, Refusal>>,
    of: Arc<Settlements>,
}

impl Wait {
    /// The outcome. `None`: it will never be known.
    pub(super) async fn settled(mut self) -> Option<Result<Settled, Refusal>> {
        (&mut self.told).await.ok()
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.of.lock().remove(&self.id);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[tokio::test]
    async fn tells_who_waits_and_forgets_who_does_not() {
        let settlements = Settlements::new("host-1".to_owned());
        let (one, two) = (settlements.expect(), settlements.expect());
        assert_ne!(one.id, two.id);
        settlements.settled(&two.id.clone(), Ok(Settled { version: Some(7) }));
        assert_eq!(two.settled().await, Some(Ok(Settled { version: Some(7) })));
        drop(one);
        assert!(settlements.lock().is_empty());
        settlements.settled("another-host#3", Ok(Settled { version: None }));
    }
}
