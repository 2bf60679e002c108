//! What documents say about a cluster works: their commands are run, in order.

use super::cluster::{Cluster, How};
use super::services::variable;
use crate::support::documents::{Block, Document, commands, documents};
use crate::support::script::{Runs, Stage, runs};

#[track_caller]
fn document(path: &str) -> Document {
    let mut all = documents().into_iter();
    let found = all.find(|one| one.path == path);
    found.unwrap_or_else(|| panic!("there is no {path}"))
}

/// Blocks that are for a cluster, and those in Python, in order.
fn blocks(document: &Document) -> Vec<&Block> {
    let blocks = document.blocks.iter();
    let is_ours = |block: &&Block| match block.language.as_str() {
        "sh" => runs(document, block) == Runs::Clustered,
        "python" => block.text.contains("import pika"),
        _ => false,
    };
    blocks.filter(is_ours).collect()
}

#[test]
fn a_first_cluster_works_from_top_to_bottom() {
    let cluster = Cluster::bare();
    let page = document("docs/CLUSTER.md");
    let mut stage = Stage::new(cluster.place());
    let keyspace = cluster.database.keyspace().to_owned();
    stage.variable("KINDRED_CQL_KEYSPACE", keyspace);
    // The services are there: as `tests/services/up`, but with a virtual host of the test's own.
    let (user, password) = cluster.database.admin().unwrap_or_default();
    let mut up = String::from("#!/bin/sh\n");
    for (name, value) in [
        ("AMQP_URL", cluster.broker.admin_url()),
        ("AMQP_MANAGEMENT", variable("KINDRED_TEST_AMQP_MANAGEMENT")),
        ("CQL_NODES", cluster.database.nodes().to_owned()),
        ("CQL_USER", user),
        ("CQL_PASSWORD", password),
    ] {
        up += &format!("echo \"export KINDRED_TEST_{name}='{value}'\"\n");
    }
    up += "echo '# until Ctrl-C'\nexec sleep infinity\n";
    stage.program("tests/services/up", &up);
    let blocks = blocks(&page);
    assert!(blocks.len() > 2, "{blocks:?}");
    for block in blocks {
        stage.block(block);
    }
    let said = stage.run();
    assert!(said.contains("The ice cube test"), "{said}");
}

/// What a document's addresses, users and names are here.
fn replace(stage: &mut Stage<'_>, cluster: &Cluster) {
    let (broker, host) = (&cluster.broker, cluster.broker.virtual_host());
    let python = variable("KINDRED_TEST_PYTHON");
    for (shown, here) in [
        ("amqp://publisher:…@broker:5672/%2f", broker.publisher_url()),
        (
            "amqp://publisher:publisher@127.0.0.1:5672/%2f",
            broker.publisher_url(),
        ),
        (
            "amqp://operator:operator@127.0.0.1:5672/%2f",
            broker.admin_url(),
        ),
        (
            "-u operator:operator",
            format!("-u {}", broker.admin_login()),
        ),
        ("http://127.0.0.1:15672", broker.management()),
        ("/%2F/", format!("/{host}/")),
        // The tests have it installed.
        (
            "python3 -m venv venv && venv/bin/pip install pika\n",
            String::new(),
        ),
        ("venv/bin/python", python),
    ] {
        stage.replace(shown, &here);
    }
}

#[test]
fn operations_on_a_cluster_work_as_documented() {
    let cluster = Cluster::new();
    let service = cluster.service(&How {
        // Where commands expect it.
        port: Some(cluster.place().port()),
        more: vec![("KINDRED_LOG_RETENTION", "30days".to_owned())],
        ..How::default()
    });
    let worker = cluster.worker();
    let manual = document("docs/OPERATIONS.md");
    let mut stage = Stage::new(cluster.place());
    replace(&mut stage, &cluster);
    for (name, value) in [
        ("KINDRED_AMQP_URL", cluster.broker.service_url()),
        ("KINDRED_CQL_NODES", cluster.database.nodes().to_owned()),
        (
            "KINDRED_CQL_KEYSPACE",
            cluster.database.keyspace().to_owned(),
        ),
    ] {
        stage.variable(name, value);
    }
    if let Some((user, password)) = cluster.database.service() {
        stage.variable("KINDRED_CQL_USER", user);
        stage.variable("KINDRED_CQL_PASSWORD", password);
    }
    let event =
        r#"{"type":"item.created","domain":"news.example","id":"a-16","title":"Rye bread"}"#;
    stage.file("events.ndjson", format!("{event}\n"));
    for (number, block) in blocks(&manual).into_iter().enumerate() {
        if block.language == "python" {
            let name = format!("example-{number}.py");
            let text = block.text.replace(
                "amqp://publisher:publisher@127.0.0.1:5672/%2f",
                &cluster.broker.publisher_url(),
            );
            stage.file(&name, text);
            let python = variable("KINDRED_TEST_PYTHON");
            stage.line(&format!("echo '### {}'\n{python} {name}", block.place));
        } else {
            stage.block(block);
        }
    }
    let said = stage.run();
    assert!(said.contains(r#"{"routed":true}"#), "{said}");
    assert!(said.contains("window = 500ms"), "{said}");

    // What cqlsh would be asked, as the role of a reader.
    let mut statements: Vec<String> = Vec::new();
    for document in [&manual, &document("docs/CLUSTER.md")] {
        statements.extend(document.of("sql").map(|block| block.text.clone()));
        for block in document.of("sh") {
            let found = commands(&block.text).into_iter();
            let is_cqlsh = |word: &String| word.ends_with("cqlsh");
            let found = found.filter(|one| one.words.first().is_some_and(is_cqlsh));
            statements.extend(found.filter_map(|one| one.words.last().cloned()));
        }
    }
    let keyspace = format!(" {}.", cluster.database.keyspace());
    assert_eq!(statements.len(), 3, "{statements:?}");
    if let Some(reader) = cluster.database.reader() {
        for statement in statements {
            let statement = statement.replace(" kindred.", &keyspace);
            let read = cluster.database.as_role(&reader, statement.trim());
            assert_eq!(read, Ok(()), "{statement}");
        }
    }
    service.process.stop();
    worker.stop();
}
