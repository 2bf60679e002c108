//! Memory used by this process.

/// Peak memory of this process, in bytes (`VmHWM`); `None` where the system does not report it.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn the_most_is_never_less_than_what_was_there() {
        let before = super::peak_memory().unwrap();
        assert!(before > 1 << 20);
        let touched = vec![1_u8; 64 << 20];
        let most = touched.len() as u64;
        assert!(super::peak_memory().unwrap() >= most);
        drop(touched);
        // The system's count lags a little, so it is not exact to the byte.
        assert!(super::peak_memory().unwrap() >= most);
    }
}
