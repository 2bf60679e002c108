//! Reads published word vectors: finalfusion, fastText, word2vec and GloVe files.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use finalfusion::prelude::{Embeddings, ReadEmbeddings, ReadFastText, StorageWrap, VocabWrap};
use finalfusion::storage::{NdArray, Storage};
use finalfusion::vocab::{FastTextSubwordVocab, Vocab};
use flate2::bufread::MultiGzDecoder;

use super::format::{Format, MARK, counts, split_line};

/// Bytes examined to detect the format; also the longest line or word that is read.
const LOOK_BYTES: usize = 1 << 20;
/// The first bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Longest vector that is read, in values.
pub(super) const MAX_DIMENSION: usize = 4096;

/// Which words are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Filter {
    /// Every word.
    #[default]
    All,
    /// Words that consist of letters only.
    Alphabetic,
}

/// What is wrong with a file of vectors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// An error of the operating system.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The bytes do not match the format.
    #[error("is not a readable {format} file: {detail}")]
    Malformed {
        /// The format it was read as.
        format: Format,
        /// What is wrong, and where.
        detail: String,
    },
    /// A value is NaN or infinite.
    #[error("the vector of {0:?} has a value that is not a finite number")]
    NotFinite(String),
}

/// Words with their vectors, most frequent first (file order).
#[derive(Debug)]
pub(super) struct Source {
    pub(super) words: Vec<String>,
    /// `words × dimension`, row by row.
    pub(super) values: Vec<f32>,
    pub(super) dimension: usize,
    pub(super) format: Format,
    /// Words that were skipped: filtered, repeated, or not UTF-8.
    pub(super) skipped: usize,
}

/// Reads the first `limit` words of a file that pass the filter, lower-cased because looked-up
/// terms are. Of several spellings the first (most frequent) counts.
pub(super) fn read(
    path: &Path,
    format: Option<Format>,
    filter: Filter,
    limit: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Source, SourceError> {
    let mut reader = Input::open(path)?;
    let format = format.unwrap_or_else(|| Format::of(reader.start()));
    let mut kept = Kept {
        filter,
        limit,
        seen: HashSet::new(),
        source: Source {
            words: Vec::new(),
            values: Vec::new(),
            dimension: 0,
            format,
            skipped: 0,
        },
        progress,
    };
    match format {
        Format::Text => {
            if reader.start().starts_with(MARK) {
                reader.consume(MARK.len());
            }
            text(reader, &mut kept)?;
        }
        Format::Word2Vec => word2vec(reader, &mut kept)?,
        Format::Finalfusion => {
            // Its reader seeks.
            let mut bytes = Vec::new();
            let embeddings = if reader.is_packed {
                reader.read_to_end(&mut bytes)?;
                finalfusion(Cursor::new(bytes))?
            } else {
                finalfusion(BufReader::new(File::open(path)?))?
            };
            library(&embeddings, &mut kept)?;
        }
        Format::FastText => {
            let embeddings = guarded(format, || {
                Embeddings::<FastTextSubwordVocab, NdArray>::read_fasttext_lossy(&mut reader)
            })?;
            library(&embeddings, &mut kept)?;
        }
    }
    Ok(kept.source)
}

/// A file from its beginning, decompressed if it is gzip.
struct Input {
    start: Cursor<Vec<u8>>,
    rest: Box<dyn BufRead>,
    is_packed: bool,
}

impl Input {
    fn open(path: &Path) -> io::Result<Self> {
        let mut rest: Box<dyn BufRead> = Box::new(BufReader::new(File::open(path)?));
        let mut start = read_start(&mut rest)?;
        let is_packed = start.starts_with(&GZIP);
        if is_packed {
            let packed = Cursor::new(start).chain(rest);
            rest = Box::new(BufReader::new(MultiGzDecoder::new(packed)));
            start = read_start(&mut rest)?;
        }
        Ok(Self {
            start: Cursor::new(start),
            rest,
            is_packed,
        })
    }

    /// The first bytes, up to [`LOOK_BYTES`], without consuming any.
    fn start(&self) -> &[u8] {
        self.start.get_ref()
    }
}

fn read_start(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(LOOK_BYTES);
    reader.take(LOOK_BYTES as u64).read_to_end(&mut start)?;
    Ok(start)
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.start.read(buffer)? {
            0 => self.rest.read(buffer),
            count => Ok(count),
        }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start.position() < self.start.get_ref().len() as u64 {
            self.start.fill_buf()
        } else {
            self.rest.fill_buf()
        }
    }

    fn consume(&mut self, count: usize) {
        if self.start.position() < self.start.get_ref().len() as u64 {
            self.start.consume(count);
        } else {
            self.rest.consume(count);
        }
    }
}

/// Collects the wanted words.
struct Kept<'a> {
    filter: Filter,
    limit: usize,
    seen: HashSet<String>,
    source: Source,
    progress: &'a mut dyn FnMut(usize),
}

impl Kept<'_> {
    fn malformed(&self, detail: impl Into<String>) -> SourceError {
        SourceError::Malformed {
            format: self.source.format,
            detail: detail.into(),
        }
    }

    fn set_dimension(&mut self, dimension: usize) -> Result<(), SourceError> {
        if !(1..=MAX_DIMENSION).contains(&dimension) {
            return Err(self.malformed(format!(
                "vectors have {dimension} values; 1 to {MAX_DIMENSION} are supported"
            )));
        }
        self.source.dimension = dimension;
        Ok(())
    }

    /// Takes a word if it is wanted; `fill` appends its values.
    fn offer(
        &mut self,
        word: &str,
        fill: impl FnOnce(&mut Vec<f32>) -> Result<(), String>,
    ) -> Result<ControlFlow<()>, SourceError> {
        let word = word.to_lowercase();
        let wanted = !word.is_empty()
            && match self.filter {
                Filter::All => true,
                Filter::Alphabetic => word.chars().all(char::is_alphabetic),
            };
        if !wanted || self.seen.contains(&word) {
            self.source.skipped += 1;
            return Ok(ControlFlow::Continue(()));
        }
        let start = self.source.values.len();
        fill(&mut self.source.values).map_err(|detail| self.malformed(detail))?;
        let values = &self.source.values[start..];
        if values.len() != self.source.dimension {
            return Err(self.malformed(format!(
                "{word:?} has {} values, not {}",
                values.len(),
                self.source.dimension
            )));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(SourceError::NotFinite(word));
        }
        self.seen.insert(word.clone());
        self.source.words.push(word);
        let count = self.source.words.len();
        if count.is_multiple_of(1000) {
            (self.progress)(count);
        }
        Ok(if count >= self.limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }
}

/// Reads up to and including `end`; refuses pieces longer than [`LOOK_BYTES`].
fn read_piece(reader: &mut impl BufRead, end: u8, piece: &mut Vec<u8>) -> io::Result<bool> {
    piece.clear();
    let read = reader.take(LOOK_BYTES as u64).read_until(end, piece)?;
    if read == LOOK_BYTES && piece.last() != Some(&end) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line or word is longer than {LOOK_BYTES} bytes"),
        ));
    }
    Ok(read > 0)
}

fn text(mut reader: impl BufRead, kept: &mut Kept<'_>) -> Result<(), SourceError> {
    let mut line = Vec::new();
    let mut number = 0_usize;
    let mut has_counts = false;
    while read_piece(&mut reader, b'\n', &mut line)? {
        number += 1;
        if number == 1 {
            if let Some((_, dimension)) = counts(&line) {
                has_counts = true;
                kept.set_dimension(dimension)?;
                continue;
            }
            let fields = line
                .split(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
                .filter(|field| !field.is_empty())
                .count();
            kept.set_dimension(fields.saturating_sub(1))?;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if std::str::from_utf8(&line).is_err() {
            kept.source.skipped += 1;
            continue;
        }
        let dimension = kept.source.dimension;
        let said = if has_counts {
            "line 1 says"
        } else {
            "line 1 has"
        };
        let Some((word, numbers)) = split_line(&line, dimension) else {
            return Err(kept.malformed(format!(
                "line {number} has fewer than a word and {dimension} numbers, as many as {said}"
            )));
        };
        // A word may contain spaces, but not end in a number: that means one value too many.
        let last = word.rsplit_once([' ', '\t']).map(|(_, last)| last);
        if last.is_some_and(|last| last.parse::<f32>().is_ok()) {
            return Err(kept.malformed(format!(
                "line {number} has more than {dimension} numbers, as many as {said}"
            )));
        }
        let flow = kept.offer(word, |values| {
            for text in numbers {
                let value: f32 = text.parse().map_err(|_| not_a_number(number, text))?;
                if !value.is_finite() {
                    return Err(format!(
                        "line {number}: the vector of {word:?} has {text:?}, which is not a finite number"
                    ));
                }
                values.push(value);
            }
            Ok(())
        })?;
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

fn not_a_number(line: usize, text: &str) -> String {
    let with_point = text.replace(',', ".");
    let remedy = match with_point.parse::<f32>() {
        Ok(_) if text.contains(',') => "; write decimals with a point, not a comma",
        _ => "",
    };
    format!("line {line}: {text:?} is not a number{remedy}")
}

fn word2vec(mut reader: impl BufRead, kept: &mut Kept<'_>) -> Result<(), SourceError> {
    let mut piece = Vec::new();
    read_piece(&mut reader, b'\n', &mut piece)?;
    let Some((words, dimension)) = counts(&piece) else {
        return Err(kept.malformed("the first line is not the number of words and the dimension"));
    };
    kept.set_dimension(dimension)?;
    let mut bytes = vec![0; 4 * dimension];
    for at in 0..words {
        if !read_piece(&mut reader, b' ', &mut piece)? {
            return Err(kept.malformed(format!("it ends after {at} of {words} words")));
        }
        reader
            .read_exact(&mut bytes)
            .map_err(|_| kept.malformed(format!("it ends within the vector of word {}", at + 1)))?;
        let Ok(word) = std::str::from_utf8(&piece) else {
            kept.source.skipped += 1;
            continue;
        };
        let word = word.trim_matches(['\n', ' ']);
        if word.chars().any(char::is_control) {
            return Err(kept.malformed(format!(
                "word {} is {word:?}: the values before it are not {dimension}, or are damaged",
                at + 1
            )));
        }
        let flow = kept.offer(word, |values| {
            let (chunks, _) = bytes.as_chunks::<4>();
            values.extend(chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)));
            Ok(())
        })?;
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

fn finalfusion(
    mut reader: impl Read + Seek,
) -> Result<Embeddings<VocabWrap, StorageWrap>, SourceError> {
    guarded(Format::Finalfusion, || {
        Embeddings::read_embeddings(&mut reader)
    })
}

/// Calls a reader of the finalfusion library, which panics on some damaged files.
fn guarded<T>(
    format: Format,
    read: impl FnOnce() -> finalfusion::error::Result<T>,
) -> Result<T, SourceError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(SourceError::Malformed {
            format,
            detail: error.to_string(),
        }),
        Err(_) => Err(SourceError::Malformed {
            format,
            detail: "its parts are inconsistent".to_owned(),
        }),
    }
}

fn library<V: Vocab, S: Storage>(
    embeddings: &Embeddings<V, S>,
    kept: &mut Kept<'_>,
) -> Result<(), SourceError> {
    kept.set_dimension(embeddings.dims())?;
    for (word, embedding) in embeddings.iter_with_norms() {
        let flow = kept.offer(word, |values| {
            values.extend(embedding.into_unnormalized());
            Ok(())
        })?;
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::format::FASTTEXT_MAGIC;
    use super::*;

    fn read_bytes(bytes: &[u8], filter: Filter, limit: usize) -> Result<Source, SourceError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        read(file.path(), None, filter, limit, &mut |_| {})
    }

    #[test]
    fn reads_text_with_and_without_counts() {
        for text in [
            "The 1 2 3\nthe 9 9 9\ntwo words 4 5 6 \n7up -1 0.5 1e-3\n",
            "4 3\nThe 1 2 3\r\nthe 9 9 9\r\ntwo words 4 5 6\r\n7up -1 0.5 1e-3",
        ] {
            let source = read_bytes(text.as_bytes(), Filter::All, 9).unwrap();
            assert_eq!(source.format, Format::Text);
            assert_eq!(source.words, ["the", "two words", "7up"]);
            assert_eq!(
                source.values,
                [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -1.0, 0.5, 1e-3]
            );
            assert_eq!(source.skipped, 1);
        }
    }

    #[test]
    fn keeps_the_first_words_that_pass() {
        let text = "Über 1 2\n, 3 4\nc3 5 6\nhaus 7 8\nbaum 9 9\n";
        let source = read_bytes(text.as_bytes(), Filter::Alphabetic, 2).unwrap();
        assert_eq!(source.words, ["über", "haus"]);
        assert_eq!(source.values, [1.0, 2.0, 7.0, 8.0]);
    }

    #[test]
    fn reads_word2vec_binary() {
        let mut bytes = b"2 3\n".to_vec();
        for (word, values) in [("a", [1.5_f32, -2.0, 0.1]), ("b", [0.0, 1.0, 2.0])] {
            bytes.extend(word.bytes());
            bytes.push(b' ');
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            bytes.push(b'\n');
        }
        let source = read_bytes(&bytes, Filter::All, 9).unwrap();
        assert_eq!(source.format, Format::Word2Vec);
        assert_eq!(source.words, ["a", "b"]);
        assert_eq!(source.values, [1.5, -2.0, 0.1, 0.0, 1.0, 2.0]);
        let cut = read_bytes(&bytes[..bytes.len() - 3], Filter::All, 9);
        assert!(cut.unwrap_err().to_string().contains("word 2"));
    }

    #[test]
    fn reads_packed_files_and_skips_a_byte_order_mark() {
        let packed = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let binary = [
            b"1 2\na ".to_vec(),
            1_f32.to_le_bytes().into(),
            2_f32.to_le_bytes().into(),
        ]
        .concat();
        let marked = "\u{feff}1 2\na 1 2\n".as_bytes();
        for bytes in [
            marked.to_vec(),
            "\u{feff}a 1 2\n".into(),
            packed(marked),
            packed(&binary),
        ] {
            let source = read_bytes(&bytes, Filter::All, 9).unwrap();
            assert_eq!(
                (source.words, source.values),
                (vec!["a".to_owned()], vec![1.0, 2.0])
            );
        }
        let mut cut = packed("a 1 2\n".repeat(1000).as_bytes());
        cut.truncate(cut.len() / 2);
        assert!(read_bytes(&cut, Filter::All, 9).is_err());
        // A finalfusion file is detected by its bytes, compressed or not.
        let error = read_bytes(&packed(b"FiFu and then nothing"), Filter::All, 9).unwrap_err();
        assert!(error.to_string().contains("finalfusion"), "{error}");
    }

    #[test]
    fn damaged_text_is_not_read_as_binary() {
        let numbers = |count: usize| " 0.5".repeat(count);
        for (text, words) in [
            (
                "2 2\na -0,5 0,25\nb 0,1 0,2\n".to_owned(),
                "line 2: \"-0,5\" is not a number; write decimals with a point",
            ),
            ("a -0,5 0,25\nb 0,1 0,2\n".to_owned(), "line 1: \"-0,5\""),
            (
                format!("9 4\na{}\nb{}\n", numbers(8), numbers(8)),
                "line 2 has more than 4 numbers, as many as line 1 says",
            ),
            (
                format!("9 50\na 0.1 0.2\nb{}\n", numbers(50)),
                "line 2 has fewer than a word and 50 numbers",
            ),
            (
                format!("a 0.1 0.2\nb{}\n", numbers(50)),
                "line 2 has more than 2 numbers, as many as line 1 has",
            ),
            (
                format!("9 2\na{}\n<html> x y\n", numbers(2)),
                "line 3: \"x\" is not a number",
            ),
            ("2 2\na 1 inf\n".to_owned(), "line 2: the vector of \"a\""),
        ] {
            let error = read_bytes(text.as_bytes(), Filter::All, 9).unwrap_err();
            assert!(error.to_string().contains(words), "{text:?}: {error}");
        }
        // The word count may be that of a longer file, of which this is the beginning.
        assert!(read_bytes(b"1000000 2\na 1 2\n", Filter::All, 9).is_ok());
        // Binary, with another dimension than the first line says.
        let mut bytes = b"3 2\n".to_vec();
        for word in ["a", "b", "c"] {
            bytes.extend(word.bytes().chain([b' ']));
            bytes.extend(
                [1.0_f32, 0.1, 2.0]
                    .iter()
                    .flat_map(|value| value.to_le_bytes()),
            );
        }
        assert!(read_bytes(&bytes, Filter::All, 9).is_err());
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, words) in [
            ("a 1 2\nb 1\n", "line 2 has fewer"),
            ("a 1 2\nb 1 x\n", "line 2: \"x\" is not a number"),
            ("a 1 2\nb 1 NaN\n", "the vector of \"b\""),
            ("a 1 2\nb inf 1\n", "the vector of \"b\""),
            ("a\n", "0 values"),
            ("FiFu and then nothing", "finalfusion"),
        ] {
            let error = read_bytes(text.as_bytes(), Filter::All, 9).unwrap_err();
            assert!(error.to_string().contains(words), "{text:?}: {error}");
        }
        let mut fasttext = FASTTEXT_MAGIC.to_vec();
        fasttext.extend([9; 40]);
        let error = read_bytes(&fasttext, Filter::All, 9).unwrap_err();
        assert!(error.to_string().contains("fasttext"), "{error}");
    }
}
