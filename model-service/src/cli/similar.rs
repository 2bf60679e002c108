//! `kindred similar`: what is similar to an item.

use std::io::Write;

use serde::Deserialize;

use super::client::{Server, printable, segment};
use super::exit::{Exit, Failure, Outcome};
use super::flags::ClientFlags;
use crate::config::Config;

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
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

/// The answer of `…/similar`.
#[derive(Debug, Deserialize)]
pub(crate) struct SimilarAnswer {
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
    let answer = client.get(&path(&args.domain, &args.id, args.limit))?;
    if answer.status == 404 {
        return Err(Failure::new(Exit::NotFound, answer.words()));
    }
    if !answer.is_success() {
        return Err(Failure::failed(answer.words()));
    }
    if json {
        writeln!(out, "{}", answer.body.trim_end())?;
        return Ok(Exit::Done);
    }
    let answer: SimilarAnswer = serde_json::from_str(&answer.body).map_err(|error| {
        Failure::failed(format!(
            "{} answered something else: {error}",
            client.base()
        ))
    })?;
    if answer.similar.is_empty() {
        writeln!(out, "nothing is similar to {}", printable(&args.id))?;
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
