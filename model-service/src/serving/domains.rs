//! Domains: which there are, and how they fare.

use actix_web::HttpResponse;
use kindred_shared::DomainName;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::{Api, rfc3339};
use super::problem::Problem;
use crate::store::DomainRow;

/// State of a domain that is not loaded.
const ASLEEP: &str = "asleep";
/// State of a domain whose machine has not said anything yet.
const LOADING: &str = "loading";

/// A domain and how it fares.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DomainAnswer {
    /// Its name.
    #[schema(value_type = String, example = "news.example")]
    domain: DomainName,
    /// Its active model.
    #[schema(example = "words-1")]
    model: String,
    /// `asleep` (not loaded: nothing happens), `loading`, `idle`, `collecting`, `extracting`,
    /// `comparing`, `storing` or `backing-off`.
    #[schema(example = "idle")]
    state: &'static str,
    /// No event, open window, job or dirty mark: every list is exact and stored.
    quiet: bool,
    /// Live items.
    #[schema(example = 5000)]
    live: u64,
    /// Visible items: live, not hidden, not expired.
    #[schema(example = 4990)]
    visible: u64,
    /// Items accepted whose lists are still to be made.
    #[schema(example = 0)]
    pending: u64,
    /// When it was registered.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.000Z")]
    registered_at: String,
    /// What keeps it from going on, if something does. It tries again by itself.
    trouble: Option<String>,
}

fn describe(api: &Api, row: DomainRow) -> DomainAnswer {
    let view = api.views.get(&row.domain);
    let status = view.map(|view| view.status());
    let registered_at = rfc3339(row.registered_at);
    match status {
        Some(status) => DomainAnswer {
            domain: row.domain,
            model: row.model,
            state: if status.state.is_empty() {
                LOADING
            } else {
                status.state
            },
            quiet: status.quiet,
            live: status.live,
            visible: status.visible,
            pending: status.pending,
            registered_at,
            trouble: status.trouble,
        },
        None => DomainAnswer {
            domain: row.domain,
            model: row.model,
            state: ASLEEP,
            // Dirty and not loaded: only right after a start, until it is its turn.
            quiet: row.dirty.is_none(),
            live: row.live,
            visible: row.visible,
            pending: 0,
            registered_at,
            trouble: None,
        },
    }
}

/// Every registered domain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DomainsAnswer {
    /// By name.
    domains: Vec<DomainAnswer>,
}

/// Every domain.
#[utoipa::path(get, path = "/v1/domains", operation_id = "list_domains", tag = "domains", responses(
    (status = 200, description = "Every registered domain, by name.", body = DomainsAnswer),
    (status = 503, response = crate::serving::openapi::Unavailable),
))]
pub(crate) async fn list(api: &Api) -> Result<HttpResponse, Problem> {
    let mut rows = api.store.domains().await?;
    rows.sort_unstable_by(|a, b| a.domain.cmp(&b.domain));
    let domains: Vec<DomainAnswer> = rows.into_iter().map(|row| describe(api, row)).collect();
    Ok(HttpResponse::Ok().json(DomainsAnswer { domains }))
}

/// One domain.
#[utoipa::path(get, path = "/v1/domains/{domain}", operation_id = "get_domain", tag = "domains",
    params(("domain" = String, Path, description = "The domain: `[A-Za-z0-9._-]{1,128}`.", example = "news.example")),
    responses(
        (status = 200, description = "The domain.", body = DomainAnswer),
        (status = 400, response = crate::serving::openapi::BadRequest),
        (status = 404, response = crate::serving::openapi::NotFound),
        (status = 503, response = crate::serving::openapi::Unavailable),
    ))]
pub(crate) async fn get(api: &Api, domain: DomainName) -> Result<HttpResponse, Problem> {
    match api.store.domain(&domain).await? {
        Some(row) => Ok(HttpResponse::Ok().json(describe(api, row))),
        None => Err(Problem::unknown_domain()),
    }
}
