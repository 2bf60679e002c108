//! Health: is the process there, may it be asked, and how does it fare.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::Api;
use super::problem::{Kind, Problem};
use crate::metrics::{Metrics, TEXT_FORMAT};

/// When to ask a service again that is not ready, in seconds.
const RETRY_S: u32 = 1;

/// Whether the service can do its work, and if not, why. Each part of it says so for itself.
#[derive(Debug, Default)]
pub struct Readiness {
    reasons: RwLock<BTreeMap<&'static str, String>>,
}

impl Readiness {
    /// Ready: no part has a reason not to be.
    pub fn ready() -> Self {
        Self::default()
    }

    /// Not ready until `part` says otherwise.
    pub fn waiting_for(part: &'static str, reason: impl Into<String>) -> Self {
        let readiness = Self::default();
        readiness.not_ready(part, reason);
        readiness
    }

    /// `part` cannot do its work, for this reason; it replaces the part's reason of before.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        self.reasons
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(part, reason.into());
    }

    /// `part` can do its work.
    pub fn set_ready(&self, part: &'static str) {
        self.reasons
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(part);
    }

    /// Why the service is not ready, as `part: reason`; empty: it is.
    pub fn reasons(&self) -> Vec<String> {
        self.reasons
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(part, reason)| format!("{part}: {reason}"))
            .collect()
    }
}

/// The service is ready.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    /// Always true.
    #[schema(example = true)]
    ready: bool,
}

/// Is the process there.
///
/// Says nothing about the store or the broker: restart the process only when this fails.
#[utoipa::path(get, path = "/healthz", tag = "service", responses(
    (status = 200, description = "The process answers.", body = String, content_type = "text/plain", example = "ok"),
))]
pub(crate) fn healthz() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body("ok")
}

/// May it be asked: send it traffic while this is 200.
#[utoipa::path(get, path = "/readyz", tag = "service", responses(
    (status = 200, description = "The service does its work.", body = Ready),
    (status = 503, response = crate::serving::openapi::NotReady),
))]
pub(crate) fn readyz(api: &Api) -> Result<HttpResponse, Problem> {
    let reasons = api.readiness.reasons();
    if reasons.is_empty() {
        return Ok(HttpResponse::Ok().json(Ready { ready: true }));
    }
    Err(not_ready(reasons))
}

/// The service is not ready, for these reasons.
pub(crate) fn not_ready(reasons: Vec<String>) -> Problem {
    Problem::new(
        Kind::NotReady,
        format!("{}. It goes on by itself; ask again.", reasons.join("; ")),
    )
    .reasons(reasons)
    .retry_after(RETRY_S)
}

/// Metrics in Prometheus' text format.
///
/// Every metric's help names its unit.
#[utoipa::path(get, path = "/metrics", tag = "service", responses(
    (status = 200, description = "All metrics.", body = String, content_type = "text/plain",
     example = "# HELP kindred_items_pending Items accepted whose lists are still to be made (items).\n# TYPE kindred_items_pending gauge\nkindred_items_pending 0\n"),
))]
pub(crate) fn metrics(api: &Api) -> HttpResponse {
    metrics_of(&api.metrics)
}

/// These metrics as an answer.
pub(crate) fn metrics_of(metrics: &Metrics) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(TEXT_FORMAT)
        .body(metrics.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_no_part_has_a_reason_left() {
        let readiness = Readiness::waiting_for("store", "opening");
        readiness.not_ready("lease", "held by another");
        readiness.not_ready("store", "compacting");
        assert_eq!(
            readiness.reasons(),
            ["lease: held by another", "store: compacting"]
        );
        readiness.set_ready("store");
        readiness.set_ready("lease");
        assert!(readiness.reasons().is_empty());
    }
}
