//! Feedback: what readers did with answers.

mod events;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, post};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use kindred_api::batch::RejectedLine;
use kindred_api::experiment::FeedbackAnswer;
use kindred_api::problem::ProblemKind;
use kindred_domain::experiment::feedback::Feedback;
use kindred_shared::DomainName;
use kindred_shared::event::{Reason, Refusal};
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
use events::read_events;

/// Most events per request.
const MOST_EVENTS: usize = 10_000;
/// Largest request, and largest message of the broker, in bytes.
const MAX_BYTES: usize = 4 << 20;
/// A request to a domain's owner is full once it has this many bytes. The remainder up to [`MAX_BYTES`] has room for
/// any event.
const FULL_BYTES: usize = 2 << 20;
/// Messages with more bytes are read on a thread that may block; the other threads also keep the leases of partitions.
const READ_HERE_BYTES: usize = 64 << 10;

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
    let events = numbered(&body)?;
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
        queries.experiments.refused(refusal.reason, 1);
    }
    let refused = refused.into_iter().map(|(line, refusal)| RejectedLine {
        line,
        kind: ProblemKind::Refused(refusal.reason).uri(),
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

    /// Counts and logs events that can never be accepted.
    fn refuse(&self, refused: Refused) {
        for (reason, (events, detail)) in refused.0 {
            tracing::warn!(reason = reason.word(), detail, events, "feedback refused");
            self.queries.experiments.refused(reason, events);
        }
    }

    /// Has events counted, here or by the domain's owner; those that can never be counted are refused.
    async fn send(
        &self,
        domain: &DomainName,
        request: Request,
        refused: &mut Refused,
    ) -> Result<(), String> {
        let events = request.events.len() as u64;
        match self.forward(domain, request).await {
            Ok(()) => Ok(()),
            Err(NotCounted::Never(refusal)) => {
                refused.add(refusal, events);
                Ok(())
            }
            Err(NotCounted::NotNow(error)) => Err(error.to_string()),
        }
    }

    async fn forward(&self, domain: &DomainName, request: Request) -> Result<(), NotCounted> {
        let location = self.reads.owners.of_domain(domain).await;
        let address = match location.map_err(Error::from)? {
            OwnerLocation::Local => {
                let events = (1..).zip(request.events.into_iter().map(Ok));
                let counted = count(&self.reads, &self.queries, domain, events.collect()).await;
                return Ok(counted.map(drop)?);
            }
            OwnerLocation::Remote(address) => address,
            OwnerLocation::Unowned => return Err(nobody().into()),
        };
        let path = kindred_api::path::feedback(domain.as_str());
        let relay = &self.reads.relay;
        let answer = relay.query(&address, &path, Some(request.body())).await?;
        judged(answer.status)
    }
}

#[async_trait]
impl TakeFeedback for FeedbackDoor {
    async fn take(&self, routing_key: &str, bodies: Vec<Bytes>) -> Result<(), String> {
        let mut refused = Refused::default();
        let Ok(domain) = DomainName::new(routing_key) else {
            let detail = "the routing key is not a valid domain name";
            let refusal = Refusal::new(Reason::InvalidDomain, None, detail);
            refused.add(refusal, bodies.len() as u64);
            self.refuse(refused);
            return Ok(());
        };
        let mut request = Request::default();
        let bytes: usize = bodies.iter().map(Bytes::len).sum();
        for body in bodies {
            let read = match bytes > READ_HERE_BYTES {
                true => read_apart(&domain, body).await?,
                false => read_message(&domain, &body, Utc::now()),
            };
            let message = match read {
                Ok(message) => message,
                Err(refusal) => {
                    refused.add(refusal, 1);
                    continue;
                }
            };
            refused.extend(message.refused);
            for event in message.events {
                request.push(event);
                if request.is_full() {
                    let full = mem::take(&mut request);
                    self.send(&domain, full, &mut refused).await?;
                }
            }
        }
        if !request.events.is_empty() {
            self.send(&domain, request, &mut refused).await?;
        }
        // Only now: what cannot be taken comes again, whole.
        self.refuse(refused);
        Ok(())
    }
}

/// Why events were not counted.
enum NotCounted {
    /// They never will be.
    Never(Refusal),
    /// They may be later.
    NotNow(Error),
}

impl NotCounted {
    fn never(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Never(Refusal::new(reason, None, detail))
    }
}

impl From<Error> for NotCounted {
    fn from(error: Error) -> Self {
        match error.problem().word() {
            "unknown-domain" => Self::never(Reason::UnknownDomain, "no such domain"),
            _ => Self::NotNow(error),
        }
    }
}

/// What the answer of a domain's owner means for the events that it was sent.
fn judged(status: u16) -> Result<(), NotCounted> {
    match status {
        200..=299 => Ok(()),
        404 => Err(Error::unknown_domain().into()),
        // These do not concern the content, but who asks, under which name, and how fast or how often.
        401 | 403 | 408 | 421 | 429 => Err(nobody().into()),
        413 => {
            let detail = "the domain's owner does not accept a request of this size";
            Err(NotCounted::never(Reason::TooLarge, detail))
        }
        400..=499 => {
            let detail = format!("the domain's owner refused the request with status {status}");
            Err(NotCounted::never(Reason::InvalidJson, detail))
        }
        _ => Err(nobody().into()),
    }
}

/// Events that go to the owner of their domain in one request.
#[derive(Default)]
struct Request {
    events: Vec<Value>,
    /// The same, as an array that is not closed.
    json: Vec<u8>,
}

impl Request {
    fn push(&mut self, event: Value) {
        self.json
            .push(if self.events.is_empty() { b'[' } else { b',' });
        self.json.extend_from_slice(event.to_string().as_bytes());
        self.events.push(event);
    }

    fn is_full(&self) -> bool {
        self.events.len() >= MOST_EVENTS || self.json.len() >= FULL_BYTES
    }

    fn body(mut self) -> Vec<u8> {
        self.json.push(b']');
        self.json
    }
}

/// Events that can never be accepted, by reason: how many, and what is wrong with the first of them.
#[derive(Debug, Default)]
struct Refused(HashMap<Reason, (u64, String)>);

impl Refused {
    fn add(&mut self, refusal: Refusal, events: u64) {
        match self.0.entry(refusal.reason) {
            Entry::Occupied(mut of) => of.get_mut().0 += events,
            Entry::Vacant(of) => {
                of.insert((events, refusal.detail));
            }
        }
    }

    fn extend(&mut self, more: Self) {
        for (reason, (events, detail)) in more.0 {
            self.add(Refusal::new(reason, None, detail), events);
        }
    }
}

/// The contents of a message.
#[derive(Debug, Default)]
struct Message {
    /// Events that a domain's owner can read.
    events: Vec<Value>,
    refused: Refused,
}

/// Reads a message on a thread that may block.
///
/// # Errors
/// The outer error: it could not be read now. The inner one: it can never be read.
async fn read_apart(domain: &DomainName, body: Bytes) -> Result<Result<Message, Refusal>, String> {
    let domain = domain.clone();
    let read = tokio::task::spawn_blocking(move || read_message(&domain, &body, Utc::now()));
    read.await.map_err(|error| error.to_string())
}

/// Reads a message, with however many events.
fn read_message(domain: &DomainName, body: &[u8], now: DateTime<Utc>) -> Result<Message, Refusal> {
    if body.len() > MAX_BYTES {
        let detail = format!(
            "the message has {} bytes; the limit is {MAX_BYTES}",
            body.len()
        );
        return Err(Refusal::new(Reason::TooLarge, None, detail));
    }
    let mut message = Message::default();
    let mut take = |_: u64, event: Result<Value, Refusal>| {
        let fits = |event: Value| match Feedback::read(&event, domain.as_str(), now) {
            Ok(_) => Ok(event),
            Err(refusal) => Err(refusal),
        };
        match event.and_then(fits) {
            Ok(event) => message.events.push(event),
            Err(refusal) => message.refused.add(refusal, 1),
        }
        ControlFlow::Continue(())
    };
    read_events(body, &mut take)?;
    Ok(message)
}

/// An event with its line, or its index in the array, counted from 1.
type Numbered = (u64, Result<Value, Refusal>);

/// The events of a request.
///
/// # Errors
/// 400 when an array is malformed, 413 when there are too many.
fn numbered(body: &[u8]) -> Result<Vec<Numbered>, Error> {
    let mut events = Vec::new();
    let mut take = |line: u64, event: Result<Value, Refusal>| {
        events.push((line, event));
        if events.len() > MOST_EVENTS {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    read_events(body, &mut take)?;
    if events.len() > MOST_EVENTS {
        let detail =
            format!("There are more than {MOST_EVENTS} events; send fewer in one request.");
        return Err(Error::new(ProblemKind::Refused(Reason::TooLarge), detail));
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;
    use serde_json::json;

    use super::*;

    fn domain() -> DomainName {
        DomainName::new("news").expect("a domain")
    }

    fn event(name: &str) -> Value {
        json!({"type": "reader.seen", "event": name, "reader": "r", "item": "a", "experiment": "x", "arm": "b"})
    }

    #[test]
    fn a_request_has_so_many_events_at_most() {
        let status = |body: &[u8]| numbered(body).expect_err("refused").status_code();
        assert_eq!(status(b"[{}"), 400);
        assert_eq!(status(&b"1\n".repeat(MOST_EVENTS + 1)), 413);
        let full = format!("[{}1]", "1,".repeat(MOST_EVENTS - 1));
        assert_eq!(
            numbered(full.as_bytes()).expect("events").len(),
            MOST_EVENTS
        );
        // Nothing beyond them is read, however much follows.
        let much = format!("[{}", "0,".repeat(MAX_BYTES / 2 - 1));
        assert_eq!(status(much.as_bytes()), 413);
    }

    #[test]
    fn a_message_has_any_number_of_events_and_so_many_bytes() {
        let message = |body: &[u8]| read_message(&domain(), body, Utc::now());
        let events: Vec<Value> = (0..MOST_EVENTS + 1)
            .map(|n| event(&n.to_string()))
            .collect();
        let mut all = events.clone();
        all.push(json!({"type": "reader.left"}));
        all.push(json!(0));
        let read = message(Value::from(all).to_string().as_bytes()).expect("a message");
        assert_eq!(read.events, events);
        let refused = |reason| read.refused.0.get(&reason).map(|(events, _)| *events);
        assert_eq!(read.refused.0.len(), 2);
        assert_eq!(refused(Reason::UnknownType), Some(1));
        assert_eq!(refused(Reason::InvalidJson), Some(1));

        // Entries that are not events are counted, but not kept.
        let much = format!("[{}0]", "0,".repeat(99_999));
        let read = message(much.as_bytes()).expect("a message");
        let (refused, _) = read.refused.0[&Reason::InvalidJson];
        assert_eq!((read.events.len(), refused), (0, 100_000));

        let long = vec![b' '; MAX_BYTES + 1];
        assert_eq!(message(&long).expect_err("long").reason, Reason::TooLarge);
        assert_eq!(
            message(b"[{").expect_err("none").reason,
            Reason::InvalidJson
        );
    }

    /// The events of many messages go to their domain's owner in requests that are not too large for it.
    #[test]
    fn no_request_to_an_owner_is_longer_than_it_takes() {
        let long = json!({"at": "9".repeat(60 << 10)});
        for (event, events) in [(long, 200), (json!({}), 3 * MOST_EVENTS)] {
            let mut requests = Vec::new();
            let mut request = Request::default();
            for _ in 0..events {
                request.push(event.clone());
                if request.is_full() {
                    requests.push(mem::take(&mut request));
                }
            }
            requests.push(request);
            assert!(requests.len() > 3);
            let mut sent = 0;
            for request in requests.into_iter().filter(|one| !one.events.is_empty()) {
                let body = request.body();
                assert!(body.len() <= MAX_BYTES);
                sent += numbered(&body).expect("events").len();
            }
            assert_eq!(sent, events);
        }
    }

    #[test]
    fn what_an_owner_refuses_does_not_come_again() {
        let never = |status| match judged(status) {
            Ok(()) => panic!("it is counted"),
            Err(NotCounted::Never(refusal)) => Some(refusal.reason),
            Err(NotCounted::NotNow(_)) => None,
        };
        assert!(judged(202).is_ok());
        for (status, reason) in [
            (400, Reason::InvalidJson),
            (404, Reason::UnknownDomain),
            (413, Reason::TooLarge),
            (415, Reason::InvalidJson),
            (422, Reason::InvalidJson),
        ] {
            assert_eq!(never(status), Some(reason), "{status}");
        }
        for status in [301, 401, 403, 408, 421, 429, 500, 503] {
            assert_eq!(never(status), None, "{status}");
        }
    }
}
