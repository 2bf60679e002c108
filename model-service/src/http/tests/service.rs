//! What the service reports about itself.

use super::*;

#[actix_web::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let bench = bench();
    get(&bench, "/v2").await.problem(404, "unknown-path");
    get(&bench, "/v1/domains/x/items/a/b")
        .await
        .problem(404, "unknown-path");
    for (route, methods) in routes() {
        let uri = route
            .replace("{domain}", "x")
            .replace("{id}", "y")
            .replace("{name}", "n");
        let trace = TestRequest::with_uri(&uri).method(Method::TRACE);
        let answer = ask(&bench, trace).await;
        answer.problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), Some(methods.as_str()), "{route}");
    }
    // The router takes this for a model of that name.
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let request = TestRequest::with_uri("/v1/domains/x/models/m:activate").method(method);
        let answer = ask(&bench, request).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    }
    let odd = TestRequest::with_uri("/").method(Method::from_bytes(b"ODD").expect("a method"));
    ask(&bench, odd).await.problem(405, "method-not-allowed");
    let metrics = bench.metrics.render();
    assert!(metrics.contains("method=\"other\"") && !metrics.contains("ODD"));
    assert!(metrics.contains("route=\"/v1/domains/{domain}/items/{id}/similar\""));
}

#[actix_web::test]
async fn the_service_tells_of_itself() {
    let bench = bench();
    assert_eq!(get(&bench, "/healthz").await.body, "ok");
    assert_eq!(get(&bench, "/readyz").await.json(), json!({"ready": true}));
    bench.lobby.readiness.not_ready("store", "opening");
    let problem = get(&bench, "/readyz").await.problem(503, "not-ready");
    assert_eq!(problem["reasons"], json!(["store: opening"]));
    let metrics = get(&bench, "/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).expect("text");
    assert!(text.contains(
        "kindred_http_request_seconds_count{method=\"GET\",route=\"/readyz\",status=\"503\"} 1"
    ));
    let index = get(&bench, "/").await;
    let text = String::from_utf8(index.body.to_vec()).expect("text");
    assert!(routes().iter().all(|(route, _)| text.contains(route)));
}

#[actix_web::test]
async fn the_description_lists_every_route_and_leads_nowhere_else() {
    let bench = bench();
    let document = get(&bench, "/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), routes().len());
    let mut operation_ids = BTreeSet::new();
    for (route, methods) in routes() {
        let operations = paths[*route].as_object().expect(route);
        let mut described: Vec<_> = operations.keys().map(|m| m.to_uppercase()).collect();
        let mut known: Vec<_> = methods.split(", ").filter(|m| *m != "HEAD").collect();
        described.sort_unstable();
        known.sort_unstable();
        assert_eq!(described, known, "{route}");
        for operation in operations.values() {
            assert!(operation["summary"].is_string() && operation["responses"].is_object());
            let id = operation["operationId"].as_str().expect("an id");
            assert!(operation_ids.insert(id), "{id} names two operations");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = &reference[..reference.find('"').expect("an end")];
        assert!(
            document.pointer(pointer).is_some(),
            "{pointer} leads nowhere"
        );
    }
    for kind in ProblemKind::ALL {
        assert!(
            text.contains(&kind.uri()),
            "{} is not described",
            kind.uri()
        );
    }
}

#[actix_web::test]
async fn the_example_of_a_put_can_be_put() {
    let bench = bench();
    let document = get(&bench, "/openapi.json").await.json();
    let properties = &document["components"]["schemas"]["ItemBody"]["properties"];
    let example: serde_json::Map<_, _> = properties
        .as_object()
        .expect("properties")
        .iter()
        .filter_map(|(name, schema)| Some((name.clone(), schema.get("example")?.clone())))
        .collect();
    assert!(example.len() > 8);
    let uri = "/v1/domains/news.example/items/a-17";
    let answer = put(&bench, uri, &Value::Object(example).to_string()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[actix_web::test]
async fn a_real_server_answers_and_stops() {
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
    let raw = web::block(move || {
        use std::io::Read;
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.write_all(
            b"PUT /v1/domains/x/items/a%2Fb HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"title\":\"t\"}",
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    });
    let raw = raw.await.expect("a thread").expect("an answer");
    assert!(raw.starts_with("HTTP/1.1 202 "), "{raw}");
    assert!(raw.contains("\"id\":\"a/b\""), "{raw}");
    handle.stop(true).await;
    running.await.expect("a task").expect("a clean end");
}

#[actix_web::test]
async fn another_name_is_not_answered_whatever_is_asked() {
    let bench = bench();
    let hosts = Hosts::These {
        names: vec!["kindred.example".to_owned()],
        loopback: true,
    };
    let lobby = Arc::new(Lobby::new(
        Arc::new(Readiness::ready()),
        hosts,
        Guard::open(),
    ));
    let ask = |method: Method, uri: &str, host: Option<&'static str>| {
        let mut request = TestRequest::with_uri(uri).method(method);
        if let Some(host) = host {
            request = request.insert_header(("host", host));
        }
        let (lobby, metrics) = (Arc::clone(&lobby), Arc::clone(&bench.metrics));
        async move { answer_of(&lobby, &metrics, request).await }
    };
    for host in [None, Some("localhost:8080"), Some("kindred.example")] {
        assert_eq!(ask(Method::GET, "/healthz", host).await.status, 200);
    }
    for (method, uri) in [
        (Method::GET, "/healthz"),
        (Method::GET, "/v1/domains"),
        (Method::PUT, "/v1/domains/x/items/a"),
        (Method::OPTIONS, "/v1/domains/x/items/a"),
        (Method::GET, "http://evil.example/healthz"),
    ] {
        let answer = ask(method, uri, Some("evil.example")).await;
        let problem = answer.problem(421, "not-acceptable-host");
        assert_eq!(problem["field"], "Host", "{uri}");
    }
}

/// Nothing that a web page's form can send is accepted, whatever it contains.
#[actix_web::test]
async fn what_is_sent_says_that_it_is_json() {
    let bench = bench();
    let ask = |method: Method, uri: &str, kind: Option<&'static str>| {
        let mut request = TestRequest::with_uri(uri).method(method);
        if let Some(kind) = kind {
            request = request.insert_header(("content-type", kind));
        }
        let request = request.set_payload(r#"{"title":"t"}"#);
        let (lobby, metrics) = (Arc::clone(&bench.lobby), Arc::clone(&bench.metrics));
        async move { answer_as_sent(&lobby, &metrics, request).await }
    };
    for (route, methods) in routes() {
        let uri = route
            .replace("{domain}", "x")
            .replace("{id}", "y")
            .replace("{name}", "n");
        for method in methods.split(", ") {
            if !["POST", "PUT", "PATCH"].contains(&method) {
                continue;
            }
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            for kind in [
                None,
                Some("text/plain"),
                Some("application/x-www-form-urlencoded"),
                Some("multipart/form-data; boundary=x"),
                Some("text/plain; application/json"),
            ] {
                let answer = ask(method.clone(), &uri, kind).await;
                let problem = answer.problem(415, "unsupported-type");
                assert_eq!(problem["field"], "Content-Type", "{method} {uri} {kind:?}");
            }
        }
    }
    assert!(bench.publish.events.lock().expect("unpoisoned").is_empty());
    for kind in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/merge-patch+json",
        "application/x-ndjson",
        "application/ndjson",
    ] {
        let answer = ask(Method::PUT, "/v1/domains/x/items/y", Some(kind)).await;
        assert_eq!(answer.status, 202, "{kind}");
    }
    let delete = ask(Method::DELETE, "/v1/domains/x/items/y", None).await;
    assert_eq!(delete.status, 202);
}

#[actix_web::test]
async fn before_the_service_is_there_it_says_what_it_waits_for() {
    let readiness = Readiness::waiting_for("database", "not connected yet");
    let lobby = Arc::new(Lobby::new(Arc::new(readiness), Hosts::Any, Guard::open()));
    let metrics = Arc::new(Metrics::new());
    for (uri, status, words) in [
        ("/healthz", 200, "ok"),
        ("/readyz", 503, "database: not connected yet"),
        ("/v1/domains", 503, "database: not connected yet"),
        ("/v1/domains/x/items/y", 503, "database: not connected yet"),
        ("/v1/workers", 503, "database: not connected yet"),
        ("/metrics", 200, "kindred_items_pending"),
        ("/openapi.json", 200, "/v1/domains"),
        ("/nowhere", 404, "unknown-path"),
    ] {
        let answer = answer_of(&lobby, &metrics, TestRequest::with_uri(uri)).await;
        assert_eq!(answer.status, status, "{uri}");
        assert_eq!(
            answer.header("retry-after").is_some(),
            status == 503,
            "{uri}"
        );
        let text = String::from_utf8_lossy(&answer.body);
        assert!(text.contains(words), "{uri}: {text}");
        if status == 503 {
            answer.problem(503, "not-ready");
        }
    }
}

#[actix_web::test]
async fn a_parameter_that_a_route_does_not_document_is_refused() {
    let bench = bench();
    for (route, methods) in routes() {
        let uri = route
            .replace("{domain}", "x")
            .replace("{id}", "y")
            .replace("{name}", "n");
        for method in methods.split(", ") {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let request = TestRequest::with_uri(&format!("{uri}?page=2")).method(method);
            let problem = ask(&bench, request).await.problem(400, "unknown-parameter");
            assert_eq!(problem["field"], "page", "{route}");
        }
    }
    let uri = "/v1/domains/x/items/a/similar?limt=3";
    let problem = get(&bench, uri).await.problem(400, "unknown-parameter");
    assert_eq!(problem["field"], "limt");
    let detail = problem["detail"].as_str().expect("words");
    assert!(detail.contains("nearest is limit"), "{detail}");
    // Unknown paths and methods are reported first.
    get(&bench, "/v2?page=2").await.problem(404, "unknown-path");
    let patch = TestRequest::patch().uri("/v1/domains?page=2");
    ask(&bench, patch).await.problem(405, "method-not-allowed");
}

#[actix_web::test]
async fn the_widget_is_every_pages_and_kept_while_it_stays() {
    let bench = bench();
    let script = get(&bench, "/embed.js").await;
    assert_eq!(script.status, 200);
    let kind = script.header("content-type");
    assert_eq!(kind, Some("text/javascript; charset=utf-8"));
    assert_eq!(script.header("access-control-allow-origin"), Some("*"));
    let policy = script.header("cross-origin-resource-policy");
    assert_eq!(policy, Some("cross-origin"));
    let kept = script.header("cache-control").expect("it may be kept");
    assert!(kept.starts_with("public, max-age="), "{kept}");
    let tag = script.header("etag").expect("it has a tag").to_owned();
    let known = TestRequest::get().uri("/embed.js");
    let again = ask(&bench, known.append_header(("if-none-match", tag))).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
}
