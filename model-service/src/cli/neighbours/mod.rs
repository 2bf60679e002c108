//! `kindred neighbours`: the exact nearest rows of every row of a file, without a service.

mod output;
mod progress;
mod results;
mod vectors;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use compute_worker::pool;
use kindred_similarity::{Kernel, Neighbours, Options, Rows, neighbours};
use rayon::ThreadPool;
use serde::Serialize;
use tracing::info;

use self::output::{Output, write_file};
use self::progress::Progress;
use self::results::{write_ids, write_ndjson, write_scores};
use self::vectors::{Matrix, VectorsError};
use super::exit::{CommandError, Exit, Outcome};
use super::flags::ToolFlags;
use super::memory::peak_memory;
use super::output::json_line;
use crate::config::Config;

/// Finds the exact nearest rows of every row of a file of vectors.
///
/// The score of two rows is their dot product. A row's neighbours are the K other rows with the
/// highest scores, ties by row number: exactly the result of comparing every pair.
#[derive(Debug, clap::Args)]
pub(crate) struct NeighboursArgs {
    /// Vectors: .npy (a matrix of float16, float32 or float64) or .fvecs
    #[arg(long, value_name = "FILE")]
    vectors: PathBuf,
    /// Most neighbours per row
    #[arg(long, short, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    k: u16,
    /// Leave out neighbours with a lower score [default: keep all, even below 0]
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = score)]
    min_score: Option<f32>,
    /// Scale rows to length 1 first, so that scores are cosines
    #[arg(long)]
    cosine: bool,
    /// OUT.ndjson: one line per row; OUT.npy: OUT.ids.npy and OUT.scores.npy; -: NDJSON on standard
    /// output
    #[arg(long, short, value_name = "OUT")]
    output: Output,
    #[command(flatten)]
    pub(crate) flags: ToolFlags,
}

fn score(text: &str) -> Result<f32, String> {
    let score: Option<f32> = text.parse().ok();
    score
        .filter(|score| !score.is_nan())
        .ok_or_else(|| "expected a number".to_owned())
}

/// What was computed, and how.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    rows: usize,
    dimension: usize,
    k: u16,
    kernel: String,
    threads: usize,
    /// From the command's start until its end.
    seconds: f64,
    /// Part of it spent reading the file.
    reading_seconds: f64,
    /// Part of it spent comparing.
    comparing_seconds: f64,
    /// Peak memory; `None` where the system does not report it.
    peak_memory_bytes: Option<u64>,
    output: Vec<&'a std::path::Path>,
}

pub(crate) fn run(
    args: &NeighboursArgs,
    config: &Config,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let began = Instant::now();
    let kernel = config
        .compute
        .kernel
        .chosen()
        .map_err(|error| CommandError::usage(format!("kernel: {error}")))?;
    args.output.check()?;
    let pool = pool(config.compute.threads)
        .map_err(|error| CommandError::failed(format!("cannot start threads: {error}")))?;
    let progress = Progress::new();
    progress.stage("reading");
    let found = find(args, kernel, &pool, &progress);
    if found.is_err() {
        progress.finish();
    }
    let (matrix, found, [read, compared]) = found?;
    progress.stage("writing");
    let written = write(&found, args, &pool, out);
    progress.finish();
    written?;
    let summary = Summary {
        rows: matrix.rows,
        dimension: matrix.dimension,
        k: args.k,
        kernel: kernel.to_string(),
        threads: pool.current_num_threads(),
        seconds: began.elapsed().as_secs_f64(),
        reading_seconds: (read - began).as_secs_f64(),
        comparing_seconds: (compared - read).as_secs_f64(),
        peak_memory_bytes: peak_memory(),
        output: args.output.files(),
    };
    if args.output == Output::Standard {
        // Standard output is for results. Standard error may be closed.
        let _ = summary.say(json, &mut std::io::stderr());
    } else {
        summary.say(json, out)?;
    }
    Ok(Exit::Done)
}

/// Reads and compares; returns the rows, the result, and when each step was done.
fn find(
    args: &NeighboursArgs,
    kernel: Kernel,
    pool: &ThreadPool,
    progress: &Progress,
) -> Result<(Size, Neighbours, [Instant; 2]), CommandError> {
    let refused = |why: &dyn std::fmt::Display| format!("{}: {why}", args.vectors.display());
    let matrix = pool
        .install(|| Matrix::read(&args.vectors, args.cosine))
        .map_err(|error| match error {
            VectorsError::Io(_) | VectorsError::Name => CommandError::usage(refused(&error)),
            _ => CommandError::failed(refused(&error)),
        })?;
    let read = Instant::now();
    let size = Size {
        rows: matrix.rows,
        dimension: matrix.dimension,
    };
    let threads = pool.current_num_threads();
    info!(%kernel, threads, rows = size.rows, dimension = size.dimension, k = args.k, "neighbours");
    progress.comparing();
    let found = pool.install(|| {
        let rows = Rows::new(&matrix.values, matrix.rows, matrix.dimension)?;
        let options = Options {
            keep: usize::from(args.k),
            min_score: args.min_score,
            kernel,
            progress: Some(&|done, total| progress.steps(done, total)),
            cancelled: None,
        };
        neighbours(&rows, &options)
    });
    let found = found.map_err(|error| CommandError::failed(refused(&error)))?;
    Ok((size, found, [read, Instant::now()]))
}

/// The size of the comparison.
struct Size {
    rows: usize,
    dimension: usize,
}

fn write(
    found: &Neighbours,
    args: &NeighboursArgs,
    pool: &ThreadPool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let keep = usize::from(args.k);
    match &args.output {
        Output::Standard => Ok(write_ndjson(found, keep, pool, out)?),
        Output::Ndjson(path) => write_file(path, |out| write_ndjson(found, keep, pool, out)),
        Output::Arrays { ids, scores } => {
            write_file(ids, |out| write_ids(found, keep, pool, out))?;
            write_file(scores, |out| write_scores(found, keep, pool, out))
        }
    }
}

impl Summary<'_> {
    fn say(&self, json: bool, out: &mut dyn Write) -> std::io::Result<()> {
        if json {
            return json_line(out, self);
        }
        let names = self
            .output
            .iter()
            .map(|path| format!("{}: ", path.display()));
        let names: String = names.collect();
        writeln!(
            out,
            "{names}{} nearest of {} rows of {} values, {:.2} s (reading {:.2}, comparing {:.2}) on {} threads with {}",
            self.k,
            self.rows,
            self.dimension,
            self.seconds,
            self.reading_seconds,
            self.comparing_seconds,
            self.threads,
            self.kernel,
        )
    }
}
