//! What decides whether requests are let in.

use std::sync::Arc;

use super::callers::Callers;
use crate::keys::{KeyRing, Peers, Sessions};

/// Keys, sessions and signatures of other instances.
#[derive(Debug)]
pub(crate) struct Guard {
    /// The keys.
    pub(crate) keys: Arc<KeyRing>,
    /// Other instances, if they sign their requests.
    pub(crate) peers: Option<Arc<Peers>>,
    /// The address under which they reach this one.
    pub(crate) address: String,
    /// What each caller uses at the moment.
    pub(crate) callers: Arc<Callers>,
    /// Sessions of the page.
    pub(crate) sessions: Sessions,
    /// Whether clients connect over TLS.
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

/// The hash that the body of a request must have, as signed by another instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignedBody(pub(super) [u8; 32]);
