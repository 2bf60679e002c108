//! `--dry-run`: shows what would be sent.

use std::io::Write;

use kindred_shared::DomainName;

use super::input::Input;
use super::known::Known;
use super::line::Defaults;
use super::reading::{Position, read};
use super::site::{Made, events, shown};
use super::{Read, Summary, sync};
use crate::cli::client::Client;
use crate::cli::exit::{CommandError, Exit, Outcome};
use crate::cli::import::Ended;
use crate::cli::output::json_line;

/// Reads the inputs, writes the first events to `out`, and reports counts for the rest. With a
/// client, also asks the service what would be deleted.
pub(super) fn run(
    inputs: Vec<Input>,
    first: usize,
    domain: Option<&DomainName>,
    asked: Option<&Client>,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let mut dry = Dry {
        first,
        count: 0,
        unreadable: 0,
        read: Read::default(),
        out,
        keeps: asked.is_some(),
    };
    let mut broken = None;
    for input in inputs {
        match input {
            Input::Events(source) => {
                let name = source.name.clone();
                let defaults = Defaults {
                    domain: domain.cloned(),
                };
                let begin = Position::default();
                let sources = vec![source];
                broken = read(
                    sources,
                    begin,
                    &defaults,
                    &std::sync::Arc::default(),
                    super::say,
                    |found| match &found.made {
                        Ok(line) => {
                            if dry.keeps {
                                dry.read.known.keep_event(&line.domain, &line.text);
                            }
                            dry.event(&String::from_utf8_lossy(&line.text))
                        }
                        Err(unreadable) => {
                            dry.trouble(&name, found.line, &unreadable.detail);
                            Ok(())
                        }
                    },
                )?;
            }
            Input::Site(site) => {
                let summary = events(&site, |place, made| match made {
                    Made::Trouble(why) => {
                        dry.trouble(&shown(&place.file), place.line, &why);
                        Ok(())
                    }
                    Made::Event { domain, id, line } => {
                        if dry.keeps {
                            let known = &mut dry.read.known;
                            known.keep(&Known::default(), &domain, &id, line.as_bytes());
                        }
                        dry.event(&line)
                    }
                })?;
                if !summary.kind.is_empty() {
                    dry.read.add(summary);
                }
            }
        }
        if broken.is_some() {
            break;
        }
    }
    let Dry {
        count,
        unreadable,
        read,
        out,
        ..
    } = dry;
    let known = match domain {
        Some(domain) => read
            .known
            .with_domains_of(&Known::nothing_of(domain.clone())),
        None => read.known,
    };
    let summary = Summary {
        accepted: 0,
        ended: Ended::new(0, unreadable, None, 0.0),
        left_out: read.left_out,
        scheduled: read.scheduled,
        cut: read.cut,
        deleted: None,
        unreadable,
        kinds: read.kinds,
        directories: Vec::new(),
        known: Known::default(),
        domains: std::collections::BTreeSet::new(),
    };
    if json {
        let left = summary.left_out.iter();
        let left: serde_json::Map<String, serde_json::Value> = left
            .map(|(left, count)| (left.name().to_owned(), (*count).into()))
            .collect();
        let told = serde_json::json!({"events": count, "unreadable": unreadable, "left_out": left,
            "scheduled": summary.scheduled, "cut": summary.cut});
        json_line(out, &told)?;
    } else {
        for kind in &summary.kinds {
            super::say(&format!("read as {kind}"));
        }
        super::say(&format!(
            "{count} events would be sent, {unreadable} files or lines cannot be read"
        ));
        if let Some(besides) = summary.besides() {
            super::say(&besides);
        }
    }
    if let Some(client) = asked {
        for words in sync::would_delete(client, &known)? {
            super::say(&words);
        }
    }
    match broken {
        Some(failure) => Err(failure),
        None if unreadable > 0 => Ok(Exit::SomeRejected),
        None => Ok(Exit::Done),
    }
}

struct Dry<'a> {
    /// Number of events to write.
    first: usize,
    count: usize,
    unreadable: u64,
    read: Read,
    out: &'a mut dyn Write,
    keeps: bool,
}

impl Dry<'_> {
    fn event(&mut self, line: &str) -> Result<(), CommandError> {
        if self.count < self.first {
            writeln!(self.out, "{line}")?;
        }
        self.count += 1;
        Ok(())
    }

    fn trouble(&mut self, file: &str, line: u64, why: &str) {
        self.unreadable += 1;
        super::say(&format!("{file}:{line}: {why}"));
    }
}
