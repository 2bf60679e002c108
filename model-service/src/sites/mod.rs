//! What sites are written in, read into items: folders of Markdown and HTML, feeds, sitemaps, tables.
//!
//! Nothing here asks a network. What is read goes to a function one at a time, so that a source may be larger
//! than memory; a file that cannot be read is told and the next one is read.

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

/// Largest file of a page or a post that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What a reader of sources is told.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    /// Where the site is, if it is not as it says itself.
    pub(crate) base: Option<Base>,
    /// What is later is published later.
    pub(crate) now: DateTime<Utc>,
    /// Most bytes of a text; what is longer is cut.
    pub(crate) max_text: usize,
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file.
    pub(crate) file: PathBuf,
    /// The line, from 1.
    pub(crate) line: u64,
}

/// Something of a source.
#[derive(Debug)]
pub(crate) enum Found {
    /// An item.
    Item(Place, Box<Item>),
    /// What cannot be read, and why.
    Trouble(Place, String),
}

/// Why something that is no item was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    /// It is a draft.
    Draft,
    /// It is not to be listed: `unlisted`, `noindex`, no page of its own.
    Unlisted,
    /// It has expired.
    Expired,
    /// It has no text of its own: a list of others, a redirection, a template.
    NoText,
    /// It is of a release that is not the one that readers are led to.
    OtherVersion,
    /// A sitemap names it, and no page of it lies beside.
    NoPage,
}

impl Left {
    /// In words, of several.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Draft => "drafts",
            Self::Unlisted => "unlisted",
            Self::Expired => "expired",
            Self::NoText => "without a text of their own",
            Self::OtherVersion => "of other versions",
            Self::NoPage => "addresses without a page beside the sitemap",
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

/// What a source is, and what of it is not among the items.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// What it is, in words.
    pub(crate) kind: &'static str,
    /// What was left out, and how many of each.
    pub(crate) left: BTreeMap<Left, u64>,
    /// Items whose publication is still to come.
    pub(crate) scheduled: u64,
    /// Texts that were cut.
    pub(crate) cut: u64,
    /// Directories that were read: whoever follows the source watches them.
    pub(crate) directories: Vec<PathBuf>,
}

impl Summary {
    fn leave(&mut self, left: Left) {
        *self.left.entry(left).or_default() += 1;
    }
}

/// Why reading ended before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The source as a whole cannot be read, in words.
    Unreadable(String),
    /// Who takes what is read wants no more.
    Asked,
}

/// Takes what is found.
pub(crate) type Take<'a> = dyn FnMut(Found) -> Result<(), Stop> + 'a;

/// Reads what lies at a path.
///
/// # Errors
/// [`Stop::Unreadable`] when none of it can be read on, [`Stop::Asked`] as soon as `take` says so.
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

/// The folder of a file, which whoever follows the file watches.
fn folder_of(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.parent().unwrap_or(Path::new("/")).to_owned()
}
