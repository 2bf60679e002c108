//! Request bodies: read with a deadline and a limit, decompressed as they arrive.

use std::future::{Ready, ready};
use std::io::Write;
use std::mem;
use std::ops::Deref;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use bytes::Bytes;
use flate2::write::GzDecoder;
use futures_util::{Stream, StreamExt};
use kindred_api::problem::ProblemKind;
use kindred_shared::event::Reason;
use tokio::time::Instant;

use super::access::Asker;
use super::callers::{Held, Turn};
use super::error::Error;
use super::guard::SignedBody;
use super::parts::Lobby;
use crate::keys::of_body;

/// Longest time for a body that is held whole to arrive.
const WHOLE: Duration = Duration::from_secs(60);
/// How long to wait for bytes of a streamed body, before [`LEAST_PACE`] counts.
const STREAM: Duration = Duration::from_secs(30);
/// Minimum average rate, in bytes per second, below which a body is no longer waited for.
const LEAST_PACE: u32 = 1 << 10;

/// Compressed bytes decompressed at a time: gzip expands at most about a thousandfold, so one step
/// yields at most about 4 MiB.
const GZIP_STEP_BYTES: usize = 4 << 10;

/// A body's encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// None.
    Identity,
    /// `Content-Encoding: gzip`
    Gzip,
}

/// Bytes as they arrive.
pub(crate) trait Chunks: Stream<Item = Result<Bytes, PayloadError>> + Unpin {}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Chunks for S {}

/// A request's body, not read yet, and what the head says about it.
pub(crate) struct Body<S = Payload> {
    /// The bytes to come.
    pub(crate) chunks: S,
    /// Their encoding.
    pub(crate) encoding: Encoding,
    /// Their number, if the head gives it.
    pub(crate) length: Option<u64>,
    /// The hash that another instance signed; the body is then read whole and compared.
    pub(crate) signed: Option<[u8; 32]>,
    /// Counts its bytes for its caller while it is held whole; `None`: they are not counted.
    pub(crate) held: Option<Held>,
}

/// A body that is held whole, and counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    bytes: Vec<u8>,
    _held: Option<Held>,
}

impl Whole {
    /// Its bytes, which no longer count.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Whose body it is. If another instance sent the request, that one has counted its client. The page's forms are read
/// before a caller is identified.
fn held(request: &HttpRequest) -> Option<Held> {
    let lobby = request.app_data::<web::Data<Lobby>>()?;
    let extensions = request.extensions();
    if let Some(turn) = extensions.get::<Turn>() {
        return Some(turn.hold());
    }
    let is_peer = matches!(extensions.get(), Some(Asker::Peer(_)));
    let from = request.peer_addr().filter(|_| !is_peer);
    Some(lobby.guard.callers.hold(from.map(|from| from.ip())))
}

impl FromRequest for Body {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    /// # Errors
    /// 415 for an encoding that is neither `gzip` nor `identity`.
    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let headers = request.headers();
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let signed = request.extensions().get::<SignedBody>().map(|body| body.0);
        ready(encoding(headers).map(|encoding| Self {
            chunks: payload.take(),
            encoding,
            length,
            signed,
            held: held(request),
        }))
    }
}

impl<S: Chunks> Body<S> {
    /// # Errors
    /// 413 when the head announces more bytes.
    pub(crate) fn announces_at_most(&self, limit: u64) -> Result<(), Error> {
        if self.length.is_some_and(|bytes| bytes > limit) {
            return Err(too_large(limit));
        }
        Ok(())
    }

    /// The whole body, at most `limit` bytes when decompressed.
    ///
    /// # Errors
    /// 413 over the limit, 429 when as many bytes as allowed are held, for its caller or in total, else as
    /// [`Patience::next_chunk`] and [`Unpacker`].
    pub(crate) async fn read_whole(mut self, limit: usize) -> Result<Whole, Error> {
        self.announces_at_most(limit as u64)?;
        let mut patience = Patience::of_whole();
        let mut unpacker = Unpacker::new(self.encoding);
        let mut whole = Vec::new();
        let mut append = |piece: Bytes| {
            let bytes = whole.len() + piece.len();
            if bytes > limit {
                return Err(too_large(limit as u64));
            }
            if let Some(held) = &mut self.held {
                held.grow(bytes)?;
            }
            whole.extend_from_slice(&piece);
            Ok(())
        };
        while let Some(mut chunk) = patience.next_chunk(&mut self.chunks).await? {
            while !chunk.is_empty() {
                append(unpacker.step(&mut chunk)?)?;
            }
        }
        append(unpacker.finish()?)?;
        if self.signed.is_some_and(|hash| hash != of_body(&whole)) {
            return Err(Error::new(
                ProblemKind::NoKey,
                "The body is not the one that the other instance signed.",
            ));
        }
        Ok(Whole {
            bytes: whole,
            _held: self.held,
        })
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Error> {
    match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None => Ok(Encoding::Identity),
        Some(word) if word.is_empty() || word.eq_ignore_ascii_case(b"identity") => {
            Ok(Encoding::Identity)
        }
        Some(word)
            if word.eq_ignore_ascii_case(b"gzip") || word.eq_ignore_ascii_case(b"x-gzip") =>
        {
            Ok(Encoding::Gzip)
        }
        Some(_) => Err(Error::new(
            ProblemKind::UnsupportedEncoding,
            "Send the body uncompressed, or with Content-Encoding: gzip.",
        )
        .field("Content-Encoding")),
    }
}

/// How long a client may take to send its body. Only the time spent waiting for it counts, not the
/// processing in between.
pub(crate) struct Patience {
    /// Remaining time to wait.
    left: Duration,
    /// Additional time for each byte received.
    a_byte: Duration,
}

impl Patience {
    /// For a body that is held whole: a deadline.
    pub(crate) fn of_whole() -> Self {
        Self {
            left: WHOLE,
            a_byte: Duration::ZERO,
        }
    }

    /// For a streamed body, which may take long: a minimum rate.
    pub(crate) fn of_stream() -> Self {
        Self {
            left: STREAM,
            a_byte: Duration::from_secs(1) / LEAST_PACE,
        }
    }

    /// The next bytes of a body; `None` at its end.
    ///
    /// # Errors
    /// 408 when they do not arrive in time, 400 when the body breaks off.
    pub(crate) async fn next_chunk(
        &mut self,
        body: &mut impl Chunks,
    ) -> Result<Option<Bytes>, Error> {
        let begun = Instant::now();
        let next = tokio::time::timeout(self.left, body.next()).await;
        self.left = self.left.saturating_sub(begun.elapsed());
        match next {
            Ok(None) => Ok(None),
            Ok(Some(Ok(chunk))) => {
                let count = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                let more = self.a_byte.saturating_mul(count);
                // A client that has sent fast may not be silent for hours.
                self.left = self.left.saturating_add(more).min(WHOLE);
                Ok(Some(chunk))
            }
            Ok(Some(Err(error))) => Err(Error::new(
                ProblemKind::IncompleteBody,
                format!("The body broke off before its end ({error}). Send it again."),
            )),
            Err(_) => Err(Error::new(
                ProblemKind::SlowBody,
                format!(
                    "The body did not arrive in time: it may take {} s, and a batch must send at \
                     least {LEAST_PACE} bytes per second. Send it again, without pauses.",
                    WHOLE.as_secs()
                ),
            )),
        }
    }
}

/// The body is over a limit in bytes.
pub(crate) fn too_large(limit: u64) -> Error {
    Error::new(
        ProblemKind::Refused(Reason::TooLarge),
        format!("The body is over {limit} bytes. Send less in one request, or raise the limit."),
    )
}

/// Decompresses a body piece by piece: gzip with one or more members, with or without trailing
/// zeros.
pub(crate) struct Unpacker {
    gzip: Option<Box<Gunzip>>,
}

struct Gunzip {
    member: GzDecoder<Vec<u8>>,
    /// Whether the last member has ended.
    is_between: bool,
}

impl Gunzip {
    fn write(&mut self, mut packed: &[u8]) -> std::io::Result<()> {
        while !packed.is_empty() {
            if self.is_between {
                let zeros = packed.iter().take_while(|byte| **byte == 0).count();
                packed = &packed[zeros..];
                if packed.is_empty() {
                    break;
                }
                // Decompressed data stays in the buffer.
                self.member = GzDecoder::new(mem::take(self.member.get_mut()));
                self.is_between = false;
            }
            let count = self.member.write(packed)?;
            if count == 0 {
                self.member.try_finish()?;
                self.is_between = true;
            }
            packed = &packed[count..];
        }
        Ok(())
    }
}

impl Unpacker {
    pub(crate) fn new(encoding: Encoding) -> Self {
        let gzip = (encoding == Encoding::Gzip).then(|| {
            Box::new(Gunzip {
                member: GzDecoder::new(Vec::new()),
                is_between: false,
            })
        });
        Self { gzip }
    }

    /// Takes bytes from the front of `chunk`, at least one unless it is empty; returns the
    /// decompressed bytes, which may be none yet.
    ///
    /// # Errors
    /// 400 when this is not gzip.
    pub(crate) fn step(&mut self, chunk: &mut Bytes) -> Result<Bytes, Error> {
        let Some(gzip) = &mut self.gzip else {
            return Ok(mem::take(chunk));
        };
        let packed = chunk.split_to(chunk.len().min(GZIP_STEP_BYTES));
        gzip.write(&packed).map_err(not_gzip)?;
        Ok(mem::take(gzip.member.get_mut()).into())
    }

    /// The body has ended; returns the remaining bytes.
    ///
    /// # Errors
    /// 400 when the gzip data is incomplete.
    pub(crate) fn finish(&mut self) -> Result<Bytes, Error> {
        let Some(gzip) = &mut self.gzip else {
            return Ok(Bytes::new());
        };
        if !gzip.is_between {
            gzip.member.try_finish().map_err(not_gzip)?;
        }
        Ok(mem::take(gzip.member.get_mut()).into())
    }
}

fn not_gzip(error: std::io::Error) -> Error {
    Error::new(
        ProblemKind::IncompleteBody,
        format!("The body is not valid gzip ({error}). Send it again, whole."),
    )
    .field("Content-Encoding")
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::stream;

    use super::*;

    type Drip = Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

    /// This many bytes every second, forever.
    fn drip(bytes: usize) -> Drip {
        Box::pin(stream::unfold((), move |()| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok(Bytes::from(vec![b'x'; bytes])), ()))
        }))
    }

    /// How many chunks come before patience ends, up to 1,000.
    async fn lasts(mut patience: Patience, mut body: Drip) -> (usize, Option<String>) {
        for count in 0..1_000 {
            if let Err(error) = patience.next_chunk(&mut body).await {
                return (count, Some(error.problem().word().to_owned()));
            }
        }
        (1_000, None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_ends_and_one_that_keeps_its_pace_does_not() {
        let slow = || Some("slow-body".to_owned());
        let (whole, word) = lasts(Patience::of_whole(), drip(1 << 20)).await;
        assert!((59..=61).contains(&whole), "{whole}");
        assert_eq!(word, slow());
        let (dripping, word) = lasts(Patience::of_stream(), drip(1)).await;
        assert!((29..=31).contains(&dripping), "{dripping}");
        assert_eq!(word, slow());
        let pace = usize::try_from(LEAST_PACE).expect("a small number");
        assert_eq!(
            lasts(Patience::of_stream(), drip(pace + pace / 8)).await,
            (1_000, None)
        );
    }
}
