//! TLS, at the front door: what is shown, what is asked of clients, and certificates that change.
//!
//! Certificates of the tests are in tests/support/tls: two authorities, and one of localhost by each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kindred_api::path;
use model_service::client::Trust;
use model_service::config::Tls;

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, START, Start, run};

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/support/tls");
/// Within which a changed certificate is shown.
const CHANGES: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(10);

fn file(name: &str) -> PathBuf {
    Path::new(CERTIFICATES).join(name)
}

/// Who believes this authority, and shows this certificate.
fn client(place: &Place, ca: &str, shows: Option<&str>) -> Client {
    let tls = Tls {
        tls_cert: shows.map(|name| file(&format!("{name}.pem"))),
        tls_key: shows.map(|name| file(&format!("{name}.key"))),
        tls_client_ca: None,
        tls_ca: Some(file(&format!("{ca}-ca.pem"))),
    };
    let trust = Trust::configured(&tls).expect("certificates");
    let base = format!("https://127.0.0.1:{}", place.port());
    Client::over(trust.with_deadline(ANSWER), base)
}

/// A service that shows a copy of a certificate, in the place's directory.
fn start(place: &Place, client_ca: Option<&str>) -> Kindred {
    show(place, "one");
    let path = |path: PathBuf| path.display().to_string();
    let mut flags = vec![
        "--tls-cert".to_owned(),
        path(place.directory().join("cert.pem")),
        "--tls-key".to_owned(),
        path(place.directory().join("key.pem")),
    ];
    if let Some(name) = client_ca {
        flags.extend([
            "--tls-client-ca".to_owned(),
            path(file(&format!("{name}-ca.pem"))),
        ]);
    }
    let how = Start {
        flags,
        ..Start::default()
    };
    Kindred::spawn(place, &how)
}

/// Puts a certificate, and then its key, where the service looks for them.
fn show(place: &Place, name: &str) {
    for (from, to) in [("pem", "cert.pem"), ("key", "key.pem")] {
        let copied = std::fs::copy(file(&format!("{name}.{from}")), place.directory().join(to));
        copied.expect("a copy");
    }
}

#[track_caller]
fn wait_ready(client: &Client, limit: Duration) {
    wait_for("it answers over TLS", limit, || {
        match client.try_get("/readyz") {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(answer.body),
            Err(error) => Err(error),
        }
    });
}

#[test]
fn http_is_https_and_shows_a_new_certificate_when_it_changes() {
    let place = Place::beside_others();
    let kindred = start(&place, None);
    let one = client(&place, "one", None);
    wait_ready(&one, START);
    let other = client(&place, "other", None);
    assert!(other.try_get("/readyz").is_err(), "another authority");
    assert!(kindred.client().try_get("/readyz").is_err(), "plain HTTP");
    let item = path::item("d.test", "a");
    one.put(&item, r#"{"title":"t"}"#).with_status(202);
    one.get(&item).with_status(200);

    let url = format!("https://localhost:{}", place.port());
    let status = |ca: &str| {
        let ca = file(&format!("{ca}-ca.pem")).display().to_string();
        run(
            place.directory(),
            &["status", "--url", &url, "--tls-ca", &ca],
        )
    };
    assert_eq!(status("one").status.code(), Some(0));
    assert_eq!(status("other").status.code(), Some(5));

    show(&place, "other");
    wait_ready(&other, CHANGES);
    // Who is connected stays; who comes anew is shown the new one.
    assert!(client(&place, "one", None).try_get("/readyz").is_err());
    kindred.stop();
}

#[test]
fn clients_may_have_to_show_a_certificate() {
    let place = Place::beside_others();
    let kindred = start(&place, Some("one"));
    wait_ready(&client(&place, "one", Some("one")), START);
    for shows in [None, Some("other")] {
        let refused = client(&place, "one", shows).try_get("/readyz");
        assert!(refused.is_err(), "{shows:?}");
    }
    kindred.stop();
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_at_the_start() {
    let place = Place::beside_others();
    let bad = |cert: &str, key: &str| {
        let path = |name: &str| file(name).display().to_string();
        let how = Start {
            flags: vec![
                "--tls-cert".to_owned(),
                path(cert),
                "--tls-key".to_owned(),
                path(key),
            ],
            ..Start::default()
        };
        let mut kindred = Kindred::spawn(&place, &how);
        assert_eq!(kindred.ended(START).code(), Some(2));
        kindred.last_words()
    };
    assert!(bad("nowhere.pem", "one.key").contains("nowhere.pem"));
    assert!(bad("one.pem", "one.pem").contains("no private key"));
    assert!(bad("one.pem", "other.key").contains("do not match"));
}
