//! The keys known to this process: read from the store every other second, and kept while it cannot
//! be read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use kindred_domain::keys::{Grants, KeyStore};
use kindred_domain::store::StoreError;

use super::secret::{hash, is_secret};

/// How often keys are read: changes made elsewhere take effect within five seconds.
const READ_EVERY: Duration = Duration::from_secs(2);
/// Longest time to read them.
const READ_DEADLINE: Duration = Duration::from_secs(2);
/// The name of the key in `admin_key_file`.
const OF_FILE: &str = "admin_key_file";

/// A key and its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The key's name.
    pub(crate) id: String,
    pub(crate) grants: Grants,
    expires_at: Option<DateTime<Utc>>,
}

/// Why a secret is not recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotKnown {
    /// Keys have not been read yet.
    NotRead,
    /// No key has this secret, or it has expired.
    Bad,
}

#[derive(Debug, Default)]
struct Known {
    /// Whether the store's keys are included.
    is_read: bool,
    by_hash: HashMap<[u8; 32], Arc<Holder>>,
}

/// The keys of one process.
pub(crate) struct KeyRing {
    known: ArcSwap<Known>,
    store: OnceLock<Arc<dyn KeyStore>>,
    /// A file with an administrator's secret.
    admin_file: Option<PathBuf>,
    /// Whether everyone may do everything while there is no key.
    is_open_without: bool,
}

impl KeyRing {
    /// An empty ring.
    pub(crate) fn new(admin_file: Option<PathBuf>, is_open_without: bool) -> Self {
        Self {
            known: ArcSwap::default(),
            store: OnceLock::new(),
            admin_file,
            is_open_without,
        }
    }

    /// A ring without keys, with which everyone may do everything.
    #[cfg(test)]
    pub(crate) fn open() -> Self {
        let ring = Self::new(None, true);
        ring.known.store(Arc::new(Known {
            is_read: true,
            ..Known::default()
        }));
        ring
    }

    /// Uses the keys of this store from now on, and reads them. Keys that cannot be read are read
    /// later ([`Self::keep_reading`]).
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) async fn fill_from(&self, store: Arc<dyn KeyStore>) -> Result<(), StoreError> {
        self.store.get_or_init(|| store);
        self.read().await
    }

    /// The store that holds the keys, once it is available.
    pub(crate) fn store(&self) -> Option<&Arc<dyn KeyStore>> {
        self.store.get()
    }

    /// Whether there is any key, even an expired one: access that was closed does not reopen by
    /// itself.
    pub(crate) fn has_any(&self) -> bool {
        !self.known.load().by_hash.is_empty()
    }

    /// Whether everyone may do everything now.
    pub(crate) fn is_open(&self) -> bool {
        let known = self.known.load();
        let is_meant = self.is_open_without && self.admin_file.is_none();
        is_meant && known.is_read && known.by_hash.is_empty()
    }

    /// The file that should hold a key but does not.
    pub(crate) fn lacks(&self) -> Option<&Path> {
        let path = self.admin_file.as_deref()?;
        self.known_of_file().is_none().then_some(path)
    }

    /// The key with this secret.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn holder(&self, secret: &str) -> Result<Arc<Holder>, NotKnown> {
        self.holder_of(&hash(secret))
    }

    /// The key whose secret has this hash.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn holder_of(&self, hash: &[u8; 32]) -> Result<Arc<Holder>, NotKnown> {
        let known = self.known.load();
        match known.by_hash.get(hash) {
            Some(holder) if holder.expires_at.is_none_or(|at| at > Utc::now()) => {
                Ok(Arc::clone(holder))
            }
            Some(_) => Err(NotKnown::Bad),
            None if known.is_read => Err(NotKnown::Bad),
            None => Err(NotKnown::NotRead),
        }
    }

    /// Whether keys have been read, so that invalid secrets can be recognised.
    pub(crate) fn is_read(&self) -> bool {
        self.known.load().is_read
    }

    /// Reads the keys again.
    ///
    /// # Errors
    /// When they cannot be read; the known keys stay valid.
    pub(crate) async fn read(&self) -> Result<(), StoreError> {
        let Some(store) = self.store.get() else {
            return Ok(());
        };
        let rows = tokio::time::timeout(READ_DEADLINE, store.keys()).await;
        let rows = rows.unwrap_or_else(|_| Err(StoreError::Away("it took too long".to_owned())))?;
        let holders = rows.into_iter().map(|row| {
            let holder = Holder {
                id: row.id,
                grants: row.grants,
                expires_at: row.expires_at,
            };
            (row.hash, Arc::new(holder))
        });
        let mut by_hash: HashMap<_, _> = holders.collect();
        by_hash.extend(self.of_file().await);
        self.known.store(Arc::new(Known {
            is_read: true,
            by_hash,
        }));
        Ok(())
    }

    /// The key in `admin_key_file`. If it cannot be read, the previous one stays.
    async fn of_file(&self) -> Option<([u8; 32], Arc<Holder>)> {
        let path = self.admin_file.clone()?;
        let shown = path.display().to_string();
        let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
        let text = match text {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => {
                tracing::error!(file = shown, %error, "admin_key_file cannot be read");
                return self.known_of_file();
            }
            Err(_) => return self.known_of_file(),
        };
        let secret = text.trim();
        if !is_secret(secret) {
            tracing::error!(
                file = shown,
                "admin_key_file does not hold a key, which is kk_ and 43 characters"
            );
            return self.known_of_file();
        }
        let holder = Holder {
            id: OF_FILE.to_owned(),
            grants: Grants::of_admin(),
            expires_at: None,
        };
        Some((hash(secret), Arc::new(holder)))
    }

    fn known_of_file(&self) -> Option<([u8; 32], Arc<Holder>)> {
        let known = self.known.load();
        let mut all = known.by_hash.iter();
        let found = all.find(|(_, holder)| holder.id == OF_FILE);
        found.map(|(hash, holder)| (*hash, Arc::clone(holder)))
    }

    /// Reads keys again and again for the life of the process.
    pub(crate) async fn keep_reading(self: Arc<Self>) {
        let mut turn = tokio::time::interval(READ_EVERY);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was_read = true;
        loop {
            turn.tick().await;
            match self.read().await {
                Ok(()) => was_read = true,
                Err(error) if was_read => {
                    was_read = false;
                    tracing::warn!(%error, "keys cannot be read; the known ones stay valid");
                }
                Err(_) => {}
            }
        }
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.known.load();
        f.debug_struct("KeyRing")
            .field("keys", &known.by_hash.len())
            .field("is_read", &known.is_read)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use chrono::TimeDelta;
    use kindred_domain::keys::KeyRow;

    use super::super::secret::new_key;
    use super::*;

    /// Rows, or a failing store.
    #[derive(Default)]
    struct Fake(Mutex<Option<Vec<KeyRow>>>);

    impl Fake {
        fn has(&self, rows: Option<Vec<KeyRow>>) {
            *self.0.lock().expect("unpoisoned") = rows;
        }
    }

    #[async_trait]
    impl KeyStore for Fake {
        async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
            let rows = self.0.lock().expect("unpoisoned").clone();
            rows.ok_or_else(|| StoreError::Away("a test".to_owned()))
        }

        async fn add_key(&self, _: &KeyRow) -> Result<bool, StoreError> {
            Ok(false)
        }

        async fn remove_key(&self, _: &str) -> Result<bool, StoreError> {
            Ok(false)
        }
    }

    fn key(expires_at: Option<DateTime<Utc>>) -> (KeyRow, String) {
        new_key(Grants::of_admin(), expires_at).expect("randomness")
    }

    #[tokio::test]
    async fn known_keys_hold_while_the_store_cannot_be_read() {
        let ring = KeyRing::new(None, true);
        let (row, secret) = key(None);
        assert!(!ring.is_open(), "before keys were read");
        assert_eq!(ring.holder(&secret), Err(NotKnown::NotRead));
        let store = Arc::new(Fake::default());
        let read = ring
            .fill_from(Arc::clone(&store) as Arc<dyn KeyStore>)
            .await;
        assert!(read.is_err() && !ring.is_read() && !ring.is_open());

        store.has(Some(vec![row.clone()]));
        ring.read().await.expect("keys");
        assert_eq!(ring.holder(&secret).expect("a holder").id, row.id);
        assert_eq!(ring.holder("kk_other"), Err(NotKnown::Bad));
        assert!(ring.has_any() && !ring.is_open());
        store.has(None);
        assert!(ring.read().await.is_err());
        assert!(ring.holder(&secret).is_ok());
        store.has(Some(Vec::new()));
        ring.read().await.expect("keys");
        assert_eq!(ring.holder(&secret), Err(NotKnown::Bad));
        assert!(ring.is_open());
    }

    #[tokio::test]
    async fn a_key_whose_time_is_over_opens_nothing_and_keeps_the_rest_shut() {
        let ring = KeyRing::new(None, true);
        let (row, secret) = key(Some(Utc::now() - TimeDelta::seconds(1)));
        let store = Arc::new(Fake::default());
        store.has(Some(vec![row]));
        ring.fill_from(store).await.expect("keys");
        assert_eq!(ring.holder(&secret), Err(NotKnown::Bad));
        assert!(ring.has_any() && !ring.is_open());
    }

    #[tokio::test]
    async fn a_file_may_hold_the_key_of_an_administrator() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let file = directory.path().join("key");
        let (_, secret) = key(None);
        std::fs::write(&file, format!("{secret}\n")).expect("a file");
        let ring = KeyRing::new(Some(file.clone()), true);
        let store = Arc::new(Fake::default());
        store.has(Some(Vec::new()));
        ring.fill_from(store).await.expect("keys");
        assert!(ring.holder(&secret).expect("a holder").grants.is_admin());
        assert!(!ring.is_open());
        assert_eq!(ring.lacks(), None);
        std::fs::write(&file, "not a key").expect("a file");
        ring.read().await.expect("keys");
        assert!(ring.holder(&secret).is_ok(), "what cannot be read stays");
        let (_, other) = key(None);
        std::fs::write(&file, &other).expect("a file");
        ring.read().await.expect("keys");
        assert!(ring.holder(&other).is_ok() && ring.holder(&secret).is_err());
    }

    #[tokio::test]
    async fn a_file_that_should_hold_a_key_and_does_not_opens_nothing() {
        let nowhere = PathBuf::from("/nonexistent/key");
        let ring = KeyRing::new(Some(nowhere.clone()), true);
        let store = Arc::new(Fake::default());
        store.has(Some(Vec::new()));
        ring.fill_from(store).await.expect("keys");
        assert!(!ring.is_open());
        assert_eq!(ring.lacks(), Some(&*nowhere));
    }
}
