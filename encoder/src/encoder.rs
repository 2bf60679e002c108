//! A sentence encoder: a text in, a vector of length 1 out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kindred_similarity::Kernel;
use xxhash_rust::xxh3::Xxh3;

use crate::error::{EncodeError, OpenError, Unfit};
use crate::graph::Graph;
use crate::onnx::Model;
use crate::tensor::Tensor;
use crate::tokens::{Tokenized, Tokens};

/// The file of a model, in the folder of its encoder.
pub const MODEL_FILE: &str = "model.onnx";
/// The file of its tokenizer.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Longest name of an encoder.
pub const MOST_NAME_BYTES: usize = 40;
/// What is read of a text: the first 16 KiB, several times as much as 512 tokens of most languages.
pub const MOST_TEXT_BYTES: usize = 16 << 10;
/// Longest vector.
const MOST_VALUES: usize = 4_096;
/// Largest file.
const MOST_FILE_BYTES: u64 = 2 << 30;

/// Changes with the arithmetic: what other versions made cannot be compared with what this one makes.
const REVISION: &str = "encoder 1";
/// Texts that a model is tried with when it is opened: of different length.
const TRIALS: [&str; 2] = ["a", "a b c"];
/// The output that is the vector of the whole text, if there is one of that name.
const OF_TEXT: &str = "sentence_embedding";

/// A sentence encoder.
///
/// The vector of a text is the mean of the vectors of its tokens, scaled to length 1; or that of the whole text, if the
/// model has an output of that name. The same text gives the same bits on every machine, with any number of threads,
/// whichever texts were encoded before or are at the same time.
#[derive(Debug)]
pub struct Encoder {
    name: String,
    fingerprint: u64,
    tokens: Tokens,
    graph: Graph,
    dimension: usize,
    kernel: Kernel,
}

impl Encoder {
    /// The encoder in a folder, which has its name. Runs it on short texts, so that most of what is wrong with a model is
    /// found here.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(folder: &Path, kernel: Kernel) -> Result<Self, OpenError> {
        let name = folder.file_name().and_then(|name| name.to_str());
        let name = name.filter(|name| is_name(name));
        let name = name.ok_or_else(|| OpenError::Name {
            path: folder.to_owned(),
        })?;
        let (model_path, tokenizer_path) = (folder.join(MODEL_FILE), folder.join(TOKENIZER_FILE));
        let (model, tokenizer) = (read(&model_path)?, read(&tokenizer_path)?);
        let fingerprint = fingerprint([REVISION.as_bytes(), &model, &tokenizer]);
        let tokens = Tokens::read(&tokenizer).map_err(|why| OpenError::Tokenizer {
            path: tokenizer_path,
            why,
        })?;
        let unfit = |why: Unfit| OpenError::Model {
            path: model_path.clone(),
            why: why.to_string(),
        };
        let mut encoder = Self {
            name: name.to_owned(),
            fingerprint,
            tokens,
            graph: graph(&model, kernel).map_err(unfit)?,
            dimension: 0,
            kernel,
        };
        encoder.try_out().map_err(unfit)?;
        Ok(encoder)
    }

    fn try_out(&mut self) -> Result<(), Unfit> {
        for text in TRIALS {
            let vector = self.vector(text, None);
            let length = vector.map_err(|error| Unfit::new(error.to_string()))?.len();
            if length == 0 || (self.dimension != 0 && length != self.dimension) {
                return Err(Unfit::new(format!(
                    "a vector of {length} values, before of {}",
                    self.dimension
                )));
            }
            self.dimension = length;
        }
        Ok(())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A hash of its files and of the arithmetic: encoders of the same fingerprint give the same bits.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The length of its vectors.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The vector of a text, on the current thread; of a text without any token, no values. It ends soon after `within`
    /// has passed.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn encode(&self, text: &str, within: Duration) -> Result<Vec<f32>, EncodeError> {
        self.vector(text, Some(within))
    }

    fn vector(&self, text: &str, within: Option<Duration>) -> Result<Vec<f32>, EncodeError> {
        let deadline = within.and_then(|within| Instant::now().checked_add(within));
        let text = &text[..text.floor_char_boundary(MOST_TEXT_BYTES)];
        let tokens = self.tokens.of(text).map_err(EncodeError::Unreadable)?;
        if !tokens.has_text {
            return Ok(Vec::new());
        }
        let output = self
            .graph
            .run(|name| input(name, &tokens), self.kernel, deadline);
        let output = output.map_err(|stopped| stopped.of_text(within.unwrap_or_default()))?;
        pooled(&output).map_err(|unfit| EncodeError::Failed(unfit.to_string()))
    }
}

/// The model of a file, of which the vector of the whole text is wanted, or else the first output.
fn graph(file: &[u8], kernel: Kernel) -> Result<Graph, Unfit> {
    let model = Model::read(file)?;
    let of_text = model.outputs.iter().find(|name| *name == OF_TEXT);
    let output = of_text.or_else(|| model.outputs.first());
    let output = output.cloned().unwrap_or_default();
    let graph = Graph::new(model, &output, kernel)?;
    let nothing = Tokenized {
        ids: Vec::new(),
        types: Vec::new(),
        has_text: false,
    };
    let unknown = graph.inputs().find(|name| input(name, &nothing).is_none());
    match unknown {
        None => Ok(graph),
        Some(name) => Err(Unfit::new(format!(
            "input {name} is not one of a sentence encoder"
        ))),
    }
}

/// An input of a model for a text: a batch of one.
fn input(name: &str, tokens: &Tokenized) -> Option<Tensor> {
    let values = match name {
        "input_ids" => tokens.ids.clone(),
        "token_type_ids" => tokens.types.clone(),
        "attention_mask" => vec![1; tokens.ids.len()],
        _ => return None,
    };
    Tensor::of(vec![1, values.len()], values).ok()
}

/// The vector of a text, of length 1: from the vectors of its tokens, or from one that is for the whole text.
fn pooled(output: &Tensor) -> Result<Vec<f32>, Unfit> {
    let (rows, length) = match output.shape[..] {
        [1, length] => (1, length),
        [1, rows, length] => (rows, length),
        _ => return Err(Unfit::new(format!("an output of shape {:?}", output.shape))),
    };
    if rows == 0 || !(1..=MOST_VALUES).contains(&length) {
        return Err(Unfit::new(format!(
            "{rows} vectors of {length} values; at most {MOST_VALUES} are possible"
        )));
    }
    let mut sums = vec![0.0_f64; length];
    for row in output.values::<f32>()?.chunks_exact(length) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    // Scaling makes the mean of the sum.
    let squares: f64 = sums.iter().map(|sum| sum * sum).sum();
    let whole = squares.sqrt();
    if !whole.is_finite() || whole == 0.0 {
        return Err(Unfit::new("a vector without a direction"));
    }
    Ok(sums.into_iter().map(|sum| (sum / whole) as f32).collect())
}

/// Whether an encoder may have this name.
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MOST_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed)
}

fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    let unreadable = |why: String| OpenError::Unreadable {
        path: path.to_owned(),
        why,
    };
    let length = std::fs::metadata(path)
        .map_err(|error| unreadable(error.to_string()))?
        .len();
    if length > MOST_FILE_BYTES {
        return Err(unreadable(format!(
            "{length} bytes; at most {MOST_FILE_BYTES} are read"
        )));
    }
    std::fs::read(path).map_err(|error| unreadable(error.to_string()))
}

fn fingerprint(parts: [&[u8]; 3]) -> u64 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.digest()
}

/// The encoders in a folder: one for each folder in it.
///
/// # Errors
/// [`OpenError`] of the first that cannot be opened.
pub fn open_all(folder: &Path, kernel: Kernel) -> Result<Vec<Encoder>, OpenError> {
    let unreadable = |error: std::io::Error| OpenError::Unreadable {
        path: folder.to_owned(),
        why: error.to_string(),
    };
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() && !is_hidden {
            folders.push(path);
        }
    }
    folders.sort();
    folders
        .iter()
        .map(|folder| Encoder::open(folder, kernel))
        .collect()
}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} values)", self.name, self.dimension)
    }
}
