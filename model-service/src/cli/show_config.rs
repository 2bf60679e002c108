//! `kindred config`: effective values and where each is from.

use std::io::Write;

use super::exit::{Exit, Outcome};
use super::flags::StandaloneFlags;
use crate::config::{Config, Origins};

/// Shows the effective configuration and where each value is from.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) flags: StandaloneFlags,
}

pub(crate) fn run(config: &Config, origins: &Origins, json: bool, out: &mut dyn Write) -> Outcome {
    let entries = config.entries(origins);
    if json {
        serde_json::to_writer_pretty(&mut *out, &entries).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(Exit::Done);
    }
    let width = |of: fn(&crate::config::Entry) -> usize| entries.iter().map(of).max().unwrap_or(0);
    let (keys, values) = (width(|e| e.key.len()), width(|e| e.value.chars().count()));
    for entry in &entries {
        writeln!(
            out,
            "{:<keys$}  {:<values$}  {}",
            entry.key, entry.value, entry.origin
        )?;
    }
    Ok(Exit::Done)
}
