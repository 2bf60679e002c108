//! A store in memory, for tests of its users.

use std::sync::{Arc, Mutex, PoisonError};

use kindred_domain::store::StoreError;
use redb::backends::InMemoryBackend;

use super::failure::{Trouble, guarded};
use super::opening::{builder, fill};
use super::{EmbeddedStore, Identity};

fn unplugged() -> StoreError {
    StoreError::Away("unplugged".to_owned())
}

impl EmbeddedStore {
    /// An empty store, dropped with its last reference.
    pub(crate) fn in_memory(identity: &Identity) -> Arc<Self> {
        let made = guarded(|| {
            let database = builder().create_with_backend(InMemoryBackend::new())?;
            fill(&database, identity)?;
            Ok(database)
        });
        let database = Mutex::new(Some(made.expect("memory takes all")));
        let open = move || {
            let mut database = database.lock().unwrap_or_else(PoisonError::into_inner);
            database.take().ok_or_else(|| Trouble::Store(unplugged()))
        };
        Self::start("memory", None, identity, Box::new(open)).expect("it was just made")
    }

    /// Makes every call fail from now on.
    pub(crate) fn unplug(&self) {
        self.shared.close(unplugged());
    }
}
