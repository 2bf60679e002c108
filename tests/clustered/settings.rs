//! Settings of a domain, whichever model service is asked.

use std::time::Duration;

use kindred_api::domain::DomainAnswer;
use kindred_api::path;
use serde_json::json;

use super::cluster::{Cluster, How};
use crate::support::client::Response;
use crate::support::deadline::wait_for;

const DOMAINS: usize = 6;
/// Longest until partitions are owned, so that somebody sets them.
const OWNED: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(120);

/// Asks until the partition has an owner: while two instances share partitions out, one of them may be
/// handed over, and has none for a moment.
#[track_caller]
fn owned(mut ask: impl FnMut() -> Response) -> Response {
    wait_for("the partition has an owner", OWNED, || {
        let answer = ask();
        match answer.status {
            503 => Err(answer.body),
            _ => Ok(answer),
        }
    })
}

#[test]
fn are_set_by_the_owner_and_known_to_all() {
    let cluster = Cluster::new();
    let how = How {
        more: vec![("KINDRED_PARTITIONS", "4".to_owned())],
        ..How::default()
    };
    let services = [cluster.service(&how), cluster.service(&how)];
    let _worker = cluster.worker();
    let [first, second] = [services[0].client(), services[1].client()];
    let names: Vec<String> = (0..DOMAINS).map(|n| format!("set-{n}.test")).collect();
    let german = json!({"languages": ["de"], "default_language": "de"}).to_string();
    for name in &names {
        // Until every partition has its owner, nobody sets anything.
        wait_for("the settings are taken", OWNED, || {
            let answer = first.put(&path::domain(name), &german);
            // Asked for again, it is there already.
            match answer.status {
                201 | 200 => Ok(()),
                _ => Err(format!("{} {}", answer.status, answer.body)),
            }
        });
        let item = path::item(name, "a");
        let body = json!({"text": "The quick brown fox jumps over the lazy dog."});
        owned(|| second.put(&item, &body.to_string())).with_status(202);
    }
    for name in &names {
        second.wait_live(name, 1, QUIET);
    }
    second.wait_quiet(QUIET);
    for name in &names {
        for client in [first, second] {
            let domain = owned(|| client.get(&path::domain(name)));
            let domain: DomainAnswer = domain.with_status(200).read();
            let set = domain.settings.expect("settings");
            assert_eq!(set.default_language.as_deref(), Some("de"), "{name}");
            let item = owned(|| client.get(&path::item(name, "a")));
            let item = item.with_status(200).json();
            assert_eq!(item["language"], "de", "{name}");
        }
        let refused = owned(|| second.put(&path::domain(name), r#"{"default_language":"en"}"#));
        let refused = refused.with_status(409).json();
        assert_eq!(refused["field"], "default_language", "{name}");
    }
}
