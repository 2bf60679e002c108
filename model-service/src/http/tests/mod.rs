//! The application, on fakes.

mod access;
mod batches;
mod connections;
mod documents;
mod experiments;
mod listing;
mod log;
mod page;
mod patches;
mod paths;
mod queries;
mod quotas;
mod reads;
mod removal;
mod repair;
mod schemas;
mod service;
mod writes;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

use actix_web::body::{MessageBody, to_bytes};
use actix_web::dev::{Service, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::Method;
use actix_web::test::{TestRequest, init_service};
use actix_web::{ResponseError, web};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use kindred_api::batch::{REJECTS_LISTED, REJECTS_MOST};
use kindred_api::problem::ProblemKind;
use kindred_api::similar::SimilarAnswer;
use kindred_shared::event::Event;
use kindred_shared::{Feature, Space};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::http::app::app;
use crate::http::batch;
use crate::http::body::{Body, Encoding};
use crate::http::fakes::{Bench, GIVEN_VERSION, bench, domain, feature_row, id, item_row, words_1};
use crate::http::items;
use crate::http::parts::Lobby;
use crate::http::path::OfItem;
use crate::http::readiness::Readiness;
use crate::http::{Deadlines, Gate, Guard, Hosts};
use crate::metrics::Metrics;
use kindred_domain::list::ListEntry;
use kindred_domain::shown::{Interner, Shown};
use kindred_domain::slot::Slot;
use kindred_domain::status::DomainStatus;
use kindred_domain::store::{ItemRow, ListRow, Liveness, Neighbour, Write as StoreWrite};
use kindred_domain::view_change::{Listed, Renewed, ServedList, ViewChange};

/// Every route and the methods it takes, in the order of `Allow`, as the contract has them.
fn routes() -> &'static [(&'static str, String)] {
    const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    static ROUTES: LazyLock<Vec<(&str, String)>> = LazyLock::new(|| {
        let contract = include_str!("../../../../docs/CONTRACT.md");
        let (_, table) = contract
            .split_once("\n| path | method | |\n")
            .expect("a table of routes");
        let mut routes: Vec<(&str, BTreeSet<&str>)> = Vec::new();
        let mut of_row = 0;
        for row in table.lines().skip(1).take_while(|row| row.starts_with('|')) {
            let mut cells = row.split('|').skip(1);
            let (paths, methods) = (cells.next().expect("paths"), cells.next().expect("methods"));
            let paths: Vec<&str> = paths.split('`').skip(1).step_by(2).collect();
            // Without a path it goes on about those of the row above.
            if !paths.is_empty() {
                of_row = paths.len();
                routes.extend(paths.into_iter().map(|path| (path, BTreeSet::new())));
            }
            let above = routes.len() - of_row;
            for (_, known) in &mut routes[above..] {
                known.extend(methods.split(',').map(str::trim));
            }
        }
        let route = |(path, mut methods): (_, BTreeSet<&str>)| {
            if methods.contains("GET") {
                methods.insert("HEAD");
            }
            assert!(
                methods.iter().all(|method| METHODS.contains(method)),
                "{path}: {methods:?}"
            );
            let methods = METHODS.iter().filter(|method| methods.contains(*method));
            (path, methods.copied().collect::<Vec<_>>().join(", "))
        };
        routes.into_iter().map(route).collect()
    });
    &ROUTES
}

/// An answer, read whole.
#[derive(Debug)]
struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    #[track_caller]
    fn problem(&self, status: u16, kind: &str) -> Value {
        let body = self.json();
        assert_eq!(self.status, status, "{body}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(body["type"], format!("/problems/{kind}"));
        assert_eq!(body["status"], status);
        assert!(!body["title"].as_str().expect("a title").is_empty());
        assert!(!body["detail"].as_str().expect("a detail").is_empty());
        body
    }
}

async fn ask(bench: &Bench, request: TestRequest) -> Response {
    answer_of(&bench.lobby, &bench.metrics, request).await
}

/// The answer to a request that declares a JSON body.
async fn answer_of(lobby: &Arc<Lobby>, metrics: &Arc<Metrics>, request: TestRequest) -> Response {
    let json = ("content-type", "application/json");
    answer_as_sent(lobby, metrics, request.append_header(json)).await
}

async fn answer_as_sent(
    lobby: &Arc<Lobby>,
    metrics: &Arc<Metrics>,
    request: TestRequest,
) -> Response {
    let (lobby, metrics) = (Arc::clone(lobby), Arc::clone(metrics));
    let app = init_service(app(web::Data::from(lobby), web::Data::from(metrics))).await;
    let response: ServiceResponse = app.call(request.to_request()).await.expect("an answer");
    let status = response.status().as_u16();
    let headers: Vec<_> = response
        .headers()
        .iter()
        .map(|(n, v)| (n.to_string(), v.to_str().expect("ASCII").to_owned()))
        .collect();
    let is_endless = headers
        .iter()
        .any(|(_, value)| value.starts_with("text/event-stream"));
    let body = read(response.into_body(), is_endless).await;
    let answer = Response {
        status,
        headers,
        body,
    };
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    answer
}

/// A body; of an endless stream, the beginning.
async fn read(body: impl MessageBody, is_endless: bool) -> Bytes {
    if !is_endless {
        return to_bytes(body).await.unwrap_or_else(|_| panic!("a body"));
    }
    let mut body = std::pin::pin!(body);
    let first = std::future::poll_fn(|context| body.as_mut().poll_next(context)).await;
    first.and_then(Result::ok).unwrap_or_default()
}

async fn get(bench: &Bench, uri: &str) -> Response {
    ask(bench, TestRequest::get().uri(uri)).await
}

async fn put(bench: &Bench, uri: &str, body: &str) -> Response {
    ask(
        bench,
        TestRequest::put().uri(uri).set_payload(body.to_owned()),
    )
    .await
}

async fn batch(bench: &Bench, body: impl Into<Bytes>) -> Response {
    let request = TestRequest::post().uri("/v1/domains/x/items:batch");
    ask(bench, request.set_payload(body)).await
}

fn line(id: &str) -> String {
    json!({"type": "item.created", "domain": "x", "id": id, "title": "t", "version": 1}).to_string()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text.as_bytes()).expect("memory takes all");
    packer.finish().expect("memory takes all")
}
