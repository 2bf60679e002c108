//! The table of word pieces, used in place.
//!
//! Its file is made by `compute-worker/tables/make`. All numbers are little-endian:
//!
//! | part | |
//! |---|---|
//! | `KWP1` | |
//! | 4 × u32 | dimension (even), rows, texts, bytes of all texts |
//! | rows × dimension / 2 bytes | value *k* in the low half of byte *k*, value *k* + dimension / 2 in its high half, plus 8 |
//! | rows × f16 | scale of a row: a value is its 4 bits, less 8, times the scale |
//! | texts × u32 | row of a text |
//! | texts × u16 | −ln p of a text, in 1/2048 |
//! | texts × u8 | length of a text in bytes |
//! | | the texts in UTF-8, ascending by bytes |
//!
//! The values stay 4 bits in memory. The table compiled in is never copied out of the program's file, which the
//! operating system maps and reads page by page.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use xxhash_rust::xxh3::xxh3_128;

/// The table compiled in; see tables/NOTICE.md for its origin.
const BUILTIN: &[u8] = include_bytes!("../../tables/text-2.pieces");

const MAGIC: &[u8] = b"KWP1";
/// Bytes before the rows: the magic and four numbers.
const HEADER_BYTES: usize = 20;
/// Most values of a row.
const MAX_DIMENSION: usize = 4_096;
/// −ln p is stored in units of this part of a nat.
const COST_UNIT: f32 = 1.0 / 2_048.0;
/// The stored value that means 0.
const ZERO: i32 = 8;
/// Bits per text for the beginnings of texts: with them, about one in 13 that none begins with seems to be one.
const BITS_PER_TEXT: usize = 16;

/// Why bytes are not a table of word pieces.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// They begin differently.
    #[error("is not a table of word pieces; make one with compute-worker/tables/make")]
    Foreign,
    /// They are inconsistent.
    #[error("is damaged: {0}; make it again with compute-worker/tables/make")]
    Damaged(&'static str),
}

/// Vectors of word pieces, each found by one or more texts.
///
/// Memory besides the bytes themselves: about 20 bytes per text.
pub struct WordPieces {
    bytes: Cow<'static, [u8]>,
    dimension: usize,
    rows: usize,
    /// Where the parts after the rows begin.
    scales: usize,
    row_of: usize,
    costs: usize,
    texts: usize,
    /// Where each text ends, counted from `texts`.
    ends: Vec<u32>,
    /// Number of a text plus 1, or 0 if free. The length is a power of two; at most half are used.
    slots: Vec<u32>,
    /// A Bloom filter of the beginnings of all texts, whole characters each. The length is a power of two.
    beginnings: Vec<u64>,
    longest: usize,
    fingerprint: u128,
}

impl WordPieces {
    /// The table compiled in; indexed on first use.
    pub fn builtin() -> &'static Self {
        static TABLE: OnceLock<WordPieces> = OnceLock::new();
        TABLE.get_or_init(|| {
            Self::new(Cow::Borrowed(BUILTIN))
                .expect("the table compiled in is read by a test of this crate")
        })
    }

    /// A table from the bytes of its file.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn new(bytes: Cow<'static, [u8]>) -> Result<Self, TableError> {
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(MAGIC) {
            return Err(TableError::Foreign);
        }
        let number = |at: usize| u32_at(&bytes, 4 + 4 * at) as usize;
        let (dimension, rows, count, text_bytes) = (number(0), number(1), number(2), number(3));
        if !(2..=MAX_DIMENSION).contains(&dimension) || !dimension.is_multiple_of(2) {
            return Err(TableError::Damaged("its rows have an impossible length"));
        }
        // None of these numbers is above 2^32, so no sum or product of them overflows 64 bits.
        let scales = HEADER_BYTES as u64 + rows as u64 * (dimension as u64 / 2);
        let row_of = scales + 2 * rows as u64;
        let costs = row_of + 4 * count as u64;
        let lengths = costs + 2 * count as u64;
        let texts = lengths + count as u64;
        if texts + text_bytes as u64 != bytes.len() as u64 {
            return Err(TableError::Damaged("its length differs from its header"));
        }
        // Both are at most the size of what is in memory.
        let (lengths, texts) = (lengths as usize, texts as usize);
        let mut ends = Vec::with_capacity(count);
        let mut end = 0_u32;
        for &length in &bytes[lengths..texts] {
            end = end.saturating_add(u32::from(length));
            ends.push(end);
        }
        if end as usize != text_bytes {
            return Err(TableError::Damaged(
                "the length of its texts differs from its header",
            ));
        }
        let mut table = Self {
            dimension,
            rows,
            scales: scales as usize,
            row_of: row_of as usize,
            costs: costs as usize,
            texts,
            slots: vec![0; (2 * count).next_power_of_two()],
            beginnings: vec![0; (count * BITS_PER_TEXT / 64).next_power_of_two()],
            longest: usize::from(bytes[lengths..texts].iter().copied().max().unwrap_or(0)),
            ends,
            fingerprint: xxh3_128(&bytes),
            bytes,
        };
        table.index()?;
        Ok(table)
    }

    /// Fills the slots, and checks everything that look-ups rely on.
    fn index(&mut self) -> Result<(), TableError> {
        let mut beginnings = Vec::new();
        for text in 0..self.ends.len() {
            let Ok(characters) = std::str::from_utf8(self.text(text)) else {
                return Err(TableError::Damaged("a text is not UTF-8"));
            };
            let mut hash = Hash::EMPTY;
            for character in characters.chars() {
                hash = hash.with(character);
                beginnings.push(hash);
            }
            if self.row(text) >= self.rows {
                return Err(TableError::Damaged("a text has no row"));
            }
            match self.slot(hash, characters) {
                Ok(_) => return Err(TableError::Damaged("a text occurs twice")),
                Err(free) => self.slots[free] = text as u32 + 1,
            }
            for beginning in beginnings.drain(..) {
                let (word, bit) = self.bit(beginning);
                self.beginnings[word] |= bit;
            }
        }
        for row in 0..self.rows {
            if !self.scale(row).is_finite() {
                return Err(TableError::Damaged("a scale is not a finite number"));
            }
        }
        Ok(())
    }

    /// Values of a row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of texts that have a row.
    pub fn texts(&self) -> usize {
        self.ends.len()
    }

    /// xxh3-128 of the file's bytes, 32 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        format!("{:032x}", self.fingerprint)
    }

    /// The number of a text.
    pub(super) fn find(&self, text: &str) -> Option<usize> {
        let hash = text.chars().fold(Hash::EMPTY, Hash::with);
        self.slot(hash, text).ok()
    }

    /// Calls `found` with the end and the number of every text that a word begins with, from the shortest on.
    pub(super) fn find_beginnings(&self, word: &str, mut found: impl FnMut(usize, usize)) {
        let (mut hash, mut end) = (Hash::EMPTY, 0);
        for character in word.chars() {
            hash = hash.with(character);
            end += character.len_utf8();
            let (part, bit) = self.bit(hash);
            if end > self.longest || self.beginnings[part] & bit == 0 {
                break;
            }
            if let Ok(text) = self.slot(hash, &word[..end]) {
                found(end, text);
            }
        }
    }

    /// −ln p of a text.
    ///
    /// # Panics
    /// When there is no such text; so do all methods below.
    pub(super) fn cost(&self, text: usize) -> f32 {
        f32::from(u16_at(&self.bytes, self.costs + 2 * text)) * COST_UNIT
    }

    /// Adds `weight` times the row of a text to `sums`, which has [`WordPieces::dimension`] values.
    pub(crate) fn add(&self, text: usize, weight: f32, sums: &mut [f32]) {
        let row = self.row(text);
        let half = self.dimension / 2;
        let start = HEADER_BYTES + row * half;
        let weight = weight * self.scale(row);
        let (low, high) = sums.split_at_mut(half);
        let codes = &self.bytes[start..start + half];
        for ((&code, low), high) in codes.iter().zip(low).zip(high) {
            *low += weight * (i32::from(code & 15) - ZERO) as f32;
            *high += weight * (i32::from(code >> 4) - ZERO) as f32;
        }
    }

    fn row(&self, text: usize) -> usize {
        u32_at(&self.bytes, self.row_of + 4 * text) as usize
    }

    fn scale(&self, row: usize) -> f32 {
        half_to_f32(u16_at(&self.bytes, self.scales + 2 * row))
    }

    fn text(&self, text: usize) -> &[u8] {
        let start = text.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[self.texts + start as usize..self.texts + self.ends[text] as usize]
    }

    /// Where a beginning is in the filter.
    fn bit(&self, beginning: Hash) -> (usize, u64) {
        let bit = beginning.number();
        ((bit / 64) & (self.beginnings.len() - 1), 1 << (bit % 64))
    }

    /// The number of a text, or the slot where it would go.
    fn slot(&self, hash: Hash, text: &str) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash.number() & mask;
        loop {
            match self.slots[slot] {
                0 => return Err(slot),
                taken if self.text(taken as usize - 1) == text.as_bytes() => {
                    return Ok(taken as usize - 1);
                }
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

/// A hash of a text, made character by character: FNV-1a of its characters.
#[derive(Debug, Clone, Copy)]
struct Hash(u64);

impl Hash {
    const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    fn with(self, character: char) -> Self {
        let mixed = self.0 ^ u64::from(u32::from(character));
        Self(mixed.wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// 32 bits that depend on all others.
    fn number(self) -> usize {
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
    }
}

impl fmt::Debug for WordPieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WordPieces")
            .field("texts", &self.texts())
            .field("rows", &self.rows)
            .field("dimension", &self.dimension)
            .field("fingerprint", &self.fingerprint())
            .finish()
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// IEEE 754 binary16 to binary32, exactly.
fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 31;
    let fraction = u32::from(bits) & 0x3ff;
    match exponent {
        // Subnormal: fraction · 2⁻²⁴.
        0 => f32::from_bits(sign | 0x3f80_0000) * fraction as f32 * f32::from_bits(0x3380_0000),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of a table with four values per row: each text with −ln p and its row of codes −8 to 7, in units of 1/4.
    pub(crate) fn table_of(texts: &[(&str, f32, [i8; 4])]) -> Vec<u8> {
        let mut texts = texts.to_vec();
        texts.sort_by_key(|(text, ..)| text.as_bytes());
        let count = texts.len() as u32;
        let all: String = texts.iter().map(|(text, ..)| *text).collect();
        let mut bytes = MAGIC.to_vec();
        for number in [4, count, count, all.len() as u32] {
            bytes.extend(number.to_le_bytes());
        }
        let code = |value: i8| (value + 8) as u8;
        for (_, _, [a, b, c, d]) in &texts {
            bytes.extend([code(*a) | code(*c) << 4, code(*b) | code(*d) << 4]);
        }
        for _ in &texts {
            bytes.extend(0x3400_u16.to_le_bytes());
        }
        for row in 0..count {
            bytes.extend(row.to_le_bytes());
        }
        for (_, cost, _) in &texts {
            bytes.extend(((cost / COST_UNIT) as u16).to_le_bytes());
        }
        bytes.extend(texts.iter().map(|(text, ..)| text.len() as u8));
        bytes.extend(all.as_bytes());
        bytes
    }

    fn small() -> Vec<u8> {
        table_of(&[
            ("▁night", 9.5, [1, -2, 3, -8]),
            ("train", 10.25, [7, 0, 0, 0]),
            ("日", 8.0, [0, 0, 0, 1]),
        ])
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let table = WordPieces::new(small().into()).unwrap();
        assert_eq!((table.dimension(), table.rows(), table.texts()), (4, 3, 3));
        let night = table.find("▁night").unwrap();
        assert_eq!(table.cost(night), 9.5);
        let mut sums = [1.0; 4];
        table.add(night, 2.0, &mut sums);
        assert_eq!(sums, [1.5, 0.0, 2.5, -3.0]);
        assert_eq!(table.find("night"), None);
        assert_eq!(table.find(""), None);
    }

    #[test]
    fn halves_are_what_they_stand_for() {
        for (bits, value) in [
            (0x3400, 0.25),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0000, 0.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
        ] {
            assert_eq!(half_to_f32(bits), value, "{bits:#06x}");
        }
        assert!(half_to_f32(0x7c00).is_infinite() && half_to_f32(0x7e00).is_nan());
    }

    #[test]
    fn what_is_no_table_is_refused_with_the_reason() {
        let refused = |bytes: Vec<u8>| WordPieces::new(bytes.into()).unwrap_err();
        assert_eq!(refused(Vec::new()), TableError::Foreign);
        assert_eq!(
            refused(b"FiFu and more than twenty bytes".to_vec()),
            TableError::Foreign
        );
        let whole = small();
        for cut in HEADER_BYTES..whole.len() {
            let error = refused(whole[..cut].to_vec()).to_string();
            assert!(error.contains("length"), "{cut}: {error}");
        }
        let (row_of, scales) = (HEADER_BYTES + 3 * 2 + 3 * 2, HEADER_BYTES + 3 * 2);
        for (at, value, words) in [
            (4, 0, "impossible length"),
            (4, 3, "impossible length"),
            (row_of, 9, "no row"),
            (scales + 1, 0x7c, "finite"),
            (row_of + 3 * 6, 250, "texts"),
            (whole.len() - 1, 0xff, "UTF-8"),
        ] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            let error = refused(damaged).to_string();
            assert!(error.contains(words), "{at}: {error}");
        }
        let twice = table_of(&[("a", 1.0, [0; 4]), ("a", 1.0, [0; 4])]);
        assert!(refused(twice).to_string().contains("twice"));
    }

    #[test]
    fn the_table_compiled_in_is_whole() {
        let table = WordPieces::builtin();
        assert_eq!(table.dimension(), 128);
        assert!(table.texts() > 100_000, "{table:?}");
        for word in ["▁night", "▁nacht", "▁nuit", "▁ночь", "▁noche", "夜"] {
            assert!(table.find(word).is_some(), "{word}");
        }
    }

    #[test]
    fn every_text_that_a_word_begins_with_is_found() {
        let table = WordPieces::builtin();
        for word in [
            "▁nightwatchman",
            "▁nachtzugverbindungen",
            "ночные",
            "東京都庁",
            "ß",
            "",
            "zzzzqqq",
        ] {
            let ends = word.char_indices().map(|(at, c)| at + c.len_utf8());
            let expected: Vec<_> = ends
                .filter_map(|end| Some((end, table.find(&word[..end])?)))
                .collect();
            let mut found = Vec::new();
            table.find_beginnings(word, |end, text| found.push((end, text)));
            assert_eq!(found, expected, "{word}");
        }
        let mut found = 0;
        table.find_beginnings("▁nightwatchman", |_, _| found += 1);
        assert!(found > 2);
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_refused_or_read(at in 0_usize..200, value: u8) {
            let mut bytes = small();
            let at = at % bytes.len();
            bytes[at] = value;
            if let Ok(table) = WordPieces::new(bytes.into()) {
                let mut sums = vec![0.0; table.dimension()];
                for text in 0..table.texts() {
                    table.add(text, 1.0, &mut sums);
                    let _ = table.cost(text);
                }
            }
        }
    }
}
