//! `kindred bench similarity`: what the sparse part of real features costs.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use compute_worker::models::{Models, default_model};
use compute_worker::pool;
use compute_worker::word_vectors::Vectors;
use kindred_shared::job::{CompareTask, ExtractTask, Floor, Side, TermCounts};
use kindred_shared::{Block, BlockBuilder, Feature, ItemId, Space};
use kindred_similarity::RowMask;
use kindred_similarity::{Kernel, Neighbours, Options, Rows, SparseRows, neighbours};
use rayon::ThreadPool;
use rayon::prelude::*;
use serde::Serialize;

use super::super::exit::{CommandError, Outcome};
use super::super::local::SimilarityArgs;
use super::machine::Machine;
use super::texts::Texts;
use super::{read_texts, tell};
use crate::config::Config;
use crate::preprocessing::{Preprocessor, Usual};

/// All texts are treated as this language, which has word vectors.
const LANGUAGE: &str = "en";
/// Rows per block, as in a domain.
const BLOCK_ROWS: usize = 4_096;

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    version: &'static str,
    kernel: String,
    threads: usize,
    rows: usize,
    /// Length of the dense parts.
    dimension: usize,
    /// Terms per row, on average.
    terms_per_row: f64,
    keep: usize,
    rounds: u32,
    /// The neighbours of all rows.
    all: Times,
    /// Rows inserted last, compared with all others; the lists of both sides are updated.
    new_rows: usize,
    insertion: Times,
}

/// Wall-clock seconds, the best of all rounds.
#[derive(Debug, Serialize)]
struct Times {
    dense_alone: f64,
    with_sparse: f64,
}

impl Times {
    fn ratio(&self) -> f64 {
        self.with_sparse / self.dense_alone
    }
}

pub(in super::super) fn run(
    args: &SimilarityArgs,
    config: &Config,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let texts = match &args.input {
        Some(path) => read_texts(path, u64::from(args.items))?,
        None => {
            let texts = Texts::new();
            (0..u64::from(args.items)).map(|n| texts.text(n)).collect()
        }
    };
    let kernel = config
        .compute
        .kernel
        .chosen()
        .map_err(|error| CommandError::usage(error.to_string()))?;
    let pool =
        pool(config.compute.threads).map_err(|error| CommandError::failed(error.to_string()))?;
    let features = pool.install(|| features(config, &texts))?;
    let report = measure(args, kernel, &pool, features)?;
    tell(&report, print, json, out)
}

/// The space of the texts.
fn space() -> Space {
    Space::of_texts(&default_model(), LANGUAGE)
}

/// The features of the texts that have any.
fn features(config: &Config, texts: &[(String, String)]) -> Result<Vec<Feature>, CommandError> {
    let preprocessor = Preprocessor::new(&config.texts.languages, &config.texts.default_language)
        .map_err(|error| CommandError::usage(error.to_string()))?;
    let id = item(0)?;
    let terms = |(title, text): &(String, String)| TermCounts {
        id: id.clone(),
        terms: preprocessor
            .preprocess(Some(title), Some(text), Some(LANGUAGE), Usual::default())
            .terms,
    };
    let task = ExtractTask {
        space: space(),
        rows: texts.par_iter().map(terms).collect(),
    };
    let mut features = Models::new(Arc::new(Vectors::builtin()))
        .extract(&task)
        .map_err(|error| CommandError::failed(error.to_string()))?;
    features.retain(|feature| !feature.dense().is_empty() && !feature.term_ids().is_empty());
    Ok(features)
}

fn measure(
    args: &SimilarityArgs,
    kernel: Kernel,
    pool: &ThreadPool,
    features: Vec<Feature>,
) -> Result<Report, CommandError> {
    let new = usize::from(args.new);
    let rows = features.len();
    if rows <= new {
        return Err(CommandError::usage(format!(
            "only {rows} texts have features; there must be more than --new, {new}"
        )));
    }
    let dimension = features[0].dense().len();
    let (mut dense, mut ids, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    let mut offsets = vec![0];
    for feature in &features {
        dense.extend_from_slice(feature.dense());
        ids.extend_from_slice(feature.term_ids());
        weights.extend_from_slice(feature.term_weights());
        offsets.push(ids.len());
    }
    let failed = |error: &dyn std::fmt::Display| CommandError::failed(error.to_string());
    let alone = Rows::new(&dense, rows, dimension).map_err(|error| failed(&error))?;
    let both = alone
        .with_sparse(SparseRows {
            offsets: &offsets,
            ids: &ids,
            weights: &weights,
        })
        .map_err(|error| failed(&error))?;
    let options = Options {
        keep: usize::from(args.keep),
        min_score: Some(f32::MIN_POSITIVE),
        kernel,
        ..Options::default()
    };
    let mut all = [f64::INFINITY; 2];
    let mut insertion = [f64::INFINITY; 2];
    let mut tasks = Vec::new();
    let never = AtomicBool::new(false);
    for round in 0..args.rounds {
        for (which, rows) in [&alone, &both].into_iter().enumerate() {
            let began = Instant::now();
            let found = pool.install(|| neighbours(rows, &options));
            all[which] = all[which].min(began.elapsed().as_secs_f64());
            let found = found.map_err(|error| failed(&error))?;
            if round == 0 {
                tasks.push(task(&features, which == 1, new, &found, options.keep)?);
                // Layouts are made once and kept with their blocks, so they are not measured.
                let compared = pool.install(|| tasks[which].compare(kernel, &never));
                compared.map_err(|error| failed(&error))?;
            }
        }
    }
    for _ in 0..10 * args.rounds {
        for (which, task) in tasks.iter().enumerate() {
            let began = Instant::now();
            let compared = pool.install(|| task.compare(kernel, &never));
            compared.map_err(|error| failed(&error))?;
            insertion[which] = insertion[which].min(began.elapsed().as_secs_f64());
        }
    }
    let times = |[dense_alone, with_sparse]: [f64; 2]| Times {
        dense_alone,
        with_sparse,
    };
    Ok(Report {
        machine: Machine::here(),
        version: env!("CARGO_PKG_VERSION"),
        kernel: kernel.to_string(),
        threads: pool.current_num_threads(),
        rows,
        dimension,
        terms_per_row: ids.len() as f64 / rows as f64,
        keep: options.keep,
        rounds: args.rounds,
        all: times(all),
        new_rows: new,
        insertion: times(insertion),
    })
}

/// Compares the last rows with all others; their floors are the ends of their lists.
fn task(
    features: &[Feature],
    with_sparse: bool,
    new: usize,
    found: &Neighbours,
    keep: usize,
) -> Result<CompareTask, CommandError> {
    let resident = features.len() - new;
    let mut rights = Vec::new();
    for start in (0..resident).step_by(BLOCK_ROWS) {
        let rows = start..resident.min(start + BLOCK_ROWS);
        let floors = rows.clone().map(|row| {
            let (ids, scores) = found.of(row);
            Ok(match ids.get(keep - 1) {
                Some(&last) => Floor::At(scores[keep - 1], item(last as usize)?),
                None => Floor::Open,
            })
        });
        rights.push(Side {
            floors: floors.collect::<Result<_, CommandError>>()?,
            live: RowMask::all(rows.len()),
            block: block(features, with_sparse, rows)?,
        });
    }
    Ok(CompareTask {
        left: Side {
            floors: vec![Floor::Open; new],
            live: RowMask::all(new),
            block: block(features, with_sparse, resident..features.len())?,
        },
        within_left: true,
        rights,
        keep,
    })
}

fn block(
    features: &[Feature],
    with_sparse: bool,
    rows: std::ops::Range<usize>,
) -> Result<Arc<Block>, CommandError> {
    let dimension = features[0].dense().len();
    let mut builder = BlockBuilder::new(space(), dimension);
    for row in rows {
        let feature = &features[row];
        let alone;
        let feature = if with_sparse {
            feature
        } else {
            let dense = feature.dense().to_vec();
            alone = Feature::new(dense, Vec::new(), Vec::new())
                .map_err(|error| CommandError::failed(error.to_string()))?;
            &alone
        };
        builder.push(item(row)?, 1, feature);
    }
    Ok(Arc::new(builder.build()))
}

/// Padded, so that ids sort as rows do.
fn item(row: usize) -> Result<ItemId, CommandError> {
    ItemId::new(&format!("{row:010}")).map_err(|error| CommandError::failed(error.to_string()))
}

fn print(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    report.machine.print(report.version, out)?;
    writeln!(
        out,
        "kernel {}, {} threads; {} rows of {} values and {:.1} terms, K = {}; the least of {} rounds",
        report.kernel,
        report.threads,
        report.rows,
        report.dimension,
        report.terms_per_row,
        report.keep,
        report.rounds
    )?;
    let insertion = format!(
        "{} rows into {}",
        report.new_rows,
        report.rows - report.new_rows
    );
    for (name, times) in [("all rows", &report.all), (&insertion, &report.insertion)] {
        writeln!(
            out,
            "{name:<24}  dense alone {:.1} ms, with sparse {:.1} ms: {:.2} times",
            times.dense_alone * 1e3,
            times.with_sparse * 1e3,
            times.ratio()
        )?;
    }
    Ok(())
}
