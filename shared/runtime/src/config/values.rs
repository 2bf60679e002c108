//! How the values of keys are read and shown. Readers get trimmed text and answer `None` when it
//! is not what the key expects; what they show, they read back.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::secret::Secret;
use crate::memory;
use crate::telemetry::LogFormat;

/// Word vectors of one language, in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanguageVectors {
    /// The language.
    pub language: String,
    /// Where the prepared vectors are.
    pub path: PathBuf,
}

/// How much memory something may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemorySize {
    /// So many bytes.
    Bytes(usize),
    /// So many percent of what there is for this process: of the machine's memory, or of what its control
    /// group may take, if that is less.
    Share(u8),
}

impl MemorySize {
    /// In bytes, on this machine.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes as u64,
            Self::Share(percent) => memory::available() / 100 * u64::from(percent),
        }
    }
}

/// An address and a port; `localhost` is 127.0.0.1.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

/// An address and a port, or nothing.
#[allow(clippy::option_option)] // no address is a value; no reading is a refusal
pub(super) fn optional_address(text: &str) -> Option<Option<SocketAddr>> {
    if text.is_empty() {
        return Some(None);
    }
    address(text).map(Some)
}

/// A host and a port, or nothing.
#[allow(clippy::option_option)] // as above
pub(super) fn advertise(text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let (host, port) = host_and_port(text)?;
    Some(Some(format!("{host}:{}", port.filter(|port| *port > 0)?)))
}

/// Port of CQL where none is named.
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

/// A name, an IPv4 address or an IPv6 address in brackets, and the port behind it.
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

/// An unquoted CQL name, in the case the database would fold it to.
pub(super) fn keyspace(text: &str) -> Option<String> {
    let sound = text.len() <= 48
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    sound.then(|| text.to_owned())
}

/// Only the beginning is read here: the client of the broker knows the rest better, and says so.
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

/// Binary units first: they are what a size is shown in.
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

/// Bytes: a whole number, with a unit or without.
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
