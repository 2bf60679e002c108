//! deploy/'s users and roles are enough, and no more: an import by programs that have nothing
//! else, and what each of them is refused.

use std::time::Duration;

use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use super::cluster::{Cluster, EVENTS, How};
use super::publisher::publish_events;
use super::services::wait;
use crate::corpus::event::Event;
use crate::corpus::generated::text_item;
use crate::exactness::expected::Expected;
use crate::support::deadline::wait_for;
use crate::support::random::Random;

const DOMAIN: &str = "least.test";
const ITEMS: usize = 200;
const WORDS: usize = 15;
const QUIET: Duration = Duration::from_secs(180);
/// Longest until a service has said why it waits.
const SAID: Duration = Duration::from_secs(60);

/// What is tried on the broker.
#[derive(Debug, Clone, Copy)]
enum Try {
    /// Taking messages from a queue.
    Consume(&'static str),
    /// Publishing to an exchange, with a routing key.
    Publish(&'static str, &'static str),
    /// Declaring a queue.
    Declare(&'static str),
}

#[test]
fn an_import_needs_no_more_than_deploy_gives_and_each_is_refused_the_rest() {
    let cluster = Cluster::new();
    let service = cluster.service(&How::default());
    let worker = cluster.worker();
    let mut random = Random::of_test("least privilege");
    let mut events: Vec<Event> = (0..ITEMS)
        .map(|n| {
            let said = text_item(&mut random, WORDS);
            Event::created(DOMAIN, &format!("item-{n}"), 1, &said)
        })
        .collect();
    events.push(Event::deleted(DOMAIN, "item-3", 2));
    publish_events(&cluster.broker.publisher_url(), &events);
    cluster.settled(service.client(), &Expected::of(&events), QUIET);
    service.process.stop();
    worker.stop();

    let broker = &cluster.broker;
    let worker_url = broker.worker_url();
    for forbidden in [
        Try::Publish("kindred.items", DOMAIN),
        Try::Publish("kindred.domains", DOMAIN),
        Try::Publish("", EVENTS),
        Try::Consume(EVENTS),
        Try::Consume("kindred.items.dead"),
        Try::Declare("kindred.own"),
    ] {
        refused("a worker", &worker_url, forbidden);
    }
    let publisher_url = broker.publisher_url();
    for forbidden in [
        Try::Consume(EVENTS),
        Try::Consume("kindred.jobs.extract"),
        Try::Publish("kindred.domains", DOMAIN),
        Try::Publish("", EVENTS),
        Try::Declare("kindred.own"),
    ] {
        refused("a publisher", &publisher_url, forbidden);
    }
    broker.limit_publisher();
    let event = Event::deleted("news.test", "nobody", 1);
    publish_events(&publisher_url, [&event]);
    refused(
        "a publisher of news.…",
        &publisher_url,
        Try::Publish("kindred.items", DOMAIN),
    );
    let service_url = broker.service_url();
    for forbidden in [Try::Declare("other"), Try::Publish("amq.topic", DOMAIN)] {
        refused("a service", &service_url, forbidden);
    }

    let database = &cluster.database;
    let own = database.keyspace();
    let list =
        format!("UPDATE {own}.similar_items SET model = 'x' WHERE domain = 'd' AND id = 'i'");
    let roles = [
        ("a worker", database.worker(), list.clone()),
        (
            "a worker",
            database.worker(),
            format!("INSERT INTO {own}.feature_blocks (domain, hash, part) VALUES ('d', 0x00, 0)"),
        ),
        ("a reader", database.reader(), list),
        (
            "a reader",
            database.reader(),
            format!("SELECT text FROM {own}.item_texts"),
        ),
        (
            "a service",
            database.service(),
            format!("DROP KEYSPACE {own}"),
        ),
        (
            "a service",
            database.service(),
            format!("CREATE TABLE {own}.other (id text PRIMARY KEY)"),
        ),
    ];
    for (who, login, statement) in roles {
        if let Some(login) = login {
            let refused = database.as_role(&login, &statement);
            let words = refused.expect_err(&format!("{who} may not: {statement}"));
            assert!(
                words.contains("no ") && words.contains("permission"),
                "{who}: {statement}: {words}"
            );
        }
    }
    if let Some(reader) = database.reader() {
        let select = format!("SELECT neighbours FROM {own}.similar_items");
        database
            .as_role(&reader, &select)
            .expect("a reader reads lists");
    }
}

#[test]
fn a_service_that_may_not_read_the_settings_says_which_permission_it_lacks() {
    let cluster = Cluster::new();
    let Some((role, _)) = cluster.database.service() else {
        // The database asks for no passwords: there is nothing to lack.
        return;
    };
    cluster.database.execute(&format!(
        "REVOKE SELECT ON TABLE system_views.settings FROM {role}"
    ));
    let service = cluster.spawn_service(&How::default());
    wait_for("it says what is missing", SAID, || {
        let said = service.process.last_words();
        if said.contains("SELECT on system_views.settings") {
            Ok(())
        } else {
            Err(said)
        }
    });
    // Whether it waits or ends: nothing was taken from the queue meanwhile.
    assert!(service.readiness().is_err());
}

/// Asserts that the broker says no, and that it is for want of a permission.
#[track_caller]
fn refused(who: &str, url: &str, what: Try) {
    let error = match wait(attempt(url, what)) {
        Ok(()) => panic!("{who} may: {what:?}"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("ACCESS_REFUSED"), "{who}: {what:?}: {error}");
}

async fn attempt(url: &str, what: Try) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let done = attempt_on(&channel, what).await;
    if done.is_ok() {
        connection.close(200, "OK".into()).await?;
    }
    done
}

async fn attempt_on(channel: &Channel, what: Try) -> lapin::Result<()> {
    match what {
        Try::Consume(queue) => {
            let options = BasicConsumeOptions::default();
            channel
                .basic_consume(queue.into(), "".into(), options, FieldTable::default())
                .await?;
        }
        Try::Publish(exchange, key) => {
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            let (options, properties) =
                (BasicPublishOptions::default(), BasicProperties::default());
            channel
                .basic_publish(exchange.into(), key.into(), options, b"{}", properties)
                .await?
                .await?;
        }
        Try::Declare(queue) => {
            let options = QueueDeclareOptions {
                durable: true,
                ..QueueDeclareOptions::default()
            };
            channel
                .queue_declare(queue.into(), options, FieldTable::default())
                .await?;
        }
    }
    Ok(())
}
