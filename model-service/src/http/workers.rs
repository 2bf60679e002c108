//! Compute workers: which there are, and what they said of themselves.

use actix_web::{get, web};
use kindred_api::worker::{WorkerAnswer, WorkersAnswer};
use utoipa_actix_web::service_config::ServiceConfig;

use super::openapi;
use super::parts::{Part, Workers};

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(list);
}

/// The compute workers heard of lately.
#[utoipa::path(operation_id = "list_workers", tag = "service", responses(
    (status = 200, description = "Workers that take jobs, and what they said of themselves.", body = WorkersAnswer),
    (status = 503, response = openapi::NotReady),
))]
#[get("/v1/workers")]
async fn list(jobs: Part<Workers>) -> web::Json<WorkersAnswer> {
    let workers = jobs.0.cards().into_iter().map(|seen| WorkerAnswer {
        name: seen.card.name,
        kernel: seen.card.kernel,
        threads: seen.card.threads,
        jobs_done: seen.card.jobs_done,
        seen_seconds_ago: (seen.ago.as_secs_f64() * 1e3).round() / 1e3,
    });
    web::Json(WorkersAnswer {
        taking_jobs: jobs.0.workers(),
        workers: workers.collect(),
    })
}
