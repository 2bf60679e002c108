//! Windows: group the upserts of one domain in time.

use std::time::Duration;

/// When a window closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// The window is open during `[opened, opened + length)`.
    pub length: Duration,
    /// The window closes when it has this many upserts.
    pub events: usize,
}

/// An open window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    opened: Duration,
    events: usize,
}

impl Window {
    /// Opens a window with an upsert that arrives now.
    pub fn open(now: Duration) -> Self {
        Self {
            opened: now,
            events: 1,
        }
    }

    /// A window whose first upsert came at `opened`, containing this many upserts.
    pub fn reopen(opened: Duration, events: usize) -> Self {
        Self { opened, events }
    }

    /// Counts one more upsert.
    pub fn add(&mut self) {
        self.events += 1;
    }

    /// The first moment after the window.
    pub fn closes(&self, size: WindowSize) -> Duration {
        if self.events >= size.events {
            self.opened
        } else {
            self.opened + size.length
        }
    }

    /// Whether the window is closed at a moment.
    pub fn is_closed(&self, size: WindowSize, now: Duration) -> bool {
        now >= self.closes(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: WindowSize = WindowSize {
        length: Duration::from_millis(250),
        events: 3,
    };

    #[test]
    fn is_half_open_in_time() {
        let window = Window::open(Duration::from_millis(1000));
        assert!(!window.is_closed(SIZE, Duration::from_millis(1249)));
        assert!(window.is_closed(SIZE, Duration::from_millis(1250)));
    }

    #[test]
    fn closes_when_full() {
        let opened = Duration::from_millis(1000);
        let mut window = Window::open(opened);
        window.add();
        assert!(!window.is_closed(SIZE, opened));
        window.add();
        assert!(window.is_closed(SIZE, opened));
    }
}
