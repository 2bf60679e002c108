//! What all model services must have alike: one that has something else does not start beside others, and
//! a change that may be made while they run goes one after the other.

use super::cluster::{Cluster, How};
use crate::support::program::{START, kindred};

fn with(key: &'static str, value: &str) -> How {
    How {
        more: vec![(key, value.to_owned())],
        ..How::default()
    }
}

/// What a service says that does not start.
#[track_caller]
fn refusal(cluster: &Cluster, how: &How) -> String {
    let mut process = cluster.spawn_service(how).process;
    assert!(!process.ended(START).success());
    process.last_words()
}

/// `kindred agreement` with these changes: whether they were made, and what it says.
#[track_caller]
fn agreement(cluster: &Cluster, changes: &[&str]) -> (bool, String) {
    let mut command = kindred(cluster.directory());
    cluster.database_environment(&mut command, cluster.database.service());
    let output = command.arg("agreement").args(changes).output();
    let output = output.expect("the program starts");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn an_instance_that_differs_is_refused_and_windows_change_one_instance_after_the_other() {
    let cluster = Cluster::new();
    let first = cluster.service(&How::default());
    let narrow = with("KINDRED_WINDOW", "500ms");
    let said = refusal(&cluster, &narrow);
    assert!(said.contains("window") && said.contains("250ms"), "{said}");
    let said = refusal(&cluster, &with("KINDRED_LANGUAGES", "en"));
    assert!(said.contains("languages"), "{said}");

    let (is_done, said) = agreement(&cluster, &["lease_take=9s"]);
    assert!(!is_done && said.contains("stop all"), "{said}");
    let (is_done, said) = agreement(&cluster, &["window=500ms"]);
    assert!(is_done && said.contains("window = 500ms"), "{said}");

    // One with the new value beside one with the old, which still runs; it does not start again so.
    let second = cluster.service(&narrow);
    assert_eq!(first.readiness(), Ok(()));
    first.process.stop();
    let said = refusal(&cluster, &How::default());
    assert!(said.contains("window"), "{said}");
    let third = cluster.service(&narrow);
    second.process.stop();
    third.process.stop();

    // Who is alone brings its own.
    let alone = cluster.service(&with("KINDRED_LEASE_TAKE", "9s"));
    alone.process.stop();
    let (_, said) = agreement(&cluster, &[]);
    assert!(
        said.contains("lease_take = 9s") && said.contains("window = 250ms"),
        "{said}"
    );
}
