//! `kindred evaluate`: how good lists are, judged by what people said.

mod agreement;
mod input;
mod measure;
mod metrics;
mod report;
mod running;
mod systems;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use compute_worker::models::{Models, names_of_texts};
use compute_worker::pool;
use compute_worker::word_vectors::Vectors;
use kindred_shared::event::Limits;
use kindred_shared::{ModelName, VectorName};
use serde::Serialize;

use self::agreement::{Agreement, agreements};
use self::input::{Field, Items};
use self::measure::{Evaluation, Said, measure};
use self::running::Running;
use self::systems::{Baseline, System, of_model, of_terms, read};
use super::client::Server;
use super::exit::{CommandError, Exit, Outcome};
use super::flags::ServiceFlags;
use super::output::json_lines;
use crate::config::Config;
use crate::preprocessing::{Preprocessed, Preprocessor};

/// How long a running service may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures how good lists are: of files, without a service, or of a running domain.
///
/// Models are compared with each other and with TF-IDF and BM25 on the same terms. Judgements are
/// lines of {"a","b","score"}: how similar somebody rated two items. Links are lines of
/// {"from","to"}: what an author linked to. With --tags, an answer is better the more labels it
/// shares with the item; items of the same group are skipped.
#[derive(Debug, clap::Args)]
pub(crate) struct EvaluateArgs {
    /// Files of events of one domain, as `kindred import` takes them
    #[arg(long, value_name = "FILE", required_unless_present = "domain")]
    items: Vec<PathBuf>,
    /// A domain of a running Kindred
    #[arg(long, value_name = "DOMAIN", conflicts_with = "items")]
    domain: Option<String>,
    /// NDJSON file of judgements
    #[arg(long, value_name = "FILE")]
    judgements: Option<PathBuf>,
    /// NDJSON file of links
    #[arg(long, value_name = "FILE")]
    links: Option<PathBuf>,
    /// Field that holds the labels: categories, or attributes.NAME (separated by commas)
    #[arg(long, value_name = "FIELD")]
    tags: Option<Field>,
    /// A model to measure; may be repeated. With --items it is a model of texts, or vectors.NAME: the
    /// vectors that items bring under a name [default: all models of texts]
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// Write a report as an HTML page
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ServiceFlags,
}

/// The results.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    items: usize,
    /// Number of items by the language they were read as.
    languages: BTreeMap<String, usize>,
    systems: Vec<Evaluation>,
    /// Of each two of them.
    agreement: Vec<Agreement>,
}

pub(super) fn run(
    args: &EvaluateArgs,
    config: &Config,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let limits = Limits {
        message_bytes: config.events.max_message,
        text_bytes: config.events.max_text,
        attributes: config.events.max_attributes,
    };
    let pool = pool(config.compute.threads)
        .map_err(|error| CommandError::failed(format!("cannot start threads: {error}")))?;
    let (items, said, report, systems) = match &args.domain {
        None => {
            let models = models(args)?;
            let items = Items::read(&args.items, &limits)?;
            let said = said(args, &items)?;
            let (report, systems) = pool.install(|| of_files(&models, config, &items, &said))?;
            (items, said, report, systems)
        }
        Some(domain) => {
            let client = args.server.patient_client(config, PATIENCE)?;
            let client = &client;
            let running = Running { client, domain };
            let models = running.models(&args.model)?;
            let (items, lists) = running.read(&models, &limits)?;
            let said = said(args, &items)?;
            let judged = said.judgements.as_deref().unwrap_or_default();
            let asked = models.iter().zip(&lists);
            let asked = asked.map(|(model, lists)| running.system(model, lists, &items, judged));
            let systems = asked.collect::<Result<_, _>>()?;
            let preprocessor = preprocessor(config)?;
            let (report, systems) =
                pool.install(|| evaluate(&items, &said, systems, &read(&items, &preprocessor)));
            (items, said, report, systems)
        }
    };
    if let Some(path) = &args.output {
        let page = report::page(&report, &systems, &items, &said);
        std::fs::write(path, page)
            .map_err(|error| CommandError::failed(format!("{}: {error}", path.display())))?;
    }
    if json {
        json_lines(out, &report)?;
    } else {
        print(&report, out)?;
    }
    Ok(Exit::Done)
}

/// The requested models.
fn models(args: &EvaluateArgs) -> Result<Vec<ModelName>, CommandError> {
    let known = names_of_texts();
    if args.model.is_empty() {
        return Ok(known);
    }
    let wanted = args.model.iter().map(|name| {
        if let Some(vector) = name.strip_prefix(systems::VECTORS) {
            let vector = VectorName::new(vector);
            let vector =
                vector.map_err(|error| CommandError::usage(format!("--model {name}: {error}")))?;
            return Ok(ModelName::of_vector(&vector));
        }
        let found = known.iter().find(|model| model.as_str() == name);
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(ModelName::as_str).collect();
            let names = names.join(", ");
            CommandError::usage(format!(
                "--model {name}: expected one of {names}, or vectors.NAME"
            ))
        })
    });
    wanted.collect()
}

fn said(args: &EvaluateArgs, items: &Items) -> Result<Said, CommandError> {
    let judgements = args
        .judgements
        .as_ref()
        .map(|path| input::judgements(path, items));
    let links = args.links.as_ref().map(|path| input::links(path, items));
    if let Some(field) = &args.tags
        && (0..items.len()).all(|item| items.labels(item, field).is_empty())
    {
        return Err(CommandError::usage(
            "--tags: no item has a label in this field",
        ));
    }
    Ok(Said {
        judgements: judgements.transpose()?,
        links: links.transpose()?,
        tags: args.tags.clone(),
    })
}

fn preprocessor(config: &Config) -> Result<Preprocessor, CommandError> {
    let texts = &config.texts;
    Preprocessor::new(&texts.languages, &texts.default_language)
        .map_err(|error| CommandError::usage(error.to_string()))
}

fn of_files(
    wanted: &[ModelName],
    config: &Config,
    items: &Items,
    said: &Said,
) -> Result<(Report, Vec<System>), CommandError> {
    let preprocessor = preprocessor(config)?;
    let vectors = Vectors::configured(&config.texts.vectors);
    let vectors = vectors.map_err(|error| CommandError::usage(error.to_string()))?;
    let kernel = config.compute.kernel;
    let kernel = kernel
        .chosen()
        .map_err(|error| CommandError::usage(error.to_string()))?;
    let models = Models::new(Arc::new(vectors));
    let read = read(items, &preprocessor);
    let made = wanted
        .iter()
        .map(|model| of_model(&models, model, items, (&read, &preprocessor), kernel));
    let systems: Vec<System> = made.collect::<Result<_, _>>()?;
    Ok(evaluate(items, said, systems, &read))
}

/// Measures these systems, and the baselines on the texts as they are read.
fn evaluate(
    items: &Items,
    said: &Said,
    mut systems: Vec<System>,
    read: &[Preprocessed],
) -> (Report, Vec<System>) {
    systems.extend(Baseline::ALL.map(|baseline| of_terms(baseline, read)));
    let mut languages = BTreeMap::new();
    for text in read {
        *languages.entry(text.language.clone()).or_default() += 1;
    }
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        items: items.len(),
        languages,
        systems: systems
            .iter()
            .map(|system| measure(system, items, said))
            .collect(),
        agreement: agreements(&systems),
    };
    (report, systems)
}

fn print(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    let mut languages: Vec<(&String, &usize)> = report.languages.iter().collect();
    languages.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let languages: Vec<String> = languages
        .iter()
        .take(8)
        .map(|(code, count)| format!("{code} {count}"))
        .collect();
    writeln!(
        out,
        "{} items; read as {}",
        report.items,
        languages.join(", ")
    )?;
    let mut names: Vec<&str> = report
        .systems
        .iter()
        .flat_map(|one| one.measures.keys().copied())
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        writeln!(out, "\n{name}")?;
        for one in &report.systems {
            match one.measures.get(name) {
                Some(found) => writeln!(
                    out,
                    "  {:<12} {:.3}  ({:.3} to {:.3}, of {})",
                    one.name, found.value, found.low, found.high, found.of
                )?,
                None => writeln!(out, "  {:<12} none", one.name)?,
            }
        }
    }
    writeln!(
        out,
        "\nlists           have one  first places  first tens  never listed  near-duplicates"
    )?;
    for one in &report.systems {
        let percent = |value: f64| format!("{:.1} %", 100.0 * value);
        let lists = &one.lists;
        writeln!(
            out,
            "  {:<12} {:>9} {:>13} {:>11} {:>13} {:>16}",
            one.name,
            percent(lists.with_list),
            percent(lists.most_first_places),
            percent(lists.most_first_ten),
            percent(lists.never_listed),
            lists
                .near_duplicates
                .map_or_else(|| "-".to_owned(), percent),
        )?;
    }
    writeln!(
        out,
        "(first places, first tens: the largest share held by a single item)"
    )?;
    if !report.agreement.is_empty() {
        writeln!(out, "\nagreement                  first tens  same first")?;
    }
    for one in &report.agreement {
        let pair = format!("{}, {}", one.a, one.b);
        let (overlap, same_first) = (100.0 * one.overlap, 100.0 * one.same_first);
        writeln!(out, "  {pair:<24} {overlap:>8.1} % {same_first:>9.1} %")?;
    }
    Ok(())
}
