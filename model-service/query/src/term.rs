//! How long a view may be used to answer queries.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The term of one ownership of a partition. Until it ends, no other instance can own the partition, so views are
/// complete. After that, another instance may have acknowledged deletions that they do not include. A new term has
/// already ended.
#[derive(Debug, Default)]
pub struct Term {
    /// Its end, in ms on the process's clock.
    until_ms: AtomicU64,
}

impl Term {
    /// A term without end, for processes that cannot lose ownership.
    pub fn endless() -> Self {
        let term = Self::default();
        term.extend(Duration::MAX);
        term
    }

    /// Extends the term until then, on the process's clock.
    pub fn extend(&self, until: Duration) {
        let ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.until_ms.store(ms, Ordering::Relaxed);
    }

    /// Ends the term.
    pub fn end(&self) {
        self.until_ms.store(0, Ordering::Relaxed);
    }

    /// Whether it has not ended at this moment of the process's clock.
    pub fn lasts(&self, now: Duration) -> bool {
        now.as_millis() < self.until_ms.load(Ordering::Relaxed).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_lasts_until_its_end() {
        let (term, ms) = (Term::default(), Duration::from_millis);
        assert!(!term.lasts(ms(0)));
        term.extend(ms(5));
        assert!(term.lasts(ms(4)));
        assert!(!term.lasts(ms(5)));
        term.extend(ms(9));
        assert!(term.lasts(ms(8)));
        term.end();
        assert!(!term.lasts(ms(0)));
        assert!(Term::endless().lasts(Duration::from_secs(1 << 40)));
    }
}
