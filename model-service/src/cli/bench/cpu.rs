//! CPU time used by a process.

use std::time::Duration;

/// Clock ticks per second in what Linux reports to programs (`USER_HZ`).
const TICKS: u64 = 100;

/// CPU time used by a process so far, over all threads; `None` where the system does not report it.
pub(super) fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    of_stat(&stat)
}

/// Fields 14 and 15 of `stat`, see proc(5). The second field, a name in brackets, may contain
/// anything.
fn of_stat(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_do_not_shift_the_fields() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 8 0 1 2 3";
        assert_eq!(of_stat(stat), Some(Duration::from_secs(3)));
        assert_eq!(of_stat("7 (a"), None);
    }
}
