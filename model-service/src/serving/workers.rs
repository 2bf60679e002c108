//! Compute workers: which there are, and what they said of themselves.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::Api;

/// A compute worker, as it told of itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerAnswer {
    /// Its name: host and process.
    #[schema(example = "box-7-4711")]
    name: String,
    /// The kernel it compares with.
    #[schema(example = "avx512vnni")]
    kernel: String,
    /// Its threads.
    #[schema(example = 8)]
    threads: u32,
    /// Jobs it has done since it started.
    #[schema(example = 1_204)]
    jobs_done: u64,
    /// How long ago it was heard of, in seconds.
    #[schema(example = 0.4)]
    seen_seconds_ago: f64,
}

/// The compute workers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkersAnswer {
    /// Workers that take jobs now, as the broker counts them.
    #[schema(example = 2)]
    taking_jobs: usize,
    /// Those heard of lately, by name.
    workers: Vec<WorkerAnswer>,
}

/// The compute workers heard of lately.
#[utoipa::path(get, path = "/v1/workers", operation_id = "list_workers", tag = "service", responses(
    (status = 200, description = "Workers that take jobs, and what they said of themselves.", body = WorkersAnswer),
))]
pub(crate) fn list(api: &Api) -> HttpResponse {
    let workers = api.jobs.cards().into_iter().map(|seen| WorkerAnswer {
        name: seen.card.name,
        kernel: seen.card.kernel,
        threads: seen.card.threads,
        jobs_done: seen.card.jobs_done,
        seen_seconds_ago: (seen.ago.as_secs_f64() * 1e3).round() / 1e3,
    });
    HttpResponse::Ok().json(WorkersAnswer {
        taking_jobs: api.jobs.workers(),
        workers: workers.collect(),
    })
}
