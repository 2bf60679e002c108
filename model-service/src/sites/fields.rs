//! The meanings of front matter fields, across generators.

use chrono::{DateTime, FixedOffset};
use serde_json::Value;

use super::dates;
use super::matter::Matter;
use super::text::folded;

/// Longest attribute value, in bytes.
const MAX_ATTRIBUTE_BYTES: usize = 4 << 10;

/// What a file says about itself, by meaning.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) date: Option<DateTime<FixedOffset>>,
    /// When it is to appear, if given separately.
    pub(super) publish: Option<DateTime<FixedOffset>>,
    pub(super) changed: Option<DateTime<FixedOffset>>,
    pub(super) expires: Option<DateTime<FixedOffset>>,
    pub(super) is_draft: bool,
    pub(super) is_unlisted: bool,
    pub(super) slug: Option<String>,
    /// The whole path.
    pub(super) permalink: Option<String>,
    /// The last part of the path, as named by Docusaurus.
    pub(super) id: Option<String>,
    pub(super) series: Option<String>,
    /// Categories without tags: for some generators they are part of URLs.
    pub(super) categories: Vec<String>,
    /// Categories and tags.
    pub(super) labels: Vec<String>,
    pub(super) image: Option<String>,
    pub(super) language: Option<String>,
    pub(super) author: Option<String>,
}

const DATES: [&str; 10] = [
    "date",
    "pubdate",
    "pubdatetime",
    "published_at",
    "publishedat",
    "datepublished",
    "published_date",
    "publisheddate",
    "created",
    "created_at",
];
const PUBLISHED: [&str; 3] = ["publishdate", "publish_date", "publish_at"];
const CHANGED: [&str; 11] = [
    "lastmod",
    "updated",
    "updateddate",
    "updated_at",
    "updatedat",
    "moddatetime",
    "modified",
    "last_modified_at",
    "last_updated",
    "lastupdated",
    "last_update",
];
const EXPIRES: [&str; 4] = ["expirydate", "unpublishdate", "expires", "expires_at"];
const IMAGES: [&str; 14] = [
    "image",
    "images",
    "cover",
    "coverimage",
    "cover_image",
    "heroimage",
    "hero_image",
    "hero",
    "featured_image",
    "featuredimage",
    "thumbnail",
    "ogimage",
    "og_image",
    "header",
];
const SERIES: [&str; 2] = ["series", "serie"];
const CATEGORIES: [&str; 3] = ["categories", "category", "topics"];
const TAGS: [&str; 2] = ["tags", "tag"];

/// Reads front matter. `spaced`: several labels in one string are separated by spaces, as in
/// Jekyll.
pub(super) fn said(matter: &Matter, spaced: bool) -> Said {
    let matter: Matter = matter
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.clone()))
        .collect();
    let first = |names: &[&str]| names.iter().find_map(|name| matter.get(*name));
    let text_of = |names: &[&str]| names.iter().find_map(|name| text(matter.get(*name)?));
    let time_of = |names: &[&str]| names.iter().find_map(|name| time(matter.get(*name)?));
    let is = |name: &str| matter.get(name).and_then(truth) == Some(true);
    let is_not = |name: &str| matter.get(name).and_then(truth) == Some(false);
    let taxonomies = matter.get("taxonomies").and_then(Value::as_object);
    let labels = |names: &[&str]| {
        let below = |name: &&str| taxonomies.and_then(|all| all.get(*name));
        let found = first(names).or_else(|| names.iter().find_map(below));
        found.map_or_else(Vec::new, |found| all_labels(found, spaced))
    };
    let categories = labels(&CATEGORIES);
    let mut both = categories.clone();
    both.extend(labels(&TAGS));
    let mut known = std::collections::BTreeSet::new();
    both.retain(|label| known.insert(label.clone()));
    // `published` is a date for some generators and a flag for others.
    let published = matter.get("published").and_then(time);
    let build = first(&["build", "_build"]).and_then(Value::as_object);
    let never_listed = build.is_some_and(|build| {
        ["list", "render"]
            .iter()
            .filter_map(|name| build.get(*name))
            .any(|value| truth(value) == Some(false) || value == "never")
    });
    let permalink = first(&["permalink", "url"]);
    Said {
        title: text_of(&["title", "name", "headline", "linktitle", "sidebar_label"]),
        description: text_of(&["description", "summary", "excerpt", "subtitle", "abstract"]),
        date: time_of(&DATES).or(published),
        publish: time_of(&PUBLISHED),
        changed: time_of(&CHANGED),
        expires: time_of(&EXPIRES),
        is_draft: is("draft") || is("isdraft") || is_not("published"),
        is_unlisted: is("unlisted")
            || is("hidden")
            || is("headless")
            || is("noindex")
            || is("eleventyexcludefromcollections")
            || never_listed
            || permalink.and_then(truth) == Some(false),
        slug: text_of(&["slug"]),
        permalink: permalink.and_then(text),
        id: text_of(&["id"]),
        series: first(&SERIES).and_then(|series| all_labels(series, false).into_iter().next()),
        categories,
        labels: both,
        image: first_image(&matter),
        language: text_of(&["lang", "language", "locale"])
            .filter(|tag| kindred_shared::language::is_well_formed(tag)),
        author: first(&["author", "authors"]).and_then(names),
    }
}

/// A string within the limit of an attribute.
pub(super) fn attribute(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_ATTRIBUTE_BYTES)].to_owned()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => folded(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        },
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn time(value: &Value) -> Option<DateTime<FixedOffset>> {
    match value {
        Value::String(text) => dates::parse(text),
        // As in Docusaurus: last_update: {date: …}.
        Value::Object(inside) => time(inside.get("date")?),
        Value::Number(number) => dates::parse(&number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) => None,
    }
}

fn all_labels(value: &Value, spaced: bool) -> Vec<String> {
    match value {
        Value::String(text) if spaced && !text.contains(',') => {
            text.split_whitespace().map(str::to_owned).collect()
        }
        Value::String(text) => text.split(',').filter_map(folded).collect(),
        Value::Array(all) => all.iter().filter_map(label).collect(),
        other => label(other).into_iter().collect(),
    }
}

fn label(value: &Value) -> Option<String> {
    match value {
        Value::Object(inside) => ["label", "name", "title"]
            .iter()
            .find_map(|name| text(inside.get(*name)?)),
        other => text(other),
    }
}

/// One name, or several separated by commas.
fn names(value: &Value) -> Option<String> {
    let all = match value {
        Value::Array(all) => all.iter().filter_map(label).collect(),
        one => vec![label(one)?],
    };
    (!all.is_empty()).then(|| attribute(&all.join(", ")))
}

fn first_image(matter: &Matter) -> Option<String> {
    IMAGES.iter().find_map(|name| image(matter.get(*name)?))
}

fn image(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => folded(text),
        Value::Array(all) => all.iter().find_map(image),
        Value::Object(inside) => ["url", "src", "path", "image", "teaser", "og_image"]
            .iter()
            .find_map(|name| image(inside.get(*name)?)),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value, spaced: bool) -> Said {
        let Value::Object(matter) = value else {
            panic!("an object");
        };
        said(&matter, spaced)
    }

    #[test]
    fn names_of_all_generators_mean_the_same() {
        let at = dates::parse("2026-01-02");
        for matter in [
            json!({"title": "A", "date": "2026-01-02", "tags": ["x", "y"], "image": "/i.png"}),
            json!({"Title": "A", "pubDate": "Jan 02 2026", "tags": "x, y", "heroImage": "/i.png"}),
            json!({"title": "A", "published": "2026-01-02", "categories": "x", "tag": "y", "cover": {"image": "/i.png"}}),
            json!({"title": "A", "date": "2026-01-02", "tags": [{"label": "x", "permalink": "/x"}, "y"], "images": ["/i.png"]}),
            json!({"title": "A", "date": 20_260_102, "taxonomies": {"categories": ["x"], "tags": ["x", "y"]}, "thumbnail": "/i.png"}),
        ] {
            let said = read(matter.clone(), false);
            assert_eq!(said.title.as_deref(), Some("A"), "{matter}");
            assert_eq!(said.date, at, "{matter}");
            assert_eq!(said.labels, ["x", "y"], "{matter}");
            assert_eq!(said.image.as_deref(), Some("/i.png"), "{matter}");
            assert!(!said.is_draft && !said.is_unlisted);
        }
        let jekyll = read(json!({"categories": "long reads", "tags": "a,b c"}), true);
        assert_eq!(jekyll.categories, ["long", "reads"]);
        assert_eq!(jekyll.labels, ["long", "reads", "a", "b c"]);
    }

    #[test]
    fn drafts_and_the_unlisted_are_told_apart() {
        for matter in [
            json!({"draft": true}),
            json!({"draft": "yes"}),
            json!({"published": false}),
        ] {
            assert!(read(matter, false).is_draft);
        }
        for matter in [
            json!({"unlisted": true}),
            json!({"permalink": false}),
            json!({"eleventyExcludeFromCollections": true}),
            json!({"build": {"list": "never"}}),
            json!({"_build": {"render": false}}),
        ] {
            let said = read(matter, false);
            assert!(said.is_unlisted && !said.is_draft);
        }
    }

    #[test]
    fn the_rest() {
        let said = read(
            json!({"slug": "s", "permalink": "/p/", "series": ["One", "Two"], "lang": "de-AT", "title": 404,
                "authors": [{"name": "A"}, "B"], "expiryDate": "2026-02-01", "publishDate": "2026-01-05",
                "last_update": {"date": "2026-01-03"}, "description": " x \n y "}),
            false,
        );
        assert_eq!(said.title.as_deref(), Some("404"));
        assert_eq!(
            (said.slug.as_deref(), said.permalink.as_deref()),
            (Some("s"), Some("/p/"))
        );
        assert_eq!(said.series.as_deref(), Some("One"));
        assert_eq!(said.language.as_deref(), Some("de-AT"));
        assert_eq!(said.author.as_deref(), Some("A, B"));
        assert_eq!(said.description.as_deref(), Some("x y"));
        assert!(said.expires.is_some() && said.publish.is_some() && said.changed.is_some());
        assert_eq!(read(json!({"lang": "not a tag"}), false).language, None);
    }
}
