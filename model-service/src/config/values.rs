//! How the values of keys are read and shown. Readers get trimmed text and answer `None` when it
//! is not what the key expects; what they show, they read back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use kindred_shared::telemetry::LogFormat;

/// Which implementation compares features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Kernel {
    /// The fastest this machine can run.
    #[default]
    Auto,
    /// Plain Rust, on every machine.
    Scalar,
}

impl Kernel {
    /// The kernel of this word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            "scalar" => Some(Self::Scalar),
            _ => None,
        }
    }

    /// Its word, as configured.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Scalar => "scalar",
        }
    }
}

/// Word vectors of one language, in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanguageVectors {
    /// The language.
    pub language: String,
    /// Where the prepared vectors are.
    pub path: PathBuf,
}

/// An address and a port; `localhost` is 127.0.0.1.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

pub(super) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

pub(super) fn count(text: &str, least: usize, most: usize) -> Option<usize> {
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
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
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
        .find(|(_, scale)| *bytes > 0 && bytes % scale == 0)
        .unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / scale)
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

pub(super) fn show_vectors(list: &Vec<LanguageVectors>) -> String {
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
