//! Batches: many events in one request, a line each, taken in as they come.
//!
//! Nothing here grows with the body: one line is held, a stated number of events is on its way,
//! and a stated number of rejects is listed.

use std::pin::{Pin, pin};

use actix_web::HttpResponse;
use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::stream::FuturesOrdered;
use futures_util::{Stream, StreamExt};
use kindred_shared::DomainName;
use kindred_shared::event::{self, Reason, Refusal};
use serde::Serialize;
use utoipa::ToSchema;

use super::api::{Api, confirmed};
use super::body::{Encoding, Unpacker, next_chunk, too_large};
use super::lines::{Line, Lines};
use super::problem::{Kind, Problem};
use kindred_domain::intake::{Confirm, PublishError};

/// Bytes a whole batch may have, packed and unpacked.
const BATCH_BYTES: u64 = 1 << 30;
/// Events of one batch on their way at once.
const IN_FLIGHT: usize = 4096;
/// Rejected lines an answer lists; more are counted.
pub(crate) const REJECTS_LISTED: usize = 10_000;

/// How a batch went.
#[derive(Debug, Clone, PartialEq, Default, Serialize, ToSchema)]
pub(crate) struct BatchAnswer {
    /// Events that are durable.
    #[schema(example = 2)]
    accepted: u64,
    /// Lines that were not taken, in the order of the body; the first 10,000 of them.
    rejected: Vec<RejectedLine>,
    /// How many more lines were rejected than are listed; missing when all are.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_more: Option<u64>,
}

/// A line that was not taken.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct RejectedLine {
    /// Its number, from 1.
    #[schema(example = 3)]
    line: u64,
    /// The problem's type, as for a single event.
    #[serde(rename = "type")]
    #[schema(example = "/problems/missing-field")]
    kind: String,
    /// What is wrong, and what to do about it.
    #[schema(example = "an item needs a title, a text or a vector; add one")]
    detail: String,
    /// The field at fault, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "title")]
    field: Option<String>,
}

/// Many events, one a line.
///
/// The body is NDJSON: one event a line, as they are published to the broker, each with `type`,
/// `domain` (that of the address) and `id`. It is taken in as it comes; limits are a line's, and
/// 1 GiB for the body. `Content-Encoding: gzip` is understood. Blank lines are left out. An
/// invalid line is rejected with its reason while the others go in. An event without a version
/// gets the time of its arrival. The answer comes when every line is durable or rejected.
#[utoipa::path(post, path = "/v1/domains/{domain}/items:batch", operation_id = "post_batch", tag = "items",
    params(("domain" = String, Path, description = "The domain: `[A-Za-z0-9._-]{1,128}`.", example = "news.example")),
    request_body(content = String, content_type = "application/x-ndjson",
        description = "One event a line.",
        example = "{\"type\":\"item.created\",\"domain\":\"news.example\",\"id\":\"a-17\",\"title\":\"Night trains return\",\"version\":1795424400000}\n{\"type\":\"item.deleted\",\"domain\":\"news.example\",\"id\":\"a-16\",\"version\":1795424460000}\n"),
    responses(
        (status = 200, description = "Every line is settled. At most 10,000 rejected lines are listed; `rejected_more` counts those beyond.",
         body = BatchAnswer,
         example = json!({"accepted": 2, "rejected": [{"line": 3, "type": "/problems/missing-field", "detail": "an item needs a title, a text or a vector; add one", "field": "title"}]})),
        (status = 400, response = crate::serving::openapi::BadRequest),
        (status = 408, response = crate::serving::openapi::SlowBody),
        (status = 413, response = crate::serving::openapi::TooLarge),
        (status = 415, response = crate::serving::openapi::UnsupportedEncoding),
        (status = 503, response = crate::serving::openapi::BatchBrokenOff),
    ))]
pub(crate) async fn post<S>(
    api: &Api,
    domain: DomainName,
    mut body: S,
    encoding: Encoding,
    length: Option<u64>,
) -> Result<HttpResponse, Problem>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    if length.is_some_and(|bytes| bytes > BATCH_BYTES) {
        return Err(too_large(BATCH_BYTES));
    }
    let mut batch = Batch {
        api,
        domain,
        waiting: FuturesOrdered::new(),
        answer: BatchAnswer::default(),
    };
    match batch.take(&mut body, encoding).await {
        Ok(()) => Ok(HttpResponse::Ok().json(batch.answer)),
        Err(stop) => Err(stop.problem.broken_off(stop.line, batch.answer)),
    }
}

/// Where a batch cannot go on.
struct Stop {
    /// All lines before it are settled.
    line: u64,
    problem: Problem,
}

/// A line and what became of it.
type Settled = (u64, Result<(), PublishError>);
type Settling = Pin<Box<dyn Future<Output = Settled>>>;

/// One batch being taken in.
struct Batch<'a> {
    api: &'a Api,
    domain: DomainName,
    /// Lines handed over or refused, not counted yet, in the order of the body: so whatever
    /// stops the batch, all before it is known. At most [`IN_FLIGHT`].
    waiting: FuturesOrdered<Settling>,
    answer: BatchAnswer,
}

impl Batch<'_> {
    async fn take<S>(&mut self, body: &mut S, encoding: Encoding) -> Result<(), Stop>
    where
        S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    {
        let mut unpacker = Unpacker::new(encoding);
        let mut lines = Lines::new(self.api.limits.message_bytes);
        let mut bytes = 0;
        loop {
            let chunk = self.meanwhile(next_chunk(body)).await?;
            let mut chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(problem) => return Err(self.stop(lines.open_line(), problem).await),
            };
            while !chunk.is_empty() {
                let piece = match unpacker.step(&mut chunk) {
                    Ok(piece) => piece,
                    Err(problem) => return Err(self.stop(lines.open_line(), problem).await),
                };
                bytes += piece.len() as u64;
                if bytes > BATCH_BYTES {
                    return Err(self.stop(lines.open_line(), too_large(BATCH_BYTES)).await);
                }
                self.take_lines(&mut lines, piece).await?;
            }
            // Reading and checking lines is work without a pause: let other requests have theirs.
            tokio::task::yield_now().await;
        }
        match unpacker.finish() {
            Ok(piece) => self.take_lines(&mut lines, piece).await?,
            Err(problem) => return Err(self.stop(lines.open_line(), problem).await),
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
        }
        Ok(())
    }

    async fn take_line(&mut self, number: u64, line: Line) -> Result<(), Stop> {
        self.settle_down_to(IN_FLIGHT - 1).await?;
        let limits = &self.api.limits;
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
        let handed_over = match event {
            Ok(mut event) => {
                self.api.stamp(&mut event);
                let api = self.api;
                self.meanwhile(api.hand_over(event)).await?
            }
            Err(refusal) => {
                self.api.refused(&refusal);
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

    /// Waits for `step`, and meanwhile counts what is settled.
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

    /// Waits until at most `most` lines are on their way.
    async fn settle_down_to(&mut self, most: usize) -> Result<(), Stop> {
        while self.waiting.len() > most {
            match self.waiting.next().await {
                Some(settled) => count(&mut self.answer, settled)?,
                None => break,
            }
        }
        Ok(())
    }

    /// The body cannot be read on from `line`; what is on its way is settled first.
    async fn stop(&mut self, line: u64, problem: Problem) -> Stop {
        match self.settle_down_to(0).await {
            Ok(()) => Stop { line, problem },
            Err(earlier) => earlier,
        }
    }
}

async fn settled(line: u64, handed_over: Result<Confirm, PublishError>) -> Settled {
    match handed_over {
        Ok(confirm) => (line, confirmed(confirm).await),
        Err(error) => (line, Err(error)),
    }
}

fn count(answer: &mut BatchAnswer, (line, outcome): Settled) -> Result<(), Stop> {
    match outcome {
        Ok(()) => answer.accepted += 1,
        Err(PublishError::Refused(_)) if answer.rejected.len() == REJECTS_LISTED => {
            *answer.rejected_more.get_or_insert(0) += 1;
        }
        Err(PublishError::Refused(refusal)) => answer.rejected.push(RejectedLine {
            line,
            kind: Kind::Refused(refusal.reason).uri(),
            detail: refusal.detail,
            field: refusal.field,
        }),
        Err(error @ (PublishError::Failed(_) | PublishError::Away(_))) => {
            return Err(Stop {
                line,
                problem: error.into(),
            });
        }
    }
    Ok(())
}
