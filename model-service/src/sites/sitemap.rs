//! Sitemaps. A sitemap only has URLs and dates; the content of pages is read from files next to it,
//! as in the output of a site's build. Nothing is fetched over the network.

use std::collections::HashSet;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

use super::address::{Base, path_and_host};
use super::generator::clean;
use super::{Found, Left, SourcePosition, Stop, Summary, Take, Wishes, folder};

/// Deepest nesting of sitemaps.
const MAX_DEPTH: usize = 3;
/// Largest sitemap, in bytes, uncompressed: more than the protocol allows.
const MAX_SITEMAP_BYTES: u64 = 64 << 20;
/// Longest URL, in bytes.
const MAX_ADDRESS: usize = 4 << 10;

/// How files are opened.
type Open<'a> = &'a dyn Fn(&Path) -> io::Result<Box<dyn BufRead + Send>>;

/// Reads a sitemap or a sitemap index, and the pages next to it.
pub(super) fn read(
    path: &Path,
    open: Open<'_>,
    wishes: &Wishes,
    take: &mut Take<'_>,
) -> Result<Summary, Stop> {
    let path = clean(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let mut pages = Pages {
        folder: path.parent().unwrap_or(Path::new("/")).to_owned(),
        base: wishes.base.clone(),
        open,
        wishes,
        summary: Summary::default(),
        known: HashSet::new(),
    };
    pages.summary.kind = "a sitemap";
    pages.summary.directories.push(pages.folder.clone());
    pages.sitemap(&path, 0, take)?;
    Ok(pages.summary)
}

struct Pages<'a> {
    folder: PathBuf,
    base: Option<Base>,
    open: Open<'a>,
    wishes: &'a Wishes,
    summary: Summary,
    known: HashSet<PathBuf>,
}

impl Pages<'_> {
    fn sitemap(&mut self, path: &Path, depth: usize, take: &mut Take<'_>) -> Result<(), Stop> {
        let input = (self.open)(path).map_err(|error| Stop::Unreadable(error.to_string()))?;
        let mut reader = Reader::from_reader(input.take(MAX_SITEMAP_BYTES));
        let mut buffer = Vec::new();
        let mut is_index = false;
        let mut said: Option<String> = None;
        loop {
            buffer.clear();
            let event = reader.read_event_into(&mut buffer);
            match event {
                Ok(Event::Eof) | Err(_) if reader.buffer_position() >= MAX_SITEMAP_BYTES => {
                    return Err(Stop::Unreadable(format!(
                        "a sitemap may have at most {MAX_SITEMAP_BYTES} bytes; split it"
                    )));
                }
                Err(error) => {
                    let at = reader.buffer_position();
                    return Err(Stop::Unreadable(format!(
                        "it cannot be read as a sitemap, at byte {at}: {error}"
                    )));
                }
                Ok(Event::Eof) => return Ok(()),
                Ok(Event::Start(start)) => match start.local_name().as_ref() {
                    "sitemapindex" => is_index = true,
                    "loc" => said = Some(String::new()),
                    _ => {}
                },
                Ok(Event::Text(text)) => add(&mut said, &text),
                Ok(Event::CData(text)) => add(&mut said, &text),
                Ok(Event::GeneralRef(name)) => {
                    let character = resolve_predefined_entity(&name);
                    add(&mut said, character.unwrap_or_default());
                }
                Ok(Event::End(end)) if end.local_name().as_ref() == "loc" => {
                    let said = said.take().unwrap_or_default();
                    let is_page = said.contains("://");
                    match (is_page, is_index) {
                        (false, _) => {}
                        (true, false) => self.page(&said, take)?,
                        (true, true) if depth < MAX_DEPTH => self.below(&said, depth, take)?,
                        (true, true) => {}
                    }
                }
                Ok(_) => {}
            }
        }
    }

    /// Reads a sitemap named by another one, if it is next to it.
    fn below(&mut self, address: &str, depth: usize, take: &mut Take<'_>) -> Result<(), Stop> {
        let (path, _) = path_and_host(address);
        let name = path.split('?').next().unwrap_or_default();
        let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
        let last = name.rsplit('/').next().unwrap_or_default().to_owned();
        let beside = [self.beside(&name), self.beside(&last)];
        let Some(file) = beside.into_iter().flatten().find(|file| file.is_file()) else {
            self.summary.leave(Left::NoPage);
            return Ok(());
        };
        if !self.known.insert(file.clone()) {
            return Ok(());
        }
        match self.sitemap(&file, depth + 1, take) {
            Err(Stop::Unreadable(why)) => {
                take(Found::Trouble(SourcePosition { file, line: 1 }, why))
            }
            done => done,
        }
    }

    fn page(&mut self, address: &str, take: &mut Take<'_>) -> Result<(), Stop> {
        let (path, _) = path_and_host(address);
        let base = match &self.base {
            Some(base) => base.clone(),
            None => Base::parse(address).unwrap_or_default().below(""),
        };
        let name = path.split('?').next().unwrap_or_default();
        let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
        // A site below a path may be built into a folder with that path, or without it.
        let short = name.strip_prefix(base.path("").trim_end_matches('/'));
        let found = [Some(name.as_str()), short]
            .into_iter()
            .flatten()
            .find_map(|name| self.file_of(name));
        let Some(file) = found else {
            self.summary.leave(Left::NoPage);
            return Ok(());
        };
        if !self.known.insert(file.clone()) {
            return Ok(());
        }
        if let Some(parent) = file.parent()
            && self
                .summary
                .directories
                .last()
                .is_none_or(|last| last != parent)
        {
            self.summary.directories.push(parent.to_owned());
        }
        folder::read_page(&file, &path, &base, self.wishes, &mut self.summary, take)
    }

    /// The file next to the sitemap that contains a page.
    fn file_of(&self, path: &str) -> Option<PathBuf> {
        let bare = path.trim_end_matches('/');
        let names = [
            format!("{bare}/index.html"),
            format!("{bare}.html"),
            bare.to_owned(),
        ];
        names
            .iter()
            .filter_map(|name| self.beside(name))
            .find(|file| file.is_file())
    }

    /// A path strictly below the folder of the sitemap.
    fn beside(&self, path: &str) -> Option<PathBuf> {
        let file = clean(&self.folder.join(path.trim_start_matches('/')));
        let is_below = file.starts_with(&self.folder) && !path.contains('\0');
        (is_below && file != self.folder).then_some(file)
    }
}

fn add(said: &mut Option<String>, text: &str) {
    if let Some(said) = said
        && said.len() + text.len() <= MAX_ADDRESS
    {
        said.push_str(text.trim());
    }
}
