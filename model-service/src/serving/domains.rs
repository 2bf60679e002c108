//! Domains: which there are, and how they fare.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use actix_web::HttpResponse;
use futures_util::future::join_all;
use kindred_shared::{DomainName, ModelName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::{Api, rfc3339};
use super::owners::Whose;
use super::problem::Problem;
use kindred_domain::store::{DomainRow, Partition};

/// State of a domain that is not loaded.
const ASLEEP: &str = "asleep";
/// State of a domain whose partition has no owner now, or one that does not answer.
const UNOWNED: &str = "unowned";
/// Where owners are asked for all of their domains.
const DOMAINS: &str = "/v1/domains";

/// A domain and how it fares.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct DomainAnswer {
    /// Its name.
    #[schema(value_type = String, example = "news.example")]
    domain: DomainName,
    /// Its active model.
    #[schema(value_type = String, example = "words-1")]
    model: ModelName,
    /// `asleep` (not loaded: nothing happens), `loading`, `idle`, `collecting`, `extracting`,
    /// `comparing`, `storing` or `backing-off`; `unowned`: no model service answers for it now.
    #[schema(value_type = String, example = "idle")]
    state: Cow<'static, str>,
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
            state: status.state.word().into(),
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
            state: ASLEEP.into(),
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
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct DomainsAnswer {
    /// By name.
    domains: Vec<DomainAnswer>,
}

/// Every domain.
#[utoipa::path(get, path = "/v1/domains", operation_id = "list_domains", tag = "domains", responses(
    (status = 200, description = "Every registered domain, by name.", body = DomainsAnswer),
    (status = 503, response = crate::serving::openapi::Unavailable),
))]
pub(crate) async fn list(api: &Api, is_proxied: bool) -> Result<HttpResponse, Problem> {
    let mut rows = api.store.domains().await?;
    rows.sort_unstable_by(|a, b| a.domain.cmp(&b.domain));
    let mut told = if is_proxied {
        HashMap::new()
    } else {
        told_by_owners(api, &rows).await?
    };
    let domains = rows
        .into_iter()
        .map(|row| match told.remove(&row.domain) {
            Some(told) => told,
            None => describe(api, row),
        })
        .collect();
    Ok(HttpResponse::Ok().json(DomainsAnswer { domains }))
}

/// What their owners say of the domains that are not ours. Without an owner, or where it does not
/// answer, a domain is [`UNOWNED`].
async fn told_by_owners(
    api: &Api,
    rows: &[DomainRow],
) -> Result<HashMap<DomainName, DomainAnswer>, Problem> {
    let partitions: BTreeSet<Partition> = rows.iter().map(|row| Partition(row.partition)).collect();
    let mut owners: BTreeMap<Partition, Option<String>> = BTreeMap::new();
    for partition in partitions {
        match api.owners.of_partition(partition).await? {
            Whose::Ours => {}
            Whose::Theirs(address) => {
                owners.insert(partition, Some(address));
            }
            Whose::Nobody => {
                owners.insert(partition, None);
            }
        }
    }
    let addresses: BTreeSet<&String> = owners.values().flatten().collect();
    let answers = addresses.into_iter().map(|address| async move {
        let answered = api.owners.ask(address, DOMAINS).await.ok()?;
        let answered = answered.is_success().then_some(answered)?;
        let told: DomainsAnswer = serde_json::from_slice(&answered.body).ok()?;
        Some((address, told.domains))
    });
    let mut by_address: HashMap<&String, HashMap<DomainName, DomainAnswer>> = HashMap::new();
    for (address, domains) in join_all(answers).await.into_iter().flatten() {
        let by_name = domains.into_iter().map(|told| (told.domain.clone(), told));
        by_address.insert(address, by_name.collect());
    }
    let mut told = HashMap::new();
    for row in rows {
        let Some(owner) = owners.get(&Partition(row.partition)) else {
            continue;
        };
        let answer = owner
            .as_ref()
            .and_then(|address| by_address.get_mut(address)?.remove(&row.domain))
            .unwrap_or_else(|| DomainAnswer {
                state: UNOWNED.into(),
                ..describe(api, row.clone())
            });
        told.insert(row.domain.clone(), answer);
    }
    Ok(told)
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
