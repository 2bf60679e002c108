//! What sites do with a domain: list its items, export it and import it elsewhere, and write related posts while
//! they are built.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kindred_api::item::ItemsAnswer;
use kindred_api::path;
use serde_json::{Value, json};

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
    assert_eq!(found.items.len(), 11, "{:?}", ids(&found));
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

#[test]
fn the_recipe_for_static_sites_writes_related_posts() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let posts = place.directory().join("posts");
    fs::create_dir_all(posts.join("2026")).expect("it can be made");
    let post = |name: &str, title: &str, text: &str| {
        let said = format!(
            "---\ntitle: \"{title}\"\ndate: 2026-01-02\ntags: [rail, night]\n---\n{text}\n"
        );
        fs::write(posts.join(name), said).expect("it can be written");
    };
    post(
        "2026/trains.md",
        "Night trains return",
        "Sleepers run again from spring on, with beds and breakfast.",
    );
    post(
        "2026/sleepers.md",
        "Sleepers to the coast",
        "The sleepers have beds, and breakfast on the night train.",
    );
    post(
        "bread.md",
        "Rye bread",
        "Flour, water, salt and a sourdough starter make a loaf.",
    );
    let related = place.directory().join("related.json");
    let url = format!("http://127.0.0.1:{}", place.port());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/recipes/related_posts.py");
    let write = || {
        let done = Command::new("python3")
            .arg(&script)
            .arg(&posts)
            .arg("-o")
            .arg(&related)
            .args(["--url", &url, "--domain", DOMAIN])
            .output()
            .expect("python3 is there");
        assert!(done.status.success(), "{done:?}");
        let written = fs::read_to_string(&related).expect("it is written");
        serde_json::from_str::<Value>(&written).expect("JSON")
    };
    let all = write();
    assert_eq!(all.as_object().map(serde_json::Map::len), Some(3));
    assert_eq!(all["2026/trains"][0]["id"], "2026/sleepers");
    assert_eq!(all["2026/trains"][0]["url"], "/2026/sleepers/");
    fs::remove_file(posts.join("2026/sleepers.md")).expect("it is there");
    let fewer = write();
    assert_eq!(fewer.as_object().map(serde_json::Map::len), Some(2));
    let ids: Vec<&Value> = fewer["2026/trains"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| &one["id"])
        .collect();
    assert!(!ids.contains(&&json!("2026/sleepers")), "{ids:?}");
    kindred.stop();
}
