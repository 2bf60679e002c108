//! The memory available to this process: the machine's, or less if its control group limits it.

use std::fs;
use std::path::{Component, Path};

/// The value assumed if the system does not tell: 2 GiB.
const UNKNOWN: u64 = 2 << 30;

/// The most memory that this process can have, in bytes.
pub fn available() -> u64 {
    said(|place| fs::read_to_string(place).ok()).unwrap_or(UNKNOWN)
}

/// The minimum of what the machine and the control groups of this process report; `read` returns the text of a file
/// that exists.
fn said(read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| limits(line, &read));
    machine.into_iter().chain(limits).min()
}

/// Parses the line `MemTotal:   16384000 kB` into bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The limits of a control group and its ancestors. `group` is a line `0::/a/b` (version 2) or `4:memory:/a/b` (version
/// 1) of `/proc/self/cgroup`. In a container the path may be the host's, so that only the root exists.
fn limits(group: &str, read: impl Fn(&Path) -> Option<String>) -> Vec<u64> {
    let mut parts = group.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
        return Vec::new();
    };
    let (root, file) = if controllers.is_empty() {
        ("/sys/fs/cgroup", "memory.max")
    } else if controllers.split(',').any(|one| one == "memory") {
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return Vec::new();
    };
    let path = Path::new(path.trim_start_matches('/'));
    if path.components().any(|part| part == Component::ParentDir) {
        return Vec::new();
    }
    let groups = path.ancestors().map(|group| Path::new(root).join(group));
    // Without a limit the file says `max`, or a number larger than any machine.
    groups
        .filter_map(|group| read(&group.join(file))?.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: Option<u64>) {
        let read = |place: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == place)?;
            Some(found.1.to_owned())
        };
        assert_eq!(said(read), expected, "{files:?}");
    }

    #[test]
    fn the_least_of_machine_and_control_groups_counts() {
        const MACHINE: (&str, &str) = ("/proc/meminfo", "MemTotal:  2048 kB\nMemFree: 7 kB\n");
        const IN_GROUP: (&str, &str) = ("/proc/self/cgroup", "0::/a.slice/b.service\n");
        check(&[], None);
        check(&[MACHINE], Some(2 << 20));
        check(&[("/proc/meminfo", "MemTotal: lots kB\n")], None);
        let limit = |place| (place, "1000000\n");
        let without = ("/sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
        check(&[MACHINE, IN_GROUP, without], Some(2 << 20));
        let around = limit("/sys/fs/cgroup/a.slice/memory.max");
        check(&[MACHINE, IN_GROUP, without, around], Some(1_000_000));
        let container = limit("/sys/fs/cgroup/memory.max");
        check(&[MACHINE, IN_GROUP, container], Some(1_000_000));
        let old = (
            "/proc/self/cgroup",
            "5:cpu,cpuacct:/x\n4:memory:/docker/1f\n",
        );
        let endless = (
            "/sys/fs/cgroup/memory/docker/1f/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        check(&[MACHINE, old, endless], Some(2 << 20));
        let root = limit("/sys/fs/cgroup/memory/memory.limit_in_bytes");
        check(&[MACHINE, old, root], Some(1_000_000));
        let outside = ("/proc/self/cgroup", "0::/../../x\nno group\n");
        check(&[MACHINE, outside], Some(2 << 20));
    }

    #[test]
    fn there_is_some() {
        assert!(available() > 1 << 20);
    }
}
