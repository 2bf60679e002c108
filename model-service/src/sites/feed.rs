//! Feeds: RSS, Atom and JSON Feed.

use std::collections::HashSet;
use std::io::{BufRead, Read};
use std::path::Path;

use feed_rs::model::{Entry, Feed, Link};
use feed_rs::parser::{Builder, ParseFeedError};

use super::address::{Base, id, path_and_host};
use super::fields::attribute;
use super::text::{folded, has_words};
use super::{Found, Item, Left, SourcePosition, Stop, Summary, Take, Wishes, dates, folder_of};

/// Largest feed, in bytes, uncompressed.
const MAX_FEED_BYTES: u64 = 256 << 20;

/// Reads a feed.
pub(super) fn read(
    path: &Path,
    input: Box<dyn BufRead + Send>,
    wishes: &Wishes,
    take: &mut Take<'_>,
) -> Result<Summary, Stop> {
    let mut bytes = Vec::new();
    let read = input.take(MAX_FEED_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| Stop::Unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_FEED_BYTES {
        return Err(Stop::Unreadable(format!(
            "a feed may have at most {MAX_FEED_BYTES} bytes; split it"
        )));
    }
    let parser = Builder::new()
        .timestamp_parser(|text| Some(dates::parse(text)?.to_utc()))
        .sanitize_content(false)
        .build();
    let feed = parser
        .parse(bytes.as_slice())
        .map_err(|error| Stop::Unreadable(in_words(&error)))?;
    drop(bytes);
    let host = host_of(&feed, wishes.base.as_ref());
    let mut summary = Summary {
        kind: "a feed",
        directories: vec![folder_of(path)],
        ..Summary::default()
    };
    let mut known = HashSet::new();
    let language = feed.language;
    for (at, entry) in (1..).zip(feed.entries) {
        let place = SourcePosition {
            file: path.to_owned(),
            line: at,
        };
        let Some(mut item) = item(&entry, host.as_deref(), wishes) else {
            summary.leave(Left::NoText);
            continue;
        };
        if let Some(language) = entry.language.as_ref().or(language.as_ref()) {
            let is_tag = kindred_shared::language::is_well_formed(language);
            item.language = is_tag.then(|| language.clone());
        }
        if !known.insert(item.id.clone()) {
            let why = format!(
                "entry {at}: an earlier entry has the same address, {}",
                item.id
            );
            take(Found::Trouble(place, why))?;
            continue;
        }
        summary.scheduled += u64::from(item.publish_at.is_some());
        summary.cut += u64::from(item.fit(wishes.max_text));
        take(Found::Item(place, Box::new(item)))?;
    }
    Ok(summary)
}

fn in_words(error: &ParseFeedError) -> String {
    format!("it cannot be read as a feed: {error}")
}

/// The host of the feed's own pages.
fn host_of(feed: &Feed, base: Option<&Base>) -> Option<String> {
    if let Some(host) = base.and_then(Base::host) {
        return Some(host.to_owned());
    }
    let own = feed.links.iter().filter(|link| is_page(link));
    let of_entries = feed.entries.iter().filter_map(page_of);
    let mut links = own.map(|link| link.href.as_str()).chain(of_entries);
    links.find_map(|link| path_and_host(link).1)
}

/// Whether a link leads to a page, rather than to the feed itself or to an enclosure.
fn is_page(link: &Link) -> bool {
    matches!(link.rel.as_deref(), None | Some("alternate"))
}

/// The URL of an entry's page.
fn page_of(entry: &Entry) -> Option<&str> {
    let links = &entry.links;
    let link = links.iter().find(|link| is_page(link)).or(links.first())?;
    (!link.href.is_empty()).then_some(link.href.as_str())
}

fn item(entry: &Entry, host: Option<&str>, wishes: &Wishes) -> Option<Item> {
    let page = page_of(entry);
    let id = match page {
        Some(page) => {
            let (path, of) = path_and_host(page);
            match of {
                // Pages elsewhere are identified with their host.
                Some(of) if host.is_some_and(|host| host != of) => id(&format!("{of}{path}")),
                _ => id(&path),
            }
        }
        None => id(&entry.id),
    };
    let title = entry
        .title
        .as_ref()
        .and_then(|title| folded(&title.content));
    let content = entry
        .content
        .as_ref()
        .and_then(|content| content.body.as_deref());
    let summary = entry
        .summary
        .as_ref()
        .map(|summary| summary.content.as_str());
    let text = [content, summary]
        .into_iter()
        .flatten()
        .find(|text| has_words(text));
    if title.is_none() && text.is_none() {
        return None;
    }
    let published_at = entry.published.or(entry.updated);
    let names = entry.authors.iter().filter_map(|one| one.name.as_deref());
    let author: Vec<String> = names.filter_map(folded).collect();
    let mut attributes = std::collections::BTreeMap::new();
    if !author.is_empty() {
        attributes.insert("author".to_owned(), attribute(&author.join(", ")));
    }
    if let Some(updated) = entry.updated.filter(|at| Some(*at) != published_at) {
        let updated = updated.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        attributes.insert("lastmod".to_owned(), updated);
    }
    let mut categories: Vec<String> = Vec::new();
    for category in &entry.categories {
        let name = category.label.as_deref().filter(|label| !label.is_empty());
        if let Some(name) = folded(name.unwrap_or(&category.term))
            && !categories.contains(&name)
        {
            categories.push(name);
        }
    }
    Some(Item {
        id,
        title,
        text: text.map(str::to_owned),
        url: page.map(str::to_owned),
        image: image(entry),
        categories,
        published_at,
        publish_at: published_at.filter(|at| *at > wishes.now),
        attributes,
        ..Item::default()
    })
}

fn image(entry: &Entry) -> Option<String> {
    let thumbnails = entry.media.iter().flat_map(|media| &media.thumbnails);
    let thumbnail = thumbnails.map(|one| one.image.uri.clone()).next();
    let is_image = |kind: Option<&str>| kind.is_some_and(|kind| kind.starts_with("image/"));
    thumbnail
        .or_else(|| {
            let contents = entry.media.iter().flat_map(|media| &media.content);
            contents
                .filter(|one| is_image(one.content_type.as_ref().map(|kind| kind.as_str())))
                .find_map(|one| Some(one.url.as_ref()?.to_string()))
        })
        .or_else(|| {
            let enclosures = entry.links.iter();
            enclosures
                .filter(|link| is_image(link.media_type.as_deref()))
                .map(|link| link.href.clone())
                .next()
        })
}
