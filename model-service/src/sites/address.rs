//! URLs on a site, and the item ids derived from them.

use kindred_shared::DomainName;
use kindred_shared::name::MAX_ID_BYTES;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use xxhash_rust::xxh3::xxh3_64;

/// Characters that are encoded in paths.
const IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// Where a site is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    /// `https://blog.example`; `None`: unknown.
    origin: Option<String>,
    /// The path of the site, with a slash at both ends.
    path: String,
}

impl Default for Base {
    fn default() -> Self {
        Self {
            origin: None,
            path: "/".to_owned(),
        }
    }
}

impl Base {
    /// Parses `https://blog.example/below`.
    ///
    /// # Errors
    /// A message, when it is not an HTTP URL.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "{url:?}: expected http:// or https:// and a host, such as https://blog.example"
            )
        };
        let (origin, path) = parted(url).ok_or_else(expected)?;
        Ok(Self {
            origin: Some(origin.to_owned()),
            path: slashed(path),
        })
    }

    /// The same host, with the site below this path.
    pub(super) fn below(mut self, path: &str) -> Self {
        self.path = slashed(path);
        self
    }

    /// The host with its port; `None`: unknown.
    pub(super) fn host(&self) -> Option<&str> {
        self.origin.as_deref()?.split("://").nth(1)
    }

    /// The path of a page, from its path below the site.
    pub(super) fn path(&self, below: &str) -> String {
        format!("{}{}", self.path, below.trim_start_matches('/'))
    }

    /// The URL of a path: absolute, if the site's address is known.
    pub(super) fn url(&self, path: &str) -> String {
        let path = utf8_percent_encode(path, IN_PATH);
        match &self.origin {
            Some(origin) => format!("{origin}{path}"),
            None => path.to_string(),
        }
    }

    /// The URL of something that the page at a path refers to; `None`: it has no lasting URL.
    pub(super) fn resolve(&self, said: &str, page: &str) -> Option<String> {
        let said = said.trim();
        if said.starts_with("https://") || said.starts_with("http://") {
            return Some(said.to_owned());
        }
        if let Some(rest) = said.strip_prefix("//") {
            return Some(format!("https://{rest}"));
        }
        let (is_empty, first) = (said.is_empty(), said.chars().next());
        // Sources that a build renames.
        if is_empty || first.is_some_and(|c| !c.is_alphanumeric() && c != '/') || said.contains(':')
        {
            return None;
        }
        if said.starts_with('/') {
            return Some(self.url(said));
        }
        let folder = &page[..page.rfind('/').map_or(0, |at| at + 1)];
        Some(self.url(&format!("{folder}{said}")))
    }
}

/// Origin and path of a URL, without query and fragment.
fn parted(url: &str) -> Option<(&str, &str)> {
    let url = url.trim();
    let host_at = url.find("://")? + 3;
    if !matches!(&url[..host_at], "http://" | "https://") {
        return None;
    }
    let rest = &url[host_at..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if rest[..end].is_empty() || rest[..end].contains([' ', '@', '{', '$', '"']) {
        return None;
    }
    let path = &rest[end..];
    let path = &path[..path.find(['?', '#']).unwrap_or(path.len())];
    Some((&url[..host_at + end], path))
}

fn slashed(path: &str) -> String {
    let path = path.trim_matches('/');
    if path.is_empty() {
        "/".to_owned()
    } else {
        format!("/{path}/")
    }
}

/// The path of a URL with its query, and its host: `https://e.example/a?b` is `/a?b` of
/// `e.example`. Anything but an HTTP URL is a path.
pub(super) fn path_and_host(url: &str) -> (String, Option<String>) {
    let url = url.trim();
    let url = &url[..url.find('#').unwrap_or(url.len())];
    let Some((origin, _)) = parted(url) else {
        return (url.to_owned(), None);
    };
    let host = origin.split("://").nth(1).map(str::to_ascii_lowercase);
    let path = &url[origin.len()..];
    let path = if path.is_empty() { "/" } else { path };
    (path.to_owned(), host)
}

/// The host name of a URL, without its port; `None`: it has none.
pub(crate) fn host_of(url: &str) -> Option<&str> {
    let host = parted(url)?.0.split("://").nth(1)?;
    host.split(':').next()
}

/// The id of the item at a path: the decoded path without outer slashes, `index.html` and `.html`;
/// the home page is `index`. If it is too long, it ends in a hash of the whole.
pub(super) fn id(path: &str) -> String {
    let path = percent_decode_str(path).decode_utf8_lossy();
    let mut path = path.trim_matches('/');
    for page in ["index.html", "index.htm"] {
        if let Some(folder) = path.strip_suffix(page)
            && (folder.is_empty() || folder.ends_with('/'))
        {
            path = folder.trim_end_matches('/');
        }
    }
    let path = path
        .strip_suffix(".html")
        .or_else(|| path.strip_suffix(".htm"))
        .unwrap_or(path);
    let mut id: String = path.chars().filter(|c| !c.is_control()).collect();
    if id.is_empty() {
        return "index".to_owned();
    }
    if id.len() > MAX_ID_BYTES {
        let hash = format!("-{:016x}", xxh3_64(id.as_bytes()));
        id.truncate(id.floor_char_boundary(MAX_ID_BYTES - hash.len()));
        id.push_str(&hash);
    }
    id
}

/// A domain named after a host or a folder; invalid characters become hyphens.
pub(crate) fn domain_of(name: &str) -> Option<DomainName> {
    let name = name.strip_prefix("www.").unwrap_or(name);
    let fit: String = name
        .chars()
        .map(|c| match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-' => c,
            _ => '-',
        })
        .take(128)
        .collect();
    DomainName::new(fit.trim_matches(['.', '-'])).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn ids_are_paths() {
        for (path, expected) in [
            ("/", "index"),
            ("", "index"),
            ("/index.html", "index"),
            ("/posts/night-trains/", "posts/night-trains"),
            ("/posts/night-trains", "posts/night-trains"),
            ("/posts/night-trains.html", "posts/night-trains"),
            ("/posts/night-trains/index.html", "posts/night-trains"),
            ("/myindex.html", "myindex"),
            ("/n%C3%A4chte/", "nächte"),
            ("/?p=7", "?p=7"),
        ] {
            assert_eq!(id(path), expected, "{path}");
        }
        let long = id(&format!("/{}", "é".repeat(200)));
        assert!(long.len() <= MAX_ID_BYTES && long.len() > 200);
        assert_ne!(long, id(&format!("/{}a", "é".repeat(200))));
    }

    #[test]
    fn a_base_makes_addresses() {
        let base = Base::parse("https://e.example/blog?x").unwrap();
        assert_eq!(base.path("/a/"), "/blog/a/");
        assert_eq!(
            base.url("/blog/a b/é"),
            "https://e.example/blog/a%20b/%C3%A9"
        );
        assert_eq!(base.host(), Some("e.example"));
        assert_eq!(Base::default().url("/a/"), "/a/");
        for bad in ["e.example", "ftp://e.example", "https://", "https://${x}/"] {
            assert!(Base::parse(bad).is_err(), "{bad}");
        }
        for (said, expected) in [
            ("https://i.example/a.png", Some("https://i.example/a.png")),
            ("//i.example/a.png", Some("https://i.example/a.png")),
            ("/a.png", Some("https://e.example/a.png")),
            ("a.png", Some("https://e.example/blog/x/a.png")),
            ("./a.png", None),
            ("@assets/a.png", None),
            ("data:image/png;x", None),
            ("", None),
        ] {
            assert_eq!(
                base.resolve(said, "/blog/x/").as_deref(),
                expected,
                "{said}"
            );
        }
    }

    #[test]
    fn hosts_and_folders_name_domains() {
        let domain = |name: &str| domain_of(name).map(|one| one.to_string());
        assert_eq!(domain("www.e.example").as_deref(), Some("e.example"));
        assert_eq!(domain("my blog!").as_deref(), Some("my-blog"));
        assert_eq!(domain(".."), None);
    }
}
