//! Many domains, few of them active: memory follows the active ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kindred_api::path::item;

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};

const DOMAINS: usize = 10_000;
const ACTIVE: usize = 10;
const PUBLISHERS: usize = 8;
const LIMIT: Duration = Duration::from_secs(240);
/// What the sleeping domains may cost, in bytes each: their name in the store's cache, no more.
const BYTES_ASLEEP: f64 = 4_096.0;

fn domain(n: usize) -> String {
    format!("d{n:05}.test")
}

fn text(what: &str) -> String {
    format!(r#"{{"title":"{what}","text":"A bridge over the river {what}","language":"en"}}"#)
}

fn publish(client: &Client, domain: &str, id: &str) {
    client.put(&item(domain, id), &text(id)).with_status(202);
}

#[test]
fn ten_thousand_domains_of_which_ten_are_active() {
    let place = Place::new();
    let start = Start {
        idle_after: Some("1s"),
        window: Some("10ms"),
        ..Start::default()
    };
    let kindred = Kindred::start(&place, &start);
    let client = kindred.client();
    let memory_at_first = client.metric("process_resident_memory_bytes");

    let next = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..PUBLISHERS {
            let (next, client) = (Arc::clone(&next), kindred.client());
            scope.spawn(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= DOMAINS {
                        break;
                    }
                    publish(client, &domain(n), "first");
                }
            });
        }
    });
    wait_for("all domains to sleep", LIMIT, || {
        match client.metric("kindred_domains_active") {
            0.0 => Ok(()),
            active => Err(format!("{active} active")),
        }
    });

    // Ten wake for an event, and know what they had.
    for n in 0..ACTIVE {
        publish(client, &domain(n * 997), "second");
    }
    wait_for("their lists", LIMIT, || {
        for n in 0..ACTIVE {
            let similar = client.similar(&domain(n * 997), "first", 5);
            if similar
                .as_ref()
                .is_none_or(|s| s.len() != 1 || s[0].id.as_str() != "second")
            {
                return Err(format!("{similar:?} in {}", domain(n * 997)));
            }
        }
        Ok(())
    });
    assert!(client.metric("kindred_domains_active") <= ACTIVE as f64);
    // One that sleeps answers from the store, and goes on sleeping.
    assert_eq!(
        client.similar(&domain(1), "first", 5).map(|s| s.len()),
        Some(0)
    );
    assert_eq!(client.wait_quiet(LIMIT).len(), DOMAINS);
    assert!(client.metric("kindred_domains_active") <= ACTIVE as f64);

    // A slow machine has had thousands of them active at once; the allocator returns their memory within seconds.
    wait_for(
        "memory that sleeping domains do not need is returned",
        LIMIT,
        || {
            let grown = client.metric("process_resident_memory_bytes") - memory_at_first;
            if grown < 64e6 + BYTES_ASLEEP * DOMAINS as f64 {
                Ok(())
            } else {
                Err(format!("{grown} bytes more than at first"))
            }
        },
    );
    kindred.stop();
}
