//! `kindred similar`: what is similar to an item.

use std::io::Write;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::client::{Answer, Client, Server, printable, segment};
use super::exit::{Exit, Failure, Outcome};
use super::flags::ClientFlags;
use crate::config::Config;

/// How often a list that is being made is asked for.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Shows the items most similar to one.
#[derive(Debug, clap::Args)]
pub(crate) struct SimilarArgs {
    /// The item's domain
    domain: String,
    /// The item's id
    #[arg(allow_hyphen_values = true)]
    id: String,
    /// How many
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=50))]
    limit: u8,
    /// How long to wait for the list of an item that has none yet
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

/// The answer of `…/similar`.
#[derive(Debug, Deserialize)]
pub(crate) struct SimilarAnswer {
    /// When the list was made; `None`: it is being made.
    as_of: Option<String>,
    /// Best first.
    pub(crate) similar: Vec<SimilarItem>,
}

/// A neighbour, as answered.
#[derive(Debug, Deserialize)]
pub(crate) struct SimilarItem {
    /// Its id.
    pub(crate) id: String,
    /// The score.
    pub(crate) score: f32,
    /// Its title, if it has one.
    pub(crate) title: Option<String>,
}

/// The path of an item's neighbours.
pub(crate) fn path(domain: &str, id: &str, limit: u8) -> String {
    format!(
        "/v1/domains/{}/items/{}/similar?limit={limit}",
        segment(domain),
        segment(id)
    )
}

pub(crate) fn run(args: &SimilarArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let client = args.server.client(config)?;
    let (raw, answer) = ask(&client, args)?;
    if json {
        writeln!(out, "{}", raw.body.trim_end())?;
        return Ok(Exit::Done);
    }
    if answer.similar.is_empty() {
        let id = printable(&args.id);
        if answer.as_of.is_none() {
            let domain = printable(&args.domain);
            return Err(Failure::failed(format!(
                "the first list of {id} is still being made; see `kindred status {domain}`, and ask again"
            )));
        }
        writeln!(out, "nothing is similar to {id}")?;
        return Ok(Exit::Done);
    }
    let width = answer
        .similar
        .iter()
        .map(|item| item.id.chars().count())
        .max()
        .unwrap_or(0);
    writeln!(out, "{:<6}  {:<width$}  title", "score", "id")?;
    for item in &answer.similar {
        let title = printable(item.title.as_deref().unwrap_or(""));
        let line = format!(
            "{:.4}  {:<width$}  {title}",
            item.score,
            printable(&item.id)
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(Exit::Done)
}

/// The answer, as soon as it is of a list that was made, or as it is in the end.
fn ask(client: &Client, args: &SimilarArgs) -> Result<(Answer, SimilarAnswer), Failure> {
    let until = Instant::now() + args.timeout;
    loop {
        let raw = client.get(&path(&args.domain, &args.id, args.limit))?;
        if raw.status == 404 {
            return Err(Failure::new(Exit::NotFound, raw.words()));
        }
        if !raw.is_success() {
            return Err(Failure::failed(raw.words()));
        }
        let answer: SimilarAnswer = serde_json::from_str(&raw.body).map_err(|error| {
            Failure::failed(format!(
                "{} answered something else: {error}",
                client.base()
            ))
        })?;
        if answer.as_of.is_some() || Instant::now() >= until {
            return Ok((raw, answer));
        }
        std::thread::sleep(ASK_EVERY);
    }
}
