//! The input of an evaluation: items, and people's judgements about them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use kindred_shared::event::{Event, Limits, Upsert, parse};
use kindred_shared::{DomainName, ItemId};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::exit::CommandError;
use super::super::import::{self, Defaults, Records, Source};

/// Domain of items that do not name one.
const DOMAIN: &str = "evaluated";
/// Warnings printed one by one, per file.
const TOLD: usize = 3;

/// The items, ordered by id, and an index of them.
pub(super) struct Items {
    pub all: Vec<Upsert>,
    numbers: BTreeMap<ItemId, usize>,
}

impl Items {
    /// Reads the items that are live and visible after all events of the files.
    pub(super) fn read(
        files: &[std::path::PathBuf],
        limits: &Limits,
    ) -> Result<Self, CommandError> {
        let opened = |path: &std::path::PathBuf| open(path);
        let sources: Vec<Source> = files.iter().map(opened).collect::<Result<_, _>>()?;
        let domain =
            DomainName::new(DOMAIN).map_err(|error| CommandError::failed(error.to_string()))?;
        let defaults = Defaults {
            domain: Some(domain),
        };
        let mut live: BTreeMap<ItemId, Upsert> = BTreeMap::new();
        let mut domains = BTreeSet::new();
        let name = |position: import::Position| {
            let path = files.get(position.file);
            path.map_or_else(String::new, |path| path.display().to_string())
        };
        let broken = import::read(
            sources,
            import::Position::default(),
            &defaults,
            &Arc::default(),
            |words| eprintln!("{words}"),
            |found| {
                let place = format!("{}:{}", name(found.after), found.line);
                let line = found.made.map_err(|bad| {
                    CommandError::failed(format!("{place}: {}: {}", bad.reason.word(), bad.detail))
                })?;
                let event = parse(&line.text, limits);
                let event = event.map_err(|bad| CommandError::failed(format!("{place}: {bad}")))?;
                match event {
                    Event::Upsert(item) if item.hidden => {
                        live.remove(&item.id);
                    }
                    Event::Upsert(item) => {
                        domains.insert(item.domain.clone());
                        live.insert(item.id.clone(), *item);
                    }
                    Event::Delete(gone) => {
                        live.remove(&gone.id);
                    }
                    Event::Remove(_) => live.clear(),
                    Event::Patch(_) => {
                        return Err(CommandError::failed(format!(
                            "{place}: item.patched is not supported: only whole items can be \
                            evaluated"
                        )));
                    }
                    // Such events are rejected when a file is read.
                    Event::Configure(_) | Event::Model(_) | Event::Record(_) => {}
                }
                Ok(())
            },
        )?;
        if let Some(failure) = broken {
            return Err(failure);
        }
        if domains.len() > 1 {
            let names: Vec<&str> = domains.iter().map(DomainName::as_str).collect();
            return Err(CommandError::failed(format!(
                "items of several domains ({}): evaluate one domain at a time",
                names.join(", ")
            )));
        }
        Self::of(live)
    }

    /// These, which are live and shown.
    pub(super) fn of(live: BTreeMap<ItemId, Upsert>) -> Result<Self, CommandError> {
        if live.len() < 2 {
            return Err(CommandError::failed(format!(
                "{} items are live and visible: at least two are needed",
                live.len()
            )));
        }
        let numbers = live.keys().cloned().zip(0..).collect();
        Ok(Self {
            all: live.into_values().collect(),
            numbers,
        })
    }

    /// Number of items.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The number of an item.
    pub(super) fn number(&self, id: &str) -> Option<usize> {
        let id = ItemId::new(id).ok()?;
        self.numbers.get(&id).copied()
    }

    /// Whether two items are of one group: variants of the same thing, which do not count as
    /// answers to each other.
    pub(super) fn is_same_group(&self, one: usize, other: usize) -> bool {
        let group = &self.all[one].group;
        group.is_some() && *group == self.all[other].group
    }

    /// The labels of an item in a field: `categories`, or `attributes.NAME` with labels separated
    /// by commas.
    pub(super) fn labels(&self, item: usize, field: &Field) -> BTreeSet<&str> {
        let item = &self.all[item];
        match field {
            Field::Categories => item.categories.iter().map(String::as_str).collect(),
            Field::Attribute(name) => {
                let value = item.attributes.get(name).map_or("", String::as_str);
                let labels = value.split(',').map(str::trim);
                labels.filter(|label| !label.is_empty()).collect()
            }
        }
    }
}

/// The field that holds the labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Categories,
    Attribute(String),
}

impl std::str::FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("attributes.") {
            Some(name) if !name.is_empty() => Ok(Self::Attribute(name.to_owned())),
            _ if text == "categories" => Ok(Self::Categories),
            _ => Err("expected categories or attributes.NAME".to_owned()),
        }
    }
}

/// How similar a person rated two items.
pub(super) struct Judgement {
    pub a: usize,
    pub b: usize,
    pub score: f64,
}

#[derive(Deserialize)]
struct JudgementLine {
    a: String,
    b: String,
    score: f64,
}

#[derive(Deserialize)]
struct LinkLine {
    from: String,
    to: String,
}

/// Reads judgements: one `{"a","b","score"}` per line.
pub(super) fn judgements(path: &Path, items: &Items) -> Result<Vec<Judgement>, CommandError> {
    let lines: Vec<(u64, JudgementLine)> = lines(path)?;
    if let Some((line, _)) = lines.iter().find(|(_, one)| !one.score.is_finite()) {
        let place = path.display();
        return Err(CommandError::failed(format!(
            "{place}:{line}: score must be finite"
        )));
    }
    let known = lines
        .into_iter()
        .map(|(line, JudgementLine { a, b, score })| {
            let (a, b) = (numbered(items, a), numbered(items, b));
            (line, both(a, b).map(|(a, b)| Judgement { a, b, score }))
        });
    known_ones(path, known, "judgements")
}

/// Reads links: one `{"from","to"}` per line. Returns the items that each item links to, except
/// itself.
pub(super) fn links(
    path: &Path,
    items: &Items,
) -> Result<BTreeMap<usize, BTreeSet<usize>>, CommandError> {
    let lines: Vec<(u64, LinkLine)> = lines(path)?;
    let known = lines.into_iter().map(|(line, LinkLine { from, to })| {
        (line, both(numbered(items, from), numbered(items, to)))
    });
    let mut links: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (from, to) in known_ones(path, known, "links")? {
        if from != to {
            links.entry(from).or_default().insert(to);
        }
    }
    Ok(links)
}

/// The number of an item, or the unknown id.
fn numbered(items: &Items, id: String) -> Result<usize, String> {
    items.number(&id).ok_or(id)
}

fn both<A, B>(a: Result<A, String>, b: Result<B, String>) -> Result<(A, B), String> {
    Ok((a?, b?))
}

/// Keeps the lines that name known items. The others are left out with a warning: the judgements may cover more items
/// than the files do.
fn known_ones<T>(
    path: &Path,
    lines: impl Iterator<Item = (u64, Result<T, String>)>,
    what: &str,
) -> Result<Vec<T>, CommandError> {
    let (mut known, mut unknown) = (Vec::new(), 0_usize);
    let place = path.display();
    for (line, one) in lines {
        match one {
            Ok(one) => known.push(one),
            Err(id) => {
                unknown += 1;
                if unknown <= TOLD {
                    eprintln!("warning: {place}:{line}: {id:?} is not among the items; left out");
                }
            }
        }
    }
    if unknown > TOLD {
        eprintln!("warning: {place}: {unknown} {what} of unknown items were left out");
    }
    if known.is_empty() {
        return Err(CommandError::failed(format!(
            "{place}: no {what} refer to known items; do the ids match those of the items?"
        )));
    }
    Ok(known)
}

fn open(path: &Path) -> Result<Source, CommandError> {
    let failure =
        |error: std::io::Error| CommandError::usage(format!("{}: {error}", path.display()));
    Source::open(path).map_err(failure)
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<(u64, T)>, CommandError> {
    let place = path.display();
    let failure = |error: std::io::Error| CommandError::failed(format!("{place}: {error}"));
    let reader = open(path)?.reader(Arc::default(), &Arc::default());
    let records = Records::new(std::io::BufReader::new(reader.map_err(failure)?));
    let mut lines = Vec::new();
    for record in records {
        let record = record.map_err(failure)?;
        let line = serde_json::from_slice(&record.text);
        let line = line
            .map_err(|error| CommandError::failed(format!("{place}:{}: {error}", record.line)))?;
        lines.push((record.line, line));
    }
    Ok(lines)
}
