//! `kindred similar`: finds what is similar to an item, to several items, or to a text.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use kindred_api::path;
use kindred_api::similar::{SimilarAnswer, SimilarItem};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::client::{Client, Server, printable};
use super::conditions::ConditionArgs;
use super::exit::{CommandError, Exit, Outcome};
use super::flags::ClientFlags;
use crate::client::Response;
use crate::config::Config;

/// How often an unfinished list is requested again.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Longest text accepted.
const TEXT_BYTES: u64 = 16 << 20;

/// Shows what is most similar to an item, to several, or to a text.
#[derive(Debug, clap::Args)]
pub(crate) struct SimilarArgs {
    /// The domain
    domain: String,
    /// Id of an item, or of several to find what is similar to all of them; use `--` before ids
    /// that begin with a hyphen
    #[arg(value_name = "ID", required_unless_present_any = ["text", "title"])]
    ids: Vec<String>,
    /// A file with the text to compare with, plain or HTML; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "ids")]
    text: Option<String>,
    /// The text's title, or a title alone
    #[arg(long, conflicts_with = "ids")]
    title: Option<String>,
    /// The text's language [default: detected]
    #[arg(long, value_name = "CODE", conflicts_with = "ids")]
    text_language: Option<String>,
    /// Id of the reader: while an experiment is running, the conditions of the reader's arm apply
    #[arg(long, value_name = "ID")]
    reader: Option<String>,
    #[command(flatten)]
    conditions: ConditionArgs,
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
    let (raw, answer) = ask(&client, &Asking::of(args)?, args.timeout)?;
    if json {
        writeln!(out, "{}", raw.text().trim_end())?;
        return Ok(Exit::Done);
    }
    for id in &answer.unknown {
        let id = printable(id.as_str());
        writeln!(out, "{id} is not visible to readers")?;
    }
    if answer.similar.is_empty() {
        let what = match args.ids.as_slice() {
            [id] => printable(id),
            _ => "it".to_owned(),
        };
        if answer.as_of.is_none() {
            let domain = printable(&args.domain);
            return Err(CommandError::failed(format!(
                "the first list of {what} is still being made; see `kindred status {domain}`, and \
                try again later"
            )));
        }
        writeln!(out, "nothing is similar to {what}")?;
        return Ok(Exit::Done);
    }
    write_table(&answer.similar, out)?;
    Ok(Exit::Done)
}

fn write_table(similar: &[SimilarItem], out: &mut dyn Write) -> std::io::Result<()> {
    let ids = similar.iter().map(|item| item.id.as_str().chars().count());
    let width = ids.max().unwrap_or(0);
    let is_ranked = similar.iter().any(|item| item.rank.is_some());
    let rank = |text: &str| {
        if is_ranked {
            format!("{text:<7}  ")
        } else {
            String::new()
        }
    };
    let of_rank = rank("rank");
    writeln!(out, "{:<6}  {of_rank}{:<width$}  title", "score", "id")?;
    for item in similar {
        let of_rank = rank(
            &item
                .rank
                .map_or_else(String::new, |rank| format!("{rank:.4}")),
        );
        let score = if item.fallback {
            "-".to_owned()
        } else {
            format!("{:.4}", item.score)
        };
        let (id, title) = (item.id.as_str(), item.title.as_deref().unwrap_or(""));
        let (id, title) = (printable(id), printable(title));
        let line = format!("{score:<6}  {of_rank}{id:<width$}  {title}");
        writeln!(out, "{}", line.trim_end())?;
        if !item.also.is_empty() {
            let also: Vec<String> = item.also.iter().map(|id| printable(id.as_str())).collect();
            writeln!(out, "        also {}", also.join(", "))?;
        }
        if let Some(why) = &item.why {
            let mut parts: Vec<String> = Vec::new();
            for term in why.terms.iter().flatten() {
                parts.push(format!("{} {:.4}", printable(&term.term), term.share));
            }
            parts.push(format!("meaning {:.4}", why.dense));
            parts.extend(why.rest.map(|rest| format!("other words {rest:.4}")));
            writeln!(out, "        {}", parts.join(", "))?;
        }
    }
    Ok(())
}

/// What to ask the service.
enum Asking {
    Get(String),
    Post(String, Vec<u8>),
}

impl Asking {
    fn of(args: &SimilarArgs) -> Result<Self, CommandError> {
        if let ([id], false) = (args.ids.as_slice(), args.conditions.are_json()) {
            let mut query = args.conditions.parameters()?;
            if let Some(reader) = &args.reader {
                let reader = utf8_percent_encode(reader, NON_ALPHANUMERIC);
                query.push_str(if query.is_empty() {
                    "?reader="
                } else {
                    "&reader="
                });
                query.extend(reader);
            }
            let of = path::item(&args.domain, id);
            return Ok(Self::Get(format!("{of}/similar{query}")));
        }
        let mut query = args.conditions.json()?;
        let mut say = |name: &str, value: serde_json::Value| query.insert(name.to_owned(), value);
        if !args.ids.is_empty() {
            let items = args.ids.iter().map(|id| serde_json::json!({ "id": id }));
            say("items", items.collect());
        }
        if let Some(file) = &args.text {
            say("text", read_text(file)?.into());
        }
        if let Some(title) = &args.title {
            say("title", title.as_str().into());
        }
        if let Some(reader) = &args.reader {
            say("reader", reader.as_str().into());
        }
        if let Some(language) = &args.text_language {
            say("language", language.as_str().into());
        }
        let body =
            serde_json::to_vec(&query).map_err(|error| CommandError::failed(error.to_string()))?;
        Ok(Self::Post(path::queries(&args.domain), body))
    }
}

/// Reads the text from a file or from standard input.
fn read_text(file: &str) -> Result<String, CommandError> {
    let unreadable = |error: std::io::Error| {
        let file = printable(file);
        CommandError::failed(format!("{file} cannot be read as UTF-8 text: {error}"))
    };
    let source: Box<dyn Read> = match file {
        "-" => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(file).map_err(unreadable)?),
    };
    let mut text = String::new();
    source
        .take(TEXT_BYTES)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    Ok(text)
}

/// The answer as soon as there is a list, or the last one when time is up.
fn ask(
    client: &Client,
    asking: &Asking,
    timeout: Duration,
) -> Result<(Response, SimilarAnswer), CommandError> {
    let until = Instant::now() + timeout;
    loop {
        let raw = match asking {
            Asking::Get(path) => client.get_good(path)?,
            Asking::Post(path, body) => client.post_good(path, body)?,
        };
        let answer: SimilarAnswer = client.read(&raw)?;
        if answer.as_of.is_some() || Instant::now() >= until {
            return Ok((raw, answer));
        }
        std::thread::sleep(ASK_EVERY);
    }
}
