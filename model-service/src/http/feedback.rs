//! Feedback: what readers did with answers.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, post};
use async_trait::async_trait;
use chrono::Utc;
use kindred_api::batch::RejectedLine;
use kindred_api::experiment::FeedbackAnswer;
use kindred_api::problem::Kind;
use kindred_domain::experiment::feedback::Feedback;
use kindred_shared::DomainName;
use kindred_shared::event::{Reason, Refusal, without_mark};
use serde_json::Value;
use utoipa_actix_web::service_config::ServiceConfig;

use super::body::Body;
use super::error::Error;
use super::experiments::{Ask, elsewhere, failed, nobody, registered};
use super::openapi;
use super::parts::{Part, Queries, Reads};
use super::path::{InDomain, InPath};
use crate::intake::rabbitmq::TakeFeedback;
use crate::owners::OwnerLocation;

/// Most events per request.
const MOST_EVENTS: usize = 10_000;
/// Largest request, in bytes.
const MAX_BYTES: usize = 4 << 20;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(post);
}

/// What readers saw and clicked.
///
/// NDJSON with one event per line, or one array; at most 10,000 events and 4 MiB. An event counts
/// once within 48 hours, so it may be sent again if no answer came. Invalid events are reported,
/// and the others count. What readers saw is counted while an experiment runs, for the arm that the
/// query's answer named.
#[utoipa::path(operation_id = "post_feedback", tag = "experiments", params(InDomain),
    request_body(content = String, content_type = "application/x-ndjson", description = "One \
        event per line, or an array.",
        example = "{\"type\":\"reader.seen\",\"event\":\"5f21-1\",\"reader\":\"r-5f21\",\"item\":\"a-9\",\"from\":\"a-17\",\"position\":0,\"experiment\":\"fresh-first\",\"arm\":\"fresh\",\"at\":\"2026-11-23T09:00:00Z\"}\n{\"type\":\"reader.clicked\",\"event\":\"5f21-2\",\"reader\":\"r-5f21\",\"item\":\"a-9\",\"experiment\":\"fresh-first\",\"arm\":\"fresh\"}\n"),
    responses(
        (status = 202, description = "Accepted events are durable and counted.", body = FeedbackAnswer,
         example = json!({"accepted": 2, "refused": [{"line": 3, "type": "/problems/unknown-arm", "detail": "the experiment's arms are as-ever, fresh", "field": "arm"}]})),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 408, response = openapi::SlowBody),
        (status = 413, response = openapi::TooLarge),
        (status = 415, response = openapi::UnsupportedEncoding),
        (status = 429, response = openapi::Busy),
        (status = 503, response = openapi::Unavailable),
    ))]
#[post("/v1/domains/{domain}/feedback")]
async fn post(
    path: InPath<InDomain>,
    body: Body,
    reads: Part<Reads>,
    queries: Part<Queries>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let domain = path.0.domain;
    let body = body.read_whole(MAX_BYTES).await?;
    let events = events(&body)?;
    let ask = Ask::Post(&body);
    if let Some(answer) = elsewhere(&reads, &request, &domain, ask).await? {
        return Ok(answer);
    }
    let counted = count(&reads, &queries, &domain, events).await?;
    Ok(HttpResponse::Accepted().json(counted))
}

/// Counts events of a domain that is owned here.
async fn count(
    reads: &Reads,
    queries: &Queries,
    domain: &DomainName,
    events: Vec<Numbered>,
) -> Result<FeedbackAnswer, Error> {
    let row = registered(reads, domain).await?;
    let now = Utc::now();
    let (mut lines, mut feedback, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (line, event) in events {
        match event.and_then(|event| Feedback::read(&event, domain.as_str(), now)) {
            Ok(event) => {
                lines.push(line);
                feedback.push(event);
            }
            Err(refusal) => refused.push((line, refusal)),
        }
    }
    let outcomes = queries.experiments.count(row, feedback).await;
    let outcomes = outcomes.map_err(failed)?;
    let mut accepted = 0;
    for (line, outcome) in lines.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => accepted += 1,
            Err(refusal) => refused.push((line, refusal)),
        }
    }
    refused.sort_unstable_by_key(|(line, _)| *line);
    for (_, refusal) in &refused {
        queries.experiments.refused(refusal);
    }
    let refused = refused.into_iter().map(|(line, refusal)| RejectedLine {
        line,
        kind: Kind::Refused(refusal.reason).uri(),
        detail: refusal.detail,
        field: refusal.field,
    });
    let refused = refused.collect();
    Ok(FeedbackAnswer { accepted, refused })
}

/// Takes feedback from the broker: it is counted here, or at the domain's owner.
pub(crate) struct FeedbackDoor {
    reads: Arc<Reads>,
    queries: Arc<Queries>,
}

impl FeedbackDoor {
    pub(crate) fn new(reads: Arc<Reads>, queries: Arc<Queries>) -> Self {
        Self { reads, queries }
    }

    /// Feedback that can never be accepted is counted as refused.
    fn refuse(&self, reason: Reason, detail: &str, messages: usize) {
        tracing::warn!(reason = reason.word(), detail, messages, "feedback refused");
        for _ in 0..messages {
            let refusal = Refusal::new(reason, None, detail);
            self.queries.experiments.refused(&refusal);
        }
    }

    async fn forward(&self, domain: &DomainName, events: Vec<Numbered>) -> Result<(), Error> {
        let address = match self.reads.owners.of_domain(domain).await? {
            OwnerLocation::Local => {
                return count(&self.reads, &self.queries, domain, events)
                    .await
                    .map(drop);
            }
            OwnerLocation::Remote(address) => address,
            OwnerLocation::Unowned => return Err(nobody()),
        };
        // What cannot be parsed is not passed on.
        let (values, broken): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|(_, event)| event.is_ok());
        let values: Vec<Value> = values
            .into_iter()
            .filter_map(|(_, event)| event.ok())
            .collect();
        let path = kindred_api::path::feedback(domain.as_str());
        let body = Value::from(values).to_string().into_bytes();
        let answer = self.reads.relay.query(&address, &path, Some(body)).await?;
        for refusal in broken.into_iter().filter_map(|(_, event)| event.err()) {
            self.queries.experiments.refused(&refusal);
        }
        match StatusCode::from_u16(answer.status) {
            Ok(status) if status.is_success() => Ok(()),
            Ok(StatusCode::NOT_FOUND) => Err(Error::unknown_domain()),
            _ => Err(nobody()),
        }
    }
}

#[async_trait]
impl TakeFeedback for FeedbackDoor {
    async fn take(&self, routing_key: &str, bodies: Vec<Vec<u8>>) -> Result<(), String> {
        let Ok(domain) = DomainName::new(routing_key) else {
            let detail = "the routing key is not a valid domain name";
            self.refuse(Reason::InvalidDomain, detail, bodies.len());
            return Ok(());
        };
        let mut all: Vec<Numbered> = Vec::new();
        for body in &bodies {
            match events(body) {
                Ok(events) => all.extend(events),
                Err(error) => self.refuse(Reason::InvalidJson, &error.to_string(), 1),
            }
        }
        let mut rest = all.into_iter();
        loop {
            let some: Vec<Numbered> = rest.by_ref().take(MOST_EVENTS).collect();
            if some.is_empty() {
                return Ok(());
            }
            let count = some.len();
            match self.forward(&domain, some).await {
                Ok(()) => {}
                Err(error) if error.problem().word() == "unknown-domain" => {
                    self.refuse(Reason::UnknownDomain, "no such domain", count);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// An event with its line, or its index in the array, counted from 1.
type Numbered = (u64, Result<Value, Refusal>);

/// The events of a body: of one array, or one per line.
///
/// # Errors
/// 400 for an invalid array, 413 for too many events.
fn events(body: &[u8]) -> Result<Vec<Numbered>, Error> {
    let body = without_mark(body);
    let is_array = body
        .iter()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(|byte| *byte == b'[');
    let numbers = 1_u64..;
    let events: Vec<Numbered> = if is_array {
        let array: Vec<Value> = serde_json::from_slice(body).map_err(|error| {
            let detail = format!("Send an array of events, or one per line: {error}.");
            Error::new(Kind::Refused(Reason::InvalidJson), detail)
        })?;
        numbers.zip(array.into_iter().map(Ok)).collect()
    } else {
        let lines = numbers.zip(body.split(|byte| *byte == b'\n'));
        let full = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
        full.map(|(number, line)| (number, read_line(line)))
            .collect()
    };
    if events.len() > MOST_EVENTS {
        let detail = format!(
            "{} events; send at most {MOST_EVENTS} in one request.",
            events.len()
        );
        return Err(Error::new(Kind::Refused(Reason::TooLarge), detail));
    }
    Ok(events)
}

fn read_line(line: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(line).map_err(|error| {
        let detail = format!("send one JSON object per line: {error}");
        Refusal::new(Reason::InvalidJson, None, detail)
    })
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;

    use super::*;

    #[test]
    fn events_are_of_an_array_or_one_a_line() {
        let numbers = |body: &str| -> Vec<(u64, bool)> {
            let events = events(body.as_bytes()).expect("events").into_iter();
            events.map(|(line, event)| (line, event.is_ok())).collect()
        };
        assert_eq!(numbers(""), []);
        assert_eq!(
            numbers("{}\n\n{\r\n {\"a\":1}"),
            [(1, true), (3, false), (4, true)]
        );
        assert_eq!(numbers(" [{},\n1]"), [(1, true), (2, true)]);
        let status = |body: &[u8]| events(body).expect_err("refused").status_code();
        assert_eq!(status(b"[{}"), 400);
        assert_eq!(status(&b"1\n".repeat(MOST_EVENTS + 1)), 413);
    }
}
