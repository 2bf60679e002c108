//! Reads the finalfusion files that `kindred vectors prepare` writes.
//!
//! Not the library's reader, because this guarantees what the library does not: any bytes give
//! vectors or an error, never a panic or an allocation as large as a damaged length demands. It
//! decodes rows as they arrive, so the quantised copy is never in memory. The format:
//! <https://finalfusion.github.io/spec>.

use std::io::{self, Read};

use xxhash_rust::xxh3::Xxh3;

use super::source::MAX_DIMENSION;

const MAGIC: [u8; 4] = *b"FiFu";
const VERSION: u32 = 0;
const TYPE_U8: u32 = 1;
const TYPE_F32: u32 = 10;
/// A file has at most metadata, words, rows and norms.
const MAX_CHUNKS: u32 = 4;

const SIMPLE_VOCABULARY: u32 = 1;
const PLAIN_ROWS: u32 = 2;
const QUANTISED_ROWS: u32 = 4;
const METADATA: u32 = 5;
const NORMS: u32 = 6;

/// Why a file of word vectors cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// An error of the operating system.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It does not begin like a finalfusion file.
    #[error("is not a finalfusion file of version 0; make one with `kindred vectors prepare`")]
    Foreign,
    /// A finalfusion file with parts that extraction does not use.
    #[error("has {0}; make it again with `kindred vectors prepare`")]
    Unsupported(&'static str),
    /// It is inconsistent.
    #[error("is damaged: {0}")]
    Damaged(&'static str),
    /// It is too large for the memory of this machine.
    #[error("needs {0} bytes of memory, more than is available")]
    Memory(u64),
}

/// The contents of a file.
pub(super) struct Stored {
    /// Words, most frequent first, concatenated.
    pub(super) text: String,
    /// Where each word ends in `text`.
    pub(super) ends: Vec<u32>,
    pub(super) dimension: usize,
    /// `words × dimension`; each row has its original length.
    pub(super) rows: Vec<f32>,
    /// xxh3-128 of all bytes.
    pub(super) hash: u128,
}

/// Reads `length` bytes of a file.
pub(super) fn read(reader: impl Read, length: u64) -> Result<Stored, ReadError> {
    let mut input = Input {
        reader,
        hash: Xxh3::new(),
        position: 0,
        length,
    };
    if length < 12 || input.array::<4>()? != MAGIC || input.u32()? != VERSION {
        return Err(ReadError::Foreign);
    }
    let count = input.u32()?;
    if count > MAX_CHUNKS {
        return Err(ReadError::Damaged("it has too many parts"));
    }
    let chunks: Vec<u32> = (0..count).map(|_| input.u32()).collect::<Result<_, _>>()?;
    let (mut words, mut rows, mut norms) = (None, None, None);
    for chunk in chunks {
        if input.u32()? != chunk {
            return Err(ReadError::Damaged("a part differs from the header"));
        }
        let bytes = input.u64()?;
        match chunk {
            METADATA => input.skip(bytes)?,
            SIMPLE_VOCABULARY => words = Some(input.words()?),
            PLAIN_ROWS => rows = Some(input.plain_rows()?),
            QUANTISED_ROWS => rows = Some(input.quantised_rows()?),
            NORMS => norms = Some(input.norms()?),
            _ => return Err(ReadError::Unsupported("words that consist of subwords")),
        }
    }
    let (text, ends) = words.ok_or(ReadError::Damaged("it has no words"))?;
    let (dimension, mut rows) = rows.ok_or(ReadError::Damaged("it has no vectors"))?;
    if ends.is_empty() || rows.len() != ends.len() * dimension {
        return Err(ReadError::Damaged(
            "the numbers of words and vectors differ",
        ));
    }
    if let Some(norms) = norms {
        if norms.len() != ends.len() {
            return Err(ReadError::Damaged("the numbers of words and norms differ"));
        }
        scale(&mut rows, dimension, &norms);
    }
    if rows.iter().any(|value| !value.is_finite()) {
        return Err(ReadError::Damaged("a value is not a finite number"));
    }
    input.skip(input.length - input.position)?;
    Ok(Stored {
        text,
        ends,
        dimension,
        rows,
        hash: input.hash.digest128(),
    })
}

fn scale(rows: &mut [f32], dimension: usize, norms: &[f32]) {
    for (row, norm) in rows.chunks_exact_mut(dimension).zip(norms) {
        row.iter_mut().for_each(|value| *value *= norm);
    }
}

/// A reader that hashes what it reads and never claims more bytes than the file has.
struct Input<R> {
    reader: R,
    hash: Xxh3,
    position: u64,
    length: u64,
}

impl<R: Read> Input<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ReadError> {
        self.reader.read_exact(bytes)?;
        self.hash.update(bytes);
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ReadError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Checks that the file still has room for `count` things of `bytes` each.
    fn claim(&self, count: u64, bytes: u64) -> Result<usize, ReadError> {
        count
            .checked_mul(bytes)
            .filter(|&wanted| wanted <= self.length - self.position)
            .and_then(|_| usize::try_from(count).ok())
            .ok_or(ReadError::Damaged("a part is longer than the file"))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), ReadError> {
        self.claim(bytes, 1)?;
        let mut left = bytes;
        let mut piece = [0; 4096];
        while left > 0 {
            let size = left.min(piece.len() as u64) as usize;
            self.fill(&mut piece[..size])?;
            left -= size as u64;
        }
        Ok(())
    }

    /// Arrays of `f32` are aligned to four bytes; the padding is 1 to 4 bytes.
    fn padding(&mut self) -> Result<(), ReadError> {
        self.skip(4 - self.position % 4)
    }

    fn floats(&mut self, count: u64) -> Result<Vec<f32>, ReadError> {
        let count = self.claim(count, 4)?;
        let mut values = reserve(count)?;
        let mut piece = [0; 4096];
        while values.len() < count {
            let bytes = &mut piece[..(4 * (count - values.len())).min(4096)];
            self.fill(bytes)?;
            let (chunks, _) = bytes.as_chunks::<4>();
            values.extend(chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)));
        }
        Ok(values)
    }

    fn words(&mut self) -> Result<(String, Vec<u32>), ReadError> {
        let count = self.u64()?;
        let count = self.claim(count, 4)?;
        let mut ends = reserve(count)?;
        let mut text = String::new();
        let mut word = Vec::new();
        for _ in 0..count {
            let bytes = self.u32()?;
            word.resize(self.claim(u64::from(bytes), 1)?, 0);
            self.fill(&mut word)?;
            let word = std::str::from_utf8(&word)
                .map_err(|_| ReadError::Damaged("a word is not UTF-8"))?;
            text.push_str(word);
            let end = u32::try_from(text.len());
            ends.push(end.map_err(|_| ReadError::Damaged("its words are over 4 GiB"))?);
        }
        text.shrink_to_fit();
        Ok((text, ends))
    }

    fn dimension(&mut self) -> Result<usize, ReadError> {
        let dimension = self.u32()? as usize;
        if (1..=MAX_DIMENSION).contains(&dimension) {
            Ok(dimension)
        } else {
            Err(ReadError::Damaged("vectors must have 1 to 4,096 values"))
        }
    }

    fn expect_type(&mut self, expected: u32) -> Result<(), ReadError> {
        if self.u32()? == expected {
            Ok(())
        } else {
            Err(ReadError::Unsupported("values of another type"))
        }
    }

    fn plain_rows(&mut self) -> Result<(usize, Vec<f32>), ReadError> {
        let count = self.u64()?;
        let dimension = self.dimension()?;
        self.expect_type(TYPE_F32)?;
        self.padding()?;
        let values = count.saturating_mul(dimension as u64);
        Ok((dimension, self.floats(values)?))
    }

    fn norms(&mut self) -> Result<Vec<f32>, ReadError> {
        let count = self.u64()?;
        self.expect_type(TYPE_F32)?;
        self.padding()?;
        self.floats(count)
    }

    fn quantised_rows(&mut self) -> Result<(usize, Vec<f32>), ReadError> {
        let rotated = self.u32()? != 0;
        let with_norms = self.u32()? != 0;
        let codes = self.u32()? as usize;
        let dimension = self.dimension()?;
        let centroids = self.u32()? as usize;
        let count = self.u64()?;
        self.expect_type(TYPE_U8)?;
        self.expect_type(TYPE_F32)?;
        self.padding()?;
        if rotated {
            // Undoing a rotation needs sums, and a library's sums differ between machines.
            return Err(ReadError::Unsupported("rotated vectors"));
        }
        if codes == 0 || !dimension.is_multiple_of(codes) || !(1..=256).contains(&centroids) {
            return Err(ReadError::Damaged("its quantiser is inconsistent"));
        }
        let part = dimension / codes;
        let table = self.floats((centroids * dimension) as u64)?;
        let norms = if with_norms {
            Some(self.floats(count)?)
        } else {
            None
        };
        let count = self.claim(count, codes as u64)?;
        let mut rows = reserve(count.saturating_mul(dimension))?;
        let mut row = vec![0_u8; codes];
        for _ in 0..count {
            self.fill(&mut row)?;
            for (at, &code) in row.iter().enumerate() {
                if usize::from(code) >= centroids {
                    return Err(ReadError::Damaged("a code has no centroid"));
                }
                let start = (at * centroids + usize::from(code)) * part;
                rows.extend_from_slice(&table[start..start + part]);
            }
        }
        if let Some(norms) = norms {
            scale(&mut rows, dimension, &norms);
        }
        Ok((dimension, rows))
    }
}

fn reserve<T>(count: usize) -> Result<Vec<T>, ReadError> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(count)
        .map_err(|_| ReadError::Memory((count as u64).saturating_mul(size_of::<T>() as u64)))?;
    Ok(values)
}
