//! The one function that answers every request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, SecondsFormat, Utc};
use kindred_shared::event::{Event, Limits, MAX_VERSION, Refusal};

use super::address::Address;
use super::health::Readiness;
use super::owners::{Owners, Whose, is_proxied, unowned};
use super::problem::Problem;
use super::{batch, body, domains, health, items, openapi, similar, workers};
use crate::metrics::Metrics;
use kindred_domain::dispatch::Jobs;
use kindred_domain::intake::{Confirm, Publish, PublishError};
use kindred_domain::store::Store;
use kindred_query::Views;

/// How long a write waits to be let in, and again to be durable.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(120);

/// What the answers are made of.
pub struct Api {
    /// The way in.
    pub publish: Arc<dyn Publish>,
    /// What is durable.
    pub store: Arc<dyn Store>,
    /// What readers of active domains see.
    pub views: Arc<Views>,
    /// Where requests are counted; also what `/metrics` answers.
    pub metrics: Arc<Metrics>,
    /// What an event may measure.
    pub limits: Limits,
    /// What `/readyz` answers.
    pub readiness: Arc<Readiness>,
    /// Who owns what this process does not.
    pub(crate) owners: Owners,
    /// Where jobs go: knows the workers.
    pub(crate) jobs: Arc<dyn Jobs>,
    versions: VersionClock,
}

impl Api {
    /// An API of these parts.
    #[allow(clippy::too_many_arguments)] // each is one part, and named where it is made
    pub fn new(
        publish: Arc<dyn Publish>,
        store: Arc<dyn Store>,
        views: Arc<Views>,
        metrics: Arc<Metrics>,
        limits: Limits,
        readiness: Arc<Readiness>,
        owners: Owners,
        jobs: Arc<dyn Jobs>,
    ) -> Self {
        Self {
            publish,
            store,
            views,
            metrics,
            limits,
            readiness,
            owners,
            jobs,
            versions: VersionClock::default(),
        }
    }

    /// Gives an event a version if its publisher sent none. Returns the version.
    pub(crate) fn stamp(&self, event: &mut Event) -> u64 {
        let version = match event {
            Event::Upsert(upsert) => &mut upsert.version,
            Event::Delete(delete) => &mut delete.version,
        };
        *version.get_or_insert_with(|| self.versions.at(now_ms()))
    }

    /// Hands an event over, waiting for room no longer than the deadline.
    pub(crate) async fn hand_over(&self, event: Event) -> Result<Confirm, PublishError> {
        tokio::time::timeout(CONFIRM_DEADLINE, self.publish.publish(event))
            .await
            .unwrap_or_else(|_| Err(late("there was no room for it")))
    }

    /// Counts a refusal of an event that was not handed over.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.metrics
            .events_refused
            .with_label_values(&[refusal.reason.word()])
            .inc();
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Waits until an event is durable, no longer than the deadline.
pub(crate) async fn confirmed(confirm: Confirm) -> Result<(), PublishError> {
    tokio::time::timeout(CONFIRM_DEADLINE, confirm)
        .await
        .unwrap_or_else(|_| Err(late("nobody said whether it was stored")))
}

fn late(what: &str) -> PublishError {
    PublishError::Away(format!("{what} within {} s", CONFIRM_DEADLINE.as_secs()))
}

/// Versions for events without one: now in ms, never less than one given before, so that a step
/// back of the clock cannot make a later event of this process look older.
#[derive(Debug, Default)]
struct VersionClock(AtomicU64);

impl VersionClock {
    fn at(&self, now_ms: i64) -> u64 {
        let now = u64::try_from(now_ms).unwrap_or(0).min(MAX_VERSION);
        self.0.fetch_max(now, Ordering::Relaxed).max(now)
    }
}

/// Now in ms since 1970.
pub(crate) fn now_ms() -> i64 {
    Utc::now().timestamp_millis()
}

/// A point in time as answers write it: RFC 3339, UTC, ms.
pub(crate) fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A point in time in ms since 1970 as answers write it.
pub(crate) fn rfc3339_ms(at: i64) -> String {
    rfc3339(DateTime::from_timestamp_millis(at).unwrap_or_default())
}

/// All routes, for [`actix_web::App::configure`]. The app's data must hold a `web::Data<Api>`.
pub fn routes(config: &mut web::ServiceConfig) {
    config.default_service(web::to(answer));
}

async fn answer(request: HttpRequest, body: web::Payload, api: web::Data<Api>) -> HttpResponse {
    let started = Instant::now();
    let address = Address::parse(request.uri().path());
    let route = address.as_ref().map_or("unknown", Address::route);
    let answered = match address {
        Ok(address) => dispatch(&api, &request, body, address).await,
        Err(problem) => Err(problem),
    };
    let mut response = answered.unwrap_or_else(|problem| problem.response());
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A cache in between could show what is gone.
    insert_default(headers, CACHE_CONTROL, "no-store");
    api.metrics
        .http_request
        .with_label_values(&[
            route,
            method_label(request.method()),
            response.status().as_str(),
        ])
        .observe(started.elapsed().as_secs_f64());
    response
}

fn insert_default(
    headers: &mut actix_web::http::header::HeaderMap,
    name: HeaderName,
    value: &'static str,
) {
    if !headers.contains_key(&name) {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Whoever sends a request chooses its method, so other words do not become label values.
fn method_label(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::PUT | Method::POST | Method::DELETE => method.as_str(),
        _ => "other",
    }
}

async fn dispatch(
    api: &Api,
    request: &HttpRequest,
    payload: web::Payload,
    address: Address,
) -> Result<HttpResponse, Problem> {
    let query = request.query_string();
    if let Some(answer) = of_owner(api, request, &address).await? {
        return Ok(answer);
    }
    match (address, request.method()) {
        (Address::Index, &Method::GET | &Method::HEAD) => Ok(openapi::index()),
        (Address::Health, &Method::GET | &Method::HEAD) => Ok(health::healthz()),
        (Address::Ready, &Method::GET | &Method::HEAD) => health::readyz(api),
        (Address::Metrics, &Method::GET | &Method::HEAD) => Ok(health::metrics(api)),
        (Address::OpenApi, &Method::GET | &Method::HEAD) => Ok(openapi::openapi_json()),
        (Address::Domains, &Method::GET | &Method::HEAD) => {
            domains::list(api, is_proxied(request.headers())).await
        }
        (Address::Workers, &Method::GET | &Method::HEAD) => Ok(workers::list(api)),
        (Address::Domain(domain), &Method::GET | &Method::HEAD) => domains::get(api, domain).await,
        (Address::Item(domain, id), &Method::GET | &Method::HEAD) => {
            items::get(api, domain, id).await
        }
        (Address::Item(domain, id), &Method::PUT) => {
            let (encoding, length) = body::announced(request)?;
            items::put(api, domain, id, payload, encoding, length).await
        }
        (Address::Item(domain, id), &Method::DELETE) => items::delete(api, domain, id, query).await,
        (Address::Similar(domain, id), &Method::GET | &Method::HEAD) => {
            similar::get(api, domain, id, query).await
        }
        (Address::Batch(domain), &Method::POST) => {
            let (encoding, length) = body::announced(request)?;
            batch::post(api, domain, payload, encoding, length).await
        }
        (address, method) => Err(address.not_allowed(method)),
    }
}

/// The answer of a domain's owner, where only the owner knows and it is another. What was asked
/// by another model service is asked no further.
async fn of_owner(
    api: &Api,
    request: &HttpRequest,
    address: &Address,
) -> Result<Option<HttpResponse>, Problem> {
    let (Address::Domain(domain) | Address::Item(domain, _)) = address else {
        return Ok(None);
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(None);
    }
    match api.owners.of_domain(domain).await? {
        Whose::Ours => Ok(None),
        Whose::Theirs(owner) if !is_proxied(request.headers()) => {
            let path = request.uri().path();
            Ok(Some(api.owners.ask(&owner, path).await?.response()))
        }
        Whose::Theirs(_) | Whose::Nobody => Err(unowned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_never_fall_back() {
        let clock = VersionClock::default();
        assert_eq!(clock.at(1_000), 1_000);
        assert_eq!(clock.at(900), 1_000, "the clock was set back");
        assert_eq!(clock.at(1_001), 1_001);
        assert_eq!(clock.at(-5), 1_001);
        assert_eq!(clock.at(i64::MAX), MAX_VERSION);
    }

    #[test]
    fn points_in_time_are_utc_with_ms() {
        assert_eq!(rfc3339_ms(1_795_424_400_007), "2026-11-23T09:00:00.007Z");
    }
}
