//! Compute workers: the list of them, and what they reported.

use actix_web::{get, web};
use kindred_api::worker::WorkersAnswer;
use utoipa_actix_web::service_config::ServiceConfig;

use super::activity::workers;
use super::openapi;
use super::parts::{Part, Workers};

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(list);
}

/// The compute workers that reported recently.
#[utoipa::path(operation_id = "list_workers", tag = "service", responses(
    (status = 200, description = "Workers that take jobs, and what they reported.", body = WorkersAnswer),
    (status = 503, response = openapi::NotReady),
))]
#[get("/v1/workers")]
async fn list(jobs: Part<Workers>) -> web::Json<WorkersAnswer> {
    web::Json(workers(&jobs))
}
