//! Tables (CSV): the first row names the fields of events; each other row is an item.
//!
//! The output of `kindred export --format csv` can be read, too. A field with several values has
//! them as JSON, or separated by `|`.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::rc::Rc;

use csv::{Position, ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::{Found, Item, SourcePosition, Stop, Summary, Take, dates, folder_of};

/// The event fields that a table may have.
const FIELDS: [&str; 16] = [
    "type",
    "domain",
    "id",
    "version",
    "title",
    "text",
    "url",
    "image",
    "language",
    "group",
    "categories",
    "published_at",
    "publish_at",
    "expires_at",
    "hidden",
    "attributes",
];
/// Longest row, in bytes.
const MAX_ROW_BYTES: usize = 16 << 20;
/// Prefix of attribute columns.
const ATTRIBUTE: &str = "attributes.";
/// The byte-order mark at the beginning of some files.
const MARK: char = '\u{feff}';

/// Reads a table.
pub(super) fn read(
    path: &Path,
    input: Box<dyn BufRead + Send>,
    separator: u8,
    take: &mut Take<'_>,
) -> Result<Summary, Stop> {
    let left = Rc::new(Cell::new(MAX_ROW_BYTES));
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .flexible(true)
        .from_reader(Bounded {
            input,
            left: Rc::clone(&left),
        });
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return Err(Stop::Unreadable(in_words(&error))),
    };
    let columns = columns(&header).map_err(Stop::Unreadable)?;
    let mut record = StringRecord::new();
    loop {
        let line_before = reader.position().line();
        left.set(MAX_ROW_BYTES);
        match reader.read_record(&mut record) {
            Ok(false) => {
                return Ok(Summary {
                    kind: "a table",
                    directories: vec![folder_of(path)],
                    ..Summary::default()
                });
            }
            Ok(true) => {
                let line = record.position().map_or(line_before, Position::line);
                let place = SourcePosition {
                    file: path.to_owned(),
                    line,
                };
                let found = match row(&columns, &record) {
                    Ok(item) => Found::Item(place, Box::new(item)),
                    Err(why) => Found::Trouble(place, format!("line {line}, {why}")),
                };
                take(found)?;
            }
            Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                let line = error.position().map_or(line_before, Position::line);
                let place = SourcePosition {
                    file: path.to_owned(),
                    line,
                };
                take(Found::Trouble(place, in_words(&error)))?;
            }
            Err(error) => return Err(Stop::Unreadable(in_words(&error))),
        }
    }
}

/// An input with a limit on the length of rows: an unclosed quote puts everything after it into one
/// field.
struct Bounded {
    input: Box<dyn BufRead + Send>,
    left: Rc<Cell<usize>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        let Some(left) = self.left.get().checked_sub(read) else {
            return Err(io::Error::other(format!(
                "a row may have at most {MAX_ROW_BYTES} bytes; perhaps a double quote is not closed"
            )));
        };
        self.left.set(left);
        Ok(read)
    }
}

fn in_words(error: &csv::Error) -> String {
    match (error.kind(), error.position()) {
        (csv::ErrorKind::Utf8 { err, .. }, Some(at)) => format!(
            "line {}, column {}: it is not UTF-8; save the table as UTF-8",
            at.line(),
            err.field() + 1
        ),
        (csv::ErrorKind::Io(error), _) => error.to_string(),
        _ => error.to_string(),
    }
}

/// The names of the columns.
fn columns(header: &StringRecord) -> Result<Vec<String>, String> {
    let mut columns: Vec<String> = Vec::new();
    for (at, name) in (1..).zip(header) {
        let name = name.trim_start_matches(MARK).trim();
        let is_known = FIELDS.contains(&name)
            || name
                .strip_prefix(ATTRIBUTE)
                .is_some_and(|rest| !rest.is_empty());
        if !is_known {
            let nearest = FIELDS
                .iter()
                .map(|field| (strsim::osa_distance(field, &name.to_lowercase()), field))
                .min()
                .filter(|(distance, _)| *distance <= 2)
                .map_or(String::new(), |(_, field)| {
                    format!("; did you mean {field}?")
                });
            return Err(format!(
                "line 1, column {at}: unknown field {name:?}{nearest} The first row names \
                 fields: {}, and attributes.NAME",
                FIELDS.join(", ")
            ));
        }
        if columns.iter().any(|known| known == name) {
            return Err(format!(
                "line 1, column {at}: {name} occurs twice; remove one of them"
            ));
        }
        columns.push(name.to_owned());
    }
    if !columns.iter().any(|name| name == "id") {
        return Err(
            "line 1: column id is missing; the first row names the fields of events, such as \
            id,title,text"
                .to_owned(),
        );
    }
    Ok(columns)
}

fn row(columns: &[String], record: &StringRecord) -> Result<Item, String> {
    if record.len() > columns.len() {
        return Err(format!(
            "column {}: the row has {} fields, but the first row has {}; put a field with a \
             comma or a line end in double quotes",
            columns.len() + 1,
            record.len(),
            columns.len()
        ));
    }
    let mut item = Item::default();
    let mut attributes = Map::new();
    for ((at, name), value) in (1..).zip(columns).zip(record) {
        if value.is_empty() {
            continue;
        }
        let wrong = |expected: &str| {
            let shown: String = value.chars().take(60).collect();
            format!("column {at} ({name}): {shown:?} is not {expected}")
        };
        let time = || {
            let parsed = dates::parse(value);
            let expected = "a time; write it as 2026-11-29T10:20:30Z or 2026-11-29";
            parsed
                .map(|at| Some(at.to_utc()))
                .ok_or_else(|| wrong(expected))
        };
        match name.as_str() {
            "id" => value.clone_into(&mut item.id),
            "title" => item.title = Some(value.to_owned()),
            "text" => item.text = Some(value.to_owned()),
            "url" => item.url = Some(value.to_owned()),
            "image" => item.image = Some(value.to_owned()),
            "language" => item.language = Some(value.to_owned()),
            "group" => item.group = Some(value.to_owned()),
            "categories" => {
                item.categories = list(value).ok_or_else(|| wrong("an array of strings"))?;
            }
            "published_at" => item.published_at = time()?,
            "publish_at" => item.publish_at = time()?,
            "expires_at" => item.expires_at = time()?,
            "hidden" => {
                let hidden = match value.to_ascii_lowercase().as_str() {
                    "true" | "1" | "yes" => true,
                    "false" | "0" | "no" => false,
                    _ => return Err(wrong("true or false")),
                };
                item.hidden = Some(hidden);
            }
            "version" => {
                let version = value.trim().parse();
                item.version = Some(version.map_err(|_| wrong("a whole number"))?);
            }
            "attributes" => {
                let all: Map<String, Value> =
                    serde_json::from_str(value).map_err(|_| wrong("an object of strings"))?;
                attributes.extend(all);
            }
            "type" => item.kind = Some(value.to_owned()),
            "domain" => item.domain = Some(value.to_owned()),
            other => {
                if let Some(name) = other.strip_prefix(ATTRIBUTE) {
                    attributes.insert(name.to_owned(), value.into());
                }
            }
        }
    }
    for (name, value) in attributes {
        match value {
            Value::String(value) => {
                item.attributes.insert(name, value);
            }
            other => return Err(format!("attribute {name}: {other} is not a string")),
        }
    }
    if item.id.is_empty() {
        return Err("the field id is empty; every item needs an id".to_owned());
    }
    Ok(item)
}

fn list(value: &str) -> Option<Vec<String>> {
    if value.starts_with('[') {
        return serde_json::from_str(value).ok();
    }
    let parts = value.split('|').map(str::trim);
    Some(
        parts
            .filter(|one| !one.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}
