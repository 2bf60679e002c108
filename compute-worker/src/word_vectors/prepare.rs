//! Converts published word vectors into the file that extraction reads.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use finalfusion::embeddings::{Embeddings, Quantize};
use finalfusion::io::WriteEmbeddings;
use finalfusion::metadata::Metadata;
use finalfusion::norms::NdNorms;
use finalfusion::storage::NdArray;
use finalfusion::vocab::SimpleVocab;
use ndarray::{Array1, Array2};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use reductive::pq::Pq;
use toml::{Table, Value};

use super::components;
use super::format::Format;
use super::source::{self, Filter, SourceError};

/// Default number of words kept.
pub const DEFAULT_WORDS: usize = 100_000;
/// Principal components removed.
pub const REMOVED_COMPONENTS: usize = 3;
/// Bits of a sub-quantiser's code: one byte, 256 centroids.
const CODE_BITS: u32 = 8;
/// Rounds of k-means; more have no measurable benefit.
const ITERATIONS: usize = 10;
const ATTEMPTS: usize = 1;
const SEED: u64 = 42;

/// How rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quantizer {
    /// Product quantisation with this many sub-quantisers, one byte each per row. It must divide
    /// the dimension.
    Product(usize),
    /// None: four bytes per value.
    None,
}

impl Default for Quantizer {
    fn default() -> Self {
        Self::Product(25)
    }
}

impl fmt::Display for Quantizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Product(count) => write!(f, "pq{count}"),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for Quantizer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        text.strip_prefix("pq")
            .and_then(|count| count.parse().ok())
            .filter(|&count| count > 0)
            .map(Self::Product)
            .ok_or_else(|| format!("{text:?} is not a quantiser; use pq25, pq50, … or none"))
    }
}

/// Options of [`prepare`].
#[derive(Debug, Clone)]
pub struct PrepareOptions {
    /// The format of the input; `None`: detected from its first bytes.
    pub format: Option<Format>,
    /// Most words kept, in file order (≥ 1).
    pub words: usize,
    /// Which words are kept.
    pub filter: Filter,
    /// How rows are stored.
    pub quantizer: Quantizer,
    /// Where the vectors come from, for the file's metadata.
    pub source: String,
    /// Their licence, for the file's metadata.
    pub license: String,
}

impl Default for PrepareOptions {
    fn default() -> Self {
        Self {
            format: None,
            words: DEFAULT_WORDS,
            filter: Filter::default(),
            quantizer: Quantizer::default(),
            source: String::new(),
            license: String::new(),
        }
    }
}

/// The progress of [`prepare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Reading the input.
    Reading {
        /// Words kept so far.
        words: usize,
    },
    /// Removing mean and principal components.
    Removing,
    /// Training the quantiser: the longest part, a minute or two for 100,000 words.
    Quantizing,
    /// Writing the file.
    Writing,
}

/// The result of [`prepare`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The format that the input was read as.
    pub format: Format,
    /// Words in the file.
    pub words: usize,
    /// Words of the input that were skipped: filtered, repeated, or not UTF-8.
    pub skipped: usize,
    /// Values of a vector.
    pub dimension: usize,
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// Why no file was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The input cannot be read.
    #[error("{path}: {error}")]
    Source {
        /// The input file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: SourceError,
    },
    /// No word passed the filter.
    #[error("{0}: no word passed the filter")]
    NoWords(PathBuf),
    /// Removing the components would leave nothing of the vectors.
    #[error(
        "the vectors have {0} values; they need more than the {REMOVED_COMPONENTS} components that are removed"
    )]
    TooShort(usize),
    /// The sub-quantisers do not divide the dimension evenly.
    #[error(
        "{quantizers} sub-quantisers do not divide {dimension} values; choose one of {}, or none",
        divisors(*.dimension)
    )]
    Uneven {
        /// Values of a vector.
        dimension: usize,
        /// Requested sub-quantisers.
        quantizers: usize,
    },
    /// There are too few words to train a quantiser.
    #[error(
        "{0} words are too few to quantise: at least 256 are needed; choose none to store them unquantised"
    )]
    TooFew(usize),
    /// The quantiser failed.
    #[error("the vectors could not be quantised: {0}")]
    Quantize(String),
    /// The output cannot be written.
    #[error("{path}: cannot be written: {error}")]
    Write {
        /// The output file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        error: io::Error,
    },
}

fn divisors(dimension: usize) -> String {
    let fitting: Vec<String> = (1..=dimension)
        .filter(|count| dimension.is_multiple_of(*count))
        .map(|count| format!("pq{count}"))
        .collect();
    fitting.join(", ")
}

/// Reads word vectors, removes their mean and the three largest principal components, quantises
/// them and writes a finalfusion file: unit rows with their norms stored separately, row number =
/// frequency rank. Words are lower-cased.
///
/// Two runs give files of the same quality but not of the same bytes, because the library chooses
/// the quantiser's first centroids in the order of a randomised hash set.
///
/// Memory: about three times the kept vectors; finalfusion and fastText inputs are also read whole.
/// The training runs on the current rayon pool. The output appears only when it is complete.
///
/// # Errors
/// [`PrepareError`], naming the file and what is wrong.
pub fn prepare(
    input: &Path,
    output: &Path,
    options: &PrepareOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Prepared, PrepareError> {
    let mut source = source::read(
        input,
        options.format,
        options.filter,
        options.words.max(1),
        &mut |words| progress(Progress::Reading { words }),
    )
    .map_err(|error| PrepareError::Source {
        path: input.to_owned(),
        error,
    })?;
    let (count, dimension) = (source.words.len(), source.dimension);
    if count == 0 {
        return Err(PrepareError::NoWords(input.to_owned()));
    }
    if dimension <= REMOVED_COMPONENTS {
        return Err(PrepareError::TooShort(dimension));
    }
    if let Quantizer::Product(quantizers) = options.quantizer {
        if quantizers == 0 || !dimension.is_multiple_of(quantizers) {
            return Err(PrepareError::Uneven {
                dimension,
                quantizers,
            });
        }
        if count < 1 << CODE_BITS {
            return Err(PrepareError::TooFew(count));
        }
    }

    progress(Progress::Removing);
    components::remove_largest(&mut source.values, dimension, REMOVED_COMPONENTS);
    let norms = normalise(&mut source.values, dimension);
    let rows = Array2::from_shape_vec((count, dimension), source.values)
        .expect("every row was read with the same dimension");
    let plain = Embeddings::new(
        Some(Metadata::new(about(options, source.format, count))),
        SimpleVocab::new(source.words),
        NdArray::new(rows),
        NdNorms::new(Array1::from_vec(norms)),
    );

    let bytes = match options.quantizer {
        Quantizer::None => {
            progress(Progress::Writing);
            write(&plain, output)
        }
        Quantizer::Product(quantizers) => {
            progress(Progress::Quantizing);
            let quantised = plain
                .quantize_using::<Pq<f32>, _>(
                    quantizers,
                    CODE_BITS,
                    ITERATIONS,
                    ATTEMPTS,
                    false,
                    ChaCha8Rng::seed_from_u64(SEED),
                )
                .map_err(|error| PrepareError::Quantize(error.to_string()))?;
            progress(Progress::Writing);
            write(&quantised, output)
        }
    }
    .map_err(|error| PrepareError::Write {
        path: output.to_owned(),
        error,
    })?;
    Ok(Prepared {
        format: source.format,
        words: count,
        skipped: source.skipped,
        dimension,
        bytes,
    })
}

/// Scales every row to length 1 and returns the lengths. A row of zeros stays as it is.
fn normalise(values: &mut [f32], dimension: usize) -> Vec<f32> {
    values
        .chunks_exact_mut(dimension)
        .map(|row| {
            let squares: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            let norm = squares.sqrt();
            if norm > 0.0 {
                row.iter_mut()
                    .for_each(|v| *v = (f64::from(*v) / norm) as f32);
            }
            norm as f32
        })
        .collect()
}

fn about(options: &PrepareOptions, format: Format, words: usize) -> Table {
    let filter = match options.filter {
        Filter::All => "all words",
        Filter::Alphabetic => "words of letters only",
    };
    [
        ("source", Value::from(options.source.clone())),
        ("license", Value::from(options.license.clone())),
        ("input_format", Value::from(format.to_string())),
        (
            "words",
            Value::from(format!("first {words}, {filter}, lower-cased")),
        ),
        (
            "changes",
            Value::from(format!(
                "mean subtracted, {REMOVED_COMPONENTS} largest principal components removed"
            )),
        ),
        ("quantizer", Value::from(options.quantizer.to_string())),
        (
            "made_by",
            Value::from(concat!(
                "kindred ",
                env!("CARGO_PKG_VERSION"),
                " vectors prepare"
            )),
        ),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// Writes to a temporary file and renames it, so that a half-written file never has the output's
/// name.
fn write(embeddings: &impl WriteEmbeddings, output: &Path) -> io::Result<u64> {
    let mut part = output.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = (|| {
        let mut writer = BufWriter::new(File::create(&part)?);
        embeddings
            .write_embeddings(&mut writer)
            .map_err(|error| io::Error::other(error.to_string()))?;
        writer.flush()?;
        let file = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(&part, output)?;
        Ok(bytes)
    })();
    if written.is_err() {
        // The first error is the one to report; a leftover part is overwritten next time.
        let _ = fs::remove_file(&part);
    }
    written
}
