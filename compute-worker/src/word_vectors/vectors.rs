//! The word vectors that extraction uses.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kindred_runtime::config::LanguageVectors;
use kindred_shared::Folding;
use kindred_shared::language::canonical;
use xxhash_rust::xxh3::xxh3_64;

use super::stored::{self, ReadError, Stored};
use super::zipf::Zipf;

/// The vectors compiled in; see vectors/NOTICE.md for their origin.
const ENGLISH: &[u8] = include_bytes!("../../vectors/en.fifu");
/// Longest language name, in bytes.
const MAX_LANGUAGE_BYTES: usize = 35;

/// The vectors of one language's words, most frequent word first.
///
/// Memory: `4 · words · dimension` bytes of rows (40 MB for 100,000 × 100) and about 12 bytes per word besides its
/// letters.
pub struct WordVectors {
    table: WordTable,
    dimension: usize,
    rows: Vec<f32>,
    zipf: Zipf,
    fingerprint: u128,
}

impl WordVectors {
    /// Reads a finalfusion file made by [`prepare`](super::prepare::prepare).
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let reader = BufReader::with_capacity(1 << 16, file);
        Self::decoded(stored::read(reader, length)?)
    }

    /// Reads the bytes of such a file.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReadError> {
        Self::decoded(stored::read(bytes, bytes.len() as u64)?)
    }

    fn decoded(stored: Stored) -> Result<Self, ReadError> {
        let table = WordTable::new(stored.text, stored.ends)?;
        Ok(Self {
            zipf: Zipf::new(table.len()),
            table,
            dimension: stored.dimension,
            rows: stored.rows,
            fingerprint: stored.hash,
        })
    }

    /// The same vectors under folded words, as the terms of a language are: words that differ only in apostrophes,
    /// capitals or composed letters become one, and the most frequent of them counts.
    fn folded(mut self, language: &str) -> Self {
        let folding = Folding::of(language);
        let is_folded = (0..self.table.len()).all(|rank| {
            let word = self.table.word(rank);
            word.is_ascii() && !word.bytes().any(|byte| byte.is_ascii_uppercase())
                || folding.fold(word) == word
        });
        if !is_folded {
            self.table = self.table.renamed(|word| folding.fold(word).into_owned());
        }
        self
    }

    /// Number of values of a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Number of words (≥ 1).
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Always false: a file without words is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row of a word: its frequency rank, the most frequent being 0.
    pub fn rank(&self, word: &str) -> Option<usize> {
        self.table.rank(word)
    }

    /// The vector at a rank, with its original length.
    ///
    /// # Panics
    /// When the rank is not below [`WordVectors::len`].
    pub fn vector(&self, rank: usize) -> &[f32] {
        &self.rows[rank * self.dimension..(rank + 1) * self.dimension]
    }

    /// xxh3-128 of the file's bytes, 32 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        format!("{:032x}", self.fingerprint)
    }

    pub(crate) fn zipf(&self) -> &Zipf {
        &self.zipf
    }
}

impl fmt::Debug for WordVectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WordVectors")
            .field("words", &self.len())
            .field("dimension", &self.dimension)
            .field("fingerprint", &self.fingerprint())
            .finish()
    }
}

/// Maps words to ranks: all words in one text, and an open-addressing table over them.
struct WordTable {
    text: String,
    ends: Vec<u32>,
    /// Rank plus 1, or 0 if free. The length is a power of two; at most half are used.
    slots: Vec<u32>,
}

impl WordTable {
    fn new(text: String, ends: Vec<u32>) -> Result<Self, ReadError> {
        let mut table = Self {
            slots: vec![0; (2 * ends.len()).next_power_of_two()],
            text,
            ends,
        };
        for rank in 0..table.ends.len() {
            match table.find(table.word(rank)) {
                Ok(_) => return Err(ReadError::Damaged("a word occurs twice")),
                Err(free) => {
                    table.slots[free] = u32::try_from(rank + 1)
                        .map_err(|_| ReadError::Damaged("it has over 2^32 words"))?;
                }
            }
        }
        Ok(table)
    }

    /// The table with the words renamed; of words that become equal the first is found.
    fn renamed(&self, name: impl Fn(&str) -> String) -> Self {
        let mut renamed = Self {
            text: String::with_capacity(self.text.len()),
            ends: Vec::with_capacity(self.ends.len()),
            slots: vec![0; self.slots.len()],
        };
        for rank in 0..self.len() {
            let name = name(self.word(rank));
            // Folding makes few words longer, and a text of 4 GiB was refused.
            let fits = u32::try_from(renamed.text.len() + name.len()).is_ok();
            renamed.text.push_str(if fits { &name } else { "" });
            renamed.ends.push(renamed.text.len() as u32);
            if let Err(free) = renamed.find(renamed.word(rank)) {
                renamed.slots[free] = rank as u32 + 1;
            }
        }
        renamed
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn word(&self, rank: usize) -> &str {
        let start = rank.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..self.ends[rank] as usize]
    }

    fn rank(&self, word: &str) -> Option<usize> {
        self.find(word).ok()
    }

    /// The rank of a word, or the slot where it would go.
    fn find(&self, word: &str) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = xxh3_64(word.as_bytes()) as usize & mask;
        loop {
            match self.slots[slot] {
                0 => return Err(slot),
                taken if self.word(taken as usize - 1) == word => return Ok(taken as usize - 1),
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

/// Why the word vectors of a language cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VectorsError {
    /// The name of the language.
    #[error("{0:?} is not the name of a language: use letters, digits and '-' only, as in \"de\"")]
    Language(String),
    /// The file.
    #[error("word vectors of language {language}: {path} {error}")]
    File {
        /// The language they are for.
        language: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: ReadError,
    },
}

/// The word vectors of each language that has any.
#[derive(Debug, Clone, Default)]
pub struct Vectors {
    languages: BTreeMap<String, Arc<WordVectors>>,
}

impl Vectors {
    /// No languages.
    pub fn none() -> Self {
        Self::default()
    }

    /// The English vectors compiled in. Decodes them at each call: call it once per process.
    pub fn builtin() -> Self {
        let english = WordVectors::from_bytes(ENGLISH)
            .expect("the vectors compiled in are read by a test of this crate");
        Self::none().with_words("en", english)
    }

    /// The English vectors compiled in, and those of the configuration.
    ///
    /// # Errors
    /// [`VectorsError`] for the first file that cannot be used.
    pub fn configured(files: &[LanguageVectors]) -> Result<Self, VectorsError> {
        files.iter().try_fold(Self::builtin(), |vectors, file| {
            vectors.with(&file.language, &file.path)
        })
    }

    /// Adds or replaces a language's vectors, read from a file.
    ///
    /// # Errors
    /// [`VectorsError`], naming language, file and what is wrong.
    pub fn with(self, language: &str, path: &Path) -> Result<Self, VectorsError> {
        let named = (1..=MAX_LANGUAGE_BYTES).contains(&language.len())
            && language
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !named {
            return Err(VectorsError::Language(language.to_owned()));
        }
        let words = WordVectors::open(path).map_err(|error| VectorsError::File {
            language: language.to_owned(),
            path: path.to_owned(),
            error,
        })?;
        Ok(self.with_words(language, words))
    }

    /// Adds or replaces a language's vectors.
    pub(crate) fn with_words(mut self, language: &str, words: WordVectors) -> Self {
        let language = canonical(language).unwrap_or_else(|| language.to_owned());
        let words = words.folded(&language);
        self.languages.insert(language, Arc::new(words));
        self
    }

    /// The vectors of a language.
    pub fn get(&self, language: &str) -> Option<&Arc<WordVectors>> {
        self.languages.get(language)
    }

    /// The languages that have vectors, by name.
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        self.languages.keys().map(String::as_str)
    }

    /// A fingerprint of all vectors in use, `de:…,en:…` by name of language. Features made with different fingerprints
    /// must not be compared.
    pub fn fingerprint(&self) -> String {
        let each: Vec<String> = self
            .languages
            .iter()
            .map(|(language, words)| format!("{language}:{}", words.fingerprint()))
            .collect();
        each.join(",")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
pub(super) mod tests {
    use std::fs;
    use std::io::Cursor;

    use finalfusion::embeddings::Embeddings;
    use finalfusion::io::WriteEmbeddings;
    use finalfusion::metadata::Metadata;
    use finalfusion::norms::NdNorms;
    use finalfusion::prelude::ReadEmbeddings;
    use finalfusion::storage::{NdArray, QuantizedArray};
    use finalfusion::vocab::{SimpleVocab, Vocab};
    use ndarray::{Array1, Array2};

    use super::*;

    /// Bytes of a plain file.
    pub(crate) fn file_of(words: &[&str], rows: &[f32], norms: &[f32]) -> Vec<u8> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let shape = (words.len(), rows.len() / words.len());
        let embeddings = Embeddings::new(
            Some(Metadata::new(toml::Table::new())),
            SimpleVocab::new(words),
            NdArray::new(Array2::from_shape_vec(shape, rows.to_vec()).unwrap()),
            NdNorms::new(Array1::from_vec(norms.to_vec())),
        );
        let mut bytes = Cursor::new(Vec::new());
        embeddings.write_embeddings(&mut bytes).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn reads_the_same_as_the_library() {
        let ours = WordVectors::from_bytes(ENGLISH).unwrap();
        let theirs: Embeddings<SimpleVocab, QuantizedArray> =
            Embeddings::read_embeddings(&mut Cursor::new(ENGLISH)).unwrap();
        assert_eq!((ours.len(), ours.dimension()), (100_000, 100));
        assert_eq!(theirs.len(), ours.len());
        for (rank, word) in theirs.vocab().words().iter().enumerate().step_by(97) {
            assert_eq!(ours.rank(word), Some(rank), "{word}");
            let vector = theirs
                .embedding_with_norm(word)
                .unwrap()
                .into_unnormalized();
            assert_eq!(ours.vector(rank), vector.as_slice().unwrap(), "{word}");
        }
        assert_eq!(ours.rank("the"), Some(0));
        assert_eq!(ours.rank("kubernetes"), None);
        assert_eq!(ours.rank(""), None);
    }

    #[test]
    fn the_fingerprint_is_the_files_hash() {
        let bytes = file_of(&["a", "b"], &[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0]);
        let expected = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes));
        let words = WordVectors::from_bytes(&bytes).unwrap();
        assert_eq!(words.fingerprint(), expected);
        assert_eq!(words.vector(1), [6.0, 8.0]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("de.fifu");
        fs::write(&path, &bytes).unwrap();
        let vectors = Vectors::none().with("de", &path).unwrap();
        assert_eq!(vectors.fingerprint(), format!("de:{expected}"));
        assert_eq!(vectors.languages().collect::<Vec<_>>(), ["de"]);
        assert_eq!(vectors.get("de").unwrap().len(), 2);
    }

    #[test]
    fn words_are_found_as_terms_are_written() {
        let written = ["presqu’île", "e\u{301}cole", "PÉNINSULE", "école", "à"];
        let rows: Vec<f32> = (0..10).map(|n| n as f32).collect();
        let words = WordVectors::from_bytes(&file_of(&written, &rows, &[1.0; 5])).unwrap();
        let before = words.fingerprint();
        let vectors = Vectors::none().with_words("fra", words);
        let french = vectors.get("fr").unwrap();
        let folding = Folding::of("fr");
        for (term, rank) in [("presqu'île", 0), ("École", 1), ("péninsule", 2), ("A", 4)] {
            assert_eq!(french.rank(&folding.fold(term)), Some(rank), "{term}");
        }
        assert_eq!((french.len(), french.vector(3)), (5, &[6.0, 7.0][..]));
        assert_eq!(french.rank("presqu’île"), None);
        assert_eq!(french.fingerprint(), before);
    }

    #[test]
    fn no_damage_panics_and_every_cut_is_noticed() {
        let plain = file_of(&["a", "bc"], &[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0]);
        for cut in 0..plain.len() {
            assert!(
                WordVectors::from_bytes(&plain[..cut]).is_err(),
                "cut at {cut}"
            );
        }
        assert!(WordVectors::from_bytes(&ENGLISH[..3 << 20]).is_err());
        // Whichever byte is wrong, the result is vectors or an error.
        for at in 0..plain.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = plain.clone();
                damaged[at] = value;
                let _ = WordVectors::from_bytes(&damaged);
            }
        }
        // The header of the quantised rows (flags, lengths, types) follows the words.
        let found = ENGLISH.windows(28).position(|bytes| {
            bytes[8..12] == 25_u32.to_le_bytes()
                && bytes[12..16] == 100_u32.to_le_bytes()
                && bytes[16..20] == 256_u32.to_le_bytes()
        });
        let head = found.expect("25 codes, 100 values, 256 centroids");
        let mut damaged = ENGLISH.to_vec();
        for at in head..head + 36 {
            damaged[at] ^= 0xff;
            let read = WordVectors::from_bytes(&damaged);
            assert!(read.is_err(), "byte {} of the head", at - head);
            damaged[at] ^= 0xff;
        }
    }

    #[test]
    fn errors_name_the_file_and_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fr.fifu");
        let error = Vectors::none().with("fr", &path).unwrap_err().to_string();
        assert!(
            error.contains("fr.fifu") && error.contains("cannot be read"),
            "{error}"
        );
        fs::write(&path, "le 0.1 0.2 0.3\n").unwrap();
        let error = Vectors::none().with("fr", &path).unwrap_err().to_string();
        assert!(error.contains("vectors prepare"), "{error}");
        assert!(Vectors::none().with("f,r:", &path).is_err());
        let twice = file_of(&["a", "b"], &[1.0, 2.0], &[1.0, f32::NAN]);
        assert!(WordVectors::from_bytes(&twice).is_err());
    }
}
