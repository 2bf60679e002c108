//! Keys of a cluster, and what instances ask of each other: signed, and without the key of the client they ask for.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use kindred_api::key::CreatedKey;
use kindred_api::path;
use serde_json::json;

use super::cluster::{Cluster, How, Service};
use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::program::kindred;

const DOMAIN: &str = "keys.test";
const CLUSTER_KEY: &str = "what all instances of this cluster have";
/// CONTRACT: within which a key that is made or revoked counts on every instance.
const COUNTS: Duration = Duration::from_secs(5);
const OWNED: Duration = Duration::from_secs(60);
/// Longest an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// Between instances: writes down what is asked of the one behind it, and hands it on.
struct Tap {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let tap = Self {
            port: listener.local_addr().expect("an address").port(),
            heard: Arc::default(),
        };
        let heard = Arc::clone(&tap.heard);
        // Until the process ends.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(behind) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                let back = (
                    behind.try_clone().expect("a handle"),
                    stream.try_clone().expect("a handle"),
                );
                let heard = Arc::clone(&heard);
                thread::spawn(move || carry(stream, behind, Some(&heard)));
                thread::spawn(move || carry(back.0, back.1, None));
            }
        });
        tap
    }

    /// All that was asked so far.
    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().expect("unpoisoned")).into_owned()
    }

    /// The signature of the last request that begins so.
    #[track_caller]
    fn signature(&self, begin: &str) -> String {
        let heard = self.heard();
        let at = heard.rfind(begin);
        let asked = &heard[at.unwrap_or_else(|| panic!("nobody asked {begin}:\n{heard}"))..];
        let mut lines = asked.lines().skip(1).take_while(|line| !line.is_empty());
        let found = lines.find_map(|line| line.strip_prefix("x-kindred-signature: "));
        found.expect("a signature").to_owned()
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, heard: Option<&Mutex<Vec<u8>>>) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count) = from.read(&mut bytes) {
        if let Some(heard) = heard {
            let mut heard = heard.lock().expect("unpoisoned");
            heard.extend_from_slice(&bytes[..count]);
        }
        if count == 0 || to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// What a program answers to a request that is written by hand.
#[track_caller]
fn status(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(ANSWER)).expect("a deadline");
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("\r\n{body}");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.unwrap_or_else(|| panic!("{answer}"))
}

/// The first key of all, made where the data is.
#[track_caller]
pub(super) fn first_key(cluster: &Cluster) -> String {
    let mut command = kindred(cluster.directory());
    cluster.database_environment(&mut command, cluster.database.admin());
    let made = command
        .args(["keys", "create", "--grant", "admin", "--in-database"])
        .output()
        .expect("the program starts");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let secret = String::from_utf8(made.stdout).expect("text");
    secret.trim_end().to_owned()
}

pub(super) fn instance(cluster_key: &str, more: &[(&'static str, String)]) -> How {
    let mut how = How {
        more: vec![("KINDRED_CLUSTER_KEY", cluster_key.to_owned())],
        ..How::default()
    };
    how.more.extend_from_slice(more);
    how
}

#[track_caller]
fn wait_status(client: &Client, path: &str, status: u16, limit: Duration) {
    wait_for("it is answered so", limit, || {
        let answer = client.try_get(path)?;
        if answer.status == status {
            Ok(())
        } else {
            Err(format!("{} {}", answer.status, answer.body))
        }
    });
}

/// An owner that others reach by way of a tap.
fn tapped_owner(cluster: &Cluster) -> (Service, Tap) {
    let port = crate::support::place::free_port();
    let tap = Tap::before(port);
    let advertised = ("KINDRED_ADVERTISE", format!("127.0.0.1:{}", tap.port));
    let owner = cluster.service(&How {
        port: Some(port),
        ..instance(CLUSTER_KEY, &[advertised])
    });
    wait_for("it owns the partition", OWNED, || {
        let found = cluster.database.owner_address(0);
        let is_owner = found
            .as_ref()
            .is_some_and(|at| at.ends_with(&tap.port.to_string()));
        is_owner.then_some(()).ok_or(format!("{found:?}"))
    });
    (owner, tap)
}

#[test]
fn instances_ask_each_other_signed_and_without_a_client_s_key() {
    let cluster = Cluster::new();
    let admin = first_key(&cluster);
    let (owner, tap) = tapped_owner(&cluster);
    let other = cluster.service(&instance(CLUSTER_KEY, &[]));
    let _worker = cluster.worker();
    let port = owner.port()[1..].parse().expect("a port");
    let asked = other.client().with_key(&admin);
    let item = path::item(DOMAIN, "a");
    let body = r#"{"text":"Night trains return to the coast"}"#;
    wait_for("the item is taken", OWNED, || {
        let answer = asked.put(&item, body);
        (answer.status == 202).then_some(()).ok_or(answer.body)
    });
    wait_status(&asked, &item, 200, OWNED);

    // A query, and a change, that the owner answers.
    let query = format!("/v1/domains/{DOMAIN}/similar");
    wait_for("the item is found", OWNED, || {
        let answer = asked.post(&query, &json!({"text": "trains"}));
        let is_found = answer.status == 200 && answer.json()["similar"][0]["id"] == "a";
        is_found.then_some(()).ok_or(answer.body)
    });
    let hidden = r#"{"text":"Night trains return to the coast","hidden":true}"#;
    let gone = asked.put(&item, hidden).with_status(202);
    assert_eq!(gone.json()["gone"], true, "{}", gone.body);
    let heard = tap.heard().to_lowercase();
    assert!(heard.contains("x-kindred-signature: 1."), "{heard}");
    assert!(!heard.contains("authorization"), "{heard}");
    assert!(
        !heard.contains(&admin.to_lowercase()),
        "a client's key was sent on"
    );

    // What was signed counts for that request alone, and a change once.
    let proxied = ("x-kindred-proxied", "1");
    let asked_once = tap.signature(&format!("PUT {item}"));
    let signed = ("x-kindred-signature", asked_once.as_str());
    let put = |headers: &[(&str, &str)], body: &str| status(port, "PUT", &item, headers, body);
    assert_eq!(put(&[proxied, signed], hidden), 401, "once more");
    assert_eq!(put(&[proxied], hidden), 401, "unsigned");
    let forged = format!("{}{}", &asked_once[..asked_once.len() - 1], {
        if asked_once.ends_with('0') { '1' } else { '0' }
    });
    let signed = ("x-kindred-signature", forged.as_str());
    assert_eq!(put(&[proxied, signed], hidden), 401, "forged");
    let of_query = tap.signature(&format!("POST {query}"));
    let signed = ("x-kindred-signature", of_query.as_str());
    let ask = |path: &str| {
        status(
            port,
            "POST",
            path,
            &[proxied, signed],
            r#"{"text":"trains"}"#,
        )
    };
    assert_eq!(ask(&query), 401, "a question by POST counts once, too");
    assert_eq!(ask(&format!("/v1/domains/{DOMAIN}/scores")), 401);
    // A signature beside a key does not make the key count.
    let bearer = format!("Bearer {admin}");
    let key = ("authorization", bearer.as_str());
    assert_eq!(status(port, "GET", &item, &[key], ""), 200);
    assert_eq!(status(port, "GET", &item, &[key, signed], ""), 401);

    // An instance that has another key is not believed, and says so.
    let stranger = cluster.service(&instance("what another cluster has", &[]));
    let refused = stranger
        .client()
        .with_key(&admin)
        .post(&query, &json!({"text": "trains"}))
        .with_status(503);
    assert!(refused.body.contains("cluster_key"), "{}", refused.body);
}

#[test]
fn keys_count_on_every_instance_within_five_seconds() {
    let cluster = Cluster::new();
    let admin = first_key(&cluster);
    let services = [
        cluster.service(&instance(CLUSTER_KEY, &[])),
        cluster.service(&instance(CLUSTER_KEY, &[])),
    ];
    let [first, second] = [services[0].client(), services[1].client()];
    first.get(path::DOMAINS).with_status(401);
    let body = json!({"grants": [format!("read:{DOMAIN}"), format!("write:{DOMAIN}")]});
    let made = first.with_key(&admin).post("/v1/keys", &body);
    let made: CreatedKey = made.with_status(201).read();
    let [here, there] = [first, second].map(|client| client.with_key(&made.secret));
    here.get(path::DOMAINS).with_status(200);
    wait_status(&there, path::DOMAINS, 200, COUNTS);
    there.get("/v1/keys").with_status(403);
    let item = path::item(DOMAIN, "a");
    wait_for("the item is taken", OWNED, || {
        let answer = there.put(&item, r#"{"text":"Night trains"}"#);
        (answer.status == 202).then_some(()).ok_or(answer.body)
    });
    wait_status(&here, &item, 200, OWNED);
    for client in [&here, &there] {
        client.get(&path::item("other.test", "a")).with_status(404);
    }
    let revoked = second
        .with_key(&admin)
        .delete(&format!("/v1/keys/{}", made.id));
    revoked.with_status(204);
    there.get(path::DOMAINS).with_status(401);
    wait_status(&here, path::DOMAINS, 401, COUNTS);
}
