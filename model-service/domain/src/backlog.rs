//! The backlog: items whose features must be made, and the window in which they are collected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::material::Material;
use crate::slot::Slot;
use crate::time::earlier;
use crate::window::{Window, WindowSize};

/// An item whose feature must be made.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The requested version.
    pub version: u64,
    /// Hash of the content from which to make the feature.
    pub content_hash: u64,
    /// When its event arrived.
    pub since: Duration,
    /// The content from which to make the feature; `None`: only the store has it.
    pub material: Option<Arc<Material>>,
    /// Its size in bytes; [`UNKNOWN_BYTES`] if it has not been read.
    pub bytes: usize,
}

/// The assumed size of a text that has not been read: 4 KiB.
pub const UNKNOWN_BYTES: usize = 4 << 10;

/// Items whose features must be made.
#[derive(Debug)]
pub(crate) struct Backlog {
    size: WindowSize,
    window: Option<Window>,
    pending: BTreeMap<Slot, Pending>,
    /// Arrival of the first of them, or of one that was withdrawn since items were last taken.
    oldest: Option<Duration>,
    /// Of the material kept in memory.
    bytes: usize,
    most_bytes: usize,
}

impl Backlog {
    /// An empty backlog. It keeps material in memory up to `most_bytes`; the store has all of it.
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

    /// Changes when windows close.
    pub(crate) fn resize(&mut self, size: WindowSize) {
        self.size = size;
    }

    /// Whether nothing waits and no window is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.window.is_none() && self.pending.is_empty()
    }

    /// Whether items wait.
    pub(crate) fn has_items(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Number of waiting items.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Arrival of the first of them; may be earlier if that one was withdrawn.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.oldest
    }

    /// Whether the item waits.
    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.pending.contains_key(&slot)
    }

    /// Records an upsert: it opens a window, or counts in the open one.
    pub(crate) fn collect(&mut self, now: Duration) {
        match &mut self.window {
            Some(window) => window.add(),
            None => self.window = Some(Window::open(now)),
        }
    }

    /// Ends the window. `next` is the arrival of the first upsert since, and their number.
    pub(crate) fn turn(&mut self, next: Option<(Duration, usize)>) {
        self.window = next.map(|(first, count)| Window::reopen(first, count));
    }

    /// Whether a window is open at a moment.
    pub(crate) fn is_collecting(&self, now: Duration) -> bool {
        self.window
            .is_some_and(|window| !window.is_closed(self.size, now))
    }

    /// Whether there is a window, open or just closed.
    pub(crate) fn has_window(&self) -> bool {
        self.window.is_some()
    }

    /// When the window closes.
    pub(crate) fn closes(&self) -> Option<Duration> {
        self.window.map(|window| window.closes(self.size))
    }

    /// Adds an item whose feature must be made.
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

    /// Removes an item whose feature need not be made.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Pending> {
        let pending = self.pending.remove(&slot)?;
        self.bytes -= pending.material.as_deref().map_or(0, Material::bytes);
        if self.pending.is_empty() {
            self.oldest = None;
        }
        Some(pending)
    }

    /// Takes out items within both limits, but at least one.
    pub(crate) fn take(&mut self, most: usize, most_bytes: usize) -> Vec<(Slot, Pending)> {
        let mut bytes = 0_usize;
        let fit = self.pending.iter().take(most).take_while(|(_, pending)| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(pending.bytes.max(1));
            is_first || bytes <= most_bytes
        });
        let slots: Vec<Slot> = fit.map(|(slot, _)| *slot).collect();
        let taken = slots.into_iter();
        let taken = taken
            .filter_map(|slot| Some((slot, self.remove(slot)?)))
            .collect();
        self.oldest = self.pending.values().map(|pending| pending.since).min();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_bounded_by_items_and_by_bytes() {
        let size = WindowSize {
            length: Duration::ZERO,
            events: 1,
        };
        let taken = |bytes: &[usize], most: usize| {
            let mut backlog = Backlog::new(size, 0);
            for (slot, bytes) in (0..).zip(bytes) {
                let pending = Pending {
                    version: 1,
                    content_hash: 0,
                    since: Duration::ZERO,
                    material: None,
                    bytes: *bytes,
                };
                backlog.add(Slot(slot), pending);
            }
            let mut lengths = Vec::new();
            while backlog.has_items() {
                lengths.push(backlog.take(most, 100).len());
            }
            lengths
        };
        assert_eq!(taken(&[10; 7], 4), [4, 3]);
        assert_eq!(taken(&[50, 50, 1, 300, 90, 10, 1], 9), [2, 1, 1, 2, 1]);
        assert_eq!(taken(&[0; 3], 2), [2, 1]);
    }
}
