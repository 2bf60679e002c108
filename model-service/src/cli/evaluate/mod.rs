//! `kindred evaluate`: how good lists are, judged by what people said.

mod input;
mod measure;
mod metrics;
mod report;
mod systems;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use compute_worker::models::{Models, names_of_texts};
use compute_worker::pool;
use compute_worker::word_vectors::Vectors;
use kindred_shared::ModelName;
use kindred_shared::event::Limits;
use serde::Serialize;

use self::input::{Field, Items};
use self::measure::{Evaluation, Said, measure};
use self::systems::{Baseline, System, of_model, of_terms, read};
use super::exit::{Exit, Failure, Outcome};
use super::flags::ServiceFlags;
use super::output::json_lines;
use crate::config::Config;
use crate::preprocessing::Preprocessor;

/// Measures how good lists are, judged by what people said; needs no service.
///
/// Models are compared with each other and with TF-IDF and BM25 on the same terms. Judgements are
/// lines of {"a","b","score"}: how similar somebody rated two items. Links are lines of
/// {"from","to"}: what an author linked to. With --tags, an answer is better the more labels it
/// shares with the item; items of the same group are skipped.
#[derive(Debug, clap::Args)]
pub(crate) struct EvaluateArgs {
    /// Files of events of one domain, as `kindred import` takes them
    #[arg(long, required = true, value_name = "FILE")]
    items: Vec<PathBuf>,
    /// NDJSON file of judgements
    #[arg(long, value_name = "FILE")]
    judgements: Option<PathBuf>,
    /// NDJSON file of links
    #[arg(long, value_name = "FILE")]
    links: Option<PathBuf>,
    /// Field that holds the labels: categories, or attributes.NAME (separated by commas)
    #[arg(long, value_name = "FIELD")]
    tags: Option<Field>,
    /// A model to measure; may be repeated [default: all models of texts]
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// Write a report as an HTML page
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
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
}

pub(super) fn run(
    args: &EvaluateArgs,
    config: &Config,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let models = models(args)?;
    let limits = Limits {
        message_bytes: config.events.max_message,
        text_bytes: config.events.max_text,
        attributes: config.events.max_attributes,
    };
    let items = Items::read(&args.items, &limits)?;
    let said = said(args, &items)?;
    let pool = pool(config.compute.threads)
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    let (report, systems) = pool.install(|| evaluate(&models, config, &items, &said))?;
    if let Some(path) = &args.output {
        let page = report::page(&report, &systems, &items, &said);
        std::fs::write(path, page)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    }
    if json {
        json_lines(out, &report)?;
    } else {
        print(&report, out)?;
    }
    Ok(Exit::Done)
}

/// The requested models.
fn models(args: &EvaluateArgs) -> Result<Vec<ModelName>, Failure> {
    let known = names_of_texts();
    if args.model.is_empty() {
        return Ok(known);
    }
    let wanted = args.model.iter().map(|name| {
        let found = known.iter().find(|model| model.as_str() == name);
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(ModelName::as_str).collect();
            let names = names.join(", ");
            Failure::usage(format!("--model {name}: expected one of {names}"))
        })
    });
    wanted.collect()
}

fn said(args: &EvaluateArgs, items: &Items) -> Result<Said, Failure> {
    let judgements = args
        .judgements
        .as_ref()
        .map(|path| input::judgements(path, items));
    let links = args.links.as_ref().map(|path| input::links(path, items));
    if let Some(field) = &args.tags
        && (0..items.len()).all(|item| items.labels(item, field).is_empty())
    {
        return Err(Failure::usage("--tags: no item has a label in this field"));
    }
    Ok(Said {
        judgements: judgements.transpose()?,
        links: links.transpose()?,
        tags: args.tags.clone(),
    })
}

fn evaluate(
    wanted: &[ModelName],
    config: &Config,
    items: &Items,
    said: &Said,
) -> Result<(Report, Vec<System>), Failure> {
    let texts = &config.texts;
    let preprocessor = Preprocessor::new(&texts.languages, &texts.default_language)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let vectors = Vectors::configured(&texts.vectors);
    let vectors = vectors.map_err(|error| Failure::usage(error.to_string()))?;
    let kernel = config.compute.kernel;
    let kernel = kernel
        .chosen()
        .map_err(|error| Failure::usage(error.to_string()))?;
    let models = Models::new(Arc::new(vectors));
    let read = read(items, &preprocessor);
    let made = wanted
        .iter()
        .map(|model| of_model(&models, model, items, (&read, &preprocessor), kernel));
    let mut systems: Vec<System> = made.collect::<Result<_, _>>()?;
    systems.extend(Baseline::ALL.map(|baseline| of_terms(baseline, &read)));
    let mut languages = BTreeMap::new();
    for text in read {
        *languages.entry(text.language).or_default() += 1;
    }
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        items: items.len(),
        languages,
        systems: systems
            .iter()
            .map(|system| measure(system, items, said))
            .collect(),
    };
    Ok((report, systems))
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
    )
}
