//! `kindred bench extract`: how many documents of 200 words one core turns into features, by language.

use std::collections::HashSet;
use std::io::Write;
use std::time::{Duration, Instant};

use compute_worker::models::{Models, default_model};
use compute_worker::pool;
use kindred_domain::extraction::PieceSize;
use kindred_shared::job::{ExtractTask, TermCounts};
use kindred_shared::{ItemId, ModelName, Space};
use serde::Serialize;

use super::super::exit::{CommandError, Outcome};
use super::super::local::ExtractArgs;
use super::articles::{Articles, WORDS, languages};
use super::machine::Machine;
use super::tell;
use crate::config::Config;
use crate::preprocessing::{Preprocessor, Usual};

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    version: &'static str,
    model: String,
    words: usize,
    documents: u32,
    rounds: u32,
    languages: Vec<OfLanguage>,
}

/// On one core; the fastest of all rounds. As many documents are extracted together as the service puts into a job.
#[derive(Debug, Serialize)]
struct OfLanguage {
    language: &'static str,
    documents_per_second: f64,
    /// Share of the time that markup, detection of the language and terms take; the rest is the model's.
    reading_share: f64,
    terms_per_document: f64,
    /// Of all documents together. The fewer there are, the more documents of one job share.
    different_terms: usize,
    /// Share of documents whose language was detected correctly.
    detected_share: f64,
}

pub(in super::super) fn run(
    args: &ExtractArgs,
    config: &Config,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let failed = |error: &dyn std::fmt::Display| CommandError::failed(error.to_string());
    let preprocessor = Preprocessor::new(&config.texts.languages, &config.texts.default_language)
        .map_err(|error| CommandError::usage(error.to_string()))?;
    let kernel = config.compute.kernel.chosen();
    let kernel = kernel.map_err(|error| CommandError::usage(error.to_string()))?;
    let models = Models::configured(&config.texts, kernel);
    let models = models.map_err(|error| CommandError::usage(error.to_string()))?;
    let model = model(args.encoder.as_deref(), &models)?;
    // One thread: the figure is per core.
    let pool = pool(1).map_err(|error| failed(&error))?;
    let wanted =
        |language: &&'static str| args.of.is_empty() || args.of.iter().any(|one| one == language);
    if let Some(unknown) = args
        .of
        .iter()
        .find(|one| !languages().any(|known| known == **one))
    {
        let known: Vec<&str> = languages().collect();
        return Err(CommandError::usage(format!(
            "--of: no documents in {unknown:?}; available: {}",
            known.join(", ")
        )));
    }
    let mut of_languages = Vec::new();
    for language in languages().filter(wanted) {
        let measured =
            pool.install(|| measure(args, language, &preprocessor, (&models, &model)))?;
        of_languages.push(measured);
    }
    let report = Report {
        machine: Machine::here(),
        version: env!("CARGO_PKG_VERSION"),
        model: model.to_string(),
        words: WORDS,
        documents: args.items,
        rounds: args.rounds,
        languages: of_languages,
    };
    tell(&report, print, json, out)
}

/// The kind of the encoder of this name, or the default one.
fn model(encoder: Option<&str>, models: &Models) -> Result<ModelName, CommandError> {
    let Some(wanted) = encoder else {
        return Ok(default_model());
    };
    let mut kinds = models.of_encoders().into_iter();
    let found = kinds.find(|kind| kind.encoder().is_some_and(|(name, _)| name == wanted));
    found.ok_or_else(|| {
        CommandError::usage(format!(
            "--encoder {wanted}: the folder of the key encoders does not have it"
        ))
    })
}

fn measure(
    args: &ExtractArgs,
    language: &'static str,
    preprocessor: &Preprocessor,
    (models, model): (&Models, &ModelName),
) -> Result<OfLanguage, CommandError> {
    let failed = |error: &dyn std::fmt::Display| CommandError::failed(error.to_string());
    let articles = Articles::of(language)
        .ok_or_else(|| CommandError::usage(format!("no documents in {language:?}")))?;
    let documents: Vec<(String, String)> = (0..u64::from(args.items))
        .map(|n| articles.document(n))
        .collect();
    let id = ItemId::new("document").map_err(|error| failed(&error))?;
    let (mut least, mut reading_share) = (Duration::MAX, 0.0);
    let (mut terms, mut detected, mut different) = (0, 0, HashSet::new());
    for _ in 0..args.rounds {
        (terms, detected) = (0, 0);
        let (mut reading, mut took) = (Duration::ZERO, Duration::ZERO);
        for documents in documents.chunks(PieceSize::default().of_kind(model).items) {
            let began = Instant::now();
            let mut rows = Vec::with_capacity(documents.len());
            for (title, text) in documents {
                let read = preprocessor.preprocess_for(
                    model,
                    Some(title),
                    Some(text),
                    None,
                    Usual::default(),
                );
                detected += usize::from(read.is_sure && read.language == language);
                terms += read.terms.len();
                rows.push(TermCounts {
                    id: id.clone(),
                    terms: read.terms,
                });
            }
            reading += began.elapsed();
            let task = ExtractTask {
                space: Space::of_texts(model, language),
                rows,
            };
            let features = models.extract(&task).map_err(|error| failed(&error))?;
            took += began.elapsed();
            if features.len() != documents.len() {
                return Err(CommandError::failed("a document has no feature".to_owned()));
            }
            let of_all = task.rows.into_iter().flat_map(|row| row.terms);
            different.extend(of_all.map(|(term, _)| term));
        }
        if took < least {
            (least, reading_share) = (took, reading.as_secs_f64() / took.as_secs_f64());
        }
    }
    let count = documents.len() as f64;
    Ok(OfLanguage {
        language,
        documents_per_second: count / least.as_secs_f64(),
        reading_share,
        terms_per_document: terms as f64 / count,
        different_terms: different.len(),
        detected_share: detected as f64 / count,
    })
}

fn print(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    report.machine.print(report.version, out)?;
    writeln!(
        out,
        "model {}, one thread; {} documents of {} words in HTML, the fastest of {} rounds",
        report.model, report.documents, report.words, report.rounds
    )?;
    for one in &report.languages {
        writeln!(
            out,
            "{}  {:>7.0} documents/s, {:.0} % of the time reading; {:.0} terms, {} different ones in all, language detected in {:.0} %",
            one.language,
            one.documents_per_second,
            one.reading_share * 100.0,
            one.terms_per_document,
            one.different_terms,
            one.detected_share * 100.0
        )?;
    }
    Ok(())
}
