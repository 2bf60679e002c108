//! What this instance is doing: rates, freshness, jobs, workers and partitions; as one answer and
//! as a stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpResponse, get, web};
use bytes::Bytes;
use futures_util::stream;
use kindred_api::activity::{
    Activity, ActivityEvent, DomainCounts, Jobs, PartitionAnswer, Refused,
};
use kindred_api::problem::ProblemKind;
use kindred_api::worker::{WorkerAnswer, WorkersAnswer};
use tokio::time::{Interval, MissedTickBehavior, interval};
use utoipa_actix_web::service_config::ServiceConfig;

use super::error::Error;
use super::openapi;
use super::parts::{Lobby, Part, Reads, Workers};
use super::pulse::{self, Open, Sample};
use super::time::{now_ms, rfc3339_ms};
use crate::metrics::{Metrics, counted};
use crate::owners::OwnerLocation;

/// How often a stream sends an event.
const EVERY: Duration = Duration::from_secs(2);
/// How long a stream lasts; clients that continue reconnect.
const LASTS: Duration = Duration::from_secs(600);
/// When to retry while too many streams are open, in seconds.
const RETRY_S: u32 = 5;
/// Prefix of the reasons that mean the service is ending.
const STOPPING: &str = "service:";

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(get).service(follow);
}

/// Samples the metrics for the life of the process.
pub(crate) async fn keep_sampling(lobby: Arc<Lobby>, metrics: Arc<Metrics>) {
    let mut turn = interval(pulse::EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        lobby.pulse.sample(Sample::of(&metrics, Instant::now()));
    }
}

/// What this instance is doing.
///
/// Rates and freshness cover the last five minutes. In a cluster every instance reports about
/// itself; partitions are those of all instances.
#[utoipa::path(operation_id = "get_activity", tag = "service", responses(
    (status = 200, description = "Rates, freshness, jobs, workers and partitions.", body = Activity),
    (status = 503, response = openapi::NotReady),
))]
#[get("/v1/activity")]
async fn get(
    lobby: web::Data<Lobby>,
    metrics: web::Data<Metrics>,
    reads: Part<Reads>,
    jobs: Part<Workers>,
) -> web::Json<Activity> {
    web::Json(activity(&lobby, &metrics, &reads, &jobs).await)
}

/// The same every two seconds, as server-sent events.
///
/// Events are named `activity`, and their data is the answer of `/v1/activity` as JSON. A stream
/// ends after ten minutes; a browser's `EventSource` reconnects by itself. At most 64 streams may
/// be open at once.
#[utoipa::path(operation_id = "follow_activity", tag = "service", responses(
    (status = 200, description = "A stream of such events.", body = ActivityEvent, content_type = "text/event-stream",
     example = json!({"event": "activity", "data": "{\"at\":\"2026-11-23T09:00:00.410Z\"}"})),
    (status = 429, response = openapi::Busy),
    (status = 503, response = openapi::NotReady),
))]
#[get("/v1/activity/stream")]
async fn follow(
    lobby: web::Data<Lobby>,
    metrics: web::Data<Metrics>,
    reads: Part<Reads>,
    jobs: Part<Workers>,
) -> Result<HttpResponse, Error> {
    let Some(open) = lobby.pulse.open() else {
        let detail = "Too many activity streams are open. Try again in a moment, or request \
            /v1/activity.";
        return Err(Error::new(ProblemKind::Busy, detail).retry_after(RETRY_S));
    };
    let following = Following {
        lobby,
        metrics,
        reads,
        jobs,
        turn: interval(EVERY),
        until: Instant::now() + LASTS,
        _open: open,
    };
    let events = stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok::<_, Infallible>(event), following))
    });
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, kind))
        // Proxies must not buffer the stream.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(Box::pin(events)))
}

/// The state of a stream.
struct Following {
    lobby: web::Data<Lobby>,
    metrics: web::Data<Metrics>,
    reads: Part<Reads>,
    jobs: Part<Workers>,
    turn: Interval,
    until: Instant,
    _open: Open,
}

impl Following {
    /// The next event; `None`: the stream has ended.
    async fn next(&mut self) -> Option<Bytes> {
        self.turn.tick().await;
        let is_stopping = || {
            let reasons = self.lobby.readiness.reasons();
            reasons.iter().any(|reason| reason.starts_with(STOPPING))
        };
        if Instant::now() >= self.until || is_stopping() {
            return None;
        }
        let activity = activity(&self.lobby, &self.metrics, &self.reads, &self.jobs).await;
        let data = serde_json::to_string(&activity).ok()?;
        Some(Bytes::from(format!("event: activity\ndata: {data}\n\n")))
    }
}

async fn activity(lobby: &Lobby, metrics: &Metrics, reads: &Reads, jobs: &Workers) -> Activity {
    metrics.look();
    let rates = lobby.pulse.rates(&Sample::of(metrics, Instant::now()));
    let refused = counted(&metrics.events_refused).into_iter();
    let refused = refused.filter(|one| one.count > 0.0).map(|one| Refused {
        reason: one.labels.join(" "),
        events: one.count as u64,
    });
    let dispatched = |task: &str| metrics.jobs_dispatched.with_label_values(&[task]).get();
    Activity {
        at: rfc3339_ms(now_ms()),
        over_seconds: rates.over.as_secs_f64(),
        events_per_second: rates.events,
        events_history: rates.history,
        queries_per_second: rates.queries,
        pairs_per_second: rates.pairs,
        freshness: rates.freshness,
        refused: refused.collect(),
        pending: count(metrics.items_pending.get()),
        oldest_pending_seconds: metrics.oldest_pending.get(),
        domains: DomainCounts {
            active: count(metrics.domains_active.get()),
            waiting: count(metrics.domains_waiting.get()),
            dirty: count(metrics.domains_dirty.get()),
            backing_off: count(metrics.domains_backing_off.get()),
        },
        jobs: Jobs {
            in_flight: count(metrics.jobs_in_flight.get()),
            extract: dispatched("extract"),
            compare: dispatched("compare"),
            overdue: metrics.jobs_overdue.get(),
            failed: metrics.jobs_failed.get(),
            done_here: metrics.jobs_done_here.get() > 0,
        },
        queries_waiting: count(metrics.scans_waiting.get()),
        memory_bytes: count(metrics.memory.get()),
        memory_budget_bytes: count(metrics.memory_budget.get()),
        degraded: lobby.readiness.degraded(),
        workers: workers(jobs),
        partitions: partitions(reads).await,
    }
}

/// A gauge's value as a count.
fn count(gauge: i64) -> u64 {
    u64::try_from(gauge).unwrap_or(0)
}

/// The compute workers that reported recently.
pub(super) fn workers(jobs: &Workers) -> WorkersAnswer {
    let workers = jobs.0.cards().into_iter().map(|seen| WorkerAnswer {
        name: seen.card.name,
        kernel: seen.card.kernel,
        threads: seen.card.threads,
        jobs_done: seen.card.jobs_done,
        seen_seconds_ago: (seen.ago.as_secs_f64() * 1e3).round() / 1e3,
    });
    WorkersAnswer {
        taking_jobs: jobs.0.workers(),
        workers: workers.collect(),
    }
}

async fn partitions(reads: &Reads) -> Vec<PartitionAnswer> {
    let mut partitions = Vec::new();
    for partition in reads.owners.partitions() {
        // While the store cannot be read, no owner is known.
        let whose = reads
            .owners
            .of_partition(partition)
            .await
            .unwrap_or(OwnerLocation::Unowned);
        let (here, owner) = match whose {
            OwnerLocation::Local => (true, Some(reads.address.clone())),
            OwnerLocation::Remote(address) => (false, Some(address)),
            OwnerLocation::Unowned => (false, None),
        };
        partitions.push(PartitionAnswer {
            partition: partition.0,
            here,
            owner,
        });
    }
    partitions
}
