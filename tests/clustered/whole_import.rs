//! 20,000 real items published by a plain AMQP client (pika) from the moment the exchange is there,
//! one model service, two workers: exact, and the same bits as standalone gives.

use super::cluster::{Cluster, How};
use super::pika::publish_with_pika;
use super::publisher::Message;
use crate::corpus::event::Event;
use crate::exactness::check::{assert_exact, assert_same_bits};
use crate::exactness::import::{QUIET, assert_counts, batches, expected, undisturbed};

/// The events of the import, each a message.
pub(crate) fn messages() -> Vec<Message> {
    events().map(Message::from).collect()
}

fn events() -> impl Iterator<Item = &'static Event> {
    batches().iter().flat_map(|batch| &batch.events)
}

#[test]
fn twenty_thousand_items_over_the_broker_get_exact_lists_with_the_bits_of_standalone() {
    let standalone = undisturbed();
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
    assert_exact(&stored, &expected());
    assert_same_bits(&stored, &standalone);
}
