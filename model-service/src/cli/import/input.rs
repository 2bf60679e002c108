//! What is imported: files of events, or a site.

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
    /// Where it lies.
    pub(super) path: PathBuf,
    /// What it is.
    pub(super) form: Form,
    /// How it is read.
    pub(super) wishes: Wishes,
    /// The domain of its items; `None`: named like the host that they are on.
    pub(super) domain: Option<DomainName>,
}

/// What is said of sites on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The domain of what names none.
    pub(crate) domain: Option<DomainName>,
    /// Where the site is.
    pub(crate) base: Option<Base>,
    /// Most bytes of a text.
    pub(crate) max_text: usize,
}

impl Input {
    /// Opens what lies at a path; `-` is standard input.
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

    /// Its size in bytes, where it is known.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::Events(source) => source.size,
            Self::Site(_) => None,
        }
    }

    /// The file that it is, if it is one.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::Events(source) => source.path.as_deref(),
            Self::Site(site) if site.form == Form::Folder => None,
            Self::Site(site) => Some(&site.path),
        }
    }

    /// What it is called.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Events(source) => source.name.clone(),
            Self::Site(site) => site.path.display().to_string(),
        }
    }
}

/// What lies at a path; `None`: events.
fn form(path: &Path) -> io::Result<Option<Form>> {
    if path == Path::new("-") {
        return Ok(None);
    }
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Ok(Some(Form::Folder));
    }
    // What comes through a pipe comes once.
    if !metadata.is_file() {
        return Ok(None);
    }
    // A file that is damaged is told of where it is read.
    let mut begin = Vec::with_capacity(SNIFFED);
    let _ = reader(path)?.take(SNIFFED as u64).read_to_end(&mut begin);
    Ok(Form::of_file(path, &begin))
}

/// A file, unpacked.
pub(super) fn reader(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    File::open(path)?;
    Source::open(path)?.reader(Arc::default(), &Arc::default())
}
