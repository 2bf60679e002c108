//! URL patterns of Hugo and Jekyll: `/:year/:month/:title/`.

use chrono::{DateTime, FixedOffset};

/// The values of a pattern's placeholders.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) date: Option<DateTime<FixedOffset>>,
    /// Front matter's slug, else the name of the file.
    pub(super) slug: &'a str,
    /// Whether it comes from front matter.
    pub(super) has_slug: bool,
    /// The title.
    pub(super) title: &'a str,
    /// The name of the file, without extension and date.
    pub(super) name: &'a str,
    /// The folders of the file.
    pub(super) folders: Vec<String>,
    /// Categories that are part of URLs.
    pub(super) categories: Vec<String>,
    /// Its collection.
    pub(super) collection: &'a str,
}

/// Jekyll's named patterns.
const NAMED: [(&str, &str); 5] = [
    ("date", "/:categories/:year/:month/:day/:title:output_ext"),
    ("pretty", "/:categories/:year/:month/:day/:title/"),
    ("ordinal", "/:categories/:year/:y_day/:title:output_ext"),
    (
        "weekdate",
        "/:categories/:year/W:week/:short_day/:title:output_ext",
    ),
    ("none", "/:categories/:title:output_ext"),
];

/// The pattern for one of Jekyll's names; anything else is a pattern itself.
pub(super) fn named(pattern: &str) -> &str {
    let found = NAMED.iter().find(|(name, _)| *name == pattern);
    found.map_or(pattern, |(_, pattern)| pattern)
}

/// The URL path from a pattern; `None`: a placeholder is unknown, or has no value here.
pub(super) fn expand(pattern: &str, parts: &Parts<'_>) -> Option<String> {
    let mut path = String::from("/");
    let mut rest = pattern;
    while let Some(at) = rest.find(':') {
        path.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest
            .find(|c: char| !c.is_ascii_lowercase() && c != '_')
            .unwrap_or(rest.len());
        path.push_str(&value(&rest[..end], parts)?);
        rest = &rest[end..];
        if rest.starts_with('[') {
            return None;
        }
    }
    path.push_str(rest);
    let mut folded = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !folded.ends_with('/') {
            folded.push(c);
        }
    }
    Some(folded)
}

fn value(name: &str, parts: &Parts<'_>) -> Option<String> {
    let date = |form: &str| Some(parts.date?.format(form).to_string());
    match name {
        "year" => date("%Y"),
        "short_year" => date("%y"),
        "month" => date("%m"),
        "i_month" => date("%-m"),
        "short_month" => date("%b"),
        "monthname" => date("%B").map(|month| month.to_lowercase()),
        "long_month" => date("%B"),
        "day" => date("%d"),
        "i_day" => date("%-d"),
        "y_day" | "yearday" => date("%j"),
        "short_day" => date("%a"),
        "week" => date("%V"),
        "hour" => date("%H"),
        "minute" => date("%M"),
        "second" => date("%S"),
        // Hugo uses the title, Jekyll the name of the file.
        "title" if parts.collection.is_empty() => Some(slugged(parts.title)),
        "slug" if parts.collection.is_empty() && !parts.has_slug => Some(slugged(parts.title)),
        "title" | "slug" | "slugorcontentbasename" | "slugorfilename" => {
            Some(parts.slug.to_owned())
        }
        "filename" | "contentbasename" | "basename" | "name" => Some(parts.name.to_owned()),
        "section" => parts.folders.first().cloned(),
        "sections" => Some(parts.folders.join("/")),
        "categories" => {
            let mut all: Vec<String> = parts.categories.iter().map(|one| slugged(one)).collect();
            all.dedup();
            Some(all.join("/"))
        }
        "collection" => Some(parts.collection.to_owned()),
        "path" => {
            let mut path = parts.folders.join("/");
            path.push('/');
            path.push_str(parts.name);
            Some(path)
        }
        "output_ext" => Some(".html".to_owned()),
        _ => None,
    }
}

/// A title as a part of a URL: in lower case, with hyphens for everything but letters and digits.
pub(super) fn slugged(title: &str) -> String {
    let mut slug = String::with_capacity(title.len());
    for c in title.chars() {
        if c.is_alphanumeric() || c == '_' {
            slug.extend(c.to_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') && c != '\'' && c != '’' {
            slug.push('-');
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_addresses() {
        let parts = Parts {
            date: DateTime::parse_from_rfc3339("2026-03-09T23:05:06-07:00").ok(),
            slug: "night-trains",
            has_slug: true,
            title: "Night Trains, Again!",
            name: "trains",
            folders: vec!["posts".to_owned(), "rail".to_owned()],
            categories: vec!["Long Reads".to_owned()],
            collection: "posts",
        };
        for (pattern, path) in [
            (named("date"), "/long-reads/2026/03/09/night-trains.html"),
            (named("pretty"), "/long-reads/2026/03/09/night-trains/"),
            (named("ordinal"), "/long-reads/2026/068/night-trains.html"),
            (named("none"), "/long-reads/night-trains.html"),
            ("/:year/:i_month/:i_day/:slug/", "/2026/3/9/night-trains/"),
            ("blog/:filename/", "/blog/trains/"),
            (
                "/:sections/:monthname/:title",
                "/posts/rail/march/night-trains",
            ),
            ("/:section/x", "/posts/x"),
            ("/:collection/:path/", "/posts/posts/rail/trains/"),
        ] {
            assert_eq!(expand(pattern, &parts).as_deref(), Some(path), "{pattern}");
        }
        let of_hugo = Parts {
            collection: "",
            ..parts
        };
        assert_eq!(
            expand("/:title/", &of_hugo).as_deref(),
            Some("/night-trains-again/")
        );
        let unnamed = Parts {
            has_slug: false,
            ..of_hugo
        };
        assert_eq!(
            expand("/:slug/:contentbasename/", &unnamed).as_deref(),
            Some("/night-trains-again/trains/")
        );
        let of_hugo = unnamed;
        assert_eq!(expand("/:unknown/", &of_hugo), None);
        assert_eq!(expand("/:sections[1:]/:slug/", &of_hugo), None);
        assert_eq!(expand("/:year/:slug/", &Parts::default()), None);
    }
}
