//! What most texts of a domain share adds nothing to its lists.

use std::time::Duration;

use kindred_api::path::item;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};

const QUIET: Duration = Duration::from_secs(60);
const BANNER: &str = "Cookies help us to serve you better: read our privacy policy, or manage settings. \
    The Courier has told readers about science, travel and the arts since 1894.";
const SIGNATURE: &str = "Sign up to our newsletter for more stories on food, history and the sea. \
    Copyright The Courier, all rights reserved.";
const TEXTS: usize = 48;

/// Title and text of some articles of the demonstration.
fn articles() -> Vec<(String, String)> {
    let all = include_str!("../../model-service/demo/courier.ndjson");
    let events = all.lines().take(TEXTS).map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| event[name].as_str().unwrap().to_owned();
        (field("title"), field("text"))
    });
    events.collect()
}

fn lines(domain: &str, from: usize, to: usize, text: impl Fn(&str) -> String) -> Vec<String> {
    let articles = articles();
    let events = (from..to).map(|n| {
        let (title, body) = &articles[n];
        json!({"type": "item.created", "domain": domain, "id": format!("a{n:02}"), "title": title,
            "text": text(body)})
        .to_string()
    });
    events.collect()
}

/// All lists: ids and scores.
fn lists(client: &Client, domain: &str) -> Vec<Vec<(String, f32)>> {
    let lists = (0..TEXTS).map(|n| {
        let list = client.similar(domain, &format!("a{n:02}"), 50).unwrap();
        list.into_iter()
            .map(|one| (one.id.to_string(), one.score))
            .collect()
    });
    lists.collect()
}

#[test]
fn a_banner_and_a_signature_in_every_item_change_no_list() {
    let place = Place::beside_others();
    let how = Start::default();
    let kindred = Kindred::start(&place, &how);
    let client = kindred.client();
    let framed = |text: &str| format!("{BANNER} {text}\n{SIGNATURE}");
    client.batch("plain.test", &lines("plain.test", 0, TEXTS, str::to_owned));
    // Too few at first for anything to be usual: their features are made again later.
    client.batch("framed.test", &lines("framed.test", 0, 10, framed));
    client.wait_quiet(QUIET);
    let alone = client.similar("framed.test", "a00", 1).unwrap();
    client.batch("framed.test", &lines("framed.test", 10, TEXTS, framed));
    client.wait_quiet(QUIET);
    let plain = lists(client, "plain.test");
    assert!(plain.iter().any(|list| list.len() > 10));
    assert_eq!(lists(client, "framed.test"), plain);
    let same = plain[0]
        .iter()
        .find(|(id, _)| *id == alone[0].id.to_string());
    assert!(
        same.is_none_or(|(_, score)| *score < alone[0].score),
        "the frame made it nearer"
    );

    // A text that is asked about is read in the same way.
    let ask = |text: &str| {
        let asked = json!({"text": text, "limit": 10});
        let answer = client
            .post("/v1/domains/framed.test/similar", &asked)
            .with_status(200);
        answer.json()["similar"].clone()
    };
    let text = "How glaciers carve their valleys, and what becomes of the ice.";
    assert_eq!(ask(&framed(text)), ask(text));

    kindred.kill_9();
    let kindred = Kindred::start(&place, &how);
    let client = kindred.client();
    // An event for each, so that both are loaded.
    for domain in ["plain.test", "framed.test"] {
        client
            .put(
                &item(domain, "b"),
                r#"{"title":"Another one","hidden":true}"#,
            )
            .with_status(202);
    }
    client.wait_quiet(QUIET);
    // One more text there is: what is frequent is so among one more.
    assert_eq!(lists(client, "framed.test"), lists(client, "plain.test"));
    // One more of the same frame finds its place as if it had none.
    let one = |text: String| json!({"title": "Ice on the move", "text": text}).to_string();
    let more = "Glaciers flow downhill under their own weight and carve valleys.";
    client
        .put(&item("plain.test", "c"), &one(more.to_owned()))
        .with_status(202);
    client
        .put(&item("framed.test", "c"), &one(framed(more)))
        .with_status(202);
    client.wait_quiet(QUIET);
    let similar = |domain| {
        wait_for("its list", QUIET, || {
            client.similar(domain, "c", 50).ok_or("none".to_owned())
        })
    };
    assert_eq!(similar("framed.test"), similar("plain.test"));
    kindred.stop();
}

/// A headline is too short to tell its language by its letters; the one text that can tell decides for all.
#[test]
fn short_titles_are_read_in_the_language_of_the_one_that_is_surely_known() {
    const TITLES: [&str; 7] = [
        "Hafenbrücke gesperrt",
        "Hafenbrücke wieder offen",
        "Neue Hafenbrücke kommt",
        "Warum die Hafenbrücke in Hamburg so lange gesperrt war und was der Umbau gekostet hat",
        "Nachtzug nach Rom",
        "Weinlese beginnt",
        "Frühe Weinlese",
    ];
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let events = TITLES.iter().enumerate().map(|(n, title)| {
        json!({"type": "item.created", "domain": "kurz.test", "id": n.to_string(), "title": title})
            .to_string()
    });
    client.batch("kurz.test", &events.collect::<Vec<_>>());
    client.wait_quiet(QUIET);
    for (n, title) in TITLES.iter().enumerate() {
        let read = client.get(&item("kurz.test", &n.to_string())).json();
        assert_eq!(read["language"], "de", "{title}");
    }
    for (n, title) in TITLES.iter().enumerate().take(4) {
        let list = client.similar("kurz.test", &n.to_string(), 3).unwrap();
        let ids = list.iter().map(|one| one.id.to_string());
        let mut ids: Vec<_> = ids.chain([n.to_string()]).collect();
        ids.sort();
        assert_eq!(ids, ["0", "1", "2", "3"], "{title}");
    }
}
