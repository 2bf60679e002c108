//! Request bodies: read with a deadline and a limit, unpacked as they come.

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
use kindred_api::problem::Kind;
use kindred_shared::event::Reason;
use tokio::time::Instant;

use super::access::Asker;
use super::callers::{Held, Turn};
use super::error::Error;
use super::guard::SignedBody;
use super::parts::Lobby;
use crate::keys::of_body;

/// How long a body that is held whole may take to come.
const WHOLE: Duration = Duration::from_secs(60);
/// How long the bytes of a body that is read as it comes may be waited for, before [`LEAST_PACE`] counts.
const STREAM: Duration = Duration::from_secs(30);
/// Bytes a second that a body must come with on average to be waited for longer.
const LEAST_PACE: u32 = 1 << 10;

/// Packed bytes unpacked at a time: gzip unpacks to at most about a thousand times as many, so
/// this bounds what one step makes to about 4 MiB.
const GZIP_STEP_BYTES: usize = 4 << 10;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not at all.
    Identity,
    /// `Content-Encoding: gzip`
    Gzip,
}

/// Bytes as they come.
pub(crate) trait Chunks: Stream<Item = Result<Bytes, PayloadError>> + Unpin {}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Chunks for S {}

/// A request's body, not read yet, and what the request's head says about it.
pub(crate) struct Body<S = Payload> {
    /// The bytes that are to come.
    pub(crate) chunks: S,
    /// How they are packed.
    pub(crate) encoding: Encoding,
    /// How many are to come, where the head says so.
    pub(crate) length: Option<u64>,
    /// The hash that another instance signed; its bytes are then read whole, and compared.
    pub(crate) signed: Option<[u8; 32]>,
    /// Counts it as its caller's while it is held whole; `None`: nobody counts.
    pub(crate) held: Option<Held>,
}

/// A body that is held whole, and counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    bytes: Vec<u8>,
    _held: Option<Held>,
}

impl Whole {
    /// Its bytes, which are counted no more.
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

/// Whose body it is. Another instance has counted who asked; the page's forms come before anybody is let in.
fn held(request: &HttpRequest) -> Option<Held> {
    let lobby = request.app_data::<web::Data<Lobby>>()?;
    let extensions = request.extensions();
    if let Some(turn) = extensions.get::<Turn>() {
        return Some(turn.hold());
    }
    let is_peer = matches!(extensions.get(), Some(Asker::Peer));
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
    /// 413 when more bytes are to come.
    pub(crate) fn announces_at_most(&self, limit: u64) -> Result<(), Error> {
        if self.length.is_some_and(|bytes| bytes > limit) {
            return Err(too_large(limit));
        }
        Ok(())
    }

    /// All of it, at most `limit` bytes unpacked.
    ///
    /// # Errors
    /// 413 over the limit, 429 where its caller or all together have as many bytes held as they may, else as
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
                Kind::NoKey,
                "The body is not the one that another instance signed.",
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
            Kind::UnsupportedEncoding,
            "Send the body as it is, or with Content-Encoding: gzip.",
        )
        .field("Content-Encoding")),
    }
}

/// How long a client may keep its body. Only the time for which it is waited for counts, not what is done with the
/// bytes meanwhile.
pub(crate) struct Patience {
    /// For how much longer it is waited.
    left: Duration,
    /// By how much longer for each byte that comes.
    a_byte: Duration,
}

impl Patience {
    /// With a body that is held whole: a deadline.
    pub(crate) fn of_whole() -> Self {
        Self {
            left: WHOLE,
            a_byte: Duration::ZERO,
        }
    }

    /// With one that is read as it comes, and may take long: a least pace.
    pub(crate) fn of_stream() -> Self {
        Self {
            left: STREAM,
            a_byte: Duration::from_secs(1) / LEAST_PACE,
        }
    }

    /// The next bytes of a body; `None` at its end.
    ///
    /// # Errors
    /// 408 when they do not come in time, 400 when the body breaks off.
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
                // What came fast is no licence to be silent for hours.
                self.left = self.left.saturating_add(more).min(WHOLE);
                Ok(Some(chunk))
            }
            Ok(Some(Err(error))) => Err(Error::new(
                Kind::IncompleteBody,
                format!("The body broke off before its end ({error}). Send it again."),
            )),
            Err(_) => Err(Error::new(
                Kind::SlowBody,
                format!(
                    "The body did not come in time: one that is held whole may take {} s, a batch comes with \
                     {LEAST_PACE} bytes a second or more. Send it again, without pauses.",
                    WHOLE.as_secs()
                ),
            )),
        }
    }
}

/// The body is over a limit in bytes.
pub(crate) fn too_large(limit: u64) -> Error {
    Error::new(
        Kind::Refused(Reason::TooLarge),
        format!("The body is over {limit} bytes. Send less in one request, or raise the limit."),
    )
}

/// Unpacks a body piece by piece: gzip of one or more members, with zeros behind them or not.
pub(crate) struct Unpacker {
    gzip: Option<Box<Gunzip>>,
}

struct Gunzip {
    member: GzDecoder<Vec<u8>>,
    /// The last member is at its end.
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
                // What was unpacked stays in the buffer.
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

    /// Takes bytes from the front of `chunk`, at least one unless it is empty; returns what they
    /// unpack to, which may be nothing yet.
    ///
    /// # Errors
    /// 400 when this is no gzip.
    pub(crate) fn step(&mut self, chunk: &mut Bytes) -> Result<Bytes, Error> {
        let Some(gzip) = &mut self.gzip else {
            return Ok(mem::take(chunk));
        };
        let packed = chunk.split_to(chunk.len().min(GZIP_STEP_BYTES));
        gzip.write(&packed).map_err(not_gzip)?;
        Ok(mem::take(gzip.member.get_mut()).into())
    }

    /// The body is at its end; returns what was left.
    ///
    /// # Errors
    /// 400 when the gzip is not at its end.
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
        Kind::IncompleteBody,
        format!("The body cannot be unpacked as gzip ({error}). Send it again, whole."),
    )
    .field("Content-Encoding")
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::stream;

    use super::*;

    type Drip = Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

    /// So many bytes every second, for ever.
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
