//! `kindred vectors prepare`: converts published word vectors into the file Kindred reads.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use compute_worker::word_vectors::prepare::{self, PrepareOptions, Progress, Quantizer};
use compute_worker::word_vectors::{Filter, Format};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget};
use serde::Serialize;

use super::exit::{CommandError, Exit, Outcome};
use super::flags::ClientFlags;
use super::output::json_line;

/// Prepares word vectors of a language for use with the key `vectors`.
///
/// Keeps the most frequent words, lower-cased; removes the mean and the three largest principal
/// components; quantises. The file records where its vectors come from.
#[derive(Debug, clap::Args)]
pub(crate) struct PrepareArgs {
    /// Published word vectors, most frequent word first
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Output file
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Input format: auto, finalfusion, fasttext, word2vec or text
    #[arg(long, default_value = "auto", value_parser = format)]
    format: FormatChoice,
    /// Most words to keep
    #[arg(long, default_value_t = prepare::DEFAULT_WORDS, value_parser = at_least_one)]
    words: usize,
    /// Keep only words made of letters
    #[arg(long)]
    alphabetic: bool,
    /// Quantisation: pq25, pq50, … (bytes per word; must divide the dimension) or none
    #[arg(long, default_value_t)]
    quantize: Quantizer,
    /// Where the vectors come from, for the file's metadata
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    source: String,
    /// Their licence, for the file's metadata
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    license: String,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

/// A format; `None`: detect it from the file.
#[derive(Debug, Clone, Copy)]
struct FormatChoice(Option<Format>);

fn format(word: &str) -> Result<FormatChoice, String> {
    if word == "auto" {
        return Ok(FormatChoice(None));
    }
    word.parse()
        .map(|format| FormatChoice(Some(format)))
        .map_err(|error: String| format!("{error}, auto"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| "expected a whole number of at least 1".to_owned())
}

/// What was written.
#[derive(Debug, Serialize)]
struct Summary {
    output: PathBuf,
    format: String,
    words: usize,
    skipped: usize,
    dimension: usize,
    bytes: u64,
    seconds: f64,
}

pub(crate) fn run(args: &PrepareArgs, json: bool, out: &mut dyn Write) -> Outcome {
    let began = Instant::now();
    // Hidden automatically when standard error is not a terminal.
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    line.enable_steady_tick(std::time::Duration::from_millis(200));
    let options = PrepareOptions {
        format: args.format.0,
        words: args.words,
        filter: if args.alphabetic {
            Filter::Alphabetic
        } else {
            Filter::All
        },
        quantizer: args.quantize,
        source: args.source.clone(),
        license: args.license.clone(),
    };
    let prepared = prepare::prepare(&args.input, &args.output, &options, &mut |progress| {
        line.set_message(match progress {
            Progress::Reading { words } => format!("reading, {words} words"),
            Progress::Removing => "removing principal components".to_owned(),
            Progress::Quantizing => "quantising (the slowest step)".to_owned(),
            Progress::Writing => "writing".to_owned(),
            _ => "working".to_owned(),
        });
    });
    line.finish_and_clear();
    let prepared = prepared.map_err(|error| CommandError::failed(error.to_string()))?;
    let summary = Summary {
        output: args.output.clone(),
        format: prepared.format.to_string(),
        words: prepared.words,
        skipped: prepared.skipped,
        dimension: prepared.dimension,
        bytes: prepared.bytes,
        seconds: began.elapsed().as_secs_f64(),
    };
    if json {
        json_line(out, &summary)?;
    } else {
        writeln!(
            out,
            "{}: {} words of {} values, {}, from {} in {:.1} s ({} words skipped)",
            summary.output.display(),
            summary.words,
            summary.dimension,
            HumanBytes(summary.bytes),
            summary.format,
            summary.seconds,
            summary.skipped
        )?;
    }
    Ok(Exit::Done)
}
