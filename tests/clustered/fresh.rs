//! How soon an event is in Cassandra's lists and in HTTP's answers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cluster::{Cluster, How};
use super::database::{Lists, Neighbours};
use super::publisher::{Publisher, publish_events};
use crate::corpus::event::Event;
use crate::corpus::generated::{rare_word, text_item};
use crate::exactness::expected::Expected;
use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::random::Random;

const DOMAIN: &str = "fresh.test";
/// Items of the quiet domain.
const ITEMS: usize = 5_000;
/// Items put into it, one after the other.
const MEASURED: usize = 50;
const WORDS: usize = 25;
/// Neighbours an item is entitled to.
const NEIGHBOURS: usize = 50;
const WINDOW: Duration = Duration::from_millis(250);
/// What may be added to the window until every neighbour's row has the item, for the median.
const WRITTEN: Duration = Duration::from_millis(300);
/// From a deletion to HTTP without it, for the median.
const GONE_FROM_HTTP: Duration = Duration::from_millis(50);
/// From a deletion to tables without it, for the median.
const GONE_FROM_TABLES: Duration = Duration::from_secs(1);
/// Longest a single one may take: a broken one fails, a slow one counts.
const SEEN: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(300);

#[test]
fn an_item_is_in_its_neighbours_rows_after_its_window_and_gone_after_its_deletion() {
    let cluster = Cluster::alone();
    let service = cluster.service(&How {
        window: Some("250ms"),
        ..How::default()
    });
    let _worker = cluster.worker();
    let client = service.client();
    let mut random = Random::of_test("clustered fresh");
    let said: Vec<Value> = (0..ITEMS).map(|_| text_item(&mut random, WORDS)).collect();
    let mut events: Vec<Event> = said
        .iter()
        .enumerate()
        .map(|(n, said)| Event::created(DOMAIN, &format!("old-{n}"), 1, said))
        .collect();
    publish_events(&cluster.broker.publisher_url(), &events);
    cluster.settled(client, &Expected::of(&events), QUIET);

    let publisher = Publisher::open(&cluster.broker.publisher_url());
    let lists = cluster.database.lists();
    let mut written = Vec::new();
    for n in 0..MEASURED {
        let like = random.below(ITEMS);
        let id = format!("new-{n}");
        // One word apart from its neighbour.
        let mut new = said[like].clone();
        let text = format!("{} {}", new["text"].as_str().unwrap(), rare_word(2_500 + n));
        new["text"] = json!(text);
        let event = Event::created(DOMAIN, &id, 1, &new);
        let started = Instant::now();
        publisher.publish(&event);
        wait_for("every neighbour's row has the new item", SEEN, || {
            in_every_neighbours_row(&lists, &id)
        });
        written.push(started.elapsed());
        events.push(event);
        client.wait_quiet(QUIET);
    }

    let (mut from_http, mut from_tables) = (Vec::new(), Vec::new());
    for n in 0..MEASURED {
        let id = format!("new-{n}");
        let neighbours = lists.one(DOMAIN, &id).unwrap().expect("its list");
        assert!(!neighbours.is_empty());
        let deleted = Event::deleted(DOMAIN, &id, 2);
        publisher.publish(&deleted);
        let started = Instant::now();
        wait_for("HTTP answers without it", SEEN, || {
            gone_from_http(client, &id, &neighbours)
        });
        from_http.push(started.elapsed());
        wait_for("the tables are without it", SEEN, || {
            gone_from_tables(&lists, &id, &neighbours)
        });
        from_tables.push(started.elapsed());
        events.push(deleted);
        client.wait_quiet(QUIET);
    }
    cluster.settled(client, &Expected::of(&events), QUIET);

    let report = [
        ("written", median(&mut written), WINDOW + WRITTEN),
        ("gone from HTTP", median(&mut from_http), GONE_FROM_HTTP),
        (
            "gone from tables",
            median(&mut from_tables),
            GONE_FROM_TABLES,
        ),
    ];
    for (what, median, allowed) in report {
        println!("{what}: median {median:?}, allowed {allowed:?}");
    }
    for (what, median, allowed) in report {
        assert!(median <= allowed, "{what}: {median:?}, allowed {allowed:?}");
    }
}

fn median(delays: &mut [Duration]) -> Duration {
    delays.sort_unstable();
    println!(
        "fastest {:?}, slowest {:?}",
        delays[0],
        delays[delays.len() - 1]
    );
    delays[delays.len() / 2]
}

/// Whether each neighbour of an item lists it, as far as it ranks among that neighbour's own.
fn in_every_neighbours_row(lists: &Lists<'_>, id: &str) -> Result<(), String> {
    let own = lists
        .one(DOMAIN, id)?
        .ok_or_else(|| "it has no row".to_owned())?;
    if own.is_empty() {
        return Err("its own list is empty".to_owned());
    }
    let ids: Vec<String> = own.iter().map(|(other, _)| other.clone()).collect();
    for ((other, score), list) in own.iter().zip(lists.all(DOMAIN, &ids)?) {
        let list = list.ok_or_else(|| format!("{other} has no row"))?;
        let listed = list.iter().any(|(of, _)| of == id);
        let (last_id, last_score) = list.last().ok_or_else(|| format!("{other} has none"))?;
        let outranked =
            list.len() == NEIGHBOURS && (*last_score, id.as_bytes()) > (*score, last_id.as_bytes());
        if !listed && !outranked {
            return Err(format!("{other} does not list it"));
        }
    }
    Ok(())
}

fn gone_from_http(client: &Client, id: &str, neighbours: &Neighbours) -> Result<(), String> {
    if client.similar(DOMAIN, id, NEIGHBOURS).is_some() {
        return Err("its own answer is there".to_owned());
    }
    let (nearest, _) = &neighbours[0];
    match client.similar(DOMAIN, nearest, NEIGHBOURS) {
        Some(similar) if similar.iter().all(|one| one.id.as_str() != id) => Ok(()),
        other => Err(format!("{nearest}: {other:?}")),
    }
}

fn gone_from_tables(lists: &Lists<'_>, id: &str, neighbours: &Neighbours) -> Result<(), String> {
    if lists.one(DOMAIN, id)?.is_some() {
        return Err("its own row is there".to_owned());
    }
    let ids: Vec<String> = neighbours.iter().map(|(other, _)| other.clone()).collect();
    for (other, list) in ids.iter().zip(lists.all(DOMAIN, &ids)?) {
        if list.is_some_and(|list| list.iter().any(|(of, _)| of == id)) {
            return Err(format!("{other} lists it"));
        }
    }
    Ok(())
}
