//! `kindred demo`: imports the bundled sample, shows its neighbours, and keeps serving.

mod own_site;

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use kindred_api::path;
use kindred_api::similar::SimilarAnswer;
use serde::{Deserialize, Serialize};

use super::client::{Client, printable};
use super::exit::{CommandError, Exit, Outcome};
use super::import::{self, Input, Source};
use super::local::DemoArgs;
use super::output::json_line;
use super::standalone::{Stop, curl_lines, drain};
use crate::config::{self, Config, Origins};
use crate::standalone::Standalone;

/// The sample: events, and expected neighbours that were written down before anything was compared.
const SAMPLE: [(&[u8], &str); 3] = [
    (
        include_bytes!("../../demo/courier.ndjson"),
        include_str!("../../demo/courier.expected.json"),
    ),
    (
        include_bytes!("../../demo/garten-kueche.ndjson"),
        include_str!("../../demo/garten-kueche.expected.json"),
    ),
    (
        include_bytes!("../../demo/plein-air.ndjson"),
        include_str!("../../demo/plein-air.expected.json"),
    ),
];
/// Neighbours that are shown, and that count for the hit rate.
const TOP: usize = 5;
/// Articles shown per domain.
const SHOWN: usize = 3;
const QUIET_WITHIN: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
struct Head {
    domain: String,
    id: String,
    #[serde(default)]
    title: String,
}

#[derive(Deserialize)]
struct Question {
    id: String,
    expected: Vec<String>,
}

/// What is printed, as text or JSON.
#[derive(Debug, Serialize)]
struct Report {
    address: String,
    items: u64,
    /// From the first event until the last list.
    seconds: f64,
    domains: Vec<DomainReport>,
    questions: usize,
    /// Share of the questions with at least one expected article in the first five.
    hit_rate_at_5: f64,
    /// Share of the expected articles that are in the first five.
    expected_found_at_5: f64,
}

#[derive(Debug, Serialize)]
struct DomainReport {
    domain: String,
    articles: Vec<Article>,
}

#[derive(Debug, Serialize)]
pub(super) struct Article {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) similar: Vec<Similar>,
}

impl Article {
    /// Prints it for people.
    pub(super) fn tell(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "\n  {}", printable(&self.title))?;
        for one in &self.similar {
            writeln!(out, "    {:.3}  {}", one.score, printable(&one.title))?;
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Similar {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) score: f32,
}

pub(super) fn run(
    args: &DemoArgs,
    config: &Config,
    origins: &Origins,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    config.domains.check_standalone(origins)?;
    let directory = temporary()?;
    let mut config = config.clone();
    config.store.data_dir = directory.path().join("data");
    config.tls = config::Tls::none();
    config.access.admin_key_file = None;
    actix::System::new().block_on(async {
        let mut stop = Stop::listen()?;
        let service = tokio::select! {
            started = Standalone::start(&config) => {
                started.map_err(|error| CommandError::failed(error.to_string()))?
            }
            () = stop.asked() => return Ok(Exit::Done),
        };
        let shown = tokio::select! {
            shown = shown(args, &config, &service, json, out) => shown,
            () = stop.asked() => Ok(()),
        };
        if shown.is_ok() && !args.once {
            stop.asked().await;
        }
        drain(service).await;
        shown.map(|()| Exit::Done)
    })
}

async fn shown(
    args: &DemoArgs,
    config: &Config,
    service: &Standalone,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    match &args.source {
        Some(source) => own_site::show(source, args, config, service, json, out).await,
        None => Ok(print(&show(service).await?, args.once, json, out)?),
    }
}

/// A directory that is deleted when the program ends.
pub(super) fn temporary() -> Result<tempfile::TempDir, CommandError> {
    tempfile::Builder::new()
        .prefix("kindred-")
        .tempdir()
        .map_err(|error| {
            CommandError::failed(format!("cannot create a temporary directory: {error}"))
        })
}

/// Runs blocking requests alongside the service they ask.
pub(super) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CommandError> + Send + 'static,
) -> Result<T, CommandError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(CommandError::failed(error.to_string())))
}

async fn show(service: &Standalone) -> Result<Report, CommandError> {
    let address = service.address.to_string();
    let client = Client::new(&format!("http://{address}"))?;
    let began = Instant::now();
    let sender = client.clone();
    let (summary, _) = beside(move || {
        let sources = SAMPLE.map(|(events, _)| Input::Events(Source::bytes("sample", events)));
        let options = import::Options {
            rejects: Some(std::env::temp_dir().join("kindred-demo.rejects.ndjson")),
            timeout: Duration::from_secs(10),
            ..import::Options::default()
        };
        import::load_inputs(&sender, sources.into(), &options)
    })
    .await?;
    if summary.ended.rejected > 0 {
        return Err(CommandError::failed(format!(
            "{} articles of the sample were rejected; see {}",
            summary.ended.rejected,
            summary.ended.rejects.unwrap_or_default().display()
        )));
    }
    quiet(service, QUIET_WITHIN).await?;
    let seconds = began.elapsed().as_secs_f64();
    beside(move || ask(&client, address, summary.accepted, seconds)).await
}

/// Waits until every list is exact.
pub(super) async fn quiet(service: &Standalone, within: Duration) -> Result<(), CommandError> {
    if service.quiet(within).await {
        return Ok(());
    }
    Err(CommandError::failed(format!(
        "the lists were not ready within {}",
        humantime::format_duration(within)
    )))
}

/// Asks for the neighbours of every question's article.
fn ask(client: &Client, address: String, items: u64, seconds: f64) -> Result<Report, CommandError> {
    let mut domains = Vec::new();
    let (mut questions, mut hits, mut expected, mut found) = (0_usize, 0_usize, 0_usize, 0_usize);
    for (events, asked) in SAMPLE {
        let heads: Vec<Head> = serde_json::Deserializer::from_slice(events)
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|error| CommandError::failed(format!("the sample is damaged: {error}")))?;
        let asked: Vec<Question> = serde_json::from_str(asked)
            .map_err(|error| CommandError::failed(format!("the sample is damaged: {error}")))?;
        let domain = heads
            .first()
            .map(|head| head.domain.clone())
            .unwrap_or_default();
        let titles: HashMap<&str, &str> = heads
            .iter()
            .map(|head| (head.id.as_str(), head.title.as_str()))
            .collect();
        let mut articles = Vec::new();
        for question in asked {
            let similar = neighbours(client, &domain, &question.id)?;
            let right = similar
                .iter()
                .filter(|one| question.expected.contains(&one.id))
                .count();
            questions += 1;
            hits += usize::from(right > 0);
            expected += question.expected.len();
            found += right;
            if articles.len() < SHOWN {
                let title = titles
                    .get(question.id.as_str())
                    .copied()
                    .unwrap_or_default();
                articles.push(Article {
                    title: title.to_owned(),
                    id: question.id,
                    similar,
                });
            }
        }
        domains.push(DomainReport { domain, articles });
    }
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
    Ok(Report {
        address,
        items,
        seconds,
        domains,
        questions,
        hit_rate_at_5: share(hits, questions),
        expected_found_at_5: share(found, expected),
    })
}

pub(super) fn neighbours(
    client: &Client,
    domain: &str,
    id: &str,
) -> Result<Vec<Similar>, CommandError> {
    let answer = client.get_good(&path::similar(domain, id, TOP))?;
    let answer: SimilarAnswer = client.read(&answer)?;
    Ok(answer
        .similar
        .into_iter()
        .map(|one| Similar {
            id: one.id.as_str().to_owned(),
            title: one.title.unwrap_or_default(),
            score: one.score,
        })
        .collect())
}

fn print(report: &Report, once: bool, json: bool, out: &mut dyn Write) -> std::io::Result<()> {
    if json {
        json_line(out, report)?;
        return out.flush();
    }
    for domain in &report.domains {
        writeln!(out, "{}", domain.domain)?;
        for article in &domain.articles {
            article.tell(out)?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "{} articles in and every list exact after {:.1} s.",
        report.items, report.seconds
    )?;
    writeln!(
        out,
        "For {} articles, expected neighbours were written down beforehand: {:.0}% of the lists \
        have one of them in the first five, and {:.0}% of all expected ones are found there.",
        report.questions,
        100.0 * report.hit_rate_at_5,
        100.0 * report.expected_found_at_5
    )?;
    if !once {
        writeln!(
            out,
            "\nServing on http://{} until Ctrl-C. Try:",
            report.address
        )?;
        if let Some(article) = report.domains.first().and_then(|one| one.articles.first()) {
            let domain = &report.domains[0].domain;
            writeln!(
                out,
                "  curl http://{}/v1/domains/{domain}/items/{}/similar?limit=5",
                report.address, article.id
            )?;
            for line in curl_lines("http", &report.address, domain, "fox-1") {
                writeln!(out, "  {line}")?;
            }
        }
    }
    out.flush()
}
