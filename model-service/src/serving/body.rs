//! Request bodies: read with a deadline and a limit, unpacked as they come.

use std::io::Write;
use std::mem;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures_util::{Stream, StreamExt};
use kindred_shared::event::Reason;

use super::problem::{Kind, Problem};

/// Longest wait for the next bytes of a body.
const IDLE_DEADLINE: Duration = Duration::from_secs(30);

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

/// What a request's head says about its body: how it is packed, and how many bytes are to come
/// where it says so.
///
/// # Errors
/// 415 for an encoding that is neither `gzip` nor `identity`.
pub(crate) fn announced(request: &HttpRequest) -> Result<(Encoding, Option<u64>), Problem> {
    let headers = request.headers();
    let encoding = match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None => Encoding::Identity,
        Some(word) if word.is_empty() || word.eq_ignore_ascii_case(b"identity") => {
            Encoding::Identity
        }
        Some(word)
            if word.eq_ignore_ascii_case(b"gzip") || word.eq_ignore_ascii_case(b"x-gzip") =>
        {
            Encoding::Gzip
        }
        Some(_) => {
            return Err(Problem::new(
                Kind::UnsupportedEncoding,
                "Send the body as it is, or with Content-Encoding: gzip.",
            )
            .field("Content-Encoding"));
        }
    };
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Ok((encoding, length))
}

/// The next bytes of a body; `None` at its end.
///
/// # Errors
/// 408 when nothing comes in time, 400 when the body breaks off.
pub(crate) async fn next_chunk<S>(body: &mut S) -> Result<Option<Bytes>, Problem>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    match tokio::time::timeout(IDLE_DEADLINE, body.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(Some(Err(error))) => Err(Problem::new(
            Kind::IncompleteBody,
            format!("The body broke off before its end ({error}). Send it again."),
        )),
        Err(_) => Err(Problem::new(
            Kind::SlowBody,
            format!(
                "No byte of the body came for {} s. Send it again, without pauses.",
                IDLE_DEADLINE.as_secs()
            ),
        )),
    }
}

/// All of a body, at most `limit` bytes unpacked.
///
/// # Errors
/// 413 over the limit, else as [`next_chunk`] and [`Unpacker`].
pub(crate) async fn read_whole<S>(
    body: &mut S,
    encoding: Encoding,
    limit: usize,
) -> Result<Vec<u8>, Problem>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let mut unpacker = Unpacker::new(encoding);
    let mut whole = Vec::new();
    let mut append = |piece: Bytes| {
        if whole.len() + piece.len() > limit {
            return Err(too_large(limit as u64));
        }
        whole.extend_from_slice(&piece);
        Ok(())
    };
    while let Some(mut chunk) = next_chunk(body).await? {
        while !chunk.is_empty() {
            append(unpacker.step(&mut chunk)?)?;
        }
    }
    append(unpacker.finish()?)?;
    Ok(whole)
}

/// The body is over a limit in bytes.
pub(crate) fn too_large(limit: u64) -> Problem {
    Problem::new(
        Kind::Refused(Reason::TooLarge),
        format!("The body is over {limit} bytes. Send less in one request, or raise the limit."),
    )
}

/// Unpacks a body piece by piece.
pub(crate) struct Unpacker {
    gzip: Option<Box<MultiGzDecoder<Vec<u8>>>>,
}

impl Unpacker {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self {
            gzip: (encoding == Encoding::Gzip).then(|| Box::new(MultiGzDecoder::new(Vec::new()))),
        }
    }

    /// Takes bytes from the front of `chunk`, at least one unless it is empty; returns what they
    /// unpack to, which may be nothing yet.
    ///
    /// # Errors
    /// 400 when this is no gzip.
    pub(crate) fn step(&mut self, chunk: &mut Bytes) -> Result<Bytes, Problem> {
        let Some(gzip) = &mut self.gzip else {
            return Ok(mem::take(chunk));
        };
        let packed = chunk.split_to(chunk.len().min(GZIP_STEP_BYTES));
        gzip.write_all(&packed).map_err(not_gzip)?;
        Ok(mem::take(gzip.get_mut()).into())
    }

    /// The body is at its end; returns what was left.
    ///
    /// # Errors
    /// 400 when the gzip is not at its end.
    pub(crate) fn finish(&mut self) -> Result<Bytes, Problem> {
        let Some(gzip) = &mut self.gzip else {
            return Ok(Bytes::new());
        };
        gzip.try_finish().map_err(not_gzip)?;
        Ok(mem::take(gzip.get_mut()).into())
    }
}

fn not_gzip(error: std::io::Error) -> Problem {
    Problem::new(
        Kind::IncompleteBody,
        format!("The body cannot be unpacked as gzip ({error}). Send it again, whole."),
    )
    .field("Content-Encoding")
}
