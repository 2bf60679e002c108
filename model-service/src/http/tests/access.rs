//! What keys allow, and what is never revealed without one.

use async_trait::async_trait;
use kindred_domain::habits::Habits;
use kindred_domain::keys::{Grants, KeyRow, KeyStore};
use kindred_domain::log::LogEnd;
use kindred_domain::models::Models;
use kindred_domain::settings::DomainSettings;
use kindred_domain::store::{SettingsRow, StoreError};
use std::sync::Mutex;

use super::*;
use crate::http::Callers;
use crate::http::access::{Need, need};
use crate::keys::{Ask, KeyRing, Peers, SIGNATURE, Sessions, Signed, Told, perform};

/// Keys in memory.
#[derive(Default)]
struct Keys(Mutex<Vec<KeyRow>>);

#[async_trait]
impl KeyStore for Keys {
    async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        Ok(self.0.lock().expect("unpoisoned").clone())
    }

    async fn add_key(&self, row: &KeyRow) -> Result<bool, StoreError> {
        self.0.lock().expect("unpoisoned").push(row.clone());
        Ok(true)
    }

    async fn remove_key(&self, id: &str) -> Result<bool, StoreError> {
        let mut rows = self.0.lock().expect("unpoisoned");
        let before = rows.len();
        rows.retain(|row| row.id != id);
        Ok(rows.len() < before)
    }
}

/// Most requests in progress per key.
const MOST_REQUESTS: usize = 2;
const PEERS: &str = "a secret that instances share";

/// The application with keys.
pub(super) struct Guarded {
    pub(super) bench: Bench,
    pub(super) lobby: Arc<Lobby>,
    store: Arc<Keys>,
}

impl Guarded {
    pub(super) async fn new(is_open_without: bool) -> Self {
        let bench = bench();
        for name in ["a.example", "b.example", "public.example"] {
            bench.rows.register(name, None).await;
            bench.rows.put(name, item_row("i", 1)).await;
        }
        let settings = SettingsRow {
            settings: DomainSettings {
                public: Some(true),
                ..DomainSettings::default()
            },
            updated_at: DateTime::from_timestamp_millis(1).expect("a time"),
            answered: Vec::new(),
            habits: Habits::default(),
            models: Models::default(),
            log: LogEnd::default(),
        };
        let public = vec![StoreWrite::Settings(settings)];
        bench.rows.write("public.example", public).await;
        let guard = Guard {
            keys: Arc::new(KeyRing::new(None, is_open_without)),
            peers: Some(Arc::new(Peers::new(PEERS))),
            address: "here:8080".to_owned(),
            callers: Arc::new(Callers::with_requests(MOST_REQUESTS)),
            sessions: Sessions::default(),
            is_https: false,
        };
        let store = Arc::new(Keys::default());
        let filled = guard
            .keys
            .fill_from(Arc::clone(&store) as Arc<dyn KeyStore>);
        filled.await.expect("keys");
        let lobby = bench.lobby_with(guard);
        Self {
            bench,
            lobby,
            store,
        }
    }

    /// Makes a key; its name and secret.
    pub(super) async fn key(&self, grants: &[&str]) -> (String, String) {
        let body = kindred_api::key::KeyBody {
            grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
            expires: None,
        };
        let Told::Created(key) = perform(&*self.store, &Ask::Create(body)).await else {
            panic!("no key was made");
        };
        self.lobby.guard.keys.read().await.expect("keys");
        (key.id, key.secret)
    }

    /// Revokes a key.
    pub(super) async fn revoke(&self, id: &str) {
        assert!(self.store.remove_key(id).await.expect("keys"));
        self.lobby.guard.keys.read().await.expect("keys");
    }

    async fn ask(&self, method: &str, uri: &str, secret: Option<&str>) -> Response {
        self.ask_with(method, uri, secret, "{}").await
    }

    async fn ask_with(
        &self,
        method: &str,
        uri: &str,
        secret: Option<&str>,
        body: &str,
    ) -> Response {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = TestRequest::with_uri(uri).method(method);
        if let Some(secret) = secret {
            request = request.insert_header(("authorization", format!("Bearer {secret}")));
        }
        let request = request.set_payload(body.to_owned());
        answer_of(&self.lobby, &self.bench.metrics, request).await
    }
}

/// Every route, with a domain and an id.
fn routes(of: &str) -> impl Iterator<Item = (&'static str, String, &'static str)> {
    super::routes().iter().flat_map(move |(route, methods)| {
        let uri = route
            .replace("{domain}", of)
            .replace("{id}", "i")
            .replace("{name}", "n");
        let methods = methods.split(", ");
        methods.map(move |method| (*route, uri.clone(), method))
    })
}

#[test]
fn every_route_declares_what_it_needs() {
    for (route, _, method) in routes("x") {
        if method == "HEAD" {
            continue;
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        assert!(need(route, &method).is_some(), "{method} {route}");
    }
    assert_eq!(need("/v1/new", &Method::GET), None);
    assert_eq!(need("/healthz", &Method::GET), Some(Need::Nothing));
}

/// The documented need for keys matches the actual one.
#[actix_web::test]
async fn each_route_documents_whether_it_needs_a_key() {
    let guarded = Guarded::new(true).await;
    let (_, admin) = guarded.key(&["admin"]).await;
    let document = guarded.ask("GET", "/openapi.json", Some(&admin)).await;
    let document = document.json();
    let scheme = &document["components"]["securitySchemes"]["key"];
    assert_eq!(
        (&scheme["type"], &scheme["scheme"]),
        (&json!("http"), &json!("bearer"))
    );
    for (route, _, method) in routes("x") {
        if method == "HEAD" {
            continue;
        }
        let operation = &document["paths"][route][method.to_lowercase()];
        let documents = |status: &str| !operation["responses"][status].is_null();
        let needed = Method::from_bytes(method.as_bytes()).expect("a method");
        let needed = need(route, &needed).expect("a need");
        let security = match needed {
            Need::Nothing => json!([]),
            Need::Query => json!([{"key": []}, {}]),
            _ => json!([{"key": []}]),
        };
        assert_eq!(operation["security"], security, "{method} {route}");
        let is_open = needed == Need::Nothing;
        assert_eq!(documents("401"), !is_open, "{method} {route}");
        let is_granted = !is_open && needed != Need::Key;
        assert_eq!(documents("403"), is_granted, "{method} {route}");
        if let Need::OneOf(_) | Need::Query = needed {
            assert!(documents("404"), "{method} {route}");
        }
    }
    // As long as there is no key, none has to be sent.
    let open = get(&bench(), "/openapi.json").await.json();
    assert_eq!(
        open["paths"]["/v1/domains"]["get"]["security"],
        json!([{"key": []}, {}])
    );
    assert_eq!(open["paths"]["/healthz"]["get"]["security"], json!([]));
}

#[actix_web::test]
async fn without_any_key_everybody_may_do_everything_on_loopback_and_nothing_elsewhere() {
    let open = Guarded::new(true).await;
    let answer = open.ask("GET", "/v1/domains", None).await;
    assert_eq!(answer.status, 200);
    // The first key is created where the data is.
    let create = open.ask_with("POST", "/v1/keys", None, r#"{"grants":["admin"]}"#);
    create.await.problem(401, "no-key");
    let shut = Guarded::new(false).await;
    let refused = shut.ask("GET", "/v1/domains", None).await;
    refused.problem(401, "no-key");
    assert_eq!(shut.ask("GET", "/healthz", None).await.status, 200);
}

#[actix_web::test]
async fn without_a_key_nothing_is_answered_but_what_is_open() {
    let guarded = Guarded::new(true).await;
    guarded.key(&["admin"]).await;
    let wrong = format!("kk_{}", "A".repeat(43));
    for secret in [None, Some(wrong.as_str()), Some("x")] {
        for (route, uri, method) in routes("a.example") {
            let answer = guarded.ask(method, &uri, secret).await;
            if ["/", "/embed.js", "/healthz", "/readyz"].contains(&route) {
                assert_eq!(answer.status, 200, "{method} {uri}");
            } else {
                answer.problem(401, "no-key");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            }
        }
        guarded
            .ask("GET", "/nowhere", secret)
            .await
            .problem(401, "no-key");
    }
    // Only queries of public domains.
    let similar = "/v1/domains/public.example/items/i/similar";
    let answer = guarded.ask("GET", similar, None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let query = guarded.ask_with(
        "POST",
        "/v1/domains/public.example/similar",
        None,
        r#"{"items":[{"id":"nobody"}]}"#,
    );
    assert_ne!(query.await.status, 401);
    let item = "/v1/domains/public.example/items/i";
    guarded.ask("GET", item, None).await.problem(401, "no-key");
}

#[actix_web::test]
async fn a_key_opens_what_it_grants() {
    let guarded = Guarded::new(true).await;
    let (_, read) = guarded.key(&["read:a.example"]).await;
    let (_, write) = guarded.key(&["write:a.*"]).await;
    let (_, manage) = guarded.key(&["manage:*"]).await;
    let (_, metrics) = guarded.key(&["metrics"]).await;
    let (_, admin) = guarded.key(&["admin"]).await;
    let put = r#"{"title":"t"}"#;
    for (method, uri, body, allowed) in [
        (
            "GET",
            "/v1/domains/a.example/items/i",
            "",
            [&read, &admin].as_slice(),
        ),
        ("GET", "/v1/domains/a.example/items", "", &[&read, &admin]),
        (
            "POST",
            "/v1/domains/a.example/scores",
            r#"{"pairs":[]}"#,
            &[&read, &admin],
        ),
        (
            "PUT",
            "/v1/domains/a.example/items/i",
            put,
            &[&write, &admin],
        ),
        (
            "PATCH",
            "/v1/domains/a.example/items/i",
            r#"{"group":"g"}"#,
            &[&write, &admin],
        ),
        (
            "DELETE",
            "/v1/domains/a.example/items/i",
            "",
            &[&write, &admin],
        ),
        (
            "POST",
            "/v1/domains/a.example/items:batch",
            "",
            &[&write, &admin],
        ),
        (
            "GET",
            "/v1/domains/a.example/export",
            "",
            &[&manage, &admin],
        ),
        ("GET", "/v1/domains/a.example/log", "", &[&manage, &admin]),
        ("DELETE", "/v1/domains/a.example", "", &[&manage, &admin]),
        (
            "GET",
            "/v1/domains/a.example",
            "",
            &[&read, &manage, &admin],
        ),
    ] {
        for secret in [&read, &write, &manage, &admin] {
            let answer = guarded.ask_with(method, uri, Some(secret), body).await;
            if allowed.contains(&secret) {
                assert!(
                    ![401, 403].contains(&answer.status),
                    "{method} {uri} {answer:?}"
                );
            } else {
                answer.problem(403, "not-granted");
            }
        }
        let answer = guarded.ask_with(method, uri, Some(&metrics), body).await;
        answer.problem(404, "unknown-domain");
    }
    for uri in [
        "/metrics",
        "/v1/workers",
        "/v1/activity",
        "/v1/activity/stream",
    ] {
        for (secret, status) in [(&metrics, 200), (&admin, 200), (&read, 403)] {
            let answer = guarded.ask("GET", uri, Some(secret)).await;
            assert_eq!(answer.status, status, "{uri}");
        }
    }
    let openapi = guarded.ask("GET", "/openapi.json", Some(&metrics)).await;
    assert_eq!(openapi.status, 200);
    let keys = guarded.ask("GET", "/v1/keys", Some(&manage)).await;
    keys.problem(403, "not-granted");
}

/// Answers about other domains equal those about unknown domains, byte for byte.
#[actix_web::test]
async fn a_key_learns_nothing_of_other_domains() {
    let guarded = Guarded::new(true).await;
    let (_, secret) = guarded
        .key(&["read:a.example", "write:a.example", "manage:a.example"])
        .await;
    let beside = routes("b.example").zip(routes("nowhere.example"));
    for ((route, theirs, method), (_, nowhere, _)) in beside {
        if !route.starts_with("/v1/domains/{domain}") {
            continue;
        }
        for query in ["", "?page=2"] {
            let told = |uri: &str| format!("{uri}{query}");
            let theirs = guarded.ask(method, &told(&theirs), Some(&secret)).await;
            let nowhere = guarded.ask(method, &told(&nowhere), Some(&secret)).await;
            theirs.problem(404, "unknown-domain");
            assert!(!String::from_utf8_lossy(&theirs.body).contains("b.example"));
            assert_eq!(theirs.body, nowhere.body, "{method} {route}");
            assert_eq!(theirs.headers, nowhere.headers, "{method} {route}");
        }
    }
    let listed = guarded
        .ask("GET", "/v1/domains", Some(&secret))
        .await
        .json();
    let names: Vec<&str> = listed["domains"]
        .as_array()
        .expect("domains")
        .iter()
        .map(|domain| domain["domain"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, ["a.example"]);
    // A granted domain that does not exist gets the same words.
    let (_, all) = guarded.key(&["read:*"]).await;
    let uri = "/v1/domains/nowhere.example/items/i";
    let of_all = guarded.ask("GET", uri, Some(&all)).await;
    let of_one = guarded.ask("GET", uri, Some(&secret)).await;
    assert_eq!(of_all.body, of_one.body);
}

/// Unread answers: their requests are still in progress.
async fn untaken(guarded: &Guarded, secret: &str, uri: &str) -> ServiceResponse {
    let (lobby, metrics) = (
        Arc::clone(&guarded.lobby),
        Arc::clone(&guarded.bench.metrics),
    );
    let app = init_service(app(web::Data::from(lobby), web::Data::from(metrics))).await;
    let key = ("authorization", format!("Bearer {secret}"));
    let request = TestRequest::get().uri(uri).insert_header(key);
    let answer = app.call(request.to_request()).await.expect("an answer");
    answer.map_into_boxed_body()
}

#[actix_web::test]
async fn a_key_has_so_many_requests_under_way() {
    let guarded = Guarded::new(true).await;
    let (_, one) = guarded.key(&["read:a.example"]).await;
    let (_, other) = guarded.key(&["read:a.example"]).await;
    let item = "/v1/domains/a.example/items/i";
    let mut under_way = vec![];
    for _ in 0..MOST_REQUESTS {
        // A long answer: its request is in progress until it is read.
        let answer = untaken(&guarded, &one, "/openapi.json").await;
        assert_eq!(answer.status(), 200);
        under_way.push(answer);
    }
    let refused = guarded.ask("GET", item, Some(&one)).await;
    refused.problem(429, "busy");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Open routes and other keys have their own limits.
    assert_eq!(guarded.ask("GET", "/healthz", Some(&one)).await.status, 200);
    assert_eq!(guarded.ask("GET", item, Some(&other)).await.status, 200);
    under_way.pop();
    assert_eq!(guarded.ask("GET", item, Some(&one)).await.status, 200);
}

/// A client that claims to be another instance is held to quotas.
#[actix_web::test]
async fn quotas_hold_whoever_a_client_says_it_is() {
    let guarded = Guarded::new(true).await;
    let settings = SettingsRow {
        settings: DomainSettings {
            max_text: Some(3),
            ..DomainSettings::default()
        },
        updated_at: DateTime::from_timestamp_millis(1).expect("a time"),
        habits: Habits::default(),
        models: Models::default(),
        log: LogEnd::default(),
        answered: Vec::new(),
    };
    let rows = vec![StoreWrite::Settings(settings)];
    guarded.bench.rows.write("a.example", rows).await;
    let (_, secret) = guarded.key(&["write:a.example"]).await;
    let request = TestRequest::put()
        .uri("/v1/domains/a.example/items/i")
        .insert_header(("authorization", format!("Bearer {secret}")))
        .insert_header(("x-kindred-proxied", "1"))
        .set_payload(r#"{"text":"longer"}"#);
    let answer = answer_of(&guarded.lobby, &guarded.bench.metrics, request).await;
    answer.problem(429, "over-quota");
}

/// The metric counts what was actually answered.
#[actix_web::test]
async fn a_long_answer_that_has_no_room_is_counted_as_refused() {
    let bench = bench();
    let long = "/openapi.json";
    let open = |bench: &Bench| {
        let (lobby, metrics) = (Arc::clone(&bench.lobby), Arc::clone(&bench.metrics));
        async move {
            let app = init_service(app(web::Data::from(lobby), web::Data::from(metrics))).await;
            let from = "192.0.2.1:9".parse().expect("an address");
            let request = TestRequest::get().uri(long).peer_addr(from);
            app.call(request.to_request()).await.expect("an answer")
        }
    };
    let mut untaken = vec![];
    // Until this address has as many unread bytes as allowed.
    let refused = loop {
        let answer = open(&bench).await;
        if answer.status() != 200 {
            break answer;
        }
        untaken.push(answer);
        assert!(untaken.len() < 10_000, "nothing bounds what waits");
    };
    assert_eq!(refused.status(), 429);
    assert_eq!(
        refused
            .headers()
            .get("retry-after")
            .map(|value| value.as_bytes()),
        Some(&b"1"[..])
    );
    let counted = |status: &str| {
        let seconds = &bench.metrics.http_request;
        seconds
            .with_label_values(&[long, "GET", status])
            .get_sample_count()
    };
    assert_eq!((counted("200"), counted("429")), (untaken.len() as u64, 1));
    drop(untaken);
    assert_eq!(open(&bench).await.status(), 200);
}

#[actix_web::test]
async fn keys_are_made_told_and_revoked() {
    let guarded = Guarded::new(true).await;
    let (first, admin) = guarded.key(&["admin"]).await;
    let admin = Some(admin.as_str());
    let body = r#"{"grants":["read:a.example","metrics"],"expires":"90d"}"#;
    let made = guarded.ask_with("POST", "/v1/keys", admin, body).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    let (id, secret) = (made["id"].as_str().expect("an id"), made["secret"].as_str());
    assert_eq!(made["grants"], json!(["read:a.example", "metrics"]));
    assert!(made["expires"].as_str().is_some_and(|at| at.ends_with('Z')));
    let item = "/v1/domains/a.example/items/i";
    assert_eq!(guarded.ask("GET", item, secret).await.status, 200);

    let listed = guarded.ask("GET", "/v1/keys", admin).await;
    assert!(!String::from_utf8_lossy(&listed.body).contains("kk_"));
    let listed = listed.json();
    let ids: Vec<_> = listed["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .map(|key| &key["id"])
        .collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&&json!(first)) && ids.contains(&&json!(id)));
    let uri = format!("/v1/keys/{id}");
    let told = guarded.ask("GET", &uri, admin).await.json();
    assert_eq!(told["grants"], json!(["read:a.example", "metrics"]));
    assert_eq!(guarded.ask("DELETE", &uri, admin).await.status, 204);
    guarded
        .ask("GET", item, secret)
        .await
        .problem(401, "no-key");
    guarded
        .ask("DELETE", &uri, admin)
        .await
        .problem(404, "unknown-key");

    for (body, status, kind, field) in [
        ("[]", 400, "invalid-json", None),
        ("{}", 422, "missing-field", Some("grants")),
        (r#"{"grants":[]}"#, 422, "invalid-field", Some("grants")),
        (
            r#"{"grants":["read"]}"#,
            422,
            "invalid-field",
            Some("grants"),
        ),
        (
            r#"{"grants":"admin"}"#,
            422,
            "invalid-field",
            Some("grants"),
        ),
        (
            r#"{"grants":["admin"],"expires":"soon"}"#,
            422,
            "invalid-field",
            Some("expires"),
        ),
        (
            r#"{"grants":["admin"],"expires":"0s"}"#,
            422,
            "invalid-field",
            Some("expires"),
        ),
        (
            r#"{"grants":["admin"],"expires":3}"#,
            422,
            "invalid-field",
            Some("expires"),
        ),
        (
            r#"{"grants":["admin"],"expire":"1d"}"#,
            400,
            "unknown-parameter",
            Some("expire"),
        ),
    ] {
        let answer = guarded.ask_with("POST", "/v1/keys", admin, body).await;
        let problem = answer.problem(status, kind);
        assert_eq!(
            problem.get("field").and_then(Value::as_str),
            field,
            "{body}"
        );
    }
}

/// Another instance has checked the original client.
#[actix_web::test]
async fn other_instances_are_let_in_by_their_signature() {
    let guarded = Guarded::new(true).await;
    guarded.key(&["admin"]).await;
    let uri = "/v1/domains/a.example/items/i";
    let signed = Signed {
        to: "here:8080",
        method: "PUT",
        path: uri,
    };
    let body = r#"{"title":"t"}"#;
    let send = |signature: String, sent: &'static str| {
        let request = TestRequest::put()
            .uri(uri)
            .insert_header((SIGNATURE, signature))
            .insert_header(("x-kindred-proxied", "1"))
            .set_payload(sent);
        answer_of(&guarded.lobby, &guarded.bench.metrics, request)
    };
    let peers = Peers::new(PEERS);
    let sign = |peers: &Peers| peers.sign(signed, body.as_bytes()).expect("randomness");
    assert_eq!(send(sign(&peers), body).await.status, 202);
    let other = send(sign(&peers), r#"{"title":"other"}"#).await;
    other.problem(401, "no-key");
    let strangers = Peers::new("another secret of some length");
    send(sign(&strangers), body).await.problem(401, "no-key");
    let once = sign(&peers);
    assert_eq!(send(once.clone(), body).await.status, 202);
    send(once, body).await.problem(401, "no-key");
    assert_eq!(
        guarded
            .bench
            .publish
            .events
            .lock()
            .expect("unpoisoned")
            .len(),
        2
    );
}

#[actix_web::test]
async fn a_preflight_tells_nothing_of_a_domain_once_there_are_keys() {
    let guarded = Guarded::new(true).await;
    let (_, read) = guarded.key(&["read:a.example"]).await;
    let preflight = |domain: &str| {
        let request = TestRequest::with_uri(&format!("/v1/domains/{domain}/items/i/similar"))
            .method(Method::OPTIONS)
            .insert_header(("origin", "https://page.example"))
            .insert_header(("access-control-request-method", "GET"));
        answer_of(&guarded.lobby, &guarded.bench.metrics, request)
    };
    let (here, nowhere) = (preflight("a.example").await, preflight("nowhere").await);
    assert_eq!(
        (here.status, here.headers),
        (nowhere.status, nowhere.headers)
    );
    let similar = "/v1/domains/a.example/items/i/similar";
    let answer = guarded.ask("GET", similar, Some(&read)).await;
    assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn grants_of_the_contract_are_read() {
    for grant in [
        "read:news.example",
        "read:news.*",
        "read:*",
        "metrics",
        "admin",
    ] {
        assert!(Grants::read([grant]).is_ok(), "{grant}");
    }
}
