//! The formats in which word vectors are published, and how to detect them.

use std::fmt;
use std::str::FromStr;

const FINALFUSION_MAGIC: &[u8] = b"FiFu";
/// The byte-order mark of UTF-8.
pub(super) const MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes after the first line that are examined to distinguish text from binary.
const LOOK_BYTES: usize = 4 << 10;
pub(super) const FASTTEXT_MAGIC: [u8; 4] = 793_712_314_u32.to_le_bytes();

/// The format of a file of vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// finalfusion, with any vocabulary, plain or quantised.
    Finalfusion,
    /// fastText `.bin`, not quantised.
    FastText,
    /// word2vec binary: a line `words dimension`, then words and little-endian `f32`.
    Word2Vec,
    /// One word and its numbers per line, as GloVe and fastText `.vec`; optionally with a first line `words dimension`.
    Text,
}

impl Format {
    const NAMES: [(Self, &'static str); 4] = [
        (Self::Finalfusion, "finalfusion"),
        (Self::FastText, "fasttext"),
        (Self::Word2Vec, "word2vec"),
        (Self::Text, "text"),
    ];

    /// Detects the format from the first bytes of a file.
    pub(super) fn of(start: &[u8]) -> Self {
        if start.starts_with(FINALFUSION_MAGIC) {
            return Self::Finalfusion;
        }
        if start.starts_with(&FASTTEXT_MAGIC) {
            return Self::FastText;
        }
        let start = start.strip_prefix(MARK).unwrap_or(start);
        let mut parts = start.splitn(2, |&byte| byte == b'\n');
        if parts.next().and_then(counts).is_none() {
            return Self::Text;
        }
        // Words and numbers follow the line of counts, as text or binary. Binary numbers soon contain a byte that no
        // text does; damaged text must not be mistaken for them.
        let rest = parts.next().unwrap_or_default();
        let is_binary = rest
            .iter()
            .take(LOOK_BYTES)
            .any(|byte| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r' | b'\n'));
        if is_binary {
            Self::Word2Vec
        } else {
            Self::Text
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(format, _)| format == self);
        f.write_str(name.map_or("unknown", |(_, name)| name))
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(format, _)| *format)
            .ok_or_else(|| {
                format!("{text:?} is not a format; use finalfusion, fasttext, word2vec or text")
            })
    }
}

/// The numbers of a line `words dimension`.
pub(super) fn counts(line: &[u8]) -> Option<(usize, usize)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.split_ascii_whitespace();
    let counts = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    fields.next().is_none().then_some(counts)
}

/// Splits a line into its word and its last `dimension` fields. A word may contain spaces, so numbers are split off
/// from the end.
pub(super) fn split_line(line: &[u8], dimension: usize) -> Option<(&str, Vec<&str>)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut rest = line.trim_end_matches([' ', '\t', '\r', '\n']);
    let mut numbers = Vec::with_capacity(dimension);
    for _ in 0..dimension {
        let (before, number) = rest.rsplit_once([' ', '\t'])?;
        numbers.push(number);
        rest = before;
    }
    numbers.reverse();
    Some((rest.trim_end_matches([' ', '\t']), numbers))
}
