//! What a loaded domain keeps in memory about each item.

use std::sync::Arc;

use kindred_shared::Space;

use crate::blocks::BlockRow;
use crate::shown::{Interner, Shown};
use crate::store::{ItemRow, Liveness};

/// An item of a loaded domain, live or gone.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// Version of the newest accepted event; `None`: there was none.
    pub version: Option<u64>,
    /// Whether it is live after that event.
    pub live: bool,
    /// Live, but not shown.
    pub hidden: bool,
    /// When it becomes visible, in ms since 1970; `None`: it is not scheduled, or has been published already.
    pub publish_at: Option<i64>,
    /// When it expires, in ms since 1970.
    pub expires_at: Option<i64>,
    /// When the event was accepted that made it live, in ms since 1970; `None`: it is not live.
    pub accepted_at: Option<i64>,
    /// Hash of what its feature of this machine's kind of model is made from.
    pub content_hash: u64,
    /// Where its current feature is; `None`: it has none yet, or is not visible.
    pub placement: Option<Placement>,
    /// The item's version for which `placement` was made, or to which it was carried over.
    pub placed_version: u64,
    /// Whether `placement` was made from other content than the newest, or could not be made.
    pub is_stale: bool,
    /// Whether its content may be incomplete in the store: it was rejected, or loaded without a feature that proves
    /// otherwise.
    pub is_doubtful: bool,
    /// Fingerprint of the domain's habits with which its feature was made, wherever that is; `None`: the feature does
    /// not depend on habits (a vector), could not be made, or is not made yet.
    pub habits: Option<u64>,
    /// Whether its list is computed and served.
    pub listed: bool,
    /// What readers see of it, once that is durable; `None`: readers do not see it. For a scheduled item it is prepared
    /// in advance.
    pub shown: Option<Arc<Shown>>,
}

impl Item {
    /// The item as stored, without its feature. `made_from`: the hash of what that is made from.
    pub fn stored(row: &ItemRow, made_from: u64, words: &mut Interner) -> Self {
        let live = row.liveness == Liveness::Live;
        Self {
            version: Some(row.version),
            live,
            hidden: live && row.hidden,
            publish_at: row.publish_at.map(|at| at.timestamp_millis()),
            expires_at: row.expires_at.map(|at| at.timestamp_millis()),
            accepted_at: live.then(|| row.first_accepted().timestamp_millis()),
            content_hash: made_from,
            placed_version: row.version,
            is_stale: row.rejected.is_some(),
            is_doubtful: row.rejected.is_some(),
            shown: (live && !row.hidden).then(|| Arc::new(Shown::of(row, words))),
            ..Self::default()
        }
    }

    /// An estimate of the bytes of what readers see of it.
    pub(crate) fn shown_memory(&self) -> u64 {
        self.shown.as_deref().map_or(0, Shown::memory)
    }

    /// The item after everything due by `then`, in ms since 1970, has been published.
    #[must_use]
    pub fn published_by(mut self, then: i64) -> Self {
        self.publish_at = self.publish_at.filter(|at| *at > then);
        self
    }

    /// Live, not hidden, and published. (When an item expires, it stops being live; when it is published,
    /// [`Self::publish_at`] is cleared.)
    pub fn is_visible(&self) -> bool {
        self.live && !self.hidden && self.publish_at.is_none()
    }

    /// When it becomes visible by itself, in ms since 1970; `None`: never, or what readers will see of it is not
    /// durable yet.
    pub(crate) fn appears_at(&self) -> Option<i64> {
        let waits = self.live && !self.hidden && self.shown.is_some();
        self.publish_at.filter(|_| waits)
    }

    /// Whether it takes part in comparisons and lists now.
    pub fn is_current(&self) -> bool {
        self.is_visible() && self.placement.is_some()
    }

    /// Whether its list is computed and current.
    pub fn is_listed(&self) -> bool {
        self.listed && self.is_current()
    }

    /// Hash of the content that is surveyed for habits; `None`: it is not surveyed.
    pub(crate) fn sampled_as(&self) -> Option<u64> {
        (self.live && !self.is_doubtful).then_some(self.content_hash)
    }

    /// Whether its newest event has this version and left it live.
    pub fn is_live_at(&self, version: u64) -> bool {
        self.live && self.version == Some(version)
    }

    /// Whether this is the version and content for which a feature is wanted.
    pub fn wants_feature_of(&self, version: u64, content_hash: u64) -> bool {
        self.is_live_at(version) && self.content_hash == content_hash
    }
}

/// Where an item's feature is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// There is nothing to compare.
    Zero(Space),
    /// A row of a block.
    Row(BlockRow),
}
