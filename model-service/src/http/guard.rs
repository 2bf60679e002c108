//! What requests are let in by.

use std::sync::Arc;

use super::callers::Callers;
use crate::keys::{KeyRing, Peers, Sessions};

/// Who has a key, and who signs.
#[derive(Debug)]
pub(crate) struct Guard {
    /// The keys.
    pub(crate) keys: Arc<KeyRing>,
    /// Other instances, if they sign what they ask.
    pub(crate) peers: Option<Arc<Peers>>,
    /// Where they reach this one.
    pub(crate) address: String,
    /// What each of them has under way.
    pub(crate) callers: Arc<Callers>,
    /// Who signed in on the page.
    pub(crate) sessions: Sessions,
    /// Whether clients come over TLS.
    pub(crate) is_https: bool,
}

impl Guard {
    /// Nobody needs a key.
    #[cfg(test)]
    pub(crate) fn open() -> Self {
        Self {
            keys: Arc::new(KeyRing::open()),
            peers: None,
            address: "here:8080".to_owned(),
            callers: Arc::new(Callers::with_requests(256)),
            sessions: Sessions::default(),
            is_https: false,
        }
    }
}

/// The hash that the body of a request must have, which another instance signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignedBody(pub(super) [u8; 32]);
