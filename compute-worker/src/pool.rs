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
    build(threads, "kindred-compute", || {})
}

/// The same for work that is large and may wait, named `kindred-behind-0`, …: while both kinds of threads
/// want a CPU, these have a quarter of it (on Linux). When nobody else wants it they have it all.
///
/// # Errors
/// When the operating system gives no more threads.
pub fn pool_behind(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    build(threads, "kindred-behind", niceness::step_back)
}

fn build(
    threads: usize,
    name: &'static str,
    begin: fn(),
) -> Result<ThreadPool, ThreadPoolBuildError> {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if threads == 0 { cores() } else { threads };
    let cpus = affinity::allowed();
    let own = (cpus.len() == threads).then_some(cpus);
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(move |number| format!("{name}-{number}"))
        .start_handler(move |number| {
            begin();
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

/// Who goes first where a CPU is wanted by several threads.
#[cfg(target_os = "linux")]
mod niceness {
    use rustix::process::setpriority_process;

    /// Linux has a weight for each: 1,024 for 0, and 335 for this.
    pub(super) const BEHIND: i32 = 5;

    /// Has this thread give way to others. (Linux counts threads where POSIX has processes.)
    pub(super) fn step_back() {
        if let Err(error) = setpriority_process(None, BEHIND) {
            tracing::debug!(%error, "a thread that gives no way");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod niceness {
    pub(super) fn step_back() {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::getpriority_process;

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
    fn only_threads_behind_give_way() {
        let own = getpriority_process(None).unwrap();
        let of = |pool: ThreadPool| pool.install(|| getpriority_process(None).unwrap());
        assert_eq!(of(pool_behind(2).unwrap()), own.max(niceness::BEHIND));
        assert_eq!(of(pool(2).unwrap()), own);
        assert_eq!(getpriority_process(None).unwrap(), own);
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
