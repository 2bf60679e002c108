//! What a path names. The router splits a path before decoding it, so an id may contain any
//! character, even a slash (`%2F`). The router decodes leniently, so names are parsed from the path
//! as it was sent.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest};
use kindred_api::problem::ProblemKind;
use kindred_shared::event::Reason;
use kindred_shared::{DomainName, ItemId, ModelName};
use percent_encoding::percent_decode_str;
use utoipa::IntoParams;

use super::error::Error;

/// What a path names, parsed from its segments.
pub(crate) struct InPath<T>(pub(crate) T);

/// A value named by a path.
pub(crate) trait Named: Sized {
    /// Parses it; `segments` are those of the path as sent, without the leading slash.
    fn read(segments: &[&str]) -> Result<Self, Error>;
}

impl<T: Named> FromRequest for InPath<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let segments: Vec<&str> = request.uri().path().split('/').skip(1).collect();
        ready(T::read(&segments).map(Self))
    }
}

/// `/v1/domains/{domain}` and what is below it.
#[derive(Debug, Clone, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct InDomain {
    /// The domain: `[A-Za-z0-9._-]{1,128}`, but neither `.` nor `..`.
    #[param(value_type = String, pattern = "^[A-Za-z0-9._-]{1,128}$", example = "news.example")]
    pub(crate) domain: DomainName,
}

impl Named for InDomain {
    fn read(segments: &[&str]) -> Result<Self, Error> {
        let name = segments.get(2).copied().unwrap_or_default();
        Ok(Self {
            domain: named(name, "domain", Reason::InvalidDomain, DomainName::new)?,
        })
    }
}

/// `/v1/domains/{domain}/items/{id}` and what is below it.
#[derive(Debug, Clone, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OfItem {
    /// The domain: `[A-Za-z0-9._-]{1,128}`, but neither `.` nor `..`.
    #[param(value_type = String, pattern = "^[A-Za-z0-9._-]{1,128}$", example = "news.example")]
    pub(crate) domain: DomainName,
    /// The item's id: 1 to 256 bytes of UTF-8 without control characters, percent-encoded once; a
    /// slash is `%2F`.
    #[param(value_type = String, min_length = 1, max_length = 256, example = "a-17")]
    pub(crate) id: ItemId,
}

impl Named for OfItem {
    fn read(segments: &[&str]) -> Result<Self, Error> {
        let id = segments.get(4).copied().unwrap_or_default();
        Ok(Self {
            domain: InDomain::read(segments)?.domain,
            id: named(id, "id", Reason::InvalidId, ItemId::new)?,
        })
    }
}

/// `/v1/domains/{domain}/models/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OfModel {
    /// The domain: `[A-Za-z0-9._-]{1,128}`, but neither `.` nor `..`.
    #[param(value_type = String, pattern = "^[A-Za-z0-9._-]{1,128}$", example = "news.example")]
    pub(crate) domain: DomainName,
    /// The model's name: `[a-z0-9-]{1,64}`, but not `own`.
    #[param(value_type = String, pattern = "^[a-z0-9-]{1,64}$", example = "words-1")]
    pub(crate) name: ModelName,
}

impl Named for OfModel {
    fn read(segments: &[&str]) -> Result<Self, Error> {
        let name = segments.get(4).copied().unwrap_or_default();
        Self::named(segments, name)
    }
}

impl OfModel {
    fn named(segments: &[&str], name: &str) -> Result<Self, Error> {
        let new = |name: &str| match ModelName::new(name) {
            Ok(name) if name == ModelName::own() => {
                Err("own is the name of items' own vectors".to_owned())
            }
            other => other.map_err(|error| error.to_string()),
        };
        Ok(Self {
            domain: InDomain::read(segments)?.domain,
            name: named(name, "name", Reason::InvalidField, new)?,
        })
    }
}

/// `/v1/domains/{domain}/models/{name}:activate`.
pub(crate) struct ToActivate(pub(crate) OfModel);

impl Named for ToActivate {
    fn read(segments: &[&str]) -> Result<Self, Error> {
        let name = segments.get(4).copied().unwrap_or_default();
        // The action follows the last colon, however that is encoded.
        let end = name
            .rfind(':')
            .or_else(|| name.to_ascii_lowercase().rfind("%3a"));
        OfModel::named(segments, &name[..end.unwrap_or(name.len())]).map(Self)
    }
}

/// `/v1/keys/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OfKey {
    /// The key's name.
    #[param(value_type = String, example = "iKl5Bq3xw0Zt")]
    pub(crate) id: String,
}

impl Named for OfKey {
    fn read(segments: &[&str]) -> Result<Self, Error> {
        // Key names need no encoding; an invalid name belongs to no key.
        Ok(Self {
            id: segments.get(2).copied().unwrap_or_default().to_owned(),
        })
    }
}

/// Parses the name in a segment.
pub(super) fn named<T, E: std::fmt::Display>(
    segment: &str,
    field: &str,
    reason: Reason,
    new: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Error> {
    decode(segment)
        .and_then(|text| new(&text).map_err(|error| error.to_string()))
        .map_err(|detail| {
            Error::new(ProblemKind::Refused(reason), detail)
                .with_status(StatusCode::BAD_REQUEST)
                .field(field)
        })
}

/// Percent-decodes once, strictly: the meaning of a lone `%` would be ambiguous.
fn decode(segment: &str) -> Result<String, String> {
    let bytes = segment.as_bytes();
    for (at, _) in segment.match_indices('%') {
        let escape = bytes.get(at + 1..at + 3);
        if !escape.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            return Err(
                "A % in a URL is followed by two hexadecimal digits; the character % \
                        itself is written %25."
                    .into(),
            );
        }
    }
    percent_decode_str(segment)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| "A name in a URL is percent-encoded UTF-8; these bytes are not.".into())
}
