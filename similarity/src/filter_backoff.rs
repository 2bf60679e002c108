//! Decides whether approximate scores pay off: backs off from filtering where too many pairs are hits.

use std::sync::atomic::{AtomicU32, Ordering};

/// Up to one in this many pairs of two blocks may be a hit; beyond that, exact scores are as fast.
const HITS: usize = 6;
/// How often a block has too many hits before filtering is skipped for it most of the time.
const PATIENCE: u32 = 2;
/// After that, filtering is tried once in this many times.
const RETRY: u32 = 8;

/// How often a block had, or would have had, too many hits since it last did not.
#[derive(Default)]
pub(super) struct FilterBackoff(AtomicU32);

impl FilterBackoff {
    /// Whether to score two blocks exactly without filtering first.
    pub(super) fn skips([left, right]: [&Self; 2]) -> bool {
        let [times, others] = [left, right].map(|backoff| backoff.0.load(Ordering::Relaxed));
        let skips = times >= PATIENCE && others >= PATIENCE && !times.is_multiple_of(RETRY);
        if skips {
            left.0.fetch_add(1, Ordering::Relaxed);
        }
        skips
    }

    /// Records the hits of two blocks.
    pub(super) fn note(both: [&Self; 2], hits: usize, pairs: usize) {
        for backoff in both {
            if hits > pairs / HITS {
                backoff.0.fetch_add(1, Ordering::Relaxed);
            } else {
                // Thresholds have risen since then.
                backoff.0.store(0, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_tried_again_now_and_then_and_for_good_once_hits_are_few() {
        let (one, two) = (FilterBackoff::default(), FilterBackoff::default());
        let skips = || FilterBackoff::skips([&one, &two]);
        assert!(!skips());
        for _ in 0..PATIENCE {
            assert!(!skips());
            FilterBackoff::note([&one, &two], 20, 100);
        }
        for _ in 0..3 {
            let skipped = (0..100).take_while(|_| skips()).count();
            assert!((1..RETRY as usize).contains(&skipped), "{skipped}");
            FilterBackoff::note([&one, &two], 20, 100);
        }
        while skips() {}
        FilterBackoff::note([&one, &two], 1, 100);
        assert!((0..100).all(|_| !skips()));
        // The state is as at the start: once is not enough.
        FilterBackoff::note([&one, &two], 20, 100);
        assert!(!skips());
        // Too many hits with other blocks say nothing about this one.
        let other = FilterBackoff::default();
        (0..100).for_each(|_| FilterBackoff::note([&one, &two], 20, 100));
        assert!(!FilterBackoff::skips([&one, &other]) && !FilterBackoff::skips([&other, &one]));
    }
}
