//! 20,000 real items published by a plain AMQP client (pika) from the moment the exchange is there,
//! one model service, two workers: exact, and the same bits as standalone gives.

use std::sync::OnceLock;

use super::cluster::{Cluster, How};
use super::pika::publish_with_pika;
use super::publisher::Message;
use crate::corpus::event::Event;
use crate::exactness::check::{assert_exact, assert_same_bits};
use crate::exactness::import::{QUIET, assert_counts, batches, expected, imported_with};
use crate::exactness::stored::Stored;

/// The events of the import, each a message.
pub(crate) fn messages() -> Vec<Message> {
    events().map(Message::from).collect()
}

fn events() -> impl Iterator<Item = &'static Event> {
    batches().iter().flat_map(|batch| &batch.events)
}

/// The tables after an import that nothing disturbed.
pub(crate) fn undisturbed() -> &'static Stored {
    static STORED: OnceLock<Stored> = OnceLock::new();
    STORED.get_or_init(|| {
        let cluster = Cluster::alone();
        let service = cluster.spawn_service(&How::default());
        let workers = [cluster.worker(), cluster.worker()];
        let bodies = events().map(|event| event.line.as_str());
        publish_with_pika(&cluster.broker.publisher_url(), bodies);
        let stored = cluster.settled(service.client(), &expected(), QUIET);
        let domains = service.client().try_domains().expect("an answer");
        assert_counts(&domains);
        service.process.stop();
        for worker in workers {
            worker.stop();
        }
        stored
    })
}

#[test]
#[ignore = "needs services, needs pika, and reads Debian's package lists, which tests/run fetches"]
fn twenty_thousand_items_over_the_broker_get_exact_lists() {
    assert_exact(undisturbed(), &expected());
}

#[test]
#[ignore = "needs services, needs pika, and reads Debian's package lists, which tests/run fetches"]
fn the_bits_are_those_of_standalone() {
    let clustered = undisturbed();
    assert_same_bits(clustered, &imported_with(2));
}
