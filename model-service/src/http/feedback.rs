//! What readers did with what they got.

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
use kindred_shared::event::{Member, Members, Reason, Refusal, whole_characters, without_mark};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa_actix_web::service_config::ServiceConfig;

use super::body::Body;
use super::error::Error;
use super::experiments::{Ask, elsewhere, failed, nobody, registered};
use super::openapi;
use super::parts::{Part, Queries, Reads};
use super::path::{InDomain, InPath};
use crate::intake::rabbitmq::TakeFeedback;
use crate::owners::Whose;

/// Most events of a request.
const MOST_EVENTS: usize = 10_000;
/// Most bytes of one.
const MAX_BYTES: usize = 4 << 20;
/// Most bytes of an event's fields: names are short.
const EVENT_BYTES: usize = 64 << 10;
/// How full a request to a domain's owner is at least before the next one begins.
const FULL_BYTES: usize = 2 << 20;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(post);
}

/// What readers saw and clicked.
///
/// NDJSON, one event a line, or one array; at most 10,000 events and 4 MiB. Each counts once in 48 hours: it may be sent
/// again whenever its answer did not come. What is wrong with one is told, and the others count. Which items readers saw
/// is counted while an experiment runs, for the arm that a query's answer named.
#[utoipa::path(operation_id = "post_feedback", tag = "experiments", params(InDomain),
    request_body(content = String, content_type = "application/x-ndjson", description = "One event a line, or an array.",
        example = "{\"type\":\"reader.seen\",\"event\":\"5f21-1\",\"reader\":\"r-5f21\",\"item\":\"a-9\",\"from\":\"a-17\",\"position\":0,\"experiment\":\"fresh-first\",\"arm\":\"fresh\",\"at\":\"2026-11-23T09:00:00Z\"}\n{\"type\":\"reader.clicked\",\"event\":\"5f21-2\",\"reader\":\"r-5f21\",\"item\":\"a-9\",\"experiment\":\"fresh-first\",\"arm\":\"fresh\"}\n"),
    responses(
        (status = 202, description = "What is accepted is durable and counted.", body = FeedbackAnswer,
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

/// The way in for what the broker brings: counted here, or at the domain's owner.
pub(crate) struct FeedbackDoor {
    reads: Arc<Reads>,
    queries: Arc<Queries>,
}

impl FeedbackDoor {
    pub(crate) fn new(reads: Arc<Reads>, queries: Arc<Queries>) -> Self {
        Self { reads, queries }
    }

    /// What can never be taken is counted as refused.
    fn refuse(&self, reason: Reason, detail: &str, messages: usize) {
        tracing::warn!(reason = reason.word(), detail, messages, "feedback refused");
        for _ in 0..messages {
            let refusal = Refusal::new(reason, None, detail);
            self.queries.experiments.refused(&refusal);
        }
    }

    async fn forward(&self, domain: &DomainName, events: Vec<Numbered>) -> Result<(), Error> {
        let address = match self.reads.owners.of_domain(domain).await? {
            Whose::Ours => {
                return count(&self.reads, &self.queries, domain, events)
                    .await
                    .map(drop);
            }
            Whose::Theirs(address) => address,
            Whose::Nobody => return Err(nobody()),
        };
        // What cannot be read has no place among what is sent on.
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
            let detail = "the routing key is no domain";
            self.refuse(Reason::InvalidDomain, detail, bodies.len());
            return Ok(());
        };
        let mut all: Vec<Numbered> = Vec::new();
        for body in &bodies {
            if body.len() > MAX_BYTES {
                let detail = "a message is longer than any may be";
                self.refuse(Reason::TooLarge, detail, 1);
                continue;
            }
            match events(body) {
                Ok(events) => all.extend(events),
                Err(refusal) => self.refuse(refusal.reason, &refusal.detail, 1),
            }
        }
        let mut rest = all.into_iter();
        loop {
            let some = one_request(&mut rest);
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

/// An event by its line, or its place in the array, from 1.
type Numbered = (u64, Result<Value, Refusal>);

/// As many events as go to a domain's owner in one request, which takes no more than [`MAX_BYTES`].
fn one_request(rest: &mut impl Iterator<Item = Numbered>) -> Vec<Numbered> {
    let (mut some, mut bytes) = (Vec::new(), 0);
    while some.len() < MOST_EVENTS && bytes < FULL_BYTES {
        let Some((number, event)) = rest.next() else {
            break;
        };
        if let Ok(event) = &event {
            bytes += event.to_string().len();
        }
        some.push((number, event));
    }
    some
}

/// The events of a body: of one array, or one a line. What is not read of them takes no memory.
///
/// # Errors
/// When the array is none, or there are too many.
fn events(body: &[u8]) -> Result<Vec<Numbered>, Refusal> {
    let body = without_mark(body);
    let is_array = body
        .iter()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(|byte| *byte == b'[');
    let numbers = 1_u64..;
    if is_array {
        let array: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
            let detail = format!("Send an array of events, or one a line: {error}.");
            Refusal::new(Reason::InvalidJson, None, detail)
        })?;
        check_count(array.len())?;
        let array = array.into_iter().map(|event| read_event(event.get()));
        return Ok(numbers.zip(array).collect());
    }
    let is_full = |(_, line): &(u64, &[u8])| !line.trim_ascii().is_empty();
    let lines = || {
        let lines = numbers.clone().zip(body.split(|byte| *byte == b'\n'));
        lines.filter(is_full)
    };
    check_count(lines().count())?;
    let lines = lines().map(|(number, line)| (number, read_line(line)));
    Ok(lines.collect())
}

fn check_count(events: usize) -> Result<(), Refusal> {
    if events <= MOST_EVENTS {
        return Ok(());
    }
    let detail = format!("{events} events; send at most {MOST_EVENTS} in one request.");
    Err(Refusal::new(Reason::TooLarge, None, detail))
}

fn read_line(line: &[u8]) -> Result<Value, Refusal> {
    match std::str::from_utf8(line) {
        Ok(line) => read_event(line),
        Err(error) => Err(no_object(&error)),
    }
}

/// The fields of an event that are texts or numbers. In place of anything else is an empty array, which fits none.
fn read_event(json: &str) -> Result<Value, Refusal> {
    let json = whole_characters(json);
    let mut members = Members::read(&json).map_err(|error| no_object(&error))?;
    let known = Feedback::FIELDS.iter();
    let known: Vec<(&str, Member<'_>)> = known
        .filter_map(|name| Some((*name, members.take(name)?)))
        .collect();
    let bytes: usize = known.iter().map(|(_, value)| value.json().len()).sum();
    if bytes > EVENT_BYTES {
        let detail = format!("an event of {bytes} bytes; names are short");
        return Err(Refusal::new(Reason::TooLarge, None, detail));
    }
    let known = known.into_iter().map(|(name, value)| {
        let is_nested = value.json().starts_with(['[', '{']);
        let value = (!is_nested).then(|| serde_json::from_str(value.json()).ok());
        let value = value.flatten().unwrap_or(Value::Array(Vec::new()));
        (name.to_owned(), value)
    });
    Ok(Value::Object(known.collect()))
}

fn no_object(error: &dyn std::fmt::Display) -> Refusal {
    let detail = format!("send one JSON object a line: {error}");
    Refusal::new(Reason::InvalidJson, None, detail)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        assert_eq!(numbers(" [{},\n1]"), [(1, true), (2, false)]);
        let reason = |body: &[u8]| events(body).expect_err("refused").reason;
        assert_eq!(reason(b"[{}"), Reason::InvalidJson);
        let many = "{},".repeat(MOST_EVENTS);
        assert_eq!(reason(format!("[{many}{{}}]").as_bytes()), Reason::TooLarge);
        assert_eq!(reason(&b"1\n".repeat(MOST_EVENTS + 1)), Reason::TooLarge);
    }

    #[test]
    fn of_an_event_its_fields_are_read_and_nothing_else() {
        let read = |json: &str| read_event(json).expect("an object");
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let json = format!(
            r#"{{"more":{deep},"arm":{deep},"item":"\ud83d","position":3,"from":null,"at":1e400}}"#
        );
        let expected = json!({"arm": [], "item": "\u{fffd}", "position": 3, "at": []});
        assert_eq!(read(&json), expected);
        assert_eq!(read(r#"{"arm":{"a":1},"arm":"b"}"#), json!({"arm": "b"}));
        let long = format!(r#"{{"event":"{}"}}"#, "e".repeat(EVENT_BYTES));
        let refused = read_event(&long).expect_err("too long");
        assert_eq!(refused.reason, Reason::TooLarge);
    }

    /// What many messages hold goes to the owner of their domain in several requests, each of which it takes.
    #[test]
    fn no_request_to_an_owner_is_longer_than_it_takes() {
        let event = json!({"event": "\u{1}".repeat(EVENT_BYTES / 6 - 1)});
        let events = vec![(1, Ok(event)); 200];
        let mut rest = events.into_iter();
        let mut requests = Vec::new();
        loop {
            let some = one_request(&mut rest);
            if some.is_empty() {
                break;
            }
            let values: Vec<Value> = some
                .into_iter()
                .filter_map(|(_, event)| event.ok())
                .collect();
            assert!(Value::from(values.clone()).to_string().len() <= MAX_BYTES);
            requests.push(values.len());
        }
        assert!(requests.len() > 5, "{requests:?}");
        assert_eq!(requests.iter().sum::<usize>(), 200);
        let small = (1..).map(|number| (number, Ok(json!({}))));
        let mut small = small.take(MOST_EVENTS + 1);
        assert_eq!(one_request(&mut small).len(), MOST_EVENTS);
        assert_eq!(one_request(&mut small).len(), 1);
    }
}
