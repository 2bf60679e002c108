//! What sites do with a domain: list its items, export it and import it elsewhere.

use std::fs;
use std::time::Duration;

use kindred_api::item::ItemsAnswer;
use kindred_api::path;
use serde_json::json;

use crate::support::client::Client;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start, run};

const DOMAIN: &str = "site.test";
const QUIET: Duration = Duration::from_secs(60);

fn ids(page: &ItemsAnswer) -> Vec<&str> {
    page.items.iter().map(|item| item.id.as_str()).collect()
}

fn page(client: &Client, parameters: &[(&str, &str)]) -> ItemsAnswer {
    let path = path::with_query(&path::items(DOMAIN), parameters);
    client.get(&path).with_status(200).read()
}

#[test]
fn items_are_listed_exported_and_imported_again() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let lines: Vec<String> = (0..250)
        .map(|n| {
            let day = 1 + n % 28;
            json!({"type": "item.created", "domain": DOMAIN, "id": format!("p{n:03}"), "version": n + 1,
                "title": format!("Post &amp; {n}"), "vector": [n as f32 + 1.0, 7.0],
                "hidden": n == 3, "published_at": format!("2026-01-{day:02}T00:00:00Z")})
            .to_string()
        })
        .collect();
    client.batch(DOMAIN, &lines);
    client.delete(&path::item(DOMAIN, "p004")).with_status(202);
    client.wait_quiet(QUIET);

    let first = page(client, &[("limit", "4")]);
    assert_eq!(ids(&first), ["p000", "p001", "p002", "p003"]);
    assert!(first.items[3].hidden);
    assert_eq!(first.items[0].title.as_deref(), Some("Post & 0"));
    let next = first.next.expect("there are more");
    let second = page(client, &[("limit", "2"), ("after", &next)]);
    assert_eq!(ids(&second), ["p005", "p006"]);
    let mut after = None;
    let mut all = Vec::new();
    loop {
        let mut parameters = vec![("sort", "newest"), ("limit", "100")];
        parameters.extend(after.as_deref().map(|after| ("after", after)));
        let page = page(client, &parameters);
        all.extend(
            page.items
                .into_iter()
                .map(|item| (item.published_at, item.id)),
        );
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all.len(), 249);
    let is_ordered = |pair: &[(Option<String>, _)]| pair[0].0 >= pair[1].0;
    assert!(all.windows(2).all(is_ordered), "the newest first");
    let found = page(client, &[("q", "post 24")]);
    // "Post &amp; 24", and what has 24 in its id.
    assert_eq!(found.items.len(), 13, "{:?}", ids(&found));
    let named = page(
        client,
        &[
            ("published_before", "2026-01-02T00:00:00Z"),
            ("q", "post 1"),
        ],
    );
    let last_day = page(client, &[("published_after", "2026-01-28T00:00:00Z")]);
    assert_eq!(ids(&named), ["p112", "p140", "p168", "p196"]);
    assert_eq!(last_day.items.len(), 8);
    let problem = client.get(&format!("{}?sort=odd", path::items(DOMAIN)));
    assert_eq!(problem.with_status(400).json()["field"], "sort");

    let before = client.similar(DOMAIN, "p100", 50).expect("it is there");
    let url = format!("http://127.0.0.1:{}", place.port());
    let file = place.directory().join("export.ndjson");
    let name = file.to_str().expect("a plain path");
    let export = |more: &[&str]| {
        let mut arguments = vec!["export", DOMAIN, "-o", name, "--url", &url];
        arguments.extend(more);
        let done = run(place.directory(), &arguments);
        assert!(done.status.success(), "{done:?}");
    };
    export(&[]);
    let whole = fs::read_to_string(&file).expect("it is written");
    assert_eq!(whole.lines().count(), 249);
    // Broken off in the middle of a line.
    fs::write(&file, &whole[..whole.len() / 2]).expect("it can be written");
    export(&["--resume"]);
    assert_eq!(fs::read_to_string(&file).expect("it is written"), whole);

    client.delete(&path::domain(DOMAIN)).with_status(202);
    let done = run(place.directory(), &["import", name, "--url", &url]);
    assert!(done.status.success(), "{done:?}");
    client.wait_quiet(QUIET);
    assert_eq!(
        client.similar(DOMAIN, "p100", 50).expect("it is there"),
        before
    );
    kindred.stop();
}
