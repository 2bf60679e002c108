//! What can be imported: files of events, and sites.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::Utc;
use kindred_shared::DomainName;

use super::source::Source;
use crate::cli::exit::CommandError;
use crate::sites::{Base, Form, SNIFFED, Wishes};

/// One input.
pub(crate) enum Input {
    /// Events, as they are.
    Events(Source),
    /// A site, whose items become events.
    Site(Site),
}

/// A folder or a file of a site.
pub(crate) struct Site {
    /// Its path.
    pub(super) path: PathBuf,
    /// Its form.
    pub(super) form: Form,
    /// How to read it.
    pub(super) wishes: Wishes,
    /// The domain of its items; `None`: the host of their addresses.
    pub(super) domain: Option<DomainName>,
}

/// Options for sites.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The domain of items that name none.
    pub(crate) domain: Option<DomainName>,
    /// Where the site is published.
    pub(crate) base: Option<Base>,
    /// Most bytes of a text.
    pub(crate) max_text: usize,
}

impl Input {
    /// Opens a path; `-` is standard input.
    pub(crate) fn open(path: &Path, wanted: &Wanted) -> Result<Self, CommandError> {
        let in_words =
            |error: io::Error| CommandError::usage(format!("{}: {error}", path.display()));
        match form(path).map_err(in_words)? {
            None => Source::open(path).map(Self::Events).map_err(in_words),
            Some(form) => Ok(Self::Site(Site {
                path: path.to_owned(),
                form,
                wishes: Wishes {
                    base: wanted.base.clone(),
                    now: Utc::now(),
                    max_text: wanted.max_text,
                },
                domain: wanted.domain.clone(),
            })),
        }
    }

    /// Size in bytes, if known.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::Events(source) => source.size,
            Self::Site(_) => None,
        }
    }

    /// Its path, if it is a file.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::Events(source) => source.path.as_deref(),
            Self::Site(site) if site.form == Form::Folder => None,
            Self::Site(site) => Some(&site.path),
        }
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Events(source) => source.name.clone(),
            Self::Site(site) => site.path.display().to_string(),
        }
    }
}

/// The form of the site at a path; `None`: events.
fn form(path: &Path) -> io::Result<Option<Form>> {
    if path == Path::new("-") {
        return Ok(None);
    }
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Ok(Some(Form::Folder));
    }
    // A pipe can be read only once.
    if !metadata.is_file() {
        return Ok(None);
    }
    // A damaged file is reported when it is read.
    let mut begin = Vec::with_capacity(SNIFFED);
    let _ = reader(path)?.take(SNIFFED as u64).read_to_end(&mut begin);
    Ok(Form::of_file(path, &begin))
}

/// A file, unpacked.
pub(super) fn reader(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    File::open(path)?;
    Source::open(path)?.reader(Arc::default(), &Arc::default())
}
