//! `kindred similar`: what is similar to an item.

use std::io::Write;
use std::time::{Duration, Instant};

use kindred_api::path;
use kindred_api::similar::SimilarAnswer;

use super::client::{Client, Server, printable};
use super::exit::{Exit, Failure, Outcome};
use super::flags::ClientFlags;
use crate::client::Answer;
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

pub(crate) fn run(args: &SimilarArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let client = args.server.client(config)?;
    let (raw, answer) = ask(&client, args)?;
    if json {
        writeln!(out, "{}", raw.text().trim_end())?;
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
        .map(|item| item.id.as_str().chars().count())
        .max()
        .unwrap_or(0);
    writeln!(out, "{:<6}  {:<width$}  title", "score", "id")?;
    for item in &answer.similar {
        let title = printable(item.title.as_deref().unwrap_or(""));
        let line = format!(
            "{:.4}  {:<width$}  {title}",
            item.score,
            printable(item.id.as_str())
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(Exit::Done)
}

/// The answer, as soon as it is of a list that was made, or as it is in the end.
fn ask(client: &Client, args: &SimilarArgs) -> Result<(Answer, SimilarAnswer), Failure> {
    let until = Instant::now() + args.timeout;
    loop {
        let raw = client.get_good(&path::similar(&args.domain, &args.id, args.limit.into()))?;
        let answer: SimilarAnswer = client.read(&raw)?;
        if answer.as_of.is_some() || Instant::now() >= until {
            return Ok((raw, answer));
        }
        std::thread::sleep(ASK_EVERY);
    }
}
