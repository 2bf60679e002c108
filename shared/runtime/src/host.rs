//! The name of the machine this runs on.

/// Where Linux keeps it.
const PLACE: &str = "/proc/sys/kernel/hostname";

/// The machine's name as the system knows it; `localhost` where it does not say.
pub fn host_name() -> String {
    let said = std::fs::read_to_string(PLACE).unwrap_or_default();
    match said.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}
