//! `kindred repair`: recomputes features and lists where stored rows are damaged.

use std::io::Write;

use kindred_api::domain::{RepairAnswer, RepairBody};
use kindred_api::path;

use super::client::{Server, printable};
use super::exit::{CommandError, Exit, Outcome};
use super::flags::ClientFlags;
use crate::config::Config;

/// Recomputes features and lists of items from their texts.
///
/// For damaged rows of the store, which `kindred status` names. Queries are answered meanwhile.
/// Items whose own row or text is damaged must be published again.
#[derive(Debug, clap::Args)]
pub(crate) struct RepairArgs {
    /// The domain
    domain: String,
    /// Items; all items of the domain if none is given
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(crate) flags: ClientFlags,
}

pub(crate) fn run(args: &RepairArgs, config: &Config, json: bool, out: &mut dyn Write) -> Outcome {
    let client = args.server.client(config)?;
    let body = RepairBody {
        ids: Some(args.ids.clone()).filter(|ids| !ids.is_empty()),
    };
    let body =
        serde_json::to_vec(&body).map_err(|error| CommandError::failed(error.to_string()))?;
    let answer = client.post_good(&path::repair(&args.domain), &body)?;
    if json {
        writeln!(out, "{}", answer.text().trim_end())?;
        return Ok(Exit::Done);
    }
    let begun: RepairAnswer = client.read(&answer)?;
    let domain = printable(begun.domain.as_str());
    writeln!(
        out,
        "recomputing the stored data of {domain}; `kindred status` shows how many items are left"
    )?;
    Ok(Exit::Done)
}
