//! The backlog: items whose features are to be made, and the window they are collected in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::material::Material;
use crate::slot::Slot;
use crate::time::earlier;
use crate::window::{Window, WindowSize};

/// An item whose feature is to be made.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The version asked for.
    pub version: u64,
    /// Of what the feature is to be made of.
    pub content_hash: u64,
    /// When its event came.
    pub since: Duration,
    /// What the feature is made of; `None`: the store has it.
    pub material: Option<Arc<Material>>,
}

/// Items whose features are to be made.
#[derive(Debug)]
pub(crate) struct Backlog {
    size: WindowSize,
    window: Option<Window>,
    pending: BTreeMap<Slot, Pending>,
    /// When the first of them came, or one that was withdrawn since some were taken.
    oldest: Option<Duration>,
    /// Of the material that is kept in memory.
    bytes: usize,
    most_bytes: usize,
}

impl Backlog {
    /// An empty one. Material is kept in memory up to `most_bytes`; the store has all of it.
    pub(crate) fn new(size: WindowSize, most_bytes: usize) -> Self {
        Self {
            size,
            window: None,
            pending: BTreeMap::new(),
            oldest: None,
            bytes: 0,
            most_bytes,
        }
    }

    /// Windows close like this from now on.
    pub(crate) fn resize(&mut self, size: WindowSize) {
        self.size = size;
    }

    /// Whether nothing waits, not even an open window.
    pub(crate) fn is_empty(&self) -> bool {
        self.window.is_none() && self.pending.is_empty()
    }

    /// Whether items wait.
    pub(crate) fn has_items(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Items that wait.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// When the first of them came; at times earlier, while one of that time was withdrawn.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.oldest
    }

    /// Whether the item waits.
    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.pending.contains_key(&slot)
    }

    /// An upsert came: it opens a window, or is counted in the open one.
    pub(crate) fn collect(&mut self, now: Duration) {
        match &mut self.window {
            Some(window) => window.add(),
            None => self.window = Some(Window::open(now)),
        }
    }

    /// The window is over. `next`: the first of the upserts that came since, and how many.
    pub(crate) fn turn(&mut self, next: Option<(Duration, usize)>) {
        self.window = next.map(|(first, count)| Window::reopen(first, count));
    }

    /// Whether a window is open at a moment.
    pub(crate) fn is_collecting(&self, now: Duration) -> bool {
        self.window
            .is_some_and(|window| !window.is_closed(self.size, now))
    }

    /// Whether there is a window, open or just over.
    pub(crate) fn has_window(&self) -> bool {
        self.window.is_some()
    }

    /// When the window closes.
    pub(crate) fn closes(&self) -> Option<Duration> {
        self.window.map(|window| window.closes(self.size))
    }

    /// The item's feature is to be made.
    pub(crate) fn add(&mut self, slot: Slot, mut pending: Pending) {
        self.oldest = earlier(self.oldest, Some(pending.since));
        let bytes = pending.material.as_deref().map_or(0, Material::bytes);
        if self.bytes + bytes > self.most_bytes {
            pending.material = None;
        } else {
            self.bytes += bytes;
        }
        if let Some(earlier) = self.pending.insert(slot, pending) {
            self.bytes -= earlier.material.as_deref().map_or(0, Material::bytes);
        }
    }

    /// The item's feature need not be made.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Pending> {
        let pending = self.pending.remove(&slot)?;
        self.bytes -= pending.material.as_deref().map_or(0, Material::bytes);
        if self.pending.is_empty() {
            self.oldest = None;
        }
        Some(pending)
    }

    /// Takes items out, at most so many.
    pub(crate) fn take(&mut self, most: usize) -> Vec<(Slot, Pending)> {
        let slots: Vec<Slot> = self.pending.keys().take(most).copied().collect();
        let taken = slots.into_iter();
        let taken = taken
            .filter_map(|slot| Some((slot, self.remove(slot)?)))
            .collect();
        self.oldest = self.pending.values().map(|pending| pending.since).min();
        taken
    }
}
