//! Problems: every error an answer can be (RFC 9457), made in one place.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use kindred_shared::event::{Reason, Refusal};
use serde::Serialize;
use utoipa::ToSchema;

use super::batch::BatchAnswer;
use kindred_domain::intake::PublishError;
use kindred_domain::store::StoreError;

/// What all problem types begin with.
pub(crate) const TYPE_PREFIX: &str = "/problems/";

/// When to ask again after something only time heals, in seconds.
const RETRY_SOON_S: u32 = 2;
/// When to ask again after something only a person heals, in seconds.
const RETRY_LATER_S: u32 = 60;

/// What kind of problem it is: the stable word in its `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The event is refused.
    Refused(Reason),
    /// No route is there.
    UnknownPath,
    /// The route does not know the method.
    MethodNotAllowed,
    /// A query parameter is out of its range.
    InvalidParameter,
    /// There is no such item, or it is not visible.
    UnknownItem,
    /// The body is in an encoding nobody asked for.
    UnsupportedEncoding,
    /// The body ended or broke before its end.
    IncompleteBody,
    /// The body did not come in time.
    SlowBody,
    /// The event is valid but could not be stored now.
    NotStored,
    /// The store could not be read now.
    NotReadable,
    /// The service is starting or stopping.
    NotReady,
}

impl Kind {
    /// Every kind there is, for documentation.
    pub(crate) const ALL: &[Self] = &[
        Self::Refused(Reason::InvalidJson),
        Self::Refused(Reason::TooLarge),
        Self::Refused(Reason::UnknownType),
        Self::Refused(Reason::MissingField),
        Self::Refused(Reason::InvalidField),
        Self::Refused(Reason::InvalidDomain),
        Self::Refused(Reason::InvalidId),
        Self::Refused(Reason::DomainMismatch),
        Self::Refused(Reason::IdMismatch),
        Self::Refused(Reason::InvalidVersion),
        Self::Refused(Reason::InvalidVector),
        Self::Refused(Reason::UnknownDomain),
        Self::Refused(Reason::OverQuota),
        Self::UnknownPath,
        Self::MethodNotAllowed,
        Self::InvalidParameter,
        Self::UnknownItem,
        Self::UnsupportedEncoding,
        Self::IncompleteBody,
        Self::SlowBody,
        Self::NotStored,
        Self::NotReadable,
        Self::NotReady,
    ];

    /// The stable word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Refused(reason) => reason.word(),
            Self::UnknownPath => "unknown-path",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::InvalidParameter => "invalid-parameter",
            Self::UnknownItem => "unknown-item",
            Self::UnsupportedEncoding => "unsupported-encoding",
            Self::IncompleteBody => "incomplete-body",
            Self::SlowBody => "slow-body",
            Self::NotStored => "not-stored",
            Self::NotReadable => "not-readable",
            Self::NotReady => "not-ready",
        }
    }

    /// The status it has unless said otherwise.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Refused(Reason::InvalidJson) | Self::InvalidParameter | Self::IncompleteBody => {
                400
            }
            Self::Refused(Reason::UnknownDomain) | Self::UnknownPath | Self::UnknownItem => 404,
            Self::MethodNotAllowed => 405,
            Self::SlowBody => 408,
            Self::Refused(Reason::TooLarge) => 413,
            Self::UnsupportedEncoding => 415,
            Self::Refused(Reason::OverQuota) => 429,
            Self::Refused(_) => 422,
            Self::NotStored | Self::NotReadable | Self::NotReady => 503,
        }
    }

    /// The same words for every problem of the kind.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Refused(Reason::InvalidJson) => "The body is not a JSON object",
            Self::Refused(Reason::TooLarge) => "It is over a limit of size",
            Self::Refused(Reason::UnknownType) => "The event's type is unknown",
            Self::Refused(Reason::MissingField) => "A required field is missing",
            Self::Refused(Reason::InvalidField) => "A field's value cannot be taken",
            Self::Refused(Reason::InvalidDomain) => "The domain's name is not valid",
            Self::Refused(Reason::InvalidId) => "The item's id is not valid",
            Self::Refused(Reason::DomainMismatch) => "The domain differs from the address",
            Self::Refused(Reason::IdMismatch) => "The id differs from the address",
            Self::Refused(Reason::InvalidVersion) => "The version is not valid",
            Self::Refused(Reason::InvalidVector) => "The vector cannot be taken",
            Self::Refused(Reason::UnknownDomain) => "The domain is not registered",
            Self::Refused(Reason::OverQuota) => "The domain may not hold more",
            Self::Refused(_) => "The event is refused",
            Self::UnknownPath => "Nothing is at this path",
            Self::MethodNotAllowed => "The method is not known here",
            Self::InvalidParameter => "A parameter is not valid",
            Self::UnknownItem => "The domain has no such item",
            Self::UnsupportedEncoding => "The body's encoding is not supported",
            Self::IncompleteBody => "The body broke off",
            Self::SlowBody => "The body did not come in time",
            Self::NotStored => "It could not be stored now",
            Self::NotReadable => "The store could not be read now",
            Self::NotReady => "The service is not ready",
        }
    }

    /// The problem's `type`.
    pub(crate) fn uri(self) -> String {
        format!("{TYPE_PREFIX}{}", self.word())
    }
}

/// What an error answer says.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// A stable URI reference that names the kind of problem: `/problems/` and a word.
    #[serde(rename = "type")]
    #[schema(example = "/problems/invalid-vector")]
    kind: String,
    /// The kind in words; the same for every problem of the kind.
    #[schema(example = "The vector cannot be taken")]
    title: String,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What is wrong this time, and what to do about it.
    #[schema(example = "a vector has 1 to 4096 numbers; this one has none")]
    detail: String,
    /// The field or parameter at fault, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "vector")]
    field: Option<String>,
    /// A batch that broke off: how it went before that.
    #[serde(flatten)]
    batch: Option<BrokenOff>,
    /// Why the service is not ready, one reason a part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

/// How far a batch came that could not go on.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct BrokenOff {
    /// Every line before this one is settled: accepted or rejected. Send again from this line
    /// on, counted from 1. Later lines may be stored too; sending them again does no harm.
    pub(crate) resend_from_line: u64,
    /// How the lines before it went.
    #[serde(flatten)]
    pub(crate) answer: BatchAnswer,
}

/// An error answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    body: Box<ProblemBody>,
    retry_after_s: Option<u32>,
    allow: Option<&'static str>,
}

impl Problem {
    /// A problem with its kind's status. `detail` says what is wrong and what to do about it.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self::with_status(kind, kind.status(), detail)
    }

    /// A problem with another status than its kind's.
    pub(crate) fn with_status(kind: Kind, status: u16, detail: impl Into<String>) -> Self {
        Self {
            body: Box::new(ProblemBody {
                kind: kind.uri(),
                title: kind.title().into(),
                status,
                detail: detail.into(),
                field: None,
                batch: None,
                reasons: Vec::new(),
            }),
            retry_after_s: None,
            allow: None,
        }
    }

    /// Names the field or parameter at fault.
    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.body.field = Some(field.into());
        self
    }

    /// Says when to ask again, in seconds.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Says which methods there are.
    pub(crate) fn allowing(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Says how far a batch came.
    pub(crate) fn broken_off(mut self, resend_from_line: u64, answer: BatchAnswer) -> Self {
        self.body.batch = Some(BrokenOff {
            resend_from_line,
            answer,
        });
        self
    }

    /// Says why the service is not ready.
    pub(crate) fn reasons(mut self, reasons: Vec<String>) -> Self {
        self.body.reasons = reasons;
        self
    }

    /// The item is not there, or not for readers.
    pub(crate) fn unknown_item() -> Self {
        Self::new(
            Kind::UnknownItem,
            "No item of this id is there for readers. Ids are compared byte by byte; \
             in an address they are percent-encoded once.",
        )
        .field("id")
    }

    /// The domain is not there.
    pub(crate) fn unknown_domain() -> Self {
        Self::new(
            Kind::Refused(Reason::UnknownDomain),
            "No domain of this name is registered. A domain registers itself with its first item, \
             unless the service is told otherwise; GET /v1/domains lists those there are.",
        )
        .field("domain")
    }

    /// The HTTP status.
    #[cfg(test)]
    pub(crate) fn status(&self) -> u16 {
        self.body.status
    }

    /// The answer.
    pub(crate) fn response(&self) -> HttpResponse {
        let status =
            StatusCode::from_u16(self.body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if let Some(methods) = self.allow {
            response.insert_header((ALLOW, methods));
        }
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        response.body(serde_json::to_vec(&self.body).unwrap_or_default())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let problem = Self::new(Kind::Refused(refusal.reason), refusal.detail);
        match refusal.field {
            Some(field) => problem.field(field),
            None => problem,
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Refused(refusal) => refusal.into(),
            PublishError::Failed(failure) if failure.needs_help => Self::new(
                Kind::NotStored,
                format!(
                    "{}. Nothing of this request is taken as stored; send it again once that is put right.",
                    failure.detail.trim_end_matches('.')
                ),
            )
            .retry_after(RETRY_LATER_S),
            PublishError::Failed(failure) => Self::new(
                Kind::NotStored,
                format!("{}. Send it again.", failure.detail.trim_end_matches('.')),
            )
            .retry_after(RETRY_SOON_S),
            PublishError::Away(detail) => Self::new(
                Kind::NotStored,
                format!("{}. Send it again.", detail.trim_end_matches('.')),
            )
            .retry_after(RETRY_SOON_S),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let retry = match &error {
            StoreError::Damaged(_) | StoreError::Full(_) => RETRY_LATER_S,
            StoreError::Superseded { .. } | StoreError::Away(_) | StoreError::Unknown(_) => {
                RETRY_SOON_S
            }
        };
        tracing::warn!(%error, "store not readable");
        Self::new(Kind::NotReadable, format!("{error}. Ask again.")).retry_after(retry)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_its_own_word_and_title() {
        let words: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        let titles: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.title()).collect();
        assert_eq!(words.len(), Kind::ALL.len());
        assert_eq!(titles.len(), Kind::ALL.len());
        assert!(
            !titles.contains("The event is refused"),
            "a reason without a title"
        );
    }
}
