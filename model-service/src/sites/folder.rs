//! Folders of a site: which files are pages, their URLs, and their content.

mod locate;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use self::locate::{Spot, locate};
use super::fields::{Said, attribute};
use super::generator::{Generator, Root, Shape, Site, clean, is_hidden, small};
use super::item::Item;
use super::matter::{self, Language, Matter};
use super::permalink::{self, Parts};
use super::templates::without_templates;
use super::text::{folded, has_words, lossy};
use super::{
    Base, Found, Left, MAX_FILE_BYTES, SourcePosition, Stop, Summary, Take, Wishes, address, form,
    markdown, page,
};

/// Reads all pages of a folder, in path order.
pub(super) fn read(path: &Path, wishes: &Wishes, take: &mut Take<'_>) -> Result<Summary, Stop> {
    let only = clean(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let mut site = Site::of(&only);
    if let Some(base) = &wishes.base {
        site.base = base.clone();
    }
    for (place, why) in std::mem::take(&mut site.troubles) {
        take(Found::Trouble(place, why))?;
    }
    let mut reader = FolderReader::new(&site, wishes);
    reader.summary.kind = site.generator.words();
    reader.summary.directories.push(site.folder.clone());
    // A folder inside the site is read alone; a folder around it means the whole site.
    let is_around = site.folder.starts_with(&only);
    for root in &site.roots {
        if only.starts_with(&root.dir) {
            reader.walk(root, &only, take)?;
        } else if is_around || root.dir.starts_with(&only) {
            reader.walk(root, &root.dir, take)?;
        }
    }
    let directories = &mut reader.summary.directories;
    directories.sort_unstable();
    directories.dedup();
    Ok(reader.summary)
}

/// Reads one file of Markdown or HTML.
pub(super) fn read_file(
    path: &Path,
    wishes: &Wishes,
    take: &mut Take<'_>,
) -> Result<Summary, Stop> {
    let path = clean(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let parent = path.parent().unwrap_or(Path::new("/"));
    let mut site = Site::of(parent);
    if let Some(base) = &wishes.base {
        site.base = base.clone();
    }
    let is_in = |root: &&Root| path.starts_with(&root.dir);
    let whole = Root::new(parent.to_owned(), "/", Shape::Routes);
    let root = site.roots.iter().find(is_in).unwrap_or(&whole);
    let mut reader = FolderReader::new(&site, wishes);
    reader.summary.kind = "a file";
    reader.summary.directories.push(parent.to_owned());
    reader.file(root, &path, take)?;
    Ok(reader.summary)
}

/// Reads an HTML page at a path of a site.
pub(super) fn read_page(
    file: &Path,
    path: &str,
    base: &Base,
    wishes: &Wishes,
    summary: &mut Summary,
    take: &mut Take<'_>,
) -> Result<(), Stop> {
    let site = Site::plain(file.parent().unwrap_or(Path::new("/")), base.clone());
    let mut reader = FolderReader {
        summary: std::mem::take(summary),
        ..FolderReader::new(&site, wishes)
    };
    let spot = Spot {
        whole: Some(path.to_owned()),
        ..Spot::default()
    };
    let done = reader.page_at(&spot, file, take);
    *summary = reader.summary;
    done
}

struct FolderReader<'a> {
    site: &'a Site,
    wishes: &'a Wishes,
    /// The file that has an id.
    known: HashMap<String, PathBuf>,
    /// What data files say about all files of a folder.
    folders: HashMap<PathBuf, Matter>,
    summary: Summary,
}

impl<'a> FolderReader<'a> {
    fn new(site: &'a Site, wishes: &'a Wishes) -> Self {
        Self {
            site,
            wishes,
            known: HashMap::new(),
            folders: HashMap::new(),
            summary: Summary::default(),
        }
    }

    fn walk(&mut self, root: &Root, from: &Path, take: &mut Take<'_>) -> Result<(), Stop> {
        let others: Vec<&Path> = self
            .site
            .roots
            .iter()
            .map(|other| other.dir.as_path())
            .filter(|other| *other != root.dir && other.starts_with(&root.dir))
            .collect();
        let walk = WalkDir::new(from)
            .follow_links(true)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| {
                entry.depth() == 0 || (!is_hidden(entry.path()) && !others.contains(&entry.path()))
            });
        for entry in walk {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let file = error.path().unwrap_or(from).to_owned();
                    let why = match error.io_error() {
                        Some(error) => error.to_string(),
                        None => error.to_string(),
                    };
                    // A dangling link matters only if it is named like a page.
                    if file == from || form::is_page(&file) || file.is_dir() {
                        take(Found::Trouble(SourcePosition { file, line: 1 }, why))?;
                    }
                    continue;
                }
            };
            if entry.file_type().is_dir() {
                self.summary.directories.push(entry.into_path());
            } else if entry.file_type().is_file() {
                self.file(root, entry.path(), take)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, root: &Root, path: &Path, take: &mut Take<'_>) -> Result<(), Stop> {
        let below = path.strip_prefix(&root.dir).unwrap_or(path);
        let Some(spot) = locate(self.site, root, below) else {
            return Ok(());
        };
        if root.shape == Shape::OtherVersion {
            self.summary.leave(Left::OtherVersion);
            return Ok(());
        }
        self.page_at(&spot, path, take)
    }

    fn page_at(&mut self, spot: &Spot, path: &Path, take: &mut Take<'_>) -> Result<(), Stop> {
        let place = |line| SourcePosition {
            file: path.to_owned(),
            line,
        };
        let text = match text_of(path) {
            Ok(text) => text,
            Err(why) => return take(Found::Trouble(place(1), why)),
        };
        let parted = match matter::part(&text) {
            Ok(parted) => parted,
            Err(fault) => return take(Found::Trouble(place(fault.line), fault.detail)),
        };
        // Jekyll only makes pages of files with front matter.
        if parted.matter.is_none() && self.site.generator == Generator::Jekyll {
            return Ok(());
        }
        let mut all = self.said_of_folder(path);
        all.extend(self.site.defaults(&spot.below, &spot.kind));
        // Docusaurus reads all Markdown as MDX.
        let is_mdx = self.site.generator == Generator::Docusaurus
            || form::ending(path).is_some_and(|ending| ending == "mdx");
        let body = Body::of(path, &parted, is_mdx, &mut all);
        all.extend(parted.matter.unwrap_or_default());
        let said = self.site.said(&all);
        match self.item(spot, &said, body) {
            Err(left) => {
                self.summary.leave(left);
                Ok(())
            }
            Ok(mut item) => {
                if let Some(other) = self.known.get(&item.id) {
                    let why = format!(
                        "it has the same address as {}, {}; give one of them another slug or \
                        permalink",
                        other.display(),
                        item.id
                    );
                    return take(Found::Trouble(place(1), why));
                }
                self.known.insert(item.id.clone(), path.to_owned());
                self.summary.scheduled += u64::from(item.publish_at.is_some());
                self.summary.cut += u64::from(item.fit(self.wishes.max_text));
                take(Found::Item(place(1), Box::new(item)))
            }
        }
    }

    fn item(&self, spot: &Spot, said: &Said, body: Body) -> Result<Item, Left> {
        if said.is_draft || spot.is_draft {
            return Err(Left::Draft);
        }
        if said.is_unlisted || spot.name == "404" {
            return Err(Left::Unlisted);
        }
        let now = self.wishes.now;
        let expires_at = said.expires.map(|at| at.to_utc());
        if expires_at.is_some_and(|at| at <= now) {
            return Err(Left::Expired);
        }
        if body.is_redirection {
            return Err(Left::NoText);
        }
        let text = if has_words(&body.html) {
            body.html
        } else {
            said.description.clone().ok_or(Left::NoText)?
        };
        let date = said.date.or(spot.date);
        let published_at = said.publish.or(date).map(|at| at.to_utc());
        let later = [said.publish, date].into_iter().flatten().max();
        let publish_at = later
            .map(|at| at.to_utc())
            .filter(|at| *at > now && !self.site.shows_future)
            // An item cannot be scheduled for after its own expiry.
            .filter(|at| expires_at.is_none_or(|end| *at < end));
        let title = said.title.clone().or(body.heading);
        let title = title.unwrap_or_else(|| humanized(&spot.name));
        let path = self.path_of(spot, said, &title);
        let base = &self.site.base;
        let mut attributes = std::collections::BTreeMap::new();
        let changed = said.changed.map(|at| {
            at.to_utc()
                .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
        });
        for (name, value) in [
            ("author", said.author.clone()),
            ("description", said.description.as_deref().map(attribute)),
            ("lastmod", changed),
        ] {
            if let Some(value) = value {
                attributes.insert(name.to_owned(), value);
            }
        }
        Ok(Item {
            id: address::id(&path),
            title: Some(title),
            text: Some(text),
            url: Some(base.url(&path)),
            image: said
                .image
                .as_deref()
                .and_then(|image| base.resolve(image, &path)),
            language: said.language.clone().or_else(|| spot.language.clone()),
            group: said.series.clone(),
            categories: said.labels.clone(),
            published_at,
            publish_at,
            expires_at,
            attributes,
            ..Item::default()
        })
    }

    /// Its path, with that of the site: what the file says takes precedence over its location.
    fn path_of(&self, spot: &Spot, said: &Said, title: &str) -> String {
        let base = &self.site.base;
        if let Some(canonical) = &spot.whole {
            return canonical.clone();
        }
        let mut categories = spot.categories.clone();
        categories.extend(said.categories.iter().cloned());
        let slug = said.slug.as_deref();
        let parts = Parts {
            date: said.date.or(spot.date),
            slug: slug.unwrap_or(&spot.name),
            has_slug: slug.is_some(),
            title,
            name: &spot.name,
            folders: spot.folders.clone(),
            categories,
            collection: &spot.collection,
        };
        if let Some(said) = &said.permalink {
            let path = address::path_and_host(said).0;
            let made = match self.site.generator {
                Generator::Jekyll => permalink::expand(permalink::named(&path), &parts),
                Generator::Eleventy => filled(&path, spot, title, slug),
                Generator::Hugo if path.starts_with('/') => Some(path),
                Generator::Hugo => Some(format!("{}{path}", spot.prefix)),
                _ => path.starts_with('/').then_some(path),
            };
            if let Some(made) = made.filter(|made| !made.contains(['{', '}'])) {
                return base.path(&made);
            }
        }
        let by_pattern = spot
            .pattern
            .as_deref()
            .and_then(|pattern| permalink::expand(permalink::named(pattern), &parts));
        let path = match (by_pattern, slug) {
            (Some(made), _) if self.site.generator == Generator::Hugo => {
                format!("{}{}", spot.prefix.trim_end_matches('/'), made)
            }
            (Some(made), _) => made,
            (None, slug) => spot.renamed(slug, said.id.as_deref()),
        };
        // Hugo's paths are in lower case, whatever they are made from.
        let path = match self.site.generator == Generator::Hugo && !spot.keeps_case {
            true => path.to_lowercase(),
            false => path,
        };
        let path = match path.strip_suffix('/').filter(|_| spot.is_ugly) {
            Some(path) if !path.is_empty() => format!("{path}.html"),
            _ => path,
        };
        base.path(&path)
    }

    /// What Eleventy's data files say about the folders of a file, outermost first.
    fn said_of_folder(&mut self, path: &Path) -> Matter {
        let mut said = Matter::new();
        if self.site.generator != Generator::Eleventy {
            return said;
        }
        let below = path.strip_prefix(&self.site.folder).unwrap_or(path);
        let mut folder = self.site.folder.clone();
        for part in below.parent().into_iter().flat_map(Path::components) {
            folder.push(part);
            let known = self.folders.entry(folder.clone()).or_insert_with(|| {
                let name = part.as_os_str().to_string_lossy();
                let mut all = Matter::new();
                for file in [format!("{name}.json"), format!("{name}.11tydata.json")] {
                    let data = small(&folder.join(file));
                    let data = data.and_then(|text| matter::parse(&text, Language::Json).ok());
                    all.extend(data.unwrap_or_default());
                }
                all
            });
            said.extend(known.clone());
        }
        said
    }
}

/// The visible content of a file.
#[derive(Default)]
struct Body {
    html: String,
    heading: Option<String>,
    is_redirection: bool,
}

impl Body {
    /// For an HTML page, the metadata in its head is added to `said`.
    fn of(path: &Path, parted: &matter::Parted<'_>, is_mdx: bool, said: &mut Matter) -> Self {
        let is_html = form::ending(path).is_none_or(|ending| ending.starts_with("htm"));
        if !is_html {
            let rendered = markdown::render(parted.body, is_mdx);
            return Self {
                html: rendered.html,
                heading: rendered.heading,
                is_redirection: false,
            };
        }
        if parted.matter.is_some() || !page::is_whole(parted.body) {
            let page = page::read(&without_templates(parted.body));
            return Self {
                html: page.html,
                heading: page.heading,
                is_redirection: false,
            };
        }
        let page = page::read(parted.body);
        said.extend(page.matter);
        Self {
            html: page.html,
            heading: page.heading,
            is_redirection: page.is_redirection,
        }
    }
}

/// The text of a file.
fn text_of(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(format!(
            "it has {} bytes; a page may have at most {MAX_FILE_BYTES}",
            metadata.len()
        ));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    Ok(lossy(bytes))
}

/// A name turned into a title.
fn humanized(name: &str) -> String {
    let words = folded(&name.replace(['-', '_'], " ")).unwrap_or_else(|| name.to_owned());
    let mut characters = words.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => words,
    }
}

/// An Eleventy permalink with what is known about the file filled in; other placeholders stay.
fn filled(permalink: &str, spot: &Spot, title: &str, slug: Option<&str>) -> Option<String> {
    let mut made = String::new();
    let mut rest = permalink;
    while let Some(at) = rest.find("{{") {
        made.push_str(&rest[..at]);
        let end = rest[at..].find("}}")? + at;
        let asked: String = rest[at + 2..end]
            .chars()
            .filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\''))
            .collect();
        made.push_str(&match asked.trim_matches('-') {
            "page.fileSlug" | "page.fileSlug|slugify" => spot.name.clone(),
            "page.filePathStem" => spot.stem.clone(),
            "title|slug" | "title|slugify" => permalink::slugged(title),
            "slug" | "slug|slug" | "slug|slugify" => slug?.to_owned(),
            _ => return None,
        });
        rest = &rest[end + 2..];
    }
    made.push_str(rest);
    Some(made)
}
