//! What a loaded domain remembers of each item.

use std::sync::Arc;

use kindred_shared::Space;

use crate::blocks::Place;
use crate::shown::{Interner, Shown};
use crate::store::{ItemRow, Liveness};

/// An item of a loaded domain, or the memory of one.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// Version of the newest accepted event; `None`: no event yet.
    pub version: Option<u64>,
    /// Whether that event left it live.
    pub live: bool,
    /// Live but not to be shown.
    pub hidden: bool,
    /// When it becomes visible, in ms since 1970; `None`: nothing keeps it back, or not any more.
    pub publish_at: Option<i64>,
    /// From when on it is no longer live, in ms since 1970.
    pub expires_at: Option<i64>,
    /// When the first event was accepted since which it has been live, in ms since 1970; `None`: it is not.
    pub accepted_at: Option<i64>,
    /// Of what its feature is made of.
    pub content_hash: u64,
    /// Where its current feature is; `None`: it has none yet, or is not visible.
    pub placement: Option<Placement>,
    /// Version of the item that `placement` was made for, or renewed under.
    pub placed_version: u64,
    /// Whether `placement` was made of another content than the newest, or could not be made.
    pub is_stale: bool,
    /// Whether its content may not have been stored whole: it was rejected, or loaded without a
    /// feature that vouches for it.
    pub is_doubtful: bool,
    /// Fingerprint of the habits of the domain that its feature was made with, wherever that is; `None`: it was made with
    /// none, as of an own vector, or could not be made, or was not yet.
    pub habits: Option<u64>,
    /// Whether its list is made and served.
    pub listed: bool,
    /// What readers are shown of it, once that is durable; `None`: it is not to be shown. A scheduled
    /// item has it ready.
    pub shown: Option<Arc<Shown>>,
}

impl Item {
    /// The item as it is stored, without its feature.
    pub fn stored(row: &ItemRow, words: &mut Interner) -> Self {
        let live = row.liveness == Liveness::Live;
        Self {
            version: Some(row.version),
            live,
            hidden: live && row.hidden,
            publish_at: row.publish_at.map(|at| at.timestamp_millis()),
            expires_at: row.expires_at.map(|at| at.timestamp_millis()),
            accepted_at: live.then(|| row.first_accepted().timestamp_millis()),
            content_hash: row.content_hash,
            placed_version: row.version,
            is_stale: row.rejected.is_some(),
            is_doubtful: row.rejected.is_some(),
            shown: (live && !row.hidden).then(|| Arc::new(Shown::of(row, words))),
            ..Self::default()
        }
    }

    /// Bytes of what readers are shown of it, as estimated.
    pub(crate) fn shown_memory(&self) -> u64 {
        self.shown.as_deref().map_or(0, Shown::memory)
    }

    /// The item, as it is once everything has been published whose time came by then, in ms since 1970.
    #[must_use]
    pub fn published_by(mut self, then: i64) -> Self {
        self.publish_at = self.publish_at.filter(|at| *at > then);
        self
    }

    /// Live, not hidden, and published. (Expired items are made not live when their time comes, and
    /// [`Self::publish_at`] goes.)
    pub fn is_visible(&self) -> bool {
        self.live && !self.hidden && self.publish_at.is_none()
    }

    /// When it becomes visible by itself, in ms since 1970; `None`: it does not, or what is to be shown of it
    /// is not durable yet.
    pub(crate) fn appears_at(&self) -> Option<i64> {
        let waits = self.live && !self.hidden && self.shown.is_some();
        self.publish_at.filter(|_| waits)
    }

    /// Whether it takes part in comparisons and lists now.
    pub fn is_current(&self) -> bool {
        self.is_visible() && self.placement.is_some()
    }

    /// Whether its list is made, and counts.
    pub fn is_listed(&self) -> bool {
        self.listed && self.is_current()
    }

    /// Of what content it is looked at for habits; `None`: it is not.
    pub(crate) fn sampled_as(&self) -> Option<u64> {
        (self.live && !self.is_doubtful).then_some(self.content_hash)
    }

    /// Whether `version` is what its newest event says, and it is live.
    pub fn is_live_at(&self, version: u64) -> bool {
        self.live && self.version == Some(version)
    }

    /// Whether a feature of this version and content is the one wanted.
    pub fn wants_feature_of(&self, version: u64, content_hash: u64) -> bool {
        self.is_live_at(version) && self.content_hash == content_hash
    }
}

/// Where an item's feature is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Nothing to compare.
    Zero(Space),
    /// A row of a block.
    Row(Place),
}
