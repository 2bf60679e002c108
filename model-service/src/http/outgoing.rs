//! Sends answers: a long one goes in pieces, so that the part copied for its connection stays
//! small; the unread bytes of all long answers together are limited.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use bytes::Bytes;
use kindred_api::problem::ProblemKind;

use super::callers::Turn;
use super::connection::Request;
use super::error::Error;

/// Largest short answer: it is sent at once and not counted.
const SHORT_BYTES: usize = 64 << 10;
/// Size of the pieces of a long answer.
const PIECE_BYTES: usize = 16 << 10;
/// Unread bytes of long answers, over all connections.
const WAITING_BYTES: usize = 256 << 20;

/// Bytes of long answers that have not been read yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// Reserves room for an answer, if there is some.
    fn room(&self, bytes: usize) -> Option<Room> {
        let room = Room {
            waiting: self.clone(),
            bytes,
        };
        // Added before the check; the room is given back if it is dropped.
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        (before.saturating_add(bytes) <= WAITING_BYTES).then_some(room)
    }
}

/// Room taken by an answer, until it is dropped.
#[derive(Debug)]
struct Room {
    waiting: Waiting,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.waiting.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Sends an answer; its request and its caller's turn end when all of it has been sent. Answers 429
/// instead if too many bytes are unread, overall or by its caller.
pub(super) fn send(
    answer: ServiceResponse<BoxBody>,
    waiting: &Waiting,
    mut turn: Option<Turn>,
    request: Option<Request>,
) -> ServiceResponse<BoxBody> {
    let bytes = match answer.response().body().size() {
        BodySize::Sized(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
        // A streamed answer holds one piece of it.
        BodySize::None | BodySize::Stream => 0,
    };
    if bytes <= SHORT_BYTES {
        if request.is_none() && turn.is_none() {
            return answer;
        }
        return answer.map_body(|_, body| {
            BoxBody::new(Answering {
                body,
                _turn: turn,
                _request: request,
            })
        });
    }
    let has_room = turn.as_mut().is_none_or(|turn| turn.takes_room(bytes));
    let Some(room) = has_room.then(|| waiting.room(bytes)).flatten() else {
        let busy = Error::new(
            ProblemKind::Busy,
            "Too many bytes of long answers have not been read yet, by you or by all clients. \
             Read them and try again in a moment, or request less.",
        );
        return answer.error_response(busy.retry_after(1));
    };
    answer.map_body(|_, body| match body.try_into_bytes() {
        Ok(rest) => BoxBody::new(Pieces {
            rest,
            _room: room,
            _turn: turn,
            _request: request,
        }),
        Err(body) => body,
    })
}

/// A body whose request ends when it has been sent.
struct Answering {
    body: BoxBody,
    _turn: Option<Turn>,
    _request: Option<Request>,
}

impl MessageBody for Answering {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(cx)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self {
            body,
            _turn,
            _request,
        } = self;
        body.try_into_bytes().map_err(|body| Self {
            body,
            _turn,
            _request,
        })
    }
}

/// A long body.
struct Pieces {
    rest: Bytes,
    _room: Room,
    _turn: Option<Turn>,
    _request: Option<Request>,
}

impl MessageBody for Pieces {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let rest = &mut self.get_mut().rest;
        if rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::HttpResponse;
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;

    use super::*;

    fn answer(bytes: usize) -> ServiceResponse<BoxBody> {
        let request = TestRequest::default().to_srv_request();
        request.into_response(HttpResponse::Ok().body(vec![b'x'; bytes]))
    }

    #[actix_web::test]
    async fn a_long_answer_is_whole_and_gives_its_room_back() {
        let waiting = Waiting::default();
        let sent = send(answer(1_000_000), &waiting, None, None);
        assert_eq!(waiting.0.load(Ordering::Relaxed), 1_000_000);
        let size = sent.response().body().size();
        assert_eq!(size, BodySize::Sized(1_000_000));
        let body = to_bytes(sent.into_body()).await.expect("a body");
        assert_eq!(body.len(), 1_000_000);
        assert_eq!(waiting.0.load(Ordering::Relaxed), 0);
    }

    #[actix_web::test]
    async fn answers_that_nobody_takes_are_bounded_together() {
        let waiting = Waiting::default();
        let bytes = WAITING_BYTES / 4;
        let slow: Vec<_> = (0..4)
            .map(|_| send(answer(bytes), &waiting, None, None))
            .collect();
        assert!(slow.iter().all(|sent| sent.status().is_success()));
        let refused = send(answer(bytes), &waiting, None, None);
        assert_eq!(refused.status().as_u16(), 429);
        assert!(
            send(answer(100), &waiting, None, None)
                .status()
                .is_success()
        );
        drop((slow, refused));
        assert!(
            send(answer(bytes), &waiting, None, None)
                .status()
                .is_success()
        );
    }
}
