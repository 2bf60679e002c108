//! Reads sites into items: folders of Markdown and HTML, feeds, sitemaps, tables.
//!
//! Nothing here uses the network. Items are passed to a function one at a time, so a source may be
//! larger than memory; an unreadable file is reported and reading continues with the next one.

mod address;
mod dates;
mod feed;
mod fields;
mod folder;
mod form;
mod generator;
mod item;
mod markdown;
mod matter;
mod page;
mod permalink;
mod sitemap;
mod table;
mod templates;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

pub(crate) use address::{Base, domain_of, host_of};
pub(crate) use form::{Form, SNIFFED};
pub(crate) use item::Item;

/// Largest page or post, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Options for reading sources.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    /// Where the site is published, if its settings do not say so correctly.
    pub(crate) base: Option<Base>,
    /// Items dated later are scheduled.
    pub(crate) now: DateTime<Utc>,
    /// Most bytes of a text; longer ones are cut.
    pub(crate) max_text: usize,
}

/// A position in a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourcePosition {
    /// The file.
    pub(crate) file: PathBuf,
    /// The line, counted from 1.
    pub(crate) line: u64,
}

/// Something found in a source.
#[derive(Debug)]
pub(crate) enum Found {
    /// An item.
    Item(SourcePosition, Box<Item>),
    /// Something unreadable, and why.
    Trouble(SourcePosition, String),
}

/// Why something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    /// It is a draft.
    Draft,
    /// It should not be listed: `unlisted`, `noindex`, no page of its own.
    Unlisted,
    /// It has expired.
    Expired,
    /// It has no text of its own: a list of other pages, a redirect, a template.
    NoText,
    /// It belongs to another release than the one readers see by default.
    OtherVersion,
    /// A sitemap names it, but its page is not next to the sitemap.
    NoPage,
}

impl Left {
    /// For people, in the plural.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Draft => "drafts",
            Self::Unlisted => "unlisted",
            Self::Expired => "expired",
            Self::NoText => "without text of their own",
            Self::OtherVersion => "of other versions",
            Self::NoPage => "addresses without a page next to the sitemap",
        }
    }

    /// The name in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Draft => "drafts",
            Self::Unlisted => "unlisted",
            Self::Expired => "expired",
            Self::NoText => "no_text",
            Self::OtherVersion => "other_versions",
            Self::NoPage => "no_page",
        }
    }
}

/// What a source is, and what was not turned into items.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// What it is, for people.
    pub(crate) kind: &'static str,
    /// What was left out, with counts by reason.
    pub(crate) left: BTreeMap<Left, u64>,
    /// Items with a future date.
    pub(crate) scheduled: u64,
    /// Texts that were cut.
    pub(crate) cut: u64,
    /// Directories that were read, for watching the source.
    pub(crate) directories: Vec<PathBuf>,
}

impl Summary {
    fn leave(&mut self, left: Left) {
        *self.left.entry(left).or_default() += 1;
    }
}

/// Why reading ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The source as a whole cannot be read; the message says why.
    Unreadable(String),
    /// The receiver wants no more.
    Asked,
}

/// Receives what is found.
pub(crate) type Take<'a> = dyn FnMut(Found) -> Result<(), Stop> + 'a;

/// Reads a source.
///
/// # Errors
/// [`Stop::Unreadable`] when it cannot be read any further, [`Stop::Asked`] as soon as `take`
/// returns it.
pub(crate) fn read(
    path: &Path,
    form: Form,
    open: impl Fn(&Path) -> std::io::Result<Box<dyn BufRead + Send>>,
    wishes: &Wishes,
    take: &mut Take<'_>,
) -> Result<Summary, Stop> {
    let unreadable = |error: std::io::Error| Stop::Unreadable(error.to_string());
    match form {
        Form::Folder => folder::read(path, wishes, take),
        Form::File => folder::read_file(path, wishes, take),
        Form::Feed => feed::read(path, open(path).map_err(unreadable)?, wishes, take),
        Form::Table(separator) => {
            table::read(path, open(path).map_err(unreadable)?, separator, take)
        }
        Form::Sitemap => sitemap::read(path, &open, wishes, take),
    }
}

/// The folder of a file, for watching the file.
fn folder_of(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.parent().unwrap_or(Path::new("/")).to_owned()
}
