//! `kindred models`: the models of a domain, the served one and those built next to it.

use std::collections::BTreeMap;
use std::io::Write;

use kindred_api::model::{ActivatedAnswer, ModelAnswer, ModelBody, ModelsAnswer};
use kindred_api::path;
use kindred_shared::event::{MIX, ONNX, VECTORS};

use super::client::{Client, Server, printable};
use super::exit::{CommandError, Exit, Outcome};
use super::flags::ClientFlags;
use crate::config::Config;

/// Lists the models of a domain and their progress.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// The domain
    domain: String,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

/// Builds a model next to the served one.
///
/// It is built from stored data while the domain's events take precedence; `kindred models list`
/// shows its progress.
#[derive(Debug, clap::Args)]
pub(crate) struct PutArgs {
    /// The domain
    domain: String,
    /// The model's name
    name: String,
    /// The model's kind [default: vectors with --vector, mix with --of, onnx with --encoder, otherwise its name]
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Of kind vectors: the name of the vectors that items bring
    #[arg(long, value_name = "NAME")]
    vector: Option<String>,
    /// Of kind mix: a model of the domain and its weight, such as text-2=0.7; once for each
    #[arg(long, value_name = "MODEL=WEIGHT", value_parser = part)]
    of: Vec<(String, f64)>,
    /// Of kind onnx: the encoder
    #[arg(long, value_name = "NAME")]
    encoder: Option<String>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

/// Serves a ready model; the model served before stays ready.
#[derive(Debug, clap::Args)]
pub(crate) struct ActivateArgs {
    /// The domain
    domain: String,
    /// The model's name
    name: String,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

/// Deletes a model that is not served, with its lists.
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    /// The domain
    domain: String,
    /// The model's name
    name: String,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

/// A model of a mix and its weight.
fn part(given: &str) -> Result<(String, f64), String> {
    let (name, weight) = given.rsplit_once('=').ok_or("write MODEL=WEIGHT")?;
    let weight: Option<f64> = weight.parse().ok();
    let weight = weight.filter(|weight| weight.is_finite());
    let weight = weight.ok_or_else(|| format!("{name} needs a number as its weight"))?;
    Ok((name.to_owned(), weight))
}

pub(crate) fn list(args: &ListArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let client = args.server.client(config)?;
    let answer = client.get_good(&path::models(&args.domain))?;
    if json {
        writeln!(out, "{}", answer.text().trim_end())?;
        return Ok(Exit::Done);
    }
    let ModelsAnswer { models } = client.read(&answer)?;
    writeln!(
        out,
        "{:<24} {:<16} {:<9} {:>5}",
        "model", "kind", "state", "done"
    )?;
    for model in &models {
        write_model(model, out)?;
    }
    Ok(Exit::Done)
}

pub(crate) fn put(args: &PutArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let client = args.server.client(config)?;
    let of: BTreeMap<String, f64> = args.of.iter().cloned().collect();
    if of.len() < args.of.len() {
        return Err(CommandError::usage("--of names a model twice"));
    }
    let kind = match (&args.kind, &args.vector) {
        (Some(kind), _) => kind,
        (None, Some(_)) => VECTORS,
        (None, None) if !of.is_empty() => MIX,
        (None, None) if args.encoder.is_some() => ONNX,
        (None, None) => &args.name,
    };
    let body = ModelBody {
        kind: kind.to_owned(),
        vector: args.vector.clone(),
        of,
        encoder: args.encoder.clone(),
    };
    let body =
        serde_json::to_vec(&body).map_err(|error| CommandError::failed(error.to_string()))?;
    let answer = client.put(&path::model(&args.domain, &args.name), &body)?;
    let answer = Client::good(answer)?;
    if json {
        writeln!(out, "{}", answer.text().trim_end())?;
    } else {
        write_model(&client.read(&answer)?, out)?;
    }
    Ok(Exit::Done)
}

pub(crate) fn activate(
    args: &ActivateArgs,
    config: &Config,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let client = args.server.client(config)?;
    let answer = client.post_good(&path::activate(&args.domain, &args.name), b"{}")?;
    if json {
        writeln!(out, "{}", answer.text().trim_end())?;
        return Ok(Exit::Done);
    }
    let ActivatedAnswer { active, was } = client.read(&answer)?;
    let is_same = active == was;
    let (active, was) = (active.to_string(), was.to_string());
    let (active, was) = (printable(&active), printable(&was));
    if is_same {
        writeln!(out, "{active} is served already")?;
    } else {
        writeln!(out, "{active} is now served instead of {was}")?;
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
    Client::good(client.delete(&path::model(&args.domain, &args.name))?)?;
    if !json {
        writeln!(out, "{} is deleted", printable(&args.name))?;
    }
    Ok(Exit::Done)
}

fn write_model(model: &ModelAnswer, out: &mut dyn Write) -> std::io::Result<()> {
    let ModelAnswer {
        name,
        kind,
        vector,
        of,
        encoder,
        state,
        done,
        reason,
        ..
    } = model;
    let kind = match (vector, encoder) {
        (Some(vector), _) => format!("{kind} {vector}"),
        (None, Some(encoder)) => format!("{kind} {encoder}"),
        (None, None) if !of.is_empty() => {
            let of = of.iter().map(|(name, weight)| format!("{name}={weight}"));
            format!("{kind} {}", of.collect::<Vec<_>>().join(" "))
        }
        (None, None) => kind.clone(),
    };
    let reason = reason.as_deref().map(printable).unwrap_or_default();
    let line = format!(
        "{:<24} {:<16} {state:<9} {:>4.0}% {reason}",
        name.as_str(),
        printable(&kind),
        100.0 * done
    );
    writeln!(out, "{}", line.trim_end())
}
