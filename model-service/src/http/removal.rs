//! Deletes a domain with all of its items.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, delete};
use kindred_api::domain::RemovedAnswer;
use kindred_shared::event::{Event, Removal};
use utoipa_actix_web::service_config::ServiceConfig;

use super::error::Error;
use super::openapi;
use super::parts::{Part, Reads, Writes};
use super::path::{InDomain, InPath};
use super::request_name::request_name;
use super::settled::Doors;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(delete);
}

/// Deletes a domain with its items, lists and settings.
///
/// The deletion is ordered among the domain's events: everything sent before it is deleted, and
/// events sent after it create the domain again, whatever their versions. The answer is sent once
/// the deletion is durable. `"gone": true`: from now on nothing of the domain appears in any answer
/// of any instance, unless it was sent after the deletion. `"gone": false`: that was not certain
/// within 2 s. Rows are deleted afterwards; events that arrive meanwhile wait.
#[utoipa::path(operation_id = "delete_domain", tag = "domains", params(InDomain),
    responses(
        (status = 202, description = "Durable.", body = RemovedAnswer,
         example = json!({"domain": "news.example", "gone": true})),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::Unavailable),
    ))]
#[delete("/v1/domains/{domain}")]
async fn delete(
    path: InPath<InDomain>,
    writes: Part<Writes>,
    reads: Part<Reads>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let domain = path.0.domain;
    let doors = Doors {
        reads: &reads,
        writes: &writes,
        request: &request,
    };
    if let Some(answer) = doors.of_owner(&domain, Method::DELETE, None).await {
        return Ok(answer);
    }
    let event = Event::Remove(Removal {
        domain: domain.clone(),
        request: request_name(),
    });
    let written = doors.settle(event).await?;
    let gone = written.is_settled;
    Ok(HttpResponse::Accepted().json(RemovedAnswer { domain, gone }))
}
