//! Batches: many events in one request, one per line, processed as they arrive.
//!
//! Memory does not grow with the body: one line is held, and the numbers of events in flight and of
//! listed rejects are limited.

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use actix_web::{HttpResponse, post};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use kindred_api::batch::{BatchAnswer, REJECTS_LISTED, REJECTS_MOST, RejectedLine};
use kindred_api::problem::ProblemKind;
use kindred_shared::DomainName;
use kindred_shared::event::{self, Event, Reason, Refusal};
use utoipa_actix_web::service_config::ServiceConfig;

use super::admission::admit;
use super::body::{Body, Chunks, Patience, Unpacker, too_large};
use super::error::Error;
use super::lines::{Line, Lines};
use super::openapi;
use super::parts::{Part, Reads, Writes, confirmed};
use super::path::{InDomain, InPath};
use super::quotas::Over;
use kindred_domain::intake::{Confirm, PublishError};

/// Largest batch in bytes, compressed and uncompressed.
const BATCH_BYTES: u64 = 1 << 30;
/// Events of one batch in flight.
const IN_FLIGHT: usize = 4096;
/// How long lines are read before other requests of the same thread get a turn. A chunk of gzip may
/// hold millions of lines.
const TURN: Duration = Duration::from_millis(2);

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(post);
}

/// Many events, one per line.
///
/// The body is NDJSON: one event per line, as published to the broker, each with `type`, `domain`
/// (the one in the URL) and `id`. It is processed as it arrives; the limits of an event apply to
/// each line, and the body may have 1 GiB. `Content-Encoding: gzip` is supported. Blank lines are
/// skipped. Invalid lines are rejected with a reason while the others are accepted; after 100,000
/// rejected lines the batch breaks off (422). An event without a version gets the time of its
/// arrival. The answer is sent when every line is durable or rejected; events over the domain's
/// `max_events_per_second` wait. Bytes must keep arriving: the server waits 30 s in all, and one
/// more second for each KiB received.
#[utoipa::path(operation_id = "post_batch", tag = "items", params(InDomain),
    request_body(content = String, content_type = "application/x-ndjson",
        description = "One event per line.",
        example = "{\"type\":\"item.created\",\"domain\":\"news.example\",\"id\":\"a-17\",\"title\":\"Night trains return\",\"version\":1795424400000}\n{\"type\":\"item.deleted\",\"domain\":\"news.example\",\"id\":\"a-16\",\"version\":1795424460000}\n"),
    responses(
        (status = 200, description = "Every line is settled. At most 10,000 rejected lines are \
            listed; `rejected_more` counts the rest.",
         body = BatchAnswer,
         example = json!({"accepted": 2, "rejected": [{"line": 3, "type": "/problems/missing-field", "detail": "an item needs a title, a text or a vector; add one", "field": "title"}]})),
        (status = 400, response = openapi::BadRequest),
        (status = 408, response = openapi::SlowBody),
        (status = 413, response = openapi::TooLarge),
        (status = 415, response = openapi::UnsupportedEncoding),
        (status = 422, response = openapi::TooManyRejected),
        (status = 503, response = openapi::BatchBrokenOff),
    ))]
#[post("/v1/domains/{domain}/items:batch")]
async fn post(
    path: InPath<InDomain>,
    body: Body,
    writes: Part<Writes>,
    reads: Part<Reads>,
) -> Result<HttpResponse, Error> {
    take(&writes, &reads, path.0.domain, body).await
}

/// Processes a batch.
pub(super) async fn take(
    writes: &Writes,
    reads: &Reads,
    domain: DomainName,
    mut body: Body<impl Chunks>,
) -> Result<HttpResponse, Error> {
    body.announces_at_most(BATCH_BYTES)?;
    let mut batch = BatchRequest {
        writes,
        reads,
        domain,
        waiting: FuturesOrdered::new(),
        answer: BatchAnswer::default(),
        turn: Instant::now(),
    };
    match batch.take(&mut body).await {
        Ok(()) => Ok(HttpResponse::Ok().json(batch.answer)),
        Err(stop) => Err(stop.error.broken_off(stop.line, batch.answer)),
    }
}

/// Where a batch stopped.
struct Stop {
    /// All lines before it are settled.
    line: u64,
    error: Error,
}

/// A line and its outcome.
type Settled = (u64, Result<(), PublishError>);
type Settling = Pin<Box<dyn Future<Output = Settled>>>;

/// A batch in progress.
struct BatchRequest<'a> {
    writes: &'a Writes,
    reads: &'a Reads,
    domain: DomainName,
    /// Lines handed over or refused but not counted yet, in the order of the body: whatever stops
    /// the batch, the outcome of all lines before it is known. At most [`IN_FLIGHT`].
    waiting: FuturesOrdered<Settling>,
    answer: BatchAnswer,
    /// Since when lines have been read without a pause.
    turn: Instant,
}

impl BatchRequest<'_> {
    async fn take(&mut self, body: &mut Body<impl Chunks>) -> Result<(), Stop> {
        let mut unpacker = Unpacker::new(body.encoding);
        let mut lines = Lines::new(self.writes.limits.message_bytes);
        let mut patience = Patience::of_stream();
        let mut bytes = 0;
        loop {
            let chunk = self
                .meanwhile(patience.next_chunk(&mut body.chunks))
                .await?;
            let mut chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => return Err(self.stop(lines.open_line(), error).await),
            };
            while !chunk.is_empty() {
                let piece = match unpacker.step(&mut chunk) {
                    Ok(piece) => piece,
                    Err(error) => return Err(self.stop(lines.open_line(), error).await),
                };
                bytes += piece.len() as u64;
                if bytes > BATCH_BYTES {
                    return Err(self.stop(lines.open_line(), too_large(BATCH_BYTES)).await);
                }
                self.take_lines(&mut lines, piece).await?;
                self.let_others().await;
            }
        }
        match unpacker.finish() {
            Ok(piece) => self.take_lines(&mut lines, piece).await?,
            Err(error) => return Err(self.stop(lines.open_line(), error).await),
        }
        if let Some((number, line)) = lines.finish() {
            self.take_line(number, line).await?;
        }
        self.settle_down_to(0).await
    }

    async fn take_lines(&mut self, lines: &mut Lines, piece: Bytes) -> Result<(), Stop> {
        lines.push(piece);
        while let Some((number, line)) = lines.next_line() {
            self.take_line(number, line).await?;
            if self.turn.elapsed() >= TURN {
                self.let_others().await;
            }
        }
        Ok(())
    }

    /// Reading and checking lines is work without a pause: let other requests have a turn. This is
    /// also when a closed connection is noticed, which ends its request.
    async fn let_others(&mut self) {
        tokio::task::yield_now().await;
        self.turn = Instant::now();
    }

    async fn take_line(&mut self, number: u64, line: Line) -> Result<(), Stop> {
        self.settle_down_to(IN_FLIGHT - 1).await?;
        let limits = &self.writes.limits;
        let event = match line {
            Line::Whole(bytes) => event::parse_for(&bytes, limits, self.domain.as_str()),
            Line::TooLong => Err(Refusal {
                reason: Reason::TooLarge,
                field: None,
                detail: format!(
                    "this line is over {} bytes; shorten the text, or raise the limit",
                    limits.message_bytes
                ),
            }),
        };
        let event = match event {
            Ok(event) => self.admitted(event).await?,
            refused => refused,
        };
        let handed_over = match event {
            Ok(event) => {
                let writes = self.writes;
                self.meanwhile(writes.hand_over(event)).await?
            }
            Err(refusal) => {
                self.writes.refused(&refusal);
                Err(refusal.into())
            }
        };
        let not_taken = !matches!(handed_over, Ok(_) | Err(PublishError::Refused(_)));
        self.waiting
            .push_back(Box::pin(settled(number, handed_over)));
        if not_taken {
            self.settle_down_to(0).await?;
        }
        Ok(())
    }

    /// The event once its domain's quotas admit it: an event that is too early waits, and so do
    /// those behind it.
    async fn admitted(&mut self, event: Event) -> Result<Result<Event, Refusal>, Stop> {
        let (writes, reads) = (self.writes, self.reads);
        loop {
            let Some(settings) = reads.settings(event.domain()).await else {
                return Ok(Ok(event));
            };
            match admit(writes, reads, &settings, &event).await {
                Ok(()) => return Ok(Ok(event)),
                Err(Over::Size(refusal)) => return Ok(Err(refusal)),
                Err(Over::Rate(wait)) => {
                    self.meanwhile(tokio::time::sleep(wait)).await?;
                }
            }
        }
    }

    /// Waits for `step`, and meanwhile counts settled lines.
    async fn meanwhile<F: Future>(&mut self, step: F) -> Result<F::Output, Stop> {
        let mut step = pin!(step);
        loop {
            tokio::select! {
                biased;
                output = &mut step => return Ok(output),
                Some(settled) = self.waiting.next(), if !self.waiting.is_empty() => {
                    count(&mut self.answer, settled)?;
                }
            }
        }
    }

    /// Waits until at most `most` lines are in flight.
    async fn settle_down_to(&mut self, most: usize) -> Result<(), Stop> {
        while self.waiting.len() > most {
            match self.waiting.next().await {
                Some(settled) => count(&mut self.answer, settled)?,
                None => break,
            }
        }
        Ok(())
    }

    /// The body cannot be read any further from `line`; lines in flight are settled first.
    async fn stop(&mut self, line: u64, error: Error) -> Stop {
        match self.settle_down_to(0).await {
            Ok(()) => Stop { line, error },
            Err(earlier) => earlier,
        }
    }
}

async fn settled(line: u64, handed_over: Result<Confirm, PublishError>) -> Settled {
    match handed_over {
        Ok(confirm) => (line, confirmed(confirm).await.map(|_| ())),
        Err(error) => (line, Err(error)),
    }
}

fn count(answer: &mut BatchAnswer, (line, outcome): Settled) -> Result<(), Stop> {
    match outcome {
        Ok(()) => answer.accepted += 1,
        Err(PublishError::Refused(_)) if answer.rejected.len() == REJECTS_LISTED => {
            let more = answer.rejected_more.get_or_insert(0);
            *more += 1;
            if *more >= REJECTS_MOST - REJECTS_LISTED as u64 {
                return Err(Stop {
                    line: line + 1,
                    error: too_many_rejected(),
                });
            }
        }
        Err(PublishError::Refused(refusal)) => answer.rejected.push(RejectedLine {
            line,
            kind: ProblemKind::Refused(refusal.reason).uri(),
            detail: refusal.detail,
            field: refusal.field,
        }),
        Err(error @ (PublishError::Failed(_) | PublishError::Away(_))) => {
            return Err(Stop {
                line,
                error: error.into(),
            });
        }
    }
    Ok(())
}

fn too_many_rejected() -> Error {
    Error::new(
        ProblemKind::TooManyRejected,
        format!(
            "{REJECTS_MOST} lines were rejected, so the rest was not read. Fix what the first of \
             them name, and send again."
        ),
    )
}
