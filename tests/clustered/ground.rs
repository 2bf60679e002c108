//! What these tests stand on, checked without the programs: virtual host, users, publisher, the
//! reading of tables, and the roles of deploy/.

use std::time::Duration;

use kindred_domain::store::Liveness;
use kindred_shared::ItemId;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use serde_json::json;

use super::broker::Broker;
use super::cluster::EVENTS;
use super::database::Database;
use super::publisher::publish_events;
use super::services::{own_name, wait};
use crate::corpus::event::Event;
use crate::support::deadline::wait_for;
use crate::support::place::Place;

const COUNTED: Duration = Duration::from_secs(30);

#[test]
fn a_publisher_may_publish_and_nothing_else() {
    let _turn = Place::beside_others();
    let broker = Broker::new();
    wait(declare(&broker.service_url())).expect("a model service may declare");
    let denied = wait(declare(&broker.publisher_url())).expect_err("a publisher may not");
    assert!(denied.to_string().contains("ACCESS_REFUSED"), "{denied}");
    let events: Vec<Event> = (0..600)
        .map(|n| Event::created("ground.test", &format!("i{n}"), 1, &json!({"title": "t"})))
        .collect();
    publish_events(&broker.publisher_url(), &events);
    wait_for("the queue has all", COUNTED, || {
        match broker.ready(EVENTS) {
            Some(600) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let dead = broker.take_dead(EVENTS);
    assert_eq!(dead.len(), events.len());
    assert!(
        dead.iter()
            .zip(&events)
            .all(|(taken, event)| taken.body == event.line.as_bytes())
    );
}

/// Exchange and queue, as far as a publisher sees them.
async fn declare(url: &str) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let queue = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(EVENTS.into(), queue, arguments)
        .await?;
    let exchange = "kindred.items";
    channel
        .exchange_declare(
            exchange.into(),
            ExchangeKind::Topic,
            durable,
            FieldTable::default(),
        )
        .await?;
    channel
        .queue_bind(
            EVENTS.into(),
            exchange.into(),
            "#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
}

#[test]
fn tables_are_read_as_the_contract_has_them() {
    let _turn = Place::beside_others();
    let database = Database::new(&own_name());
    let own = database.keyspace().to_owned();
    for statement in [
        "CREATE KEYSPACE {own} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE {own}.similar_items (domain text, id text, \
         neighbours frozen<list<frozen<tuple<text, float>>>>, model text, updated_at timestamp, \
         PRIMARY KEY (domain, id))",
        "CREATE TABLE {own}.similar_items_by_model (domain text, model text, id text, \
         neighbours frozen<list<frozen<tuple<text, float>>>>, updated_at timestamp, \
         PRIMARY KEY ((domain, model), id))",
        "CREATE TABLE {own}.items (domain text, bucket smallint, id text, version bigint, \
         live boolean, hidden boolean, expires_at timestamp, status text, \
         PRIMARY KEY ((domain, bucket), id))",
        "CREATE TABLE {own}.item_features (domain text, model text, bucket smallint, id text, \
         version bigint, space text, dense blob, term_ids blob, term_weights blob, \
         PRIMARY KEY ((domain, model, bucket), id))",
        "CREATE TABLE {own}.feature_blocks (domain text, hash blob, part smallint, data blob, \
         PRIMARY KEY ((domain, hash), part))",
        "CREATE TABLE {own}.domains (domain text PRIMARY KEY)",
        "CREATE TABLE {own}.partitions (partition smallint PRIMARY KEY, address text)",
        "INSERT INTO {own}.domains (domain) VALUES ('d')",
        "INSERT INTO {own}.partitions (partition, address) VALUES (0, '127.0.0.1:8080')",
        "INSERT INTO {own}.items (domain, bucket, id, version, live, hidden) \
         VALUES ('d', 1, 'a', 7, true, false)",
        "INSERT INTO {own}.items (domain, bucket, id, version, live, hidden) \
         VALUES ('d', 2, 'b', 9007199254740991, false, false)",
        // 1.0 and 0.5 as little-endian f32; term 258.
        "INSERT INTO {own}.item_features \
         (domain, model, bucket, id, version, space, dense, term_ids, term_weights) \
         VALUES ('d', 'words-1', 1, 'a', 7, 'words-1/en', 0x0000803f, 0x02010000, 0x0000003f)",
        "INSERT INTO {own}.similar_items (domain, id, neighbours, model) \
         VALUES ('d', 'a', [('b', 0.5)], 'words-1')",
        "INSERT INTO {own}.similar_items (domain, id, neighbours, model) \
         VALUES ('d', 'c', [], 'words-1')",
    ] {
        database.execute(&statement.replace("{own}", &own));
    }
    let stored = database.read();
    let domain = &stored["d"];
    let id = |text: &str| ItemId::new(text).unwrap();
    let state = |text: &str| {
        let item = &domain.items[&id(text)];
        (item.version, item.liveness, item.hidden)
    };
    assert_eq!(state("a"), (7, Liveness::Live, false));
    assert_eq!(
        state("b"),
        (9_007_199_254_740_991, Liveness::Deleted, false)
    );
    let feature = &domain.features[&id("a")].feature;
    assert_eq!(feature.dense(), [1.0]);
    assert_eq!(
        (feature.term_ids(), feature.term_weights()),
        (&[258][..], &[0.5][..])
    );
    let list = &domain.lists[&id("a")].neighbours;
    assert_eq!((list[0].id.as_str(), list[0].score), ("b", 0.5));
    assert!(domain.lists[&id("c")].neighbours.is_empty());
    assert_eq!(database.owner_address(0).as_deref(), Some("127.0.0.1:8080"));
    let lists = database.lists();
    assert_eq!(
        lists.one("d", "a").unwrap(),
        Some(vec![("b".to_owned(), 0.5)])
    );
    assert_eq!(lists.one("d", "b").unwrap(), None);

    database.make_roles();
    if let Some(worker) = database.worker() {
        let refused = database.as_role(&worker, &format!("SELECT id FROM {own}.similar_items"));
        assert!(refused.is_err(), "workers read blocks alone");
        let select = format!("SELECT part FROM {own}.feature_blocks");
        database
            .as_role(&worker, &select)
            .expect("a worker reads blocks");
    }
    if let Some(service) = database.service() {
        for may in [
            format!("INSERT INTO {own}.domains (domain) VALUES ('e')"),
            format!("DELETE FROM {own}.domains WHERE domain = 'e'"),
            "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'".to_owned(),
        ] {
            database
                .as_role(&service, &may)
                .unwrap_or_else(|error| panic!("{may}: {error}"));
        }
        let refused = database.as_role(&service, &format!("DROP TABLE {own}.domains"));
        assert!(refused.is_err(), "the service drops nothing");
    }
}
