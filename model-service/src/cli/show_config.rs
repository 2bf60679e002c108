//! `kindred config`: shows effective values and their origins.

use std::io::Write;

use super::exit::{Exit, Outcome};
use super::flags::AllFlags;
use super::output::json_lines;
use crate::config::{Config, ConfigEntry, Origins};

/// Shows the effective configuration and where each value comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

pub(crate) fn run(config: &Config, origins: &Origins, json: bool, out: &mut dyn Write) -> Outcome {
    let sections = config.entries(origins);
    let entries: Vec<&ConfigEntry> = sections.iter().flatten().collect();
    if json {
        json_lines(out, &entries)?;
        return Ok(Exit::Done);
    }
    let width = |of: fn(&ConfigEntry) -> usize| entries.iter().copied().map(of).max().unwrap_or(0);
    let (keys, values) = (width(|e| e.key.len()), width(|e| e.value.chars().count()));
    for (n, section) in sections.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        for ConfigEntry {
            key, value, origin, ..
        } in section
        {
            writeln!(out, "{key:<keys$}  {value:<values$}  {origin}")?;
        }
    }
    Ok(Exit::Done)
}
