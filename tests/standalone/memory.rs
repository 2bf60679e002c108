//! A budget of memory: domains that do not fit sleep, those used longest ago first, and lose nothing.

use std::time::Duration;

use kindred_api::domain::DomainState;
use kindred_api::path::item;

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start};

const DOMAINS: usize = 120;
const ITEMS: usize = 5;
const LIMIT: Duration = Duration::from_secs(120);

fn domain(n: usize) -> String {
    format!("d{n:03}.test")
}

fn line(domain: &str, n: usize) -> String {
    format!(
        r#"{{"type":"item.created","domain":"{domain}","id":"item-{n}","version":1,"title":"Bridges over river {n}","language":"en"}}"#
    )
}

/// Domains that are in memory.
fn awake(client: &Client) -> Result<Vec<usize>, String> {
    let domains = client.try_domains()?;
    let domains = domains.iter().enumerate();
    let awake = domains.filter(|(_, one)| one.state != DomainState::Asleep);
    Ok(awake.map(|(n, _)| n).collect())
}

#[test]
fn domains_that_do_not_fit_sleep_those_used_longest_ago_first() {
    let place = Place::new();
    let start = Start {
        window: Some("10ms"),
        memory: Some("1MiB"),
        ..Start::default()
    };
    let kindred = Kindred::start(&place, &start);
    let client = kindred.client();
    for n in 0..DOMAINS {
        let lines: Vec<String> = (0..ITEMS).map(|item| line(&domain(n), item)).collect();
        client.batch(&domain(n), &lines);
    }
    let budget = client.metric("kindred_memory_budget_bytes");
    assert_eq!(budget, f64::from(1 << 20));
    let left = wait_for("all that are awake fit", LIMIT, || {
        let used = client.metric("kindred_memory_bytes");
        let awake = awake(client)?;
        if used <= budget && awake.len() < DOMAINS {
            Ok(awake)
        } else {
            Err(format!("{used} bytes held by {}", awake.len()))
        }
    });
    // No more than were needed, and the one used last is among those that stay.
    assert!(left.len() > DOMAINS / 4, "{left:?}");
    assert!(left.contains(&(DOMAINS - 1)), "{left:?}");
    assert!(!left.contains(&0), "{left:?}");

    let neighbours = |n: usize| {
        client
            .similar(&domain(n), "item-0", 10)
            .map(|all| all.len())
    };
    assert_eq!(neighbours(0), Some(ITEMS - 1), "from the store");
    assert_eq!(neighbours(DOMAINS - 1), Some(ITEMS - 1));
    let more = r#"{"title":"Bridges over one more river","language":"en"}"#;
    client
        .put(&item(&domain(0), "item-more"), more)
        .with_status(202);
    wait_for(
        "the first one is awake, with all that it had",
        LIMIT,
        || match neighbours(0) {
            Some(ITEMS) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    kindred.stop();
}
