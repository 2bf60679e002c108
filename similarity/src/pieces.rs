//! Work split into pieces; each thread takes the next one.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Does `count` pieces of work on the threads of the current pool, each thread with a state of its own; returns the
/// results in no particular order. Does not wait for threads that are busy elsewhere: the others take their share.
pub(super) fn each<S, T: Send>(
    count: usize,
    is_cancelled: &(dyn Fn() -> bool + Sync),
    state: impl Fn() -> S + Sync,
    work: impl Fn(usize, &mut S) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let take = |_| {
        let (mut state, mut done) = (state(), Vec::new());
        while !is_cancelled() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                break;
            }
            done.push(work(at, &mut state));
        }
        done
    };
    let threads = rayon::current_num_threads().min(count);
    let threads = (0..threads).into_par_iter().with_max_len(1);
    threads.flat_map_iter(take).collect()
}
