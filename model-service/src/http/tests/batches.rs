//! Many events in one request.

use super::*;

#[actix_web::test]
async fn a_batch_takes_what_is_valid_and_names_the_rest() {
    let bench = bench();
    let body = [
        line("a"),
        String::new(),
        "{".into(),
        format!("{}\r", line("b")),
        line("c").replace("\"x\"", "\"y\""),
        line("d").replace('t', &"t".repeat(2_000)),
        line("quota"),
        r#"{"type":"item.deleted","domain":"x","id":"e"}"#.into(),
    ]
    .join("\n");
    let answer = batch(&bench, body).await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!(answer["accepted"], 3);
    assert_eq!(answer.get("rejected_more"), None);
    let rejected: Vec<_> = answer["rejected"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|r| {
            (
                r["line"].as_u64().expect("a line"),
                r["type"].as_str().expect("a type"),
            )
        })
        .collect();
    assert_eq!(
        rejected,
        [
            (3, "/problems/invalid-json"),
            (5, "/problems/domain-mismatch"),
            (6, "/problems/too-large"),
            (7, "/problems/over-quota"),
        ]
    );
    let events = bench.publish.events.lock().expect("unpoisoned");
    let ids: Vec<_> = events
        .iter()
        .map(|event| event.id().unwrap().as_str())
        .collect();
    assert_eq!(ids, ["a", "b", "quota", "e"]);
    let versions: Vec<_> = events.iter().map(Event::version).collect();
    assert_eq!(
        versions,
        [Some(1), Some(1), Some(1), None],
        "as they were sent"
    );
}

#[actix_web::test]
async fn a_batch_keeps_order_and_a_bound_and_counts_rejects_past_the_list() {
    let bench = bench();
    let mut body = String::new();
    for number in 0..10_000 {
        body += &line(&format!("i{number}"));
        body.push('\n');
    }
    body += &"{\n".repeat(REJECTS_LISTED + 5);
    let answer = batch(&bench, body).await.json();
    assert_eq!(answer["accepted"], 10_000);
    assert_eq!(
        answer["rejected"].as_array().map(Vec::len),
        Some(REJECTS_LISTED)
    );
    assert_eq!(answer["rejected_more"], 5);
    let events = bench.publish.events.lock().expect("unpoisoned");
    let ordered = events
        .iter()
        .enumerate()
        .all(|(at, event)| event.id().unwrap().as_str() == format!("i{at}"));
    assert!(ordered);
    let most = bench.publish.most_in_flight.load(Ordering::SeqCst);
    assert!((2..=4_096).contains(&most), "{most} in flight");
}

#[actix_web::test]
async fn a_batch_that_cannot_go_on_says_from_where_to_send_again() {
    for name in ["full", "away"] {
        let bench = bench();
        let body = [line("a"), "{".into(), line(name), line("b")].join("\n");
        let answer = batch(&bench, body).await;
        let problem = answer.problem(503, "not-stored");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(problem["resend_from_line"], 3);
        assert_eq!(problem["accepted"], 1);
        assert_eq!(problem["rejected"][0]["line"], 2);
    }
}

#[actix_web::test]
async fn a_batch_ends_when_too_many_of_its_lines_are_rejected() {
    let bench = bench();
    let body = gzip(&"x\n".repeat(300_000));
    let request = TestRequest::post()
        .uri("/v1/domains/x/items:batch")
        .insert_header(("content-encoding", "gzip"))
        .set_payload(body);
    let problem = ask(&bench, request).await.problem(422, "too-many-rejected");
    assert_eq!(problem["resend_from_line"], REJECTS_MOST + 1);
    assert_eq!(
        problem["rejected"].as_array().map(Vec::len),
        Some(REJECTS_LISTED)
    );
    let read = bench
        .metrics
        .events_refused
        .with_label_values(&["invalid-json"])
        .get();
    assert!(read < REJECTS_MOST + 5_000, "{read} lines were read");
}

/// One chunk of gzip holds millions of lines.
#[actix_web::test]
async fn others_have_their_turn_while_the_lines_of_a_chunk_are_read() {
    let bench = bench();
    let packed = Bytes::from(gzip(&"x\n".repeat(90_000)));
    let body = stream::iter([Ok(packed)]);
    let mut turns = 0;
    let others = async {
        loop {
            tokio::task::yield_now().await;
            turns += 1;
        }
    };
    let taken = batch::take(
        &bench.writes,
        bench.lobby.reads().expect("parts"),
        domain("x"),
        unannounced(body, Encoding::Gzip),
    );
    tokio::select! {
        taken = taken => assert_eq!(taken.expect("all is told").status().as_u16(), 200),
        () = others => {}
    }
    assert!(turns > 5, "{turns} turns");
}

fn unannounced<S>(chunks: S, encoding: Encoding) -> Body<S> {
    Body {
        chunks,
        encoding,
        length: None,
        signed: None,
        held: None,
    }
}

#[actix_web::test]
async fn a_batch_that_breaks_off_keeps_what_was_published() {
    let bench = bench();
    let head = format!("{}\n{}\n{{\"ty", line("a"), line("b"));
    let body = stream::iter([Ok(Bytes::from(head)), Err(PayloadError::Incomplete(None))]);
    let ended = batch::take(
        &bench.writes,
        bench.lobby.reads().expect("parts"),
        domain("x"),
        unannounced(body, Encoding::Identity),
    )
    .await;
    let response = ended.expect_err("it broke off").error_response();
    let body = to_bytes(response.into_body()).await.expect("a body");
    let problem: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(problem["type"], "/problems/incomplete-body");
    assert_eq!(
        (&problem["accepted"], &problem["resend_from_line"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(bench.publish.events.lock().expect("unpoisoned").len(), 2);
}

#[actix_web::test]
async fn bodies_may_be_gzip_and_nothing_else() {
    let bench = bench();
    let packed = |encoding: &'static str, body: Vec<u8>| {
        let request = TestRequest::post().uri("/v1/domains/x/items:batch");
        request
            .insert_header(("content-encoding", encoding))
            .set_payload(body)
    };
    let text = [line("a"), line("b")].join("\n");
    let answer = ask(&bench, packed("gzip", gzip(&text))).await;
    assert_eq!(answer.json()["accepted"], 2);
    // Several members, with zeros between and after them.
    let (first, rest) = ([line("a"), "\n".into()].concat(), line("b"));
    let padded = [gzip(&first), vec![0; 5000], gzip(&rest), vec![0; 300]].concat();
    let answer = ask(&bench, packed("gzip", padded)).await;
    assert_eq!(answer.json()["accepted"], 2);
    let followed = [gzip(&text), b"garbage".to_vec()].concat();
    ask(&bench, packed("gzip", followed))
        .await
        .problem(400, "incomplete-body");
    // A line that expands to 50 MB is neither kept nor accepted.
    let bomb = gzip(&format!("{}\n{}", "x".repeat(50_000_000), line("c")));
    let answer = ask(&bench, packed("gzip", bomb)).await.json();
    assert_eq!(
        (&answer["accepted"], &answer["rejected"][0]["line"]),
        (&json!(1), &json!(1))
    );
    let mut cut = gzip(&text);
    cut.truncate(cut.len() - 9);
    ask(&bench, packed("gzip", cut))
        .await
        .problem(400, "incomplete-body");
    ask(&bench, packed("gzip", b"no".to_vec()))
        .await
        .problem(400, "incomplete-body");
    ask(&bench, packed("br", vec![]))
        .await
        .problem(415, "unsupported-encoding");

    let put = TestRequest::put()
        .uri("/v1/domains/x/items/p")
        .insert_header(("content-encoding", "gzip"));
    let answer = ask(&bench, put.set_payload(gzip(r#"{"title":"t"}"#))).await;
    assert_eq!(answer.status, 202);
    let put = TestRequest::put()
        .uri("/v1/domains/x/items/p")
        .insert_header(("content-encoding", "gzip"));
    let long = gzip(&"x".repeat(1_000_000));
    ask(&bench, put.set_payload(long))
        .await
        .problem(413, "too-large");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn where_chunks_end_makes_no_difference_to_a_batch(
        kinds in prop::collection::vec(0..5u8, 1..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        packed in any::<bool>(),
        last_newline in any::<bool>(),
    ) {
        let mut text = String::new();
        let (mut accepted, mut rejected) = (0, Vec::new());
        for (number, kind) in (1..).zip(&kinds) {
            match kind {
                0 => {}
                1 => { text += "{"; rejected.push(number) }
                2 => { text += &"y".repeat(2_001); rejected.push(number) }
                3 => { text += &line("ü"); text.push('\r'); accepted += 1 }
                _ => { text += &line("a"); accepted += 1 }
            }
            text.push('\n');
        }
        if !last_newline {
            text.pop();
        }
        let body = if packed { gzip(&text) } else { text.into_bytes() };
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let chunks: Vec<_> = cuts
            .windows(2)
            .map(|pair| Ok(Bytes::copy_from_slice(&body[pair[0]..pair[1]])))
            .collect();
        let answer: Value = actix_web::rt::System::new().block_on(async move {
            let bench = bench();
            let encoding = if packed { Encoding::Gzip } else { Encoding::Identity };
            let body = unannounced(stream::iter(chunks), encoding);
            let answer = batch::take(&bench.writes, bench.lobby.reads().expect("parts"), domain("x"), body);
            let response = answer.await.expect("the fakes take all");
            let body = to_bytes(response.into_body()).await.expect("a body");
            serde_json::from_slice(&body).expect("JSON")
        });
        let lines: Vec<u64> = answer["rejected"].as_array().expect("a list").iter()
            .map(|reject| reject["line"].as_u64().expect("a number")).collect();
        prop_assert_eq!(&answer["accepted"], &json!(accepted));
        prop_assert_eq!(lines, rejected);
    }
}
