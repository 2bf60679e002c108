//! How the values of keys are read and shown. Readers get trimmed text and return `None` when it is not what the key
//! expects. They can read back whatever is shown.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::secret::Secret;
use super::{ConfigError, Origins};
use crate::memory;
use crate::telemetry::LogFormat;

/// A file of word vectors for one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanguageVectors {
    /// The language.
    pub language: String,
    /// The path of the prepared vectors.
    pub path: PathBuf,
}

/// An amount of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemorySize {
    /// In bytes.
    Bytes(usize),
    /// In percent of the memory available to this process: the machine's, or the limit of its control group if that is
    /// lower.
    Share(u8),
}

impl MemorySize {
    /// The amount in bytes, on this machine.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes as u64,
            Self::Share(percent) => memory::available() / 100 * u64::from(percent),
        }
    }
}

/// Addresses with a common prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// One of the addresses; an IPv4 address is never stored as an IPv4-mapped IPv6 address.
    address: IpAddr,
    /// The length of the prefix, in bits.
    bits: u8,
}

impl Network {
    /// Whether it contains an address.
    pub fn has(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let other = u32::from(network) ^ u32::from(address);
                other.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let other = u128::from(network) ^ u128::from(address);
                other.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The text is not an address, or the prefix is longer than an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an address or a network, such as 10.0.0.7 or 192.168.0.0/16")]
pub struct NoNetwork;

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| NoNetwork)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let address = address.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most)
            .then_some(Self { address, bits })
            .ok_or(NoNetwork)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Networks, or none.
pub(super) fn networks(text: &str) -> Option<Vec<Network>> {
    let parts = text.split(',').map(str::trim);
    let parts = parts.filter(|part| !part.is_empty());
    parts.map(|part| part.parse().ok()).collect()
}

pub(super) fn show_networks(networks: &[Network]) -> String {
    let texts: Vec<String> = networks.iter().map(Network::to_string).collect();
    texts.join(",")
}

/// Names and addresses without ports, in lower case and without brackets, or none.
pub(super) fn host_names(text: &str) -> Option<Vec<String>> {
    let parts = text.split(',').map(str::trim);
    let parts = parts.filter(|part| !part.is_empty());
    parts
        .map(|part| {
            if let Ok(address) = part.parse::<IpAddr>() {
                return Some(address.to_string());
            }
            match host_and_port(part)? {
                (host, None) => Some(host.trim_matches(['[', ']']).to_ascii_lowercase()),
                (_, Some(_)) => None,
            }
        })
        .collect()
}

/// An address and a port; `localhost` is 127.0.0.1.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

/// An address and a port, or none.
#[allow(clippy::option_option)] // no address is a value; no reading is a refusal
pub(super) fn optional_address(text: &str) -> Option<Option<SocketAddr>> {
    if text.is_empty() {
        return Some(None);
    }
    address(text).map(Some)
}

/// Two keys that must both have a value, or neither.
pub(super) fn both<T, U>(
    origins: &Origins,
    one: (&'static str, &Option<T>),
    other: (&'static str, &Option<U>),
) -> Result<(), ConfigError> {
    match (one.1, other.1) {
        (Some(_), None) => Err(lacks(origins, other.0, one.0)),
        (None, Some(_)) => Err(lacks(origins, one.0, other.0)),
        (Some(_), Some(_)) | (None, None) => Ok(()),
    }
}

/// The error for a key that must have a value because another one has.
pub(super) fn lacks(origins: &Origins, name: &'static str, other: &str) -> ConfigError {
    let expected = format!("a value, because {other} has one");
    ConfigError::unsuitable(name, "", origins.of(name), expected)
}

/// A host and a port, or none.
#[allow(clippy::option_option)] // as above
pub(super) fn advertise(text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let (host, port) = host_and_port(text)?;
    Some(Some(format!("{host}:{}", port.filter(|port| *port > 0)?)))
}

/// The CQL port if none is given.
const CQL_PORT: u16 = 9042;

/// Hosts, each with its port.
pub(super) fn cql_nodes(text: &str) -> Option<Vec<String>> {
    text.split(',')
        .map(|part| {
            let (host, port) = host_and_port(part.trim())?;
            Some(format!("{host}:{}", port.unwrap_or(CQL_PORT)))
        })
        .collect()
}

/// A name, an IPv4 address or an IPv6 address in brackets, and the port after it.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (text, None),
    };
    let sound = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    sound.then_some((host, port))
}

/// An unquoted CQL name, in the case to which the database would fold it.
pub(super) fn keyspace(text: &str) -> Option<String> {
    let sound = text.len() <= 48
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    sound.then(|| text.to_owned())
}

/// Checks only the beginning: the broker's client parses the rest better, and reports its errors.
pub(super) fn amqp_url(text: &str) -> Option<Secret> {
    let rest = text
        .strip_prefix("amqp://")
        .or_else(|| text.strip_prefix("amqps://"))?;
    let sound = !rest.is_empty() && !rest.contains(char::is_whitespace);
    sound.then(|| Secret::new(text))
}

pub(super) fn show_secret(secret: &Secret) -> String {
    secret.expose().to_owned()
}

pub(super) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// A path, or none.
#[allow(clippy::option_option)] // no path is a value; no reading is a refusal
pub(super) fn optional_path(text: &str) -> Option<Option<PathBuf>> {
    Some(path(text))
}

pub(super) fn show_path(path: &Option<PathBuf>) -> String {
    path.as_ref()
        .map(|path| path.display().to_string())
        .unwrap_or_default()
}

/// A secret, or none.
#[allow(clippy::option_option)] // as above
pub(super) fn optional_secret(text: &str) -> Option<Option<Secret>> {
    Some((!text.is_empty()).then(|| Secret::new(text)))
}

pub(super) fn count<N: FromStr + PartialOrd>(text: &str, least: N, most: N) -> Option<N> {
    text.parse().ok().filter(|n| (least..=most).contains(n))
}

pub(super) fn truth(text: &str) -> Option<bool> {
    text.parse().ok()
}

pub(super) fn duration(text: &str, least: Duration, most: Duration) -> Option<Duration> {
    humantime::parse_duration(text)
        .ok()
        .filter(|time| (least..=most).contains(time))
}

#[allow(clippy::trivially_copy_pass_by_ref)] // called through one table with all others
pub(super) fn show_duration(time: &Duration) -> String {
    humantime::format_duration(*time).to_string()
}

/// Binary units first: sizes are shown in these.
const UNITS: &[(&str, usize)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];

/// Bytes: a whole number, with or without a unit.
pub(super) fn size(text: &str, least: usize, most: usize) -> Option<usize> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().ok()?;
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    number
        .checked_mul(*scale)
        .filter(|bytes| (least..=most).contains(bytes))
}

#[allow(clippy::trivially_copy_pass_by_ref)] // called through one table with all others
pub(super) fn show_size(bytes: &usize) -> String {
    let (unit, scale) = UNITS[..3]
        .iter()
        .find(|(_, scale)| *bytes > 0 && bytes.is_multiple_of(*scale))
        .unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / scale)
}

/// A size, or a share of 1 to 100 percent.
pub(super) fn memory_size(text: &str, least: usize) -> Option<MemorySize> {
    match text.strip_suffix('%') {
        Some(percent) => count(percent.trim_end(), 1, 100).map(MemorySize::Share),
        None => size(text, least, usize::MAX).map(MemorySize::Bytes),
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // called through one table with all others
pub(super) fn show_memory_size(size: &MemorySize) -> String {
    match size {
        MemorySize::Bytes(bytes) => show_size(bytes),
        MemorySize::Share(percent) => format!("{percent}%"),
    }
}

pub(super) fn language(text: &str) -> Option<String> {
    (text.len() == 2 && text.bytes().all(|b| b.is_ascii_lowercase())).then(|| text.to_owned())
}

pub(super) fn languages(text: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    text.split(',')
        .map(|part| language(part.trim()).filter(|one| seen.insert(one.clone())))
        .collect()
}

pub(super) fn vectors(text: &str) -> Option<Vec<LanguageVectors>> {
    let mut seen = BTreeSet::new();
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (code, file) = part.split_once('=')?;
            let language = language(code.trim()).filter(|one| seen.insert(one.clone()))?;
            let path = path(file.trim())?;
            Some(LanguageVectors { language, path })
        })
        .collect()
}

pub(super) fn show_vectors(list: &[LanguageVectors]) -> String {
    let pairs: Vec<String> = list
        .iter()
        .map(|one| format!("{}={}", one.language, one.path.display()))
        .collect();
    pairs.join(",")
}

pub(super) fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // called through one table with all others
pub(super) fn show_log_format(format: &LogFormat) -> String {
    match format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    }
    .to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_like_it() {
        let has = |network: &str, address: &str| {
            let network: Network = network.parse().unwrap();
            network.has(address.parse().unwrap())
        };
        assert!(has("10.0.0.0/8", "10.200.3.4") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("10.0.0.7", "::ffff:10.0.0.7") && !has("10.0.0.7", "10.0.0.8"));
        assert!(has("2001:db8::/32", "2001:db8:1::1") && !has("2001:db8::/32", "2001:db9::1"));
        assert!(has("0.0.0.0/0", "192.0.2.1") && !has("::/0", "192.0.2.1"));
        for bad in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(bad.parse::<Network>(), Err(NoNetwork), "{bad}");
        }
    }

    #[test]
    fn hosts_are_names_without_ports() {
        let hosts = host_names(" Kindred.Example, 10.0.0.7 ,[::1],2001:DB8::1").unwrap();
        assert_eq!(hosts, ["kindred.example", "10.0.0.7", "::1", "2001:db8::1"]);
        assert_eq!(host_names(""), Some(Vec::new()));
        for bad in ["a:80", "http://a", "a b", "[::1]:80"] {
            assert_eq!(host_names(bad), None, "{bad}");
        }
    }
}
