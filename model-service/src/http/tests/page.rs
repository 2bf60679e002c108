//! The page: what it shows to whom, its headers, and what must not change anything.

use kindred_web::assets::{ASSETS, SCRIPT};

use super::access::Guarded;
use super::*;

const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn visit(lobby: &Arc<Lobby>, bench: &Bench, request: TestRequest) -> Response {
    answer_as_sent(lobby, &bench.metrics, request.append_header(HTML)).await
}

async fn look(bench: &Bench, uri: &str) -> Response {
    visit(&bench.lobby, bench, TestRequest::get().uri(uri)).await
}

fn text(answer: &Response) -> &str {
    std::str::from_utf8(&answer.body).expect("text")
}

/// The token of a form of a view.
fn token(answer: &Response) -> &str {
    let (_, rest) = text(answer)
        .split_once("name=\"token\" value=\"")
        .expect("a form");
    rest.split('"').next().expect("a token")
}

/// The cookie that an answer sets, in the form it is sent back.
fn cookie(answer: &Response) -> String {
    let set = answer.header("set-cookie").expect("a cookie");
    set.split(';').next().expect("a pair").to_owned()
}

async fn with_items() -> Bench {
    let bench = bench();
    bench.rows.register("a.example", None).await;
    for n in 0..60 {
        bench
            .rows
            .put("a.example", item_row(&format!("i{n:02}/x"), 1))
            .await;
    }
    bench
}

#[actix_web::test]
async fn every_view_is_whole_strict_and_kept_nowhere() {
    let bench = with_items().await;
    for (uri, status, words) in [
        ("/", 200, "a.example"),
        ("/?q=A.EX&page=9", 200, "a.example"),
        ("/domains/a.example", 200, "title of i00/x"),
        ("/domains/a.example?q=i07", 200, "title of i07/x"),
        ("/domains/a.example/items/i07%2Fx", 200, "title of i07/x"),
        (
            "/domains/a.example/items/i07%2Fx?half_life=soon",
            200,
            "half_life",
        ),
        (
            "/domains/a.example/items/i07%2Fx?with=i08%2Fx",
            200,
            "title of i08/x",
        ),
        (
            "/domains/a.example/items/i07%2Fx?with=nobody",
            404,
            "no such item",
        ),
        ("/domains/a.example/items/nobody", 404, "no such item"),
        ("/domains/a.example/text", 200, "Type or paste"),
        ("/domains/a.example/experiments", 200, "No experiment yet."),
        ("/domains/a.example/settings", 200, "near_duplicate"),
        ("/domains/nowhere.example", 404, "Unknown domain"),
        ("/domains/%00", 400, "Status 400"),
        ("/activity", 200, "box-7"),
        ("/keys", 200, "try again"),
    ] {
        let answer = look(&bench, uri).await;
        let body = text(&answer);
        assert_eq!(answer.status, status, "{uri} {body}");
        assert!(body.contains(words), "{uri} {body}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=utf-8"),
            "{uri}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{uri}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(
            policy.starts_with("default-src 'none'; ")
                && !policy.contains("unsafe-")
                && !policy.contains('*')
        );
        assert!(policy.contains("form-action 'self'") && policy.contains("frame-ancestors 'none'"));
    }
    let metrics = bench.metrics.render();
    assert!(metrics.contains("route=\"/domains/{domain}/items/{id}\""));
    assert!(!metrics.contains("nowhere.example"));
}

#[actix_web::test]
async fn who_asks_for_no_page_is_told_the_paths() {
    let bench = with_items().await;
    let plain = get(&bench, "/").await;
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(plain.header("vary"), Some("accept"));
    assert_eq!(look(&bench, "/").await.header("vary"), Some("accept"));
    let head = TestRequest::with_uri("/").method(Method::HEAD);
    let head = visit(&bench.lobby, &bench, head).await;
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    // Its URLs accept nothing else.
    for (method, uri) in [
        (Method::PUT, "/keys"),
        (Method::DELETE, "/domains/a.example"),
        (Method::POST, "/domains/a.example"),
    ] {
        let request = TestRequest::with_uri(uri)
            .method(method)
            .append_header(("content-type", "application/json"));
        assert_eq!(
            visit(&bench.lobby, &bench, request).await.status,
            404,
            "{uri}"
        );
    }
}

#[actix_web::test]
async fn files_that_are_named_by_their_content_are_kept() {
    let bench = bench();
    for asset in ASSETS {
        let named = get(&bench, &format!("{}?v={:016x}", asset.path, asset.hash)).await;
        assert_eq!(
            named.header("cache-control"),
            Some("public, max-age=31536000, immutable")
        );
        assert_eq!(named.header("content-type"), Some(asset.content_type));
        assert_eq!(named.body, asset.bytes);
        let other = get(&bench, &format!("{}?v=0", asset.path)).await;
        assert_eq!(
            (other.status, other.header("cache-control")),
            (200, Some("no-cache"))
        );
    }
    get(&bench, "/page/none.js")
        .await
        .problem(404, "unknown-path");
    let written = TestRequest::put().uri(SCRIPT.path);
    ask(&bench, written).await.problem(404, "unknown-path");
}

#[actix_web::test]
async fn pages_lead_from_one_to_the_next() {
    let bench = with_items().await;
    let first = look(&bench, "/domains/a.example").await;
    assert_eq!(text(&first).matches("class=\"title\"").count(), 50);
    let (_, next) = text(&first)
        .split_once("rel=\"next\" href=\"")
        .expect("a next page");
    let next = next
        .split('"')
        .next()
        .expect("an address")
        .replace("&amp;", "&");
    let second = look(&bench, &next).await;
    assert_eq!(
        text(&second).matches("class=\"title\"").count(),
        10,
        "{next}"
    );
}

#[actix_web::test]
async fn what_changes_something_comes_from_the_page_itself() {
    let bench = with_items().await;
    let settings = "/domains/a.example/settings";
    let token = token(&look(&bench, settings).await).to_owned();
    let send = |body: String, headers: Vec<(&'static str, &'static str)>| {
        let mut request = TestRequest::post().uri(settings).set_payload(body);
        for header in headers {
            request = request.append_header(header);
        }
        visit(&bench.lobby, &bench, request)
    };
    let body = format!("token={token}&max_age=60");
    let other = ("origin", "https://evil.example");
    for (body, headers, status) in [
        ("max_age=60".to_owned(), vec![FORM], 403),
        ("token=&max_age=60".to_owned(), vec![FORM], 403),
        (
            body.clone(),
            vec![FORM, ("sec-fetch-site", "cross-site")],
            403,
        ),
        (
            body.clone(),
            vec![FORM, ("host", "here.example"), other],
            403,
        ),
        (
            body.clone(),
            vec![FORM, ("host", "here.example"), ("origin", "null")],
            403,
        ),
        (body.clone(), vec![("content-type", "text/plain")], 415),
        ("x".repeat(300 << 10), vec![FORM], 413),
        ("\u{fffd}".repeat(2), vec![FORM], 403),
    ] {
        let shown = body.chars().take(40).collect::<String>();
        let answer = send(body, headers).await;
        assert_eq!(answer.status, status, "{shown} {}", text(&answer));
    }
    assert!(bench.publish.events.lock().expect("unpoisoned").is_empty());
}

#[actix_web::test]
async fn a_key_is_exchanged_for_a_cookie_that_does_not_hold_it() {
    let guarded = Guarded::new(true).await;
    let (name, secret) = guarded.key(&["admin"]).await;
    let visit = |request: TestRequest| visit(&guarded.lobby, &guarded.bench, request);
    let door = visit(TestRequest::get().uri("/domains/a.example?q=x")).await;
    assert_eq!(door.status, 303);
    assert_eq!(
        door.header("location"),
        Some("/sign-in?next=%2Fdomains%2Fa.example%3Fq%3Dx")
    );
    let door = visit(TestRequest::get().uri("/sign-in?next=%2Fkeys")).await;
    let token = token(&door).to_owned();
    let sign_in = |key: &str, token: &str| {
        let body = format!("token={token}&key={key}&next=%2Fkeys");
        visit(
            TestRequest::post()
                .uri("/sign-in")
                .append_header(FORM)
                .set_payload(body),
        )
    };
    assert_eq!(sign_in("kk_x", &token).await.status, 401);
    assert_eq!(sign_in(&secret, "x").await.status, 403);
    let entered = sign_in(&secret, &token).await;
    assert_eq!(
        (entered.status, entered.header("location")),
        (303, Some("/keys"))
    );
    let set = entered.header("set-cookie").expect("a cookie");
    assert!(
        set.contains("; HttpOnly; SameSite=Strict")
            && set.contains("; Path=/;")
            && !set.contains("Secure")
    );
    assert!(!set.contains(&secret[3..]));
    let cookie = cookie(&entered);

    // Reads need only the cookie; changes need the token, too.
    let api = |method: Method, uri: &str, token: Option<&str>| {
        let mut request = TestRequest::with_uri(uri)
            .method(method)
            .append_header(("cookie", format!("theme=x; {cookie}")));
        if let Some(token) = token {
            request = request.append_header(("x-kindred-token", token.to_owned()));
        }
        answer_of(&guarded.lobby, &guarded.bench.metrics, request)
    };
    let item = "/v1/domains/a.example/items/i";
    let read = api(Method::GET, item, None).await;
    assert_eq!(
        (read.status, read.header("cache-control")),
        (200, Some("private, no-cache"))
    );
    api(Method::DELETE, item, None)
        .await
        .problem(403, "not-granted");
    api(Method::DELETE, item, Some("x"))
        .await
        .problem(403, "not-granted");
    api(Method::DELETE, item, Some(&token))
        .await
        .problem(403, "not-granted");
    let keys = visit(
        TestRequest::get()
            .uri("/keys")
            .append_header(("cookie", cookie.clone())),
    )
    .await;
    assert!(text(&keys).contains(&name));
    let own = self::token(&keys).to_owned();
    assert_ne!(own, token);
    assert_eq!(api(Method::DELETE, item, Some(&own)).await.status, 202);

    // A form of a signed-in viewer needs their token.
    let send = |uri: &'static str, body: String| {
        let request = TestRequest::post()
            .uri(uri)
            .append_header(FORM)
            .append_header(("cookie", cookie.clone()));
        visit(request.set_payload(body))
    };
    let grants = "grants=read%3Aa.example%0D%0Ametrics&expires=1d";
    assert_eq!(
        send("/keys", format!("token={token}&{grants}"))
            .await
            .status,
        403
    );
    let made = send("/keys", format!("token={own}&{grants}")).await;
    assert_eq!(made.status, 200);
    assert!(text(&made).contains("read:a.example, metrics") && text(&made).contains("kk_"));
    let refused = send("/keys", format!("token={own}&grants=nothing")).await;
    assert_eq!(refused.status, 422, "{}", text(&refused));

    let out = send("/sign-out", format!("token={own}")).await;
    assert_eq!(
        (out.status, out.header("location")),
        (303, Some("/sign-in"))
    );
    assert!(
        out.header("set-cookie")
            .is_some_and(|set| set.starts_with("kindred=; ") && set.contains("Max-Age=0"))
    );
    api(Method::GET, item, None).await.problem(401, "no-key");
}

#[actix_web::test]
async fn a_revoked_key_has_no_session_left() {
    let guarded = Guarded::new(true).await;
    guarded.key(&["admin"]).await;
    let (name, secret) = guarded.key(&["read:a.example"]).await;
    let cookie = format!(
        "kindred={}",
        guarded
            .lobby
            .guard
            .sessions
            .begin(&secret)
            .expect("randomness")
    );
    let view = || {
        let request = TestRequest::get()
            .uri("/domains/a.example")
            .append_header(("cookie", cookie.clone()));
        visit(&guarded.lobby, &guarded.bench, request)
    };
    assert_eq!(view().await.status, 200);
    let other = TestRequest::get()
        .uri("/domains/b.example")
        .append_header(("cookie", cookie.clone()));
    assert_eq!(
        visit(&guarded.lobby, &guarded.bench, other).await.status,
        404
    );
    guarded.revoke(&name).await;
    assert_eq!(view().await.status, 303);
}

#[actix_web::test]
async fn over_tls_the_cookie_stays_there() {
    let guarded = Guarded::new(true).await;
    let (_, secret) = guarded.key(&["admin"]).await;
    let door = visit(
        &guarded.lobby,
        &guarded.bench,
        TestRequest::get().uri("/sign-in"),
    )
    .await;
    let body = format!("token={}&key={secret}", token(&door));
    let request = TestRequest::post()
        .uri("/sign-in")
        .append_header(FORM)
        .append_header(("x-forwarded-proto", "https"));
    let entered = visit(&guarded.lobby, &guarded.bench, request.set_payload(body)).await;
    let set = entered.header("set-cookie").expect("a cookie");
    assert!(
        set.starts_with("__Host-kindred=") && set.ends_with("; Secure"),
        "{set}"
    );
    let request = TestRequest::get()
        .uri("/")
        .append_header(("cookie", cookie(&entered)));
    assert_eq!(
        visit(&guarded.lobby, &guarded.bench, request).await.status,
        200
    );
}

#[actix_web::test]
async fn activity_is_told_once_and_as_a_stream() {
    let bench = bench();
    let once = get(&bench, "/v1/activity").await.json();
    assert_eq!(
        (&once["taking_jobs"], &once["workers"][0]["name"]),
        (&json!(1), &json!("box-7"))
    );
    assert_eq!(once["partitions"][0]["partition"], 0);
    let stream = get(&bench, "/v1/activity/stream").await;
    assert_eq!(
        stream.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(stream.header("cache-control"), Some("no-store"));
    let event = std::str::from_utf8(&stream.body).expect("text");
    let data = event
        .strip_prefix("event: activity\ndata: ")
        .expect("an event");
    let data: Value = serde_json::from_str(data.trim_end()).expect("JSON");
    assert_eq!(data["workers"], once["workers"]);
    // Streams that nobody reads any more have freed their places.
    let open: Vec<_> = std::iter::from_fn(|| bench.lobby.pulse.open())
        .take(100)
        .collect();
    assert_eq!(open.len(), 64);
    get(&bench, "/v1/activity/stream")
        .await
        .problem(429, "busy");
}

#[actix_web::test]
async fn a_map_shows_what_is_there_and_nothing_that_is_gone() {
    let bench = queries::filled().await;
    let map = get(&bench, "/v1/domains/x/map").await.json();
    let names = |map: &Value| -> Vec<String> {
        let items = map["items"].as_array().expect("items").iter();
        items
            .map(|item| item["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    assert_eq!(names(&map), ["a", "b", "c", "d", "e", "t", "u"]);
    assert_eq!(map["links"], json!([[0, 1], [0, 2]]));
    assert_eq!(
        (&map["by"], &map["categories"]),
        (&json!("categories"), &json!(["rail", "slow"]))
    );
    assert_eq!(
        (&map["of"], &map["items"][3]["category"]),
        (&json!(7), &json!(1))
    );
    for item in map["items"].as_array().expect("items") {
        for axis in ["x", "y"] {
            let at = item[axis].as_f64().expect("a number");
            assert!((0.0..=1_000.0).contains(&at), "{item}");
        }
    }
    let change = ViewChange {
        gone: vec![id("b")],
        ..ViewChange::default()
    };
    let view = bench.views.get(&domain("x")).expect("a view");
    view.apply(change, 1_795_424_400_008);
    let later = get(&bench, "/v1/domains/x/map").await.json();
    assert_eq!(names(&later), ["a", "c", "d", "e", "t", "u"]);
    assert_eq!(later["links"], json!([[0, 1]]));
    // Remaining items stay where they were: the map was not recomputed.
    assert_eq!(later["items"][1]["x"], map["items"][2]["x"]);
    let page = look(&bench, "/domains/x/map").await;
    assert_eq!(text(&page).matches("<circle class=\"c").count(), 6);
}

#[actix_web::test]
async fn a_text_is_asked_about_by_its_address() {
    let bench = queries::filled().await;
    let uri = "/domains/x/text?text=glacier+mountain&text_language=en&limit=1";
    let asked = look(&bench, uri).await;
    assert!(
        text(&asked).contains("<mark>glacier</mark>"),
        "{}",
        text(&asked)
    );
    assert_eq!(text(&asked).matches("class=\"nb-head\"").count(), 1);
}
