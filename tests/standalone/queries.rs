//! Queries of a running service: of a domain that sleeps, by text, explained, from the command line.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use kindred_api::path;
use kindred_api::similar::{Computed, Scores, SimilarAnswer};
use kindred_shared::job::KEEP;
use serde_json::json;

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start, kindred};

const LIMIT: Duration = Duration::from_secs(120);
const DOMAIN: &str = "news.test";
const SUBJECTS: [&str; 4] = ["glacier", "railway", "orchard", "parliament"];
const ITEMS: usize = 120;

fn id(n: usize) -> String {
    format!("item-{n:03}")
}

/// An item about one of the subjects, the more so the higher its number.
fn put(client: &Client, n: usize) {
    let subject = SUBJECTS[n % SUBJECTS.len()];
    // Words that all have, and no passage.
    let text = format!(
        "A {subject}, and another {subject}: river {n}, city {n}, market {n}, number {n} of many."
    );
    let body = json!({
        "title": format!("About the {subject}"), "text": text, "language": "en", "group": format!("g{}", n % 10),
        "categories": [subject], "version": 1,
    });
    client
        .put(&path::item(DOMAIN, &id(n)), &body.to_string())
        .with_status(202);
}

fn ids(answer: &SimilarAnswer) -> Vec<&str> {
    answer.similar.iter().map(|item| item.id.as_str()).collect()
}

#[test]
fn whatever_is_asked_is_answered_exactly_and_a_sleeping_domain_wakes() {
    let place = Place::new();
    let start = Start {
        idle_after: Some("1s"),
        window: Some("10ms"),
        ..Start::default()
    };
    let service = Kindred::start(&place, &start);
    let client = service.client();
    (0..ITEMS).for_each(|n| put(client, n));
    client.wait_quiet(LIMIT);
    wait_for("the domain to sleep", LIMIT, || {
        match client.metric("kindred_domains_active") {
            0.0 => Ok(()),
            active => Err(format!("{active} active")),
        }
    });
    let plain = client
        .get(&path::similar(DOMAIN, &id(0), 10))
        .with_status(200);
    assert!(plain.read::<SimilarAnswer>().computed == Computed::List);
    assert!(
        client.metric("kindred_domains_active") < 0.5,
        "a plain list wakes nobody"
    );

    let query = format!("{}/similar", path::item(DOMAIN, &id(0)));
    let ask = |conditions: &str| -> SimilarAnswer {
        client
            .get(&format!("{query}?{conditions}"))
            .with_status(200)
            .read()
    };
    let all = ask("limit=1000");
    assert!(all.similar.len() > KEEP, "more than a list holds");
    assert_eq!(all.computed, Computed::Scan);
    let list = client.similar(DOMAIN, &id(0), 50).expect("a list");
    assert_eq!(all.similar[..50], list, "a scan says what the list says");
    // Whatever a filter leaves is that of all.
    for (conditions, is_left) in [
        (
            "category=railway",
            &(|n: usize| n % 4 == 1) as &dyn Fn(usize) -> bool,
        ),
        ("not_category=glacier&group=g2&group=g4", &|n| {
            n % 4 != 0 && (n % 10 == 2 || n % 10 == 4)
        }),
        ("exclude=item-004", &|n| n != 4),
    ] {
        let number = |id: &str| id["item-".len()..].parse::<usize>().expect("a number");
        let expected: Vec<&str> = ids(&all)
            .into_iter()
            .filter(|id| is_left(number(id)))
            .take(20)
            .collect();
        assert_eq!(
            ids(&ask(&format!("{conditions}&limit=20"))),
            expected,
            "{conditions}"
        );
    }
    let collapsed = ask("collapse=group&limit=50");
    assert_eq!(collapsed.similar.len(), 10, "there are ten groups");

    let queries = path::queries(DOMAIN);
    let text = json!({"title": "The glacier", "text": "A glacier and nothing else", "limit": 3, "explain": true});
    let by_text: SimilarAnswer = client.post(&queries, &text).with_status(200).read();
    for item in &by_text.similar {
        assert_eq!(item.categories, ["glacier"]);
        let why = item.why.as_ref().expect("why");
        let terms = why.terms.as_ref().expect("terms");
        assert_eq!(terms[0].term, "glacier");
        let sum =
            why.dense + terms.iter().map(|term| term.share).sum::<f64>() + why.rest.unwrap_or(0.0);
        assert!((sum - f64::from(item.score)).abs() < 1e-6);
    }
    let explained = ask("explain=true&limit=5&category=glacier");
    let why = explained.similar[0]
        .why
        .as_ref()
        .and_then(|why| why.terms.as_ref());
    assert!(why.is_some_and(|terms| terms.iter().any(|term| term.term == "glacier")));

    let pairs: Vec<[String; 2]> = all
        .similar
        .iter()
        .map(|item| [id(0), item.id.to_string()])
        .collect();
    let scores = client.post(
        &format!("{}/scores", path::domain(DOMAIN)),
        &json!({ "pairs": pairs }),
    );
    let expected: Vec<Option<f32>> = all.similar.iter().map(|item| Some(item.score)).collect();
    assert_eq!(scores.with_status(200).read::<Scores>().scores, expected);

    // What is deleted is in no answer that begins after that.
    let best = all.similar[0].id.to_string();
    client.delete(&path::item(DOMAIN, &best)).with_status(202);
    assert!(!ids(&ask("limit=1000")).contains(&best.as_str()));
    command_line(&place);
    service.stop();
}

/// A text on standard input, with conditions as flags.
fn command_line(place: &Place) {
    let mut asking = kindred(place.directory())
        .args([
            "similar",
            DOMAIN,
            "--text",
            "-",
            "--limit",
            "2",
            "--not-group",
            "g0",
            "--json",
        ])
        .args(["--url", &format!("http://127.0.0.1:{}", place.port())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut input = asking.stdin.take().expect("standard input");
    input.write_all(b"Trains on the railway").expect("it reads");
    drop(input);
    let output = asking.wait_with_output().expect("an end");
    assert!(output.status.success());
    let answer: SimilarAnswer = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!(answer.similar.len(), 2);
    for item in answer.similar {
        assert_eq!(item.categories, ["railway"]);
        assert_ne!(item.group.as_deref(), Some("g0"));
    }
}

#[test]
fn a_text_is_compared_with_texts_of_all_languages() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    let set = json!({"across_languages": true}).to_string();
    client.put(&path::domain(DOMAIN), &set).with_status(201);
    for (id, language, title) in [("a", "en", "The glacier"), ("b", "de", "Der Gletscher")] {
        let body = json!({"language": language, "title": title}).to_string();
        client.put(&path::item(DOMAIN, id), &body).with_status(202);
    }
    client.wait_quiet(LIMIT);
    let query = json!({"text": "A glacier in the mountains", "language": "en"});
    let answer = client.post(&path::queries(DOMAIN), &query);
    let answer: SimilarAnswer = answer.with_status(200).read();
    assert!(ids(&answer).contains(&"a"), "{answer:?}");
}
