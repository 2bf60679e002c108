//! Problems (RFC 9457): every error answer, with its stable word.

use std::borrow::Cow;

use kindred_shared::event::Reason;
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::batch::{BatchAnswer, RejectedLine};

/// Prefix of all problem types.
const TYPE_PREFIX: &str = "/problems/";

/// Declares the kinds of problems other than refused events: word, status, title.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $word:literal, $status:literal, $title:literal;)+) => {
        /// A kind of problem: the stable word in its `type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ProblemKind {
            /// The event is refused.
            Refused(Reason),
            $($(#[$doc])* $kind,)+
        }

        impl ProblemKind {
            /// All kinds, for documentation.
            pub const ALL: &[Self] = &[
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
                Self::Refused(Reason::UnknownExperiment),
                Self::Refused(Reason::UnknownArm),
                $(Self::$kind,)+
            ];

            /// The stable word, the usual status, and the title.
            fn row(self) -> (&'static str, u16, &'static str) {
                match self {
                    Self::Refused(reason) => {
                        let (status, title) = of_refused(reason);
                        (reason.word(), status, title)
                    }
                    $(Self::$kind => ($word, $status, $title),)+
                }
            }
        }
    };
}

kinds! {
    /// There is no such route.
    UnknownPath: "unknown-path", 404, "This path does not exist";
    /// The route does not support the method.
    MethodNotAllowed: "method-not-allowed", 405, "The method is not supported here";
    /// A query parameter is out of its range.
    InvalidParameter: "invalid-parameter", 400, "A parameter is not valid";
    /// The route has no such query parameter.
    UnknownParameter: "unknown-parameter", 400, "A parameter is unknown";
    /// The request contradicts the present state.
    Conflict: "conflict", 409, "The request conflicts with the current state";
    /// Too many queries are waiting to be computed.
    Busy: "busy", 429, "Too many queries are being computed";
    /// The limit of open connections is reached; for the limit per address the status is 429.
    TooManyConnections: "too-many-connections", 503, "There are too many connections";
    /// There is no such item, or it is not visible.
    UnknownItem: "unknown-item", 404, "The domain has no such item";
    /// The domain has no such model, or it cannot be used yet.
    UnknownModel: "unknown-model", 404, "The domain has no such model";
    /// No key was sent, or an unknown one.
    NoKey: "no-key", 401, "A key is needed";
    /// The key does not allow this.
    NotGranted: "not-granted", 403, "The key does not allow this";
    /// There is no such key.
    UnknownKey: "unknown-key", 404, "There is no such key";
    /// The request names a host that this service does not accept.
    NotAcceptableHost: "not-acceptable-host", 421, "The service does not accept this host name";
    /// The body's content type is not JSON.
    UnsupportedType: "unsupported-type", 415, "The content type of the body is not JSON";
    /// The body has an encoding that is not supported.
    UnsupportedEncoding: "unsupported-encoding", 415, "The body's encoding is not supported";
    /// Too many lines of a batch were rejected; the rest was not read.
    TooManyRejected: "too-many-rejected", 422, "Too many lines were rejected";
    /// The body ended too early, or its encoding is broken.
    IncompleteBody: "incomplete-body", 400, "The body broke off";
    /// The body did not arrive in time.
    SlowBody: "slow-body", 408, "The body did not arrive in time";
    /// The event is valid but could not be stored now.
    NotStored: "not-stored", 503, "The event could not be stored now";
    /// The store could not be read now.
    NotReadable: "not-readable", 503, "The store could not be read now";
    /// The service is starting or stopping.
    NotReady: "not-ready", 503, "The service is not ready";
}

fn of_refused(reason: Reason) -> (u16, &'static str) {
    match reason {
        Reason::InvalidJson => (400, "The body is not a JSON object"),
        Reason::TooLarge => (413, "It exceeds a size limit"),
        Reason::UnknownType => (422, "The event's type is unknown"),
        Reason::MissingField => (422, "A required field is missing"),
        Reason::InvalidField => (422, "A field has an invalid value"),
        Reason::InvalidDomain => (422, "The domain's name is not valid"),
        Reason::InvalidId => (422, "The item's id is not valid"),
        Reason::DomainMismatch => (422, "The domain differs from the address"),
        Reason::IdMismatch => (422, "The id differs from the address"),
        Reason::InvalidVersion => (422, "The version is not valid"),
        Reason::InvalidVector => (422, "The vector is not valid"),
        Reason::UnknownDomain => (404, "The domain is not registered"),
        Reason::OverQuota => (429, "The quota of the domain is exceeded"),
        Reason::UnknownExperiment => (404, "The domain has no such experiment"),
        Reason::UnknownArm => (422, "The experiment has no such arm"),
        _ => (422, "The event is refused"),
    }
}

impl ProblemKind {
    /// The stable word.
    pub fn word(self) -> &'static str {
        self.row().0
    }

    /// The usual status.
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// The title, which is the same for every problem of the kind.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// The problem's `type`.
    pub fn uri(self) -> String {
        format!("{TYPE_PREFIX}{}", self.word())
    }
}

/// The stable word of a problem type.
pub fn word(kind: &str) -> &str {
    kind.rsplit('/').next().unwrap_or(kind)
}

/// An error answer. In RFC 9457 all members are optional, so what another program sends is read as far as possible;
/// Kindred leaves out only members without a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable URI reference that names the kind of problem: `/problems/` and a word.
    #[serde(rename = "type")]
    pub kind: String,
    /// The title of the kind; the same for every problem of the kind.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What is wrong this time, and how to fix it.
    #[serde(default)]
    pub detail: String,
    /// The invalid field or parameter, if a single one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// For a batch that broke off: its outcome so far.
    #[serde(flatten)]
    pub batch: Option<BrokenOff>,
    /// Why the service is not ready, one reason for each part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// How far a batch got that broke off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenOff {
    /// Every line before this one is settled: accepted or rejected. Send again from this line on, counted from 1. Later
    /// lines may be stored too; sending them again does no harm.
    pub resend_from_line: u64,
    /// The outcome of the lines before it.
    #[serde(flatten)]
    pub answer: BatchAnswer,
}

/// A [`Problem`] as it is described: in a description with nested types, every problem would need a batch.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "it describes another type")]
struct Described {
    /// A stable URI reference that names the kind of problem: `/problems/` and a word.
    #[schema(rename = "type", example = "/problems/invalid-vector")]
    kind: String,
    /// The title of the kind; the same for every problem of the kind.
    #[schema(example = "The vector is not valid")]
    title: String,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What is wrong this time, and how to fix it.
    #[schema(example = "a vector has 1 to 4096 numbers; this one has none")]
    detail: String,
    /// The invalid field or parameter.
    #[schema(required = false, nullable = false, example = "vector")]
    field: Option<String>,
    /// Why the service is not ready, one reason for each part.
    #[schema(required = false)]
    reasons: Vec<String>,
    /// For a batch that broke off: every line before this one is settled. Send again from this line on, counted from 1.
    /// Later lines may be stored too; sending them again does no harm.
    #[schema(required = false, nullable = false)]
    resend_from_line: Option<u64>,
    /// For a batch that broke off: events that are durable.
    #[schema(required = false, nullable = false)]
    accepted: Option<u64>,
    /// For a batch that broke off: lines that were rejected, the first 10,000 of them.
    #[schema(required = false)]
    rejected: Vec<RejectedLine>,
    /// For a batch that broke off: how many more lines were rejected than are listed.
    #[schema(required = false, nullable = false)]
    rejected_more: Option<u64>,
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        Described::schema()
    }
}

impl ToSchema for Problem {
    fn name() -> Cow<'static, str> {
        Described::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Described::schemas(schemas);
    }
}

impl Problem {
    /// A problem with the usual status of its kind. `detail` says what is wrong and how to fix it.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.uri(),
            title: kind.title().into(),
            status: kind.status(),
            detail: detail.into(),
            field: None,
            batch: None,
            reasons: Vec::new(),
        }
    }

    /// The stable word: the last segment of the type.
    pub fn word(&self) -> &str {
        word(&self.kind)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_its_own_word_and_title() {
        let words: BTreeSet<_> = ProblemKind::ALL.iter().map(|kind| kind.word()).collect();
        let titles: BTreeSet<_> = ProblemKind::ALL.iter().map(|kind| kind.title()).collect();
        assert_eq!(words.len(), ProblemKind::ALL.len());
        assert_eq!(titles.len(), ProblemKind::ALL.len());
        assert!(
            !titles.contains("The event is refused"),
            "a reason without a title"
        );
    }

    #[test]
    fn a_problem_is_read_as_it_was_written() {
        let plain = Problem::new(ProblemKind::NotReady, "store: opening");
        let broken_off = Problem {
            batch: Some(BrokenOff {
                resend_from_line: 3,
                answer: BatchAnswer {
                    accepted: 2,
                    ..BatchAnswer::default()
                },
            }),
            ..Problem::new(ProblemKind::NotStored, "the disk is full")
        };
        for problem in [plain, broken_off] {
            let written = serde_json::to_string(&problem).expect("JSON");
            assert_eq!(
                serde_json::from_str::<Problem>(&written).expect("a problem"),
                problem
            );
        }
    }
}
