//! The threads that compute.

use std::num::NonZero;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// A pool of threads named `kindred-compute-0`, `kindred-compute-1`, … for all CPU work; 0 takes
/// every core.
///
/// With a thread for every CPU that the process may use, each stays on one of its own (on Linux): work
/// that comes after a pause then begins on all of them at once. Where threads may move, the second one
/// began up to 20 ms late on the virtual machine this was measured on, longer than most windows take
/// (docs/decisions/0005).
/// With fewer threads than CPUs the operating system chooses.
///
/// # Errors
/// When the operating system gives no more threads.
pub fn pool(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if threads == 0 { cores() } else { threads };
    let cpus = affinity::allowed();
    let own = (cpus.len() == threads).then_some(cpus);
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("kindred-compute-{number}"))
        .start_handler(move |number| {
            if let Some(cpus) = &own {
                affinity::stay_on(cpus[number]);
            }
        })
        .build()
}

/// Which CPUs a thread may use.
#[cfg(target_os = "linux")]
mod affinity {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// Those of this thread; none if that is not known.
    pub(super) fn allowed() -> Vec<usize> {
        sched_getaffinity(None).map_or_else(
            |_| Vec::new(),
            |set| {
                (0..CpuSet::MAX_CPU)
                    .filter(|cpu| set.is_set(*cpu))
                    .collect()
            },
        )
    }

    /// Has this thread use one alone. Where that is refused it goes on as it was.
    pub(super) fn stay_on(cpu: usize) {
        let mut set = CpuSet::new();
        set.set(cpu);
        if let Err(error) = sched_setaffinity(None, &set) {
            tracing::debug!(cpu, %error, "a thread that may move");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod affinity {
    pub(super) fn allowed() -> Vec<usize> {
        Vec::new()
    }

    pub(super) fn stay_on(_: usize) {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn cpus_of(pool: &ThreadPool) -> Vec<Vec<usize>> {
        let mut cpus = pool.broadcast(|_| affinity::allowed());
        cpus.sort();
        cpus
    }

    #[test]
    fn with_a_thread_for_every_cpu_each_has_its_own() {
        let allowed = affinity::allowed();
        let each: Vec<_> = allowed.iter().map(|cpu| vec![*cpu]).collect();
        assert_eq!(cpus_of(&pool(allowed.len()).unwrap()), each);
        // The thread that asked is left alone.
        assert_eq!(affinity::allowed(), allowed);
    }

    #[test]
    fn with_more_or_fewer_threads_they_may_move() {
        let allowed = affinity::allowed();
        for threads in (1..=allowed.len() + 1).filter(|threads| *threads != allowed.len()) {
            let pool = pool(threads).unwrap();
            assert_eq!(cpus_of(&pool), vec![allowed.clone(); threads]);
        }
    }
}
