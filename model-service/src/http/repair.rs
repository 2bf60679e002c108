//! Recomputes what is stored of items whose rows are damaged.

use actix_web::{HttpRequest, HttpResponse, post};
use kindred_api::domain::{RepairAnswer, RepairBody};
use kindred_api::problem::ProblemKind;
use kindred_shared::ItemId;
use serde_json::Value;
use utoipa_actix_web::service_config::ServiceConfig;

use super::asking::{QueryTarget, place};
use super::body::Body;
use super::error::Error;
use super::openapi;
use super::parts::{Part, Queries, Reads};
use super::path::{InDomain, InPath};
use super::question::object;
use super::values::{invalid, only};
use kindred_domain::store::Partition;

/// Most items per request.
const MOST: usize = 1_000;
/// When to retry, in seconds.
const RETRY_S: u32 = 2;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(repair);
}

/// Recomputes features and lists of items.
///
/// They are computed from the texts of the named items, or of all items of the domain, whatever is
/// stored. Until that is done, readers get the previous lists. Items whose row or text is damaged
/// must be published again.
#[utoipa::path(operation_id = "repair", tag = "domains", params(InDomain),
    request_body(content = RepairBody, content_type = "application/json", example = json!({"ids": ["a-17"]})),
    responses(
        (status = 202, description = "It has started: `pending` of the domain says how many are \
            left.", body = RepairAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 408, response = openapi::SlowBody),
        (status = 413, response = openapi::TooLarge),
        (status = 415, response = openapi::UnsupportedEncoding),
        (status = 503, response = openapi::Unavailable),
    ))]
#[post("/v1/domains/{domain}/repair")]
async fn repair(
    path: InPath<InDomain>,
    body: Body,
    reads: Part<Reads>,
    queries: Part<Queries>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let domain = path.0.domain;
    let body = body.read_whole(queries.limits.message_bytes).await?;
    let ids = ids(&body)?;
    if let QueryTarget::There(response) =
        place(&reads, &queries, &request, &domain, None, Some(&body)).await?
    {
        return Ok(response);
    }
    let Some(row) = reads.registered(&domain).await? else {
        return Err(Error::unknown_domain());
    };
    let partition = Partition(row.partition);
    if !queries.waking.make_anew(partition, &domain, ids) {
        let detail = "This model service does not host the domain's partition any more. Try again.";
        return Err(Error::new(ProblemKind::NotReady, detail).retry_after(RETRY_S));
    }
    Ok(HttpResponse::Accepted().json(RepairAnswer { domain }))
}

/// The items that a body names; all if it names none.
fn ids(body: &[u8]) -> Result<Vec<ItemId>, Error> {
    let mut object = object(body)?;
    only(&object, &["ids"])?;
    let wrong = || {
        invalid(
            "ids",
            format!("ids is a list of 1 to {MOST} ids, or is left out for all items."),
        )
    };
    let named = match object.remove("ids") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(named)) if (1..=MOST).contains(&named.len()) => named,
        Some(_) => return Err(wrong()),
    };
    let id = |named: Value| ItemId::new(named.as_str().unwrap_or_default()).map_err(|_| wrong());
    named.into_iter().map(id).collect()
}
