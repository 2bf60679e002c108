//! From a path to what it names, through the router, and over a raw connection for what client
//! libraries would not send.

use std::io::{Read, Write};
use std::net::TcpStream;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::*;

/// The id that a PUT to this path is published with.
async fn put_to(bench: &Bench, path: &str) -> String {
    let answer = put(bench, path, r#"{"title":"t","version":7}"#).await;
    assert_eq!(answer.status, 202, "{path}: {answer:?}");
    let events = bench.publish.events.lock().expect("unpoisoned");
    let event = events.last().expect("published");
    format!(
        "{} {}",
        event.domain().as_str(),
        event.id().unwrap().as_str()
    )
}

#[actix_web::test]
async fn an_id_is_decoded_once_and_may_look_like_a_route() {
    let bench = bench();
    for (segment, id) in [
        ("a%2Fb", "a/b"),
        ("a%2fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a%25252Fb", "a%252Fb"),
        ("100%25", "100%"),
        ("%2525", "%25"),
        ("%C3%BC", "ü"),
        ("%EF%BF%BD", "\u{fffd}"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("a%20b", "a b"),
        ("a%3Fb%23", "a?b#"),
        ("similar", "similar"),
        ("%73imilar", "similar"),
        ("a%2Fsimilar", "a/similar"),
        ("a:batch", "a:batch"),
        ("items:batch", "items:batch"),
        ("%7Bid%7D", "{id}"),
        (".", "."),
        ("..", ".."),
        ("%2E%2E", ".."),
        ("..%2F..", "../.."),
    ] {
        let path = format!("/v1/domains/x/items/{segment}");
        assert_eq!(put_to(&bench, &path).await, format!("x {id}"));
        let problem = get(&bench, &format!("{path}/similar")).await;
        problem.problem(404, "unknown-domain");
    }
}

#[actix_web::test]
async fn domains_and_words_of_routes_may_look_like_each_other() {
    let bench = bench();
    let path = "/v1/domains/items/items/similar";
    assert_eq!(put_to(&bench, path).await, "items similar");
    assert_eq!(put_to(&bench, "/v1/domains/x/%69tems/a").await, "x a");
    get(&bench, "/v1/domains/items")
        .await
        .problem(404, "unknown-domain");
    for batch in ["items:batch", "items%3Abatch", "items%3abatch"] {
        let request = TestRequest::post().uri(&format!("/v1/domains/x/{batch}"));
        let answer = ask(&bench, request.set_payload(line("a"))).await;
        assert_eq!(answer.json()["accepted"], 1, "{batch}");
        let wrong = get(&bench, &format!("/v1/domains/x/{batch}")).await;
        wrong.problem(405, "method-not-allowed");
    }
    let metrics = bench.metrics.render();
    assert!(
        metrics.contains(
            "method=\"POST\",route=\"/v1/domains/{domain}/items:batch\",status=\"200\"} 3"
        )
    );
}

#[actix_web::test]
async fn what_is_no_path_says_why() {
    let bench = bench();
    for path in [
        "//",
        "/v1",
        "/v1/domains/",
        "/v1/domains/x/",
        "/v1/domains/x/items/",
        "/v1/domains/x/items//similar",
        "/v1/domains//items/a",
        "/v1/domains/x/items/a/b",
        "/v1/domains/x/items/a/b/similar",
        "/v1/domains/x/items/a/similar/",
        "/v1/domains/x/items/a/similar/b/c/d/e",
        "/v1/./domains",
        "/v1/domains/x/items/a/../b",
    ] {
        let problem = get(&bench, path).await.problem(404, "unknown-path");
        let detail = problem["detail"].as_str().expect("words");
        let below = path.starts_with("/v1/domains/x/items/") && path.split('/').count() > 6;
        assert_eq!(detail.contains("%2F"), below, "{path}: {detail}");
    }
    let long = "a".repeat(257);
    for (segments, word, field) in [
        ("x/items/100%", "invalid-id", "id"),
        ("x/items/%zz", "invalid-id", "id"),
        ("x/items/%+1", "invalid-id", "id"),
        ("x/items/%%35%31", "invalid-id", "id"),
        ("x/items/%ff", "invalid-id", "id"),
        ("x/items/%ff%2F/similar", "invalid-id", "id"),
        ("x/items/a%00", "invalid-id", "id"),
        ("x/items/a%0A", "invalid-id", "id"),
        (&format!("x/items/{long}"), "invalid-id", "id"),
        ("a%20b", "invalid-domain", "domain"),
        ("%ff/items/c", "invalid-domain", "domain"),
        ("a%2Fb/items/c", "invalid-domain", "domain"),
        ("%C3%BC/items/c/similar", "invalid-domain", "domain"),
    ] {
        let answer = get(&bench, &format!("/v1/domains/{segments}")).await;
        assert_eq!(answer.problem(400, word)["field"], field, "{segments}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_id_comes_back(id in "\\PC{1,60}") {
        let segment = utf8_percent_encode(&id, NON_ALPHANUMERIC);
        let path = format!("/v1/domains/x/items/{segment}");
        let published = actix_web::rt::System::new().block_on(async {
            put_to(&bench(), &path).await
        });
        prop_assert_eq!(published, format!("x {id}"));
    }
}

/// The answer of a real server to a request with exactly this first line.
async fn raw(lines: Vec<&'static [u8]>) -> Vec<String> {
    let bench = bench();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = crate::http::serve(
        listener,
        &Arc::new(Gate::with_room(10, 10)),
        Deadlines::default(),
        None,
        bench.lobby,
        bench.metrics,
    )
    .expect("a server");
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);
    let asked = web::block(move || {
        let one = |line: &[u8]| {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(line)?;
            stream.write_all(b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"title\":\"t\"}")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
        };
        lines.into_iter().map(one).collect::<Result<Vec<_>, _>>()
    });
    let answers = asked.await.expect("a thread").expect("answers");
    handle.stop(true).await;
    running.await.expect("a task").expect("a clean end");
    answers
}

#[actix_web::test]
async fn over_a_real_connection_paths_mean_the_same() {
    let answers = raw(vec![
        b"PUT /v1/domains/x/items/a%2Fb",
        b"PUT /v1/domains/x/items/a%252Fb",
        b"PUT /v1/domains/x/items/..",
        "PUT /v1/domains/x/items/ü".as_bytes(),
        b"PUT /v1/domains/x/items/%ff",
        b"PUT /v1/domains/x/items/100%",
        b"PUT /v1/domains/x/items//a",
        b"OPTIONS *",
        b"HEAD /healthz",
        b"GET /healthz?x=1",
    ])
    .await;
    for (answer, expected) in answers.iter().zip([
        ("202", "\"id\":\"a/b\""),
        ("202", "\"id\":\"a%2Fb\""),
        ("202", "\"id\":\"..\""),
        // Not a URI: refused before it is a request.
        ("400", "content-length: 0"),
        ("400", "/problems/invalid-id"),
        ("400", "/problems/invalid-id"),
        ("404", "/problems/unknown-path"),
        ("404", "/problems/unknown-path"),
        ("200", "content-length: 2\r\n"),
        ("400", "/problems/unknown-parameter"),
    ]) {
        let (status, words) = expected;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(words), "{answer}");
    }
    assert!(
        answers[8].ends_with("\r\n\r\n"),
        "HEAD has no body: {}",
        answers[8]
    );
}
