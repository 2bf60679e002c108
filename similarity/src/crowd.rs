//! Whether approximate scores pay.

use std::sync::atomic::{AtomicU32, Ordering};

/// One in so many pairs of two blocks may be a hit; with more, exact scores are as fast.
const HITS: usize = 6;
/// Times that a block had too many hits before filtering it is no longer tried each time.
const PATIENCE: u32 = 2;
/// Then it is tried for one in so many.
const RETRY: u32 = 8;

/// How often a block had too many hits, or would have had, since it last had not.
#[derive(Default)]
pub(super) struct Crowd(AtomicU32);

impl Crowd {
    /// Whether two blocks are to be scored exactly at once.
    pub(super) fn skips([left, right]: [&Self; 2]) -> bool {
        let [times, others] = [left, right].map(|crowd| crowd.0.load(Ordering::Relaxed));
        let skips = times >= PATIENCE && others >= PATIENCE && !times.is_multiple_of(RETRY);
        if skips {
            left.0.fetch_add(1, Ordering::Relaxed);
        }
        skips
    }

    /// Takes note of the hits that two blocks had.
    pub(super) fn note(both: [&Self; 2], hits: usize, pairs: usize) {
        for crowd in both {
            if hits > pairs / HITS {
                crowd.0.fetch_add(1, Ordering::Relaxed);
            } else {
                // Thresholds have risen since.
                crowd.0.store(0, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_tried_again_now_and_then_and_for_good_once_hits_are_few() {
        let (one, two) = (Crowd::default(), Crowd::default());
        let skips = || Crowd::skips([&one, &two]);
        assert!(!skips());
        for _ in 0..PATIENCE {
            assert!(!skips());
            Crowd::note([&one, &two], 20, 100);
        }
        for _ in 0..3 {
            let skipped = (0..100).take_while(|_| skips()).count();
            assert!((1..RETRY as usize).contains(&skipped), "{skipped}");
            Crowd::note([&one, &two], 20, 100);
        }
        while skips() {}
        Crowd::note([&one, &two], 1, 100);
        assert!((0..100).all(|_| !skips()));
        // All is as in the beginning: once is not enough.
        Crowd::note([&one, &two], 20, 100);
        assert!(!skips());
        // One that is crowded with others is none here.
        let other = Crowd::default();
        (0..100).for_each(|_| Crowd::note([&one, &two], 20, 100));
        assert!(!Crowd::skips([&one, &other]) && !Crowd::skips([&other, &one]));
    }
}
