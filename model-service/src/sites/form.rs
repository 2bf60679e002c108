//! Detects the form of a source from its name and first bytes.

use std::path::Path;

/// How many bytes of a file are examined.
pub(crate) const SNIFFED: usize = 4 << 10;

/// The form of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A folder with a site.
    Folder,
    /// A Markdown or HTML file.
    File,
    /// RSS, Atom or JSON Feed.
    Feed,
    /// A sitemap, or a sitemap index.
    Sitemap,
    /// A table with this field separator.
    Table(u8),
}

/// The extensions of Markdown and HTML.
const PAGES: [&str; 5] = ["md", "markdown", "mdx", "html", "htm"];

/// Whether a file of this name may be a page.
pub(super) fn is_page(path: &Path) -> bool {
    ending(path).is_some_and(|ending| PAGES.contains(&ending.as_str()))
}

/// The extension of a file's name, in lower case.
pub(super) fn ending(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

impl Form {
    /// The form of a file, from its name (without `.gz`) and its first uncompressed bytes; `None`:
    /// events.
    pub(crate) fn of_file(path: &Path, begin: &[u8]) -> Option<Self> {
        let name = path.with_extension("");
        let packed = ending(path).is_some_and(|ending| ending == "gz");
        let path = if packed { &name } else { path };
        match ending(path).as_deref() {
            Some("csv") => return Some(Self::Table(b',')),
            Some("tsv") => return Some(Self::Table(b'\t')),
            Some("ndjson" | "jsonl") => return None,
            _ if is_page(path) => return Some(Self::File),
            _ => {}
        }
        let text = String::from_utf8_lossy(begin);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if text.starts_with('{') && text.contains("jsonfeed.org/version") {
            return Some(Self::Feed);
        }
        match root_of(text)? {
            "rss" | "feed" | "RDF" => Some(Self::Feed),
            "urlset" | "sitemapindex" => Some(Self::Sitemap),
            "html" => Some(Self::File),
            _ => None,
        }
    }
}

/// The name of the root element of XML, without its prefix.
fn root_of(text: &str) -> Option<&str> {
    if !text.starts_with('<') {
        return None;
    }
    let mut rest = text;
    loop {
        rest = &rest[rest.find('<')? + 1..];
        if rest.starts_with("!--") {
            rest = &rest[rest.find("-->")?..];
            continue;
        }
        if rest.to_ascii_lowercase().starts_with("!doctype html") {
            return Some("html");
        }
        if rest.starts_with(['?', '!']) {
            continue;
        }
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/'))?;
        return rest[..end].rsplit(':').next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_name_or_how_it_begins() {
        for (name, begin, form) in [
            ("a.csv", "", Some(Form::Table(b','))),
            ("a.tsv.gz", "", Some(Form::Table(b'\t'))),
            ("a.md", "", Some(Form::File)),
            ("a.HTML", "", Some(Form::File)),
            ("a.ndjson", "{}", None),
            ("a.json", "{\"type\":\"item.created\"}", None),
            (
                "feed.json",
                "{\"version\":\"https://jsonfeed.org/version/1.1\"",
                Some(Form::Feed),
            ),
            (
                "a.xml",
                "\u{feff}<?xml version='1.0'?>\n<!-- <x> --><rss version=\"2.0\">",
                Some(Form::Feed),
            ),
            ("a", "<feed xmlns='x'>", Some(Form::Feed)),
            ("a.rdf", "<rdf:RDF xmlns:rdf='x'>", Some(Form::Feed)),
            ("a.xml", "<urlset>", Some(Form::Sitemap)),
            ("a.xml", "<sitemapindex xmlns='x'>", Some(Form::Sitemap)),
            ("a", "<!DOCTYPE html><html>", Some(Form::File)),
            ("a.xml", "<opml>", None),
            ("a", "[{}]", None),
            ("a", "<", None),
            ("a", "<!-- ", None),
        ] {
            assert_eq!(
                Form::of_file(Path::new(name), begin.as_bytes()),
                form,
                "{name}"
            );
        }
    }
}
