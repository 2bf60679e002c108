//! Some fields of an item, changed.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, patch};
use chrono::Utc;
use kindred_api::item::{Accepted, PatchBody};
use kindred_api::problem::ProblemKind;
use kindred_shared::event::{self, Event, PATCHABLE, without_mark};
use serde::de::IgnoredAny;
use utoipa_actix_web::service_config::ServiceConfig;

use super::access::is_let_in;
use super::admission::check;
use super::body::Body;
use super::error::Error;
use super::items::{VersionQuery, accepted};
use super::openapi;
use super::parts::{Part, Reads, Writes};
use super::path::{InPath, OfItem};
use super::query::{InQuery, nearest};
use super::settled::Doors;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(patch);
}

/// Changes some fields of an item.
///
/// The body is a JSON merge patch (RFC 7396): a field that is left out stays, one that is null is
/// removed, and attributes are merged by name. Fields that are compared (title, text, language,
/// vector) can only be replaced with PUT. The answer is sent once the change is durable. If it
/// hides the item, `gone` in the answer says whether the item has disappeared for readers, as for a
/// deletion.
#[utoipa::path(operation_id = "patch_item", tag = "items", params(OfItem, VersionQuery),
    request_body(content = PatchBody, content_type = "application/merge-patch+json",
        description = "The changed fields. `Content-Encoding: gzip` is supported.",
        example = json!({"hidden": true, "attributes": {"author": null}})),
    responses(
        (status = 202, description = "Durable.", body = Accepted,
         example = json!({"domain": "news.example", "id": "a-17", "version": 1_795_424_460_000_u64, "status": "accepted", "gone": true})),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 408, response = openapi::SlowBody),
        (status = 413, response = openapi::TooLarge),
        (status = 415, response = openapi::UnsupportedEncoding),
        (status = 422, response = openapi::Unprocessable),
        (status = 429, response = openapi::OverQuota),
        (status = 503, response = openapi::Unavailable),
    ))]
#[patch("/v1/domains/{domain}/items/{id}")]
async fn patch(
    path: InPath<OfItem>,
    query: InQuery<VersionQuery>,
    body: Body,
    writes: Part<Writes>,
    reads: Part<Reads>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let (InPath(of), InQuery(query)) = (path, query);
    let bytes = body.read_whole(writes.limits.message_bytes).await?;
    only_patchable(&bytes)?;
    let patch = event::parse_patch(&bytes, &writes.limits, &of.domain, &of.id, query.version)
        .inspect_err(|refusal| writes.refused(refusal))?;
    let hides = patch.hides(Utc::now());
    let doors = Doors {
        reads: &reads,
        writes: &writes,
        request: &request,
    };
    let event = Event::Patch(Box::new(patch));
    // Another instance has already admitted what it sends.
    if !is_let_in(&request) {
        check(&writes, &reads, &event).await?;
    }
    let bytes = bytes.into_bytes();
    let of_owner = doors.of_owner(&of.domain, Method::PATCH, Some(bytes)).await;
    if let Some(answer) = of_owner {
        return Ok(answer);
    }
    let written = doors.settle(event).await?;
    let gone = if hides {
        Some(written.is_settled && !doors.is_answered(&of).await)
    } else {
        None
    };
    Ok(accepted(of, written.version.or(query.version), gone))
}

/// Refuses a field that cannot be patched. A body that is not a JSON object is refused when it is
/// parsed.
fn only_patchable(bytes: &[u8]) -> Result<(), Error> {
    let fields = serde_json::from_slice::<std::collections::BTreeMap<String, IgnoredAny>>;
    let Ok(fields) = fields(without_mark(bytes)) else {
        return Ok(());
    };
    let Some(name) = fields.keys().find(|name| !PATCHABLE.contains(&&***name)) else {
        return Ok(());
    };
    let shown: String = name.chars().take(100).collect();
    let nearest = nearest(&shown, &PATCHABLE).unwrap_or_default();
    let known = PATCHABLE.join(", ");
    let detail = format!(
        "{shown:?} cannot be patched; the nearest field that can is {nearest}. Fields that can: \
         {known}. Replace everything else with PUT, and give a version as ?version=."
    );
    Err(Error::new(ProblemKind::UnknownParameter, detail).field(shown))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn the_nearest_field_is_named() {
        assert!(only_patchable(br#"{"url":1e999,"hidden":null}"#).is_ok());
        assert!(only_patchable(b"[]").is_ok(), "refused when it is read");
        let error = only_patchable(br#"{"url":"u","hiden":true}"#).unwrap_err();
        let words = error.to_string();
        assert!(
            words.contains("\"hiden\"") && words.contains("is hidden."),
            "{words}"
        );
        assert!(only_patchable(br#"{"title":"T"}"#).is_err());
    }
}
