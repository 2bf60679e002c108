//! Finds the URL path of a file from its location.

use std::path::Path;

use chrono::{DateTime, FixedOffset};
use kindred_shared::language;
use serde_json::Value;

use crate::sites::dates;
use crate::sites::form::ending;
use crate::sites::generator::{Generator, Root, Shape, Site};
use crate::sites::permalink::slugged;

/// A file's place on a site.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    /// The path on the site, below its base.
    pub(super) path: String,
    /// The same as an absolute path, if known from elsewhere.
    pub(super) whole: Option<String>,
    /// The path at which the pages of its language, or of its folder, start.
    pub(super) prefix: String,
    /// The name of the page, without date and extension.
    pub(super) name: String,
    /// The path of the file below its root, without its extension.
    pub(super) stem: String,
    /// The path of the file below its root.
    pub(super) below: std::path::PathBuf,
    /// Its folders, below its root.
    pub(super) folders: Vec<String>,
    pub(super) date: Option<DateTime<FixedOffset>>,
    pub(super) language: Option<String>,
    pub(super) is_draft: bool,
    /// Whether it stands for its whole folder: `index.md`.
    pub(super) is_index: bool,
    /// Whether its slug is the whole path below the prefix.
    pub(super) is_flat: bool,
    /// Whether Hugo writes `name.html` instead of a folder.
    pub(super) is_ugly: bool,
    /// Whether Hugo keeps the case of letters.
    pub(super) keeps_case: bool,
    /// Categories given by its folders.
    pub(super) categories: Vec<String>,
    /// Its collection.
    pub(super) collection: String,
    /// `posts`, `pages` or a collection.
    pub(super) kind: String,
    /// The pattern of its URL.
    pub(super) pattern: Option<String>,
}

impl Spot {
    /// The path with another last part.
    pub(super) fn renamed(&self, slug: Option<&str>, id: Option<&str>) -> String {
        let (slug, is_slug) = match (slug, id.filter(|_| !self.is_index)) {
            (Some(slug), _) => (slug, true),
            (None, Some(id)) if self.kind == "docs" => (id, false),
            _ => return self.path.clone(),
        };
        if self.kind == "eleventy" {
            return self.path.clone();
        }
        let end = if self.path.ends_with('/') { "/" } else { "" };
        if is_slug && (self.is_flat || slug.starts_with('/')) {
            return format!("{}{}{end}", self.prefix, slug.trim_matches('/'));
        }
        // Renaming an index renames its folder, except in documents.
        let path = self.path.trim_end_matches('/');
        let folder = match self.kind.as_str() {
            "docs" if self.is_index => path,
            _ => &path[..path.rfind('/').unwrap_or(0)],
        };
        format!("{folder}/{}{end}", slug.trim_matches('/'))
    }
}

/// The place of a file; `None`: it is not a page.
pub(super) fn locate(site: &Site, root: &Root, below: &Path) -> Option<Spot> {
    let ending = ending(below)?;
    let is_markdown = matches!(ending.as_str(), "md" | "markdown" | "mdx");
    let is_html = matches!(ending.as_str(), "html" | "htm");
    let takes_html = matches!(
        site.generator,
        Generator::Hugo | Generator::Jekyll | Generator::Eleventy | Generator::Plain
    );
    if !(is_markdown || is_html && takes_html) {
        return None;
    }
    let mut parts: Vec<String> = below
        .iter()
        .map(|part| part.to_str().map(str::to_owned))
        .collect::<Option<_>>()?;
    let file = parts.pop()?;
    let name = file[..file.len() - ending.len() - 1].to_owned();
    let mut spot = Spot {
        prefix: root.prefix.clone(),
        stem: format!("/{}", below.with_extension("").to_str()?),
        below: below.to_owned(),
        language: root.language.clone(),
        ..Spot::default()
    };
    match root.shape {
        Shape::Hugo => hugo(site, &mut spot, parts, name)?,
        Shape::Jekyll => jekyll(site, &mut spot, parts, name)?,
        Shape::Docs | Shape::OtherVersion => docs(&mut spot, parts, name)?,
        Shape::Blog => blog(&mut spot, parts, name)?,
        Shape::Collection => collection(root, &mut spot, parts, name)?,
        Shape::Routes => routes(site, root, &mut spot, parts, name)?,
    }
    Some(spot)
}

fn joined(prefix: &str, parts: &[String]) -> String {
    let below = parts.join("/");
    format!("{prefix}{below}")
}

fn hugo(site: &Site, spot: &mut Spot, parts: Vec<String>, name: String) -> Option<()> {
    // `trains.de.md` is in German if the site has German.
    let mut name = name;
    if let Some((stem, suffix)) = name.rsplit_once('.')
        && let Some(prefix) = site.languages.get(&suffix.to_lowercase())
    {
        spot.language = Some(suffix.to_lowercase());
        spot.prefix.clone_from(prefix);
        name = stem.to_owned();
    }
    let keeps_case = site.settings.get("disablepathtolower") == Some(&Value::Bool(true));
    let fit = |part: &String| {
        let part = part.replace(' ', "-");
        if keeps_case {
            part
        } else {
            part.to_lowercase()
        }
    };
    let mut parts: Vec<String> = parts.iter().map(fit).collect();
    spot.is_index = matches!(name.as_str(), "index" | "_index");
    let is_section = name == "_index";
    let name = match spot.is_index {
        true => parts.pop().unwrap_or_default(),
        false => fit(&name),
    };
    // The date in a name is the page's date if the settings say so; it stays in the URL.
    if let Some((date, _)) = dates::of_name(&name) {
        spot.date = Some(date);
    }
    spot.folders = parts.clone();
    let section = spot.folders.first().cloned().unwrap_or_default();
    spot.kind = section.clone();
    if !is_section {
        let patterns = site.settings.get("permalinks");
        let pages = patterns.and_then(|all| all.get("page")).or(patterns);
        let pattern = pages.and_then(|all| all.get(&section)?.as_str());
        spot.pattern = pattern.map(str::to_owned);
    }
    if !name.is_empty() {
        parts.push(name.clone());
    }
    let ugly = site.settings.get("uglyurls");
    let ugly = ugly.and_then(|ugly| ugly.get(&section)).or(ugly);
    spot.is_ugly = ugly == Some(&Value::Bool(true)) && !spot.is_index;
    spot.keeps_case = keeps_case;
    spot.path = joined(&spot.prefix, &parts);
    if !spot.path.ends_with('/') {
        spot.path.push('/');
    }
    spot.name = name;
    Some(())
}

fn jekyll(site: &Site, spot: &mut Spot, mut parts: Vec<String>, name: String) -> Option<()> {
    if site.excludes(&spot.below) {
        return None;
    }
    let of_site = |key: &str| site.settings.get(key).and_then(Value::as_str);
    let is_below = |parts: &[String], dir: &str| parts.first().is_some_and(|part| part == dir);
    if of_site("collections_dir").is_some_and(|dir| is_below(&parts, dir.trim_matches('/'))) {
        parts.remove(0);
    }
    let posts = parts
        .iter()
        .position(|part| part == "_posts" || part == "_drafts");
    if let Some(at) = posts {
        spot.is_draft = parts[at] == "_drafts";
        let (date, slug) = match dates::of_name(&name) {
            Some((date, slug)) => (Some(date), slug.to_owned()),
            None if spot.is_draft => (None, name),
            // Jekyll does not make a post of it.
            None => return None,
        };
        spot.date = date;
        spot.categories = parts[..at].to_vec();
        spot.folders = parts[at + 1..].to_vec();
        spot.kind = "posts".to_owned();
        spot.collection = "posts".to_owned();
        let all = site.settings.get("collections");
        let own = all.and_then(|all| all.get("posts")?.get("permalink")?.as_str());
        let pattern = own.or_else(|| of_site("permalink")).unwrap_or("date");
        spot.pattern = Some(pattern.to_owned());
        spot.path = format!("/{slug}.html");
        spot.name = slug;
        return Some(());
    }
    if let Some(collection) = parts.first().and_then(|part| part.strip_prefix('_')) {
        let collection = collection.to_owned();
        let all = site.settings.get("collections")?.get(&collection)?;
        if all.get("output") != Some(&Value::Bool(true)) {
            return None;
        }
        let pattern = all.get("permalink").and_then(Value::as_str);
        spot.pattern = Some(
            pattern
                .unwrap_or("/:collection/:path:output_ext")
                .to_owned(),
        );
        spot.folders = parts[1..].to_vec();
        spot.date = dates::of_name(&name).map(|(date, _)| date);
        spot.path = format!("/{collection}/{name}.html");
        spot.kind.clone_from(&collection);
        spot.collection = collection;
        spot.name = name;
        return Some(());
    }
    if parts
        .iter()
        .chain([&name])
        .any(|part| part.starts_with('_'))
    {
        return None;
    }
    spot.kind = "pages".to_owned();
    spot.is_index = name == "index";
    let pretty = of_site("permalink") == Some("pretty");
    spot.folders.clone_from(&parts);
    let folder = joined("/", &parts);
    let folder = if folder.ends_with('/') {
        folder
    } else {
        format!("{folder}/")
    };
    spot.path = match (spot.is_index, pretty) {
        (true, _) => folder,
        (false, true) => format!("{folder}{name}/"),
        (false, false) => format!("{folder}{name}.html"),
    };
    spot.name = name;
    Some(())
}

/// A name without the number that Docusaurus sorts by: `01-intro` is `intro`. Dates and versions
/// are left alone.
fn unnumbered(name: &str) -> &str {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    let rest = name[digits..].trim_start();
    let after = rest.trim_start_matches(['-', '_', '.']);
    let is_number = digits > 0
        && after.len() < rest.len()
        && !after.trim_start().is_empty()
        && !after.trim_start().starts_with(|c: char| c.is_ascii_digit());
    if is_number { after.trim_start() } else { name }
}

fn docs(spot: &mut Spot, parts: Vec<String>, name: String) -> Option<()> {
    if parts
        .iter()
        .chain([&name])
        .any(|part| part.starts_with('_'))
    {
        return None;
    }
    let mut parts: Vec<String> = parts
        .iter()
        .map(|part| unnumbered(part).to_owned())
        .collect();
    let name = unnumbered(&name).to_owned();
    let is_index = ["index", "readme"].contains(&name.to_lowercase().as_str());
    spot.is_index = is_index || parts.last() == Some(&name);
    spot.kind = "docs".to_owned();
    spot.folders.clone_from(&parts);
    if !spot.is_index {
        parts.push(name.clone());
    }
    spot.path = joined(&spot.prefix, &parts);
    spot.name = match is_index {
        true => parts.last().cloned().unwrap_or(name),
        false => name,
    };
    Some(())
}

fn blog(spot: &mut Spot, mut parts: Vec<String>, name: String) -> Option<()> {
    if parts
        .iter()
        .chain([&name])
        .any(|part| part.starts_with('_'))
    {
        return None;
    }
    spot.is_flat = true;
    spot.kind = "blog".to_owned();
    spot.folders.clone_from(&parts);
    let name = match name.to_lowercase().as_str() {
        "index" => parts.pop()?,
        _ => name,
    };
    // `2026-11-29-name`, `2026-11-29/name` and `2026/11/29/name` mean the same day.
    parts.push(name);
    let path = parts.join("/");
    let hyphened = path.replacen('/', "-", 2);
    let dated = match dates::of_name(&path) {
        Some((date, rest)) => Some((date, rest)),
        None => dates::of_name(&hyphened).or_else(|| {
            let (day, rest) = path.split_at_checked(10)?;
            let (date, _) = dates::of_name(day)?;
            Some((date, rest.strip_prefix('/')?))
        }),
    };
    let dated = dated.or_else(|| {
        let begin = hyphened.split_once('/')?;
        let (date, _) = dates::of_name(begin.0)?;
        Some((date, begin.1))
    });
    let (date, rest) = match dated {
        Some((date, rest)) if !rest.is_empty() => (Some(date), rest.to_owned()),
        _ => (None, path),
    };
    spot.date = date;
    let day = date.map(|at| at.format("%Y/%m/%d/").to_string());
    spot.path = format!("{}{}{rest}", spot.prefix, day.unwrap_or_default());
    spot.name = rest.rsplit('/').next().unwrap_or_default().to_owned();
    Some(())
}

fn collection(root: &Root, spot: &mut Spot, parts: Vec<String>, name: String) -> Option<()> {
    if parts
        .iter()
        .chain([&name])
        .any(|part| part.starts_with('_'))
    {
        return None;
    }
    by_folder(root, spot, &parts);
    let mut parts: Vec<String> = parts.iter().map(|part| slugged_part(part)).collect();
    spot.is_index = name == "index";
    spot.is_flat = true;
    spot.folders.clone_from(&parts);
    spot.date = dates::of_name(&name).map(|(date, _)| date);
    let name = match spot.is_index {
        true => parts.pop().unwrap_or_default(),
        false => slugged_part(&name),
    };
    if !name.is_empty() {
        parts.push(name.clone());
    }
    spot.path = joined(&root.prefix, &parts);
    if !spot.path.ends_with('/') {
        spot.path.push('/');
    }
    spot.name = name;
    Some(())
}

/// A path part slugged as Astro does; parts that need no change stay.
fn slugged_part(part: &str) -> String {
    part.split('.').map(slugged).collect::<Vec<_>>().concat()
}

fn routes(
    site: &Site,
    root: &Root,
    spot: &mut Spot,
    mut parts: Vec<String>,
    name: String,
) -> Option<()> {
    let is_eleventy = site.generator == Generator::Eleventy;
    if site.generator != Generator::Plain
        && parts
            .iter()
            .chain([&name])
            .any(|part| part.starts_with('_'))
    {
        return None;
    }
    by_folder(root, spot, &parts);
    let mut name = name;
    // `trains.de.html` is in German.
    if let Some((stem, suffix)) = name.rsplit_once('.')
        && site.generator == Generator::Plain
        && suffix.len() == 2
        && !stem.is_empty()
        && is_code(suffix)
    {
        spot.language = Some(suffix.to_owned());
    }
    // Files about the repository are not pages of its site.
    let is_of_repository = is_eleventy
        && parts.is_empty()
        && root.dir == site.folder
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c == '_' || c == '-');
    if is_of_repository {
        return None;
    }
    spot.kind = if is_eleventy { "eleventy" } else { "pages" }.to_owned();
    spot.folders.clone_from(&parts);
    let lower = name.to_lowercase();
    spot.is_index = lower == "index" || (lower == "readme" && !is_eleventy);
    if let Some((date, rest)) = dates::of_name(&name) {
        spot.date = Some(date);
        // Eleventy's URLs omit the date of the name.
        if is_eleventy && !rest.is_empty() {
            name = rest.to_owned();
        }
    }
    if spot.is_index {
        name = parts.pop().unwrap_or_default();
    }
    if !name.is_empty() {
        parts.push(name.clone());
    }
    spot.path = joined(&root.prefix, &parts);
    if !spot.path.ends_with('/') {
        spot.path.push('/');
    }
    spot.name = name;
    Some(())
}

/// The language of a folder named by its code, if another such folder is next to it.
fn by_folder(root: &Root, spot: &mut Spot, parts: &[String]) {
    let Some(first) = parts.first().filter(|first| is_code(first)) else {
        return;
    };
    let are_languages = root.holds_languages.get_or_init(|| {
        let beside = std::fs::read_dir(&root.dir).into_iter().flatten();
        let codes = beside.filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            (is_code(&name) && entry.path().is_dir()).then_some(())
        });
        codes.take(2).count() > 1
    });
    if *are_languages {
        spot.language = Some(first.clone());
    }
}

/// Whether a name is a language code: two letters of ISO 639-1, perhaps with a region.
fn is_code(name: &str) -> bool {
    let mut parts = name.split(['-', '_']);
    let code = parts.next().unwrap_or_default();
    let is_known = code.len() == 2
        && code.bytes().all(|byte| byte.is_ascii_lowercase())
        && language::is_of_iso_639_1(code);
    is_known
        && match (parts.next(), parts.next()) {
            (None, _) => true,
            (Some(region), None) => {
                (2..=4).contains(&region.len())
                    && region.bytes().all(|byte| byte.is_ascii_alphabetic())
            }
            _ => false,
        }
}
