//! The names of this machine and this process.

/// The file in which Linux provides it.
const PLACE: &str = "/proc/sys/kernel/hostname";

/// The machine's name as the system knows it; `localhost` if it does not say.
pub fn host_name() -> String {
    let said = std::fs::read_to_string(PLACE).unwrap_or_default();
    match said.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// Distinguishes this process from others in the broker's management UI: `<host>:<process id>`.
pub fn process_name() -> String {
    format!("{}:{}", host_name(), std::process::id())
}
