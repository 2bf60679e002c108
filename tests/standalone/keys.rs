//! Keys, at the front door: the first one, what it opens, and that it lasts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Output;
use std::time::Duration;

use kindred_api::domain::DomainsAnswer;
use kindred_api::path;

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start, run};

/// Within which a change of keys counts everywhere.
const COUNTS: Duration = Duration::from_secs(5);
const ITEM: &str = r#"{"title":"A fox in the garden"}"#;

/// Runs `kindred keys` on the data directory of the place.
fn keys(place: &Place, arguments: &[&str]) -> Output {
    let data = place.data_dir().display().to_string();
    let arguments = [&["keys"], arguments, &["--data-dir", &data]].concat();
    run(place.directory(), &arguments)
}

/// Makes a key; its secret.
#[track_caller]
fn secret(made: &Output) -> String {
    let told = String::from_utf8_lossy(&made.stderr);
    assert_eq!(made.status.code(), Some(0), "{told}");
    let secret = String::from_utf8(made.stdout.clone()).expect("text");
    let secret = secret.trim_end().to_owned();
    assert!(secret.starts_with("kk_") && secret.len() == 46, "{secret}");
    assert!(!told.contains(&secret));
    secret
}

#[track_caller]
fn wait_status(client: &Client, path: &str, status: u16) {
    wait_for("keys are read again", COUNTS, || {
        match client.get(path).status {
            found if found == status => Ok(()),
            found => Err(found.to_string()),
        }
    });
}

#[test]
fn the_first_key_is_made_in_a_directory_that_is_not_there_yet() {
    let place = Place::beside_others();
    let admin = secret(&keys(&place, &["create", "--grant", "admin"]));
    let kindred = Kindred::start(&place, &Start::default());
    let nobody = kindred.client();
    nobody.get(path::DOMAINS).with_status(401);
    nobody
        .put(&path::item("d.test", "a"), ITEM)
        .with_status(401);
    let client = nobody.with_key(&admin);
    client
        .put(&path::item("d.test", "a"), ITEM)
        .with_status(202);
    client.get("/metrics").with_status(200);
    kindred.kill_9();

    let kindred = Kindred::start(&place, &Start::default());
    kindred.client().get(path::DOMAINS).with_status(401);
    kindred
        .client()
        .with_key(&admin)
        .get(path::DOMAINS)
        .with_status(200);
}

#[test]
fn keys_of_a_running_service_are_made_by_its_socket_and_over_http() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let nobody = kindred.client();
    for domain in ["a.test", "b.test"] {
        nobody.put(&path::item(domain, "i"), ITEM).with_status(202);
    }
    let admin = secret(&keys(&place, &["create", "--grant", "admin"]));
    nobody.get(path::DOMAINS).with_status(401);

    // With a key it goes over HTTP, wherever the data is.
    let url = format!("http://127.0.0.1:{}", place.port());
    let over_http = |arguments: &[&str]| {
        let arguments = [&["keys"], arguments, &["--url", &url, "--key", &admin]].concat();
        run(place.directory(), &arguments)
    };
    let made = over_http(&[
        "create",
        "--grant",
        "read:a.test",
        "--grant",
        "write:a.test",
        "--expires",
        "1h",
    ]);
    let of_a = secret(&made);
    let client = nobody.with_key(&of_a);
    client.get(&path::item("a.test", "i")).with_status(200);
    client
        .put(&path::item("a.test", "j"), ITEM)
        .with_status(202);
    client.delete(&path::domain("a.test")).with_status(403);
    client.get(&path::item("b.test", "i")).with_status(404);
    let listed: DomainsAnswer = client.get(path::DOMAINS).with_status(200).read();
    let listed: Vec<_> = listed
        .domains
        .iter()
        .map(|one| one.domain.as_str())
        .collect();
    assert_eq!(listed, ["a.test"]);

    let told = over_http(&["list", "--json"]);
    let told = String::from_utf8(told.stdout).expect("text");
    let line = told
        .lines()
        .find(|line| line.contains("read:a.test"))
        .expect("the key");
    let key: kindred_api::key::Key = serde_json::from_str(line).expect("a key");
    assert!(key.expires.is_some() && !told.contains("kk_"));
    let revoked = keys(&place, &["revoke", &key.id]);
    assert_eq!(revoked.status.code(), Some(0), "by the socket: {revoked:?}");
    wait_status(&client, &path::item("a.test", "i"), 401);
    let again = over_http(&["revoke", &key.id]);
    assert_eq!(again.status.code(), Some(4), "{again:?}");
    let bad = over_http(&["create", "--grant", "everything"]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&bad.stderr).contains("no grant"),
        "{bad:?}"
    );
    kindred.stop();
}

#[test]
fn without_a_key_only_loopback_addresses_are_listened_on() {
    let place = Place::beside_others();
    let listen = format!("0.0.0.0:{}", place.port());
    let exposed = |more: &[&str]| Start {
        listen: Some(listen.clone()),
        flags: more.iter().map(|flag| (*flag).to_owned()).collect(),
        ..Start::default()
    };
    let mut refused = Kindred::spawn(&place, &exposed(&[]));
    assert_eq!(refused.ended(Duration::from_secs(30)).code(), Some(2));
    assert!(
        refused.last_words().contains("open_to_network"),
        "{}",
        refused.last_words()
    );
    drop(refused);

    let open = Kindred::start(&place, &exposed(&["--open-to-network", "true"]));
    open.client().get(path::DOMAINS).with_status(200);
    open.stop();
    let admin = secret(&keys(&place, &["create", "--grant", "admin"]));
    let kindred = Kindred::start(&place, &exposed(&[]));
    kindred.client().get(path::DOMAINS).with_status(401);
    kindred
        .client()
        .with_key(&admin)
        .get(path::DOMAINS)
        .with_status(200);
    kindred.stop();
}

#[test]
fn commands_send_the_key_that_is_configured_and_metrics_may_have_a_door_of_their_own() {
    let place = Place::beside_others();
    let file = place.directory().join("admin.key");
    let admin = format!("kk_{}", "A".repeat(43));
    std::fs::write(&file, format!("{admin}\n")).expect("a file");
    let file = file.display().to_string();
    let metrics = crate::support::place::free_port();
    let flags = [
        "--admin-key-file",
        &file,
        "--metrics-listen",
        &format!("127.0.0.1:{metrics}"),
    ];
    let how = Start {
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        ..Start::default()
    };
    let kindred = Kindred::start(&place, &how);
    kindred.client().get("/metrics").with_status(401);
    Client::new(metrics).get("/metrics").with_status(200);
    Client::new(metrics).get(path::DOMAINS).with_status(404);
    let url = format!("http://127.0.0.1:{}", place.port());
    let status = |more: &[&str]| {
        let arguments = [&["status", "--url", &url], more].concat();
        run(place.directory(), &arguments)
    };
    assert_ne!(status(&[]).status.code(), Some(0));
    assert_eq!(status(&["--key-file", &file]).status.code(), Some(0));
    assert_eq!(status(&["--key", &admin]).status.code(), Some(0));
    kindred.stop();
}

/// A connection on which a key has asked once; the status of the answer.
fn asked_on_a_connection(port: u16, key: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let deadline = Some(Duration::from_secs(30));
    stream.set_read_timeout(deadline).expect("a deadline");
    let request = format!(
        "GET /v1/domains HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut words = [0; 12];
    stream.read_exact(&mut words).expect("an answer");
    let status = String::from_utf8_lossy(&words[9..]).into_owned();
    (stream, status)
}

#[test]
fn a_key_has_so_many_connections_and_other_keys_have_theirs() {
    let place = Place::beside_others();
    let key = |_| secret(&keys(&place, &["create", "--grant", "admin"]));
    let [one, other] = [(); 2].map(key);
    let start = Start {
        flags: ["--connections-per-key", "2"].map(str::to_owned).to_vec(),
        ..Start::default()
    };
    let kindred = Kindred::start(&place, &start);
    let ask = |key: &str| asked_on_a_connection(place.port(), key);
    let held = [ask(&one), ask(&one)];
    assert!(held.iter().all(|(_, status)| status == "200"));
    let (mut refused, status) = ask(&one);
    assert_eq!(status, "429");
    let mut rest = String::new();
    refused.read_to_string(&mut rest).expect("it is closed");
    assert!(rest.contains("too-many-connections"), "{rest}");
    assert!(rest.contains("connections_per_key"), "{rest}");
    assert_eq!(ask(&other).1, "200");
    drop(held);
    wait_for("the connections are closed", COUNTS, || {
        let (_, status) = ask(&one);
        (status == "200").then_some(()).ok_or(status)
    });
    kindred.stop();
}
