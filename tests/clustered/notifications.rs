//! `neighbours.updated`: who listens learns of every item whose list changed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, Consumer, ExchangeKind};
use serde_json::Value;
use tokio::time::timeout;

use super::cluster::{Cluster, How};
use super::publisher::publish_events;
use super::services::wait;
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::random::Random;

const EXCHANGE: &str = "kindred.domains";
const DOMAIN: &str = "told.test";
const OTHER: &str = "untold.test";
const ITEMS: usize = 60;
const WORDS: usize = 20;
/// CONTRACT: ids of one message.
const MOST_IDS: usize = 1_000;
const QUIET: Duration = Duration::from_secs(120);
/// Longest from the lists in the tables to the message about them.
const TOLD: Duration = Duration::from_secs(30);

#[test]
fn every_changed_item_is_told_deleted_ones_too() {
    let cluster = Cluster::new();
    let service = cluster.service(&How::default());
    let _worker = cluster.worker();
    let mut random = Random::of_test("notifications");
    let (_connection, mut told) = wait(listen(&cluster.broker.listener_url(), DOMAIN)).unwrap();

    let mut events: Vec<Event> = Vec::new();
    for domain in [DOMAIN, OTHER] {
        for n in 0..ITEMS {
            let said = text_item(&mut random, WORDS);
            events.push(Event::created(domain, &format!("item-{n}"), 1, &said));
        }
    }
    let url = cluster.broker.publisher_url();
    publish_events(&url, &events);
    cluster.settled(service.client(), &Expected::of(&events), QUIET);
    let every: BTreeSet<String> = (0..ITEMS).map(|n| format!("item-{n}")).collect();
    wait_told(&mut told, &every);

    let deleted = Event::deleted(DOMAIN, "item-7", 2);
    publish_events(&url, [&deleted]);
    wait_told(&mut told, &BTreeSet::from(["item-7".to_owned()]));
}

/// Listens to what is told of a domain.
pub(super) async fn listen(url: &str, domain: &str) -> lapin::Result<(Connection, Consumer)> {
    let options = ConnectionProperties::default().with_connection_name("listener".into());
    let connection = Connection::connect(url, options).await?;
    let channel = connection.create_channel().await?;
    let passive = ExchangeDeclareOptions {
        passive: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(
            EXCHANGE.into(),
            ExchangeKind::Topic,
            passive,
            FieldTable::default(),
        )
        .await?;
    let own = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare("".into(), own, FieldTable::default())
        .await?;
    channel
        .queue_bind(
            queue.name().clone(),
            EXCHANGE.into(),
            domain.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let unacknowledged = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let consumer = channel
        .basic_consume(
            queue.name().clone(),
            "".into(),
            unacknowledged,
            FieldTable::default(),
        )
        .await?;
    Ok((connection, consumer))
}

/// Reads messages until all these ids were named.
#[track_caller]
fn wait_told(told: &mut Consumer, ids: &BTreeSet<String>) {
    let started = Instant::now();
    let mut missing = ids.clone();
    while !missing.is_empty() {
        let left = TOLD.saturating_sub(started.elapsed());
        let message = wait(async { timeout(left, told.next()).await })
            .unwrap_or_else(|_| panic!("not told of {missing:?}"))
            .expect("the consumer lives")
            .expect("the connection lives");
        let body: Value = serde_json::from_slice(&message.data).expect("JSON");
        assert_eq!(body["domain"], DOMAIN, "{body}");
        assert!(body["model"].is_string(), "{body}");
        assert!(body["at"].is_string(), "{body}");
        let named = body["ids"].as_array().expect("ids");
        assert!((1..=MOST_IDS).contains(&named.len()), "{body}");
        for id in named {
            missing.remove(id.as_str().expect("an id"));
        }
    }
}
