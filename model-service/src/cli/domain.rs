//! `kindred domain`: the settings of a domain.

use std::io::Write;

use kindred_api::domain::{DomainAnswer, RemovedAnswer, Settings, SettingsBody};
use kindred_api::path;
use serde_json::{Map, Value};

use super::client::{Client, Server, printable};
use super::exit::{CommandError, Exit, Outcome};
use super::flags::ClientFlags;
use crate::config::Config;

/// Conditions of queries, by their names.
#[derive(Debug, Clone)]
struct Conditions(Map<String, Value>);

fn conditions(json: &str) -> Result<Conditions, String> {
    serde_json::from_str(json)
        .map(Conditions)
        .map_err(|error| format!("send one JSON object of conditions: {error}"))
}

/// Deletes a domain with all of its items, lists and settings.
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    /// The domain
    domain: String,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

/// Shows a domain and its settings.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The domain
    domain: String,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

/// Changes the given settings of a domain and leaves the rest as it is.
///
/// A domain that does not exist yet is registered. Languages and model can be changed only while
/// the domain is empty.
#[derive(Debug, clap::Args)]
pub(crate) struct SetArgs {
    /// The domain
    domain: String,
    /// Languages to distinguish, separated by commas
    #[arg(long, value_name = "CODES", value_delimiter = ',')]
    languages: Option<Vec<String>>,
    /// Language of texts whose language is neither given nor detected
    #[arg(long, value_name = "CODE")]
    default_language: Option<String>,
    /// Compare texts of different languages with each other
    #[arg(long, value_name = "BOOL")]
    across_languages: Option<bool>,
    /// The model for its texts
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// How long to collect upserts before processing them, such as 250ms
    #[arg(long, value_name = "DURATION")]
    window: Option<String>,
    /// Lowest score at which two items are near-duplicates, above 0 and at most 1
    #[arg(long, value_name = "SCORE")]
    near_duplicate: Option<f64>,
    /// Origins whose pages may query from a browser, separated by commas
    #[arg(long, value_name = "ORIGINS", value_delimiter = ',')]
    origins: Option<Vec<String>>,
    /// How long clients may cache answers, in seconds
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<u64>,
    /// Default conditions of queries, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = conditions)]
    defaults: Option<Conditions>,
    /// Most live items
    #[arg(long, value_name = "N")]
    max_items: Option<u64>,
    /// Most events per second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_events_per_second: Option<u64>,
    /// Most bytes of a text
    #[arg(long, value_name = "BYTES")]
    max_text: Option<u64>,
    /// Answer queries without a key
    #[arg(long, value_name = "BOOL")]
    public: Option<bool>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

pub(crate) fn show(args: &ShowArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let client = args.server.client(config)?;
    let answer = client.get_good(&path::domain(&args.domain))?;
    if json {
        writeln!(out, "{}", answer.text().trim_end())?;
    } else {
        write_settings(&client.read(&answer)?, out)?;
    }
    Ok(Exit::Done)
}

pub(crate) fn set(args: &SetArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let client = args.server.client(config)?;
    let path = path::domain(&args.domain);
    let body = SettingsBody {
        model: args.model.clone(),
        settings: merged(args, current(&client, &path)?),
    };
    let body =
        serde_json::to_vec(&body).map_err(|error| CommandError::failed(error.to_string()))?;
    let answer = client.put(&path, &body)?;
    if !answer.is_success() {
        return Err(CommandError::failed(answer.words()));
    }
    if json {
        writeln!(out, "{}", answer.text().trim_end())?;
    } else {
        write_settings(&client.read(&answer)?, out)?;
    }
    Ok(Exit::Done)
}

pub(crate) fn delete(
    args: &DeleteArgs,
    config: &Config,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let client = args.server.client(config)?;
    let answer = client.delete(&path::domain(&args.domain))?;
    if answer.status == 404 {
        return Err(CommandError::new(Exit::NotFound, answer.words()));
    }
    if !answer.is_success() {
        return Err(CommandError::failed(answer.words()));
    }
    if json {
        writeln!(out, "{}", answer.text().trim_end())?;
        return Ok(Exit::Done);
    }
    let removed: RemovedAnswer = client.read(&answer)?;
    let seen = if removed.gone {
        "it no longer appears in any answer"
    } else {
        "an instance may still serve it for a moment"
    };
    writeln!(
        out,
        "{} is deleted; {seen}",
        printable(removed.domain.as_str())
    )?;
    Ok(Exit::Done)
}

/// The current settings; empty for a domain that is not registered.
fn current(client: &Client, path: &str) -> Result<Settings, CommandError> {
    let answer = client.get(path)?;
    if answer.status == 404 {
        return Ok(Settings::default());
    }
    if !answer.is_success() {
        return Err(CommandError::failed(answer.words()));
    }
    let domain: DomainAnswer = client.read(&answer)?;
    Ok(domain
        .settings
        .map(|settings| *settings)
        .unwrap_or_default())
}

fn merged(args: &SetArgs, current: Settings) -> Settings {
    Settings {
        languages: args.languages.clone().or(current.languages),
        default_language: args.default_language.clone().or(current.default_language),
        across_languages: args.across_languages.or(current.across_languages),
        window: args.window.clone().or(current.window),
        near_duplicate: args.near_duplicate.or(current.near_duplicate),
        origins: args.origins.clone().or(current.origins),
        max_age: args.max_age.or(current.max_age),
        defaults: args.defaults.clone().map(|all| all.0).or(current.defaults),
        public: args.public.or(current.public),
        max_items: args.max_items.or(current.max_items),
        max_events_per_second: args.max_events_per_second.or(current.max_events_per_second),
        max_text: args.max_text.or(current.max_text),
    }
}

fn write_settings(domain: &DomainAnswer, out: &mut dyn Write) -> std::io::Result<()> {
    let settings = domain.settings.as_deref().cloned().unwrap_or_default();
    let across = settings.across_languages.map(|across| across.to_string());
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let public = settings.public.map(|public| public.to_string());
    let rows = [
        ("domain", Some(domain.domain.to_string())),
        ("model", Some(domain.model.to_string())),
        ("languages", settings.languages.map(|all| all.join(","))),
        ("default_language", settings.default_language),
        ("across_languages", across),
        ("window", settings.window),
        (
            "near_duplicate",
            settings.near_duplicate.map(|score| score.to_string()),
        ),
        ("origins", settings.origins.map(|all| all.join(","))),
        (
            "max_age",
            settings.max_age.map(|seconds| seconds.to_string()),
        ),
        (
            "defaults",
            settings.defaults.map(|all| Value::Object(all).to_string()),
        ),
        ("public", public),
        ("max_items", number(settings.max_items)),
        (
            "max_events_per_second",
            number(settings.max_events_per_second),
        ),
        ("max_text", number(settings.max_text)),
    ];
    for (name, value) in rows {
        let value = value.unwrap_or_else(|| "as configured".to_owned());
        writeln!(out, "{name:<22} {}", printable(&value))?;
    }
    Ok(())
}
