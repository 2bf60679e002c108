//! Thread pools for computing.

use std::num::NonZero;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// A pool of threads named `kindred-compute-0`, `kindred-compute-1`, … for all CPU work; 0 threads means one per core.
///
/// If there is a thread for every CPU that the process may use, each thread is bound to one CPU (on Linux), so that
/// work after a pause starts on all of them at once. Where threads could move, the second one started up to 20 ms late
/// on the virtual machine used for measuring, which is longer than most windows take (docs/decisions/0005). With fewer
/// threads than CPUs the operating system places them.
///
/// # Errors
/// When the operating system provides no more threads.
pub fn pool(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    build(threads, "kindred-compute", || {})
}

/// A pool for large work that may wait, with threads named `kindred-behind-0`, …. While both kinds of threads compete
/// for a CPU, these get a quarter of it (on Linux); otherwise they may use all of it.
///
/// # Errors
/// When the operating system provides no more threads.
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

/// Binds threads to CPUs.
#[cfg(target_os = "linux")]
mod affinity {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// The CPUs that this thread may use; none if unknown.
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

    /// Binds this thread to one CPU. If that is refused, it stays as it was.
    pub(super) fn stay_on(cpu: usize) {
        let mut set = CpuSet::new();
        set.set(cpu);
        if let Err(error) = sched_setaffinity(None, &set) {
            tracing::debug!(cpu, %error, "thread not bound to a CPU");
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

/// Lowers the priority of threads.
#[cfg(target_os = "linux")]
mod niceness {
    use rustix::process::setpriority_process;

    /// Linux weights priorities: 1,024 for niceness 0, and 335 for this.
    pub(super) const BEHIND: i32 = 5;

    /// Lowers this thread's priority. (Linux has a niceness per thread where POSIX has one per process.)
    pub(super) fn step_back() {
        if let Err(error) = setpriority_process(None, BEHIND) {
            tracing::debug!(%error, "thread priority not lowered");
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
        // The calling thread is unaffected.
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
