//! Routes that documents name exist, with the methods they are asked by.

use super::routes;
use crate::documents::{Command, Document, commands, documents};

/// Where documents let a Kindred listen.
const HERE: &str = "http://127.0.0.1:8080/";
/// What a sentence may put before a route.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Whether a path is one of this route; a document may name parts of it as it likes: `{domain}`, `D`, `news.example`.
fn is_of(path: &str, route: &str) -> bool {
    let (mut path, mut route) = (path.split('/'), route.split('/'));
    loop {
        match (path.next(), route.next()) {
            (None, None) => return true,
            (Some(part), Some(of)) => match of.split_once('{') {
                // `{name}:activate`
                Some((before, rest)) => {
                    let (_, behind) = rest.split_once('}').unwrap_or_default();
                    let name = part.strip_prefix(before);
                    let name = name.and_then(|rest| rest.strip_suffix(behind));
                    // What stands behind a colon is no part of a name.
                    if name.is_none_or(|name| name.is_empty() || name.contains(':')) {
                        return false;
                    }
                }
                None if part != of => return false,
                None => {}
            },
            _ => return false,
        }
    }
}

/// What is wrong with a request.
fn wrong(method: Option<&str>, path: &str) -> Option<String> {
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let methods: Vec<&str> = routes()
        .iter()
        .filter(|(route, _)| is_of(path, route))
        .map(|(_, methods)| methods.as_str())
        .collect();
    let Some(method) = method else {
        return methods.is_empty().then(|| format!("no route {path}"));
    };
    let is_taken = methods
        .iter()
        .any(|methods| methods.split(", ").any(|one| one == method));
    (!is_taken).then(|| format!("no route {method} {path}"))
}

/// Method and path that a `curl` asks for; `None` if it is another command, or asks another service.
fn asked(command: &Command) -> Option<(&str, String)> {
    let (program, arguments) = command.words.split_first()?;
    let address = arguments.iter().find_map(|word| word.strip_prefix(HERE));
    if program != "curl" {
        return None;
    }
    let behind = |flags: [&str; 2]| {
        let at = arguments
            .iter()
            .position(|word| flags.contains(&word.as_str()))?;
        arguments.get(at + 1).map(String::as_str)
    };
    let default = behind(["-d", "--data"]).map_or("GET", |_| "POST");
    let method = behind(["-X", "--request"]).unwrap_or(default);
    Some((method, format!("/{}", address?)))
}

/// Requests that a document names in its sentences, by method and path.
fn named(document: &Document) -> Vec<(Option<String>, String)> {
    let mut found = Vec::new();
    for span in document.spans() {
        let (method, path) = match span.split_once(' ') {
            Some((method, path)) if METHODS.contains(&method) => (Some(method), path),
            _ => (None, span.as_str()),
        };
        // Others are pages, files, or the ends of routes.
        if path.starts_with("/v1/") && !path.contains('…') {
            found.push((method.map(str::to_owned), path.to_owned()));
        }
    }
    found
}

#[test]
fn requests_in_documents_have_routes() {
    let (mut seen, mut faults) = (0, Vec::new());
    for document in documents() {
        for (method, path) in named(&document) {
            seen += 1;
            let wrong = wrong(method.as_deref(), &path);
            faults.extend(wrong.map(|wrong| format!("{}: {wrong}", document.path)));
        }
        for block in document.of("sh") {
            for command in commands(&block.text) {
                if let Some((method, path)) = asked(&command) {
                    seen += 1;
                    let wrong = wrong(Some(method), &path);
                    faults.extend(wrong.map(|wrong| format!("{}: {wrong}", block.place)));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(seen > 30, "{seen} requests were found");
}

#[test]
fn a_request_without_a_route_is_noticed() {
    for (method, path) in [
        (None, "/v1/domains/{domain}/items/{id}/similar"),
        (Some("PUT"), "/v1/domains/news.example/items/a-17"),
        (Some("GET"), "/v1/domains/d/items/i/similar?limit=3"),
        (Some("POST"), "/v1/domains/d/models/m:activate"),
    ] {
        assert_eq!(wrong(method, path), None);
    }
    for (method, path) in [
        (None, "/v1/domain/d"),
        (None, "/v1/domains/d/items/i/neighbours"),
        (Some("GET"), "/v1/domains/d/models/m:activate"),
        (Some("GET"), "/v1/domains/d/models/:activate"),
        (Some("POST"), "/v1/domains/d/items/i"),
    ] {
        assert!(wrong(method, path).is_some(), "{method:?} {path}");
    }
    let line = "curl http://127.0.0.1:8080/v1/domains/d/similar -H 'a: b' -d '{}'";
    let found = commands(line);
    assert_eq!(
        asked(&found[0]),
        Some(("POST", "/v1/domains/d/similar".to_owned()))
    );
}
