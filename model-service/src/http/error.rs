//! Errors as answers: a problem, and its headers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use kindred_api::batch::BatchAnswer;
use kindred_api::problem::{BrokenOff, Problem, ProblemKind};
use kindred_shared::ModelName;
use kindred_shared::event::{Reason, Refusal};

use kindred_domain::intake::PublishError;
use kindred_domain::store::StoreError;

/// When to retry after a problem that passes by itself, in seconds.
const RETRY_SOON_S: u32 = 2;
/// When to retry after a problem that a person has to fix, in seconds.
const RETRY_LATER_S: u32 = 60;

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    problem: Box<Problem>,
    retry_after_s: Option<u32>,
    allow: Option<String>,
}

impl Error {
    /// A problem with its kind's status. `detail` says what is wrong and how to fix it.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            problem: Box::new(Problem::new(kind, detail)),
            retry_after_s: None,
            allow: None,
        }
    }

    /// The problem.
    pub(crate) fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Sets another status than its kind's.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.problem.status = status.as_u16();
        self
    }

    /// Names the field or parameter at fault.
    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.problem.field = Some(field.into());
        self
    }

    /// Says when to retry, in seconds.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Lists the allowed methods.
    pub(crate) fn allowing(mut self, methods: &str) -> Self {
        self.allow = Some(methods.to_owned());
        self
    }

    /// Says how far a batch got.
    pub(crate) fn broken_off(mut self, resend_from_line: u64, answer: BatchAnswer) -> Self {
        self.problem.batch = Some(BrokenOff {
            resend_from_line,
            answer,
        });
        self
    }

    /// Says why the service is not ready.
    pub(crate) fn reasons(mut self, reasons: Vec<String>) -> Self {
        self.problem.reasons = reasons;
        self
    }

    /// The item does not exist, or is not visible.
    pub(crate) fn unknown_item() -> Self {
        Self::new(
            ProblemKind::UnknownItem,
            "Unknown item, or one that is not visible. Ids are compared byte by byte; in a URL \
             they are percent-encoded once.",
        )
        .field("id")
    }

    /// The domain has no such model, or the model cannot be queried.
    pub(crate) fn unknown_model(name: &ModelName) -> Self {
        let detail = format!(
            "Unknown model {name} in this domain, or it is not ready. GET …/models lists the \
            models."
        );
        Self::new(ProblemKind::UnknownModel, detail).field("model")
    }

    /// The domain does not exist.
    pub(crate) fn unknown_domain() -> Self {
        Self::new(
            ProblemKind::Refused(Reason::UnknownDomain),
            "Unknown domain. A domain is registered by its first item, unless the service is \
             configured otherwise; GET /v1/domains lists all domains.",
        )
        .field("domain")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem.word(), self.problem.detail)
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if let Some(methods) = &self.allow {
            response.insert_header((ALLOW, methods.as_str()));
        }
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        response.body(serde_json::to_vec(&self.problem).unwrap_or_default())
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.reason {
            // The same code, whoever finds it.
            Reason::UnknownItem => ProblemKind::UnknownItem,
            reason => ProblemKind::Refused(reason),
        };
        let error = Self::new(kind, refusal.detail);
        // Only a person, or deletions, can make room.
        let error = match kind {
            ProblemKind::Refused(Reason::OverQuota) => error.retry_after(RETRY_LATER_S),
            _ => error,
        };
        match refusal.field {
            Some(field) => error.field(field),
            None => error,
        }
    }
}

impl From<PublishError> for Error {
    fn from(error: PublishError) -> Self {
        let not_stored = |detail: &str, remedy| {
            Self::new(
                ProblemKind::NotStored,
                format!("{}. {remedy}", detail.trim_end_matches('.')),
            )
        };
        match error {
            PublishError::Refused(refusal) => refusal.into(),
            PublishError::Failed(failure) if failure.needs_help => not_stored(
                &failure.detail,
                "Nothing of this request counts as stored; send it again once that is fixed.",
            )
            .retry_after(RETRY_LATER_S),
            PublishError::Failed(failure) => {
                not_stored(&failure.detail, "Send it again.").retry_after(RETRY_SOON_S)
            }
            PublishError::Away(detail) => {
                not_stored(&detail, "Send it again.").retry_after(RETRY_SOON_S)
            }
        }
    }
}

/// How often it is logged that the store cannot be read, in seconds: many requests find out at
/// once.
const SAY_EVERY_S: u64 = 60;

/// Logs that the store cannot be read, unless that was logged a moment ago, with the number of
/// suppressed messages.
fn say_not_readable(error: &StoreError) {
    static NEXT_S: AtomicU64 = AtomicU64::new(0);
    static UNSAID: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_s = now.map_or(0, |since| since.as_secs());
    let next_s = NEXT_S.load(Ordering::Relaxed);
    let later = now_s + SAY_EVERY_S;
    let is_due = now_s >= next_s
        && NEXT_S
            .compare_exchange(next_s, later, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
    if is_due {
        let unsaid = UNSAID.swap(0, Ordering::Relaxed);
        tracing::warn!(%error, unsaid, "store cannot be read");
    } else {
        UNSAID.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%error, "store cannot be read");
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let retry = match &error {
            StoreError::Damaged(_) | StoreError::Full(_) => RETRY_LATER_S,
            StoreError::Superseded { .. } | StoreError::Away(_) | StoreError::Unknown(_) => {
                RETRY_SOON_S
            }
        };
        say_not_readable(&error);
        Self::new(ProblemKind::NotReadable, format!("{error}. Try again.")).retry_after(retry)
    }
}
