//! Requests to recompute stored data.

use super::*;

#[actix_web::test]
async fn what_is_not_there_or_not_asked_rightly_is_said() {
    let bench = bench();
    bench.rows.put("x", item_row("a", 1)).await;
    let repair = |domain: &str, body: &str| {
        let path = format!("/v1/domains/{domain}/repair");
        let request = TestRequest::post().uri(&path);
        let json = ("content-type", "application/json");
        request.insert_header(json).set_payload(body.to_owned())
    };
    for body in [
        "[]",
        "{",
        r#"{"ids":[]}"#,
        r#"{"ids":"a"}"#,
        r#"{"ids":[7]}"#,
        r#"{"ids":[""]}"#,
    ] {
        let answer = ask(&bench, repair("x", body)).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.json());
    }
    let many = json!({"ids": vec!["a"; 1_001]}).to_string();
    let many = ask(&bench, repair("x", &many)).await;
    many.problem(400, "invalid-parameter");
    let unknown = ask(&bench, repair("x", r#"{"id":"a"}"#)).await;
    unknown.problem(400, "unknown-parameter");
    let nobody = ask(&bench, repair("nobody", "{}")).await;
    nobody.problem(404, "unknown-domain");
}
