//! Domains: the list of them, and their state.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use actix_web::{HttpRequest, HttpResponse, get, web};
use futures_util::future::join_all;
use kindred_api::activity::Freshness;
use kindred_api::domain::{DomainAnswer, DomainState, DomainsAnswer, Recent, Settings};
use kindred_api::path::DOMAINS;
use kindred_query::recent::{self, Summary};
use kindred_shared::DomainName;
use utoipa_actix_web::service_config::ServiceConfig;

use super::access::Asker;
use super::error::Error;
use super::openapi;
use super::parts::{Part, Reads};
use super::path::{InDomain, InPath};
use super::relay::is_proxied;
use super::time::rfc3339;
use crate::owners::OwnerLocation;
use kindred_domain::settings::DomainSettings;
use kindred_domain::status;
use kindred_domain::store::{DomainRow, Partition};

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(list).service(get);
}

/// A domain as this process knows it; `owner`: the address of its partition's owner.
fn describe(reads: &Reads, row: DomainRow, owner: Option<String>) -> DomainAnswer {
    let view = reads.views.get(&row.domain);
    let status = view.as_ref().map(|view| view.status());
    let snapshot = view.as_ref().map(|view| view.snapshot());
    let name = snapshot.and_then(|seen| seen.as_ref()?.name().cloned());
    let model = name.unwrap_or_else(|| row.model.clone());
    let registered_at = rfc3339(row.registered_at);
    let now = reads.clock.now().monotonic;
    let damaged = reads.store.damaged(&row.domain).in_words(&row.domain);
    match status {
        Some(status) => DomainAnswer {
            domain: row.domain,
            model,
            partition: row.partition,
            owner,
            oldest_pending_seconds: status.oldest_pending_age(now).map(|age| age.as_secs_f64()),
            state: state(status.state),
            quiet: status.quiet,
            live: status.live,
            visible: status.visible,
            pending: status.pending,
            recent: view.as_ref().map(|view| recent(view.recently(now))),
            registered_at,
            trouble: match (status.trouble, damaged) {
                (Some(trouble), Some(damaged)) => Some(format!("{trouble}; {damaged}")),
                (trouble, damaged) => trouble.or(damaged),
            },
            settings: None,
        },
        None => DomainAnswer {
            domain: row.domain,
            model,
            partition: row.partition,
            owner,
            oldest_pending_seconds: None,
            state: DomainState::Asleep,
            // Dirty and not loaded: only right after a start, until it is its turn.
            quiet: row.dirty.is_none(),
            live: row.live,
            visible: row.visible,
            pending: 0,
            recent: None,
            registered_at,
            trouble: damaged,
            settings: None,
        },
    }
}

fn recent(seen: Summary) -> Recent {
    Recent {
        over_seconds: recent::OVER.as_secs_f64(),
        events: seen.events,
        freshness: (seen.served > 0).then_some(Freshness {
            p50_seconds: seen.p50,
            p99_seconds: seen.p99,
            events: seen.served,
        }),
    }
}

fn state(state: status::LoadedState) -> DomainState {
    match state {
        status::LoadedState::Loading => DomainState::Loading,
        status::LoadedState::Idle => DomainState::Idle,
        status::LoadedState::Collecting => DomainState::Collecting,
        status::LoadedState::Extracting => DomainState::Extracting,
        status::LoadedState::Comparing => DomainState::Comparing,
        status::LoadedState::Storing => DomainState::Storing,
        status::LoadedState::BackingOff => DomainState::BackingOff,
        status::LoadedState::Lost => DomainState::Lost,
    }
}

/// Every domain; with a key, those for which it has a grant.
#[utoipa::path(operation_id = "list_domains", tag = "domains", responses(
    (status = 200, description = "Every registered domain, by name.", body = DomainsAnswer),
    (status = 503, response = openapi::Unavailable),
))]
#[get("/v1/domains")]
async fn list(
    reads: Part<Reads>,
    asker: Asker,
    request: HttpRequest,
) -> Result<web::Json<DomainsAnswer>, Error> {
    let mut rows = reads.store.domains().await?;
    rows.retain(|row| row.is_there() && asker.knows(&row.domain));
    rows.sort_unstable_by(|a, b| a.domain.cmp(&b.domain));
    let mut told = if is_proxied(request.headers()) {
        HashMap::new()
    } else {
        told_by_owners(&reads, &rows).await?
    };
    let domains = rows
        .into_iter()
        .map(|row| match told.remove(&row.domain) {
            Some(told) => told,
            None => describe(&reads, row, Some(reads.address.clone())),
        })
        .collect();
    Ok(web::Json(DomainsAnswer { domains }))
}

/// What owners report about domains that are not owned here. Without an owner, or if it does not
/// answer, a domain is [`DomainState::Unowned`].
async fn told_by_owners(
    reads: &Reads,
    rows: &[DomainRow],
) -> Result<HashMap<DomainName, DomainAnswer>, Error> {
    let partitions: BTreeSet<Partition> = rows.iter().map(|row| Partition(row.partition)).collect();
    let mut owners: BTreeMap<Partition, Option<String>> = BTreeMap::new();
    for partition in partitions {
        match reads.owners.of_partition(partition).await? {
            OwnerLocation::Local => {}
            OwnerLocation::Remote(address) => {
                owners.insert(partition, Some(address));
            }
            OwnerLocation::Unowned => {
                owners.insert(partition, None);
            }
        }
    }
    let addresses: BTreeSet<&String> = owners.values().flatten().collect();
    let answers = addresses.into_iter().map(|address| async move {
        let answered = reads.relay.ask(address, DOMAINS).await.ok()?;
        let answered = answered.is_success().then_some(answered)?;
        let told: DomainsAnswer = answered.json().ok()?;
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
                state: DomainState::Unowned,
                ..describe(reads, row.clone(), owner.clone())
            });
        // An older version does not report these fields.
        let answer = DomainAnswer {
            partition: row.partition,
            owner: owner.clone(),
            ..answer
        };
        told.insert(row.domain.clone(), answer);
    }
    Ok(told)
}

/// One domain.
#[utoipa::path(operation_id = "get_domain", tag = "domains", params(InDomain),
    responses(
        (status = 200, description = "The domain.", body = DomainAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::Unavailable),
    ))]
#[get("/v1/domains/{domain}")]
async fn get(
    path: InPath<InDomain>,
    reads: Part<Reads>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let domain = path.0.domain;
    if let Some(answer) = reads
        .relay
        .of_owner(&reads.owners, &request, &domain)
        .await?
    {
        return Ok(answer);
    }
    Ok(HttpResponse::Ok().json(describe_whole(&reads, &domain).await?))
}

/// A domain with its settings.
pub(super) async fn describe_whole(
    reads: &Reads,
    domain: &DomainName,
) -> Result<DomainAnswer, Error> {
    let Some(row) = reads.registered(domain).await? else {
        return Err(Error::unknown_domain());
    };
    let set = reads.store.settings(domain).await?;
    let owner = match reads.owners.of_partition(Partition(row.partition)).await? {
        OwnerLocation::Local => Some(reads.address.clone()),
        OwnerLocation::Remote(address) => Some(address),
        OwnerLocation::Unowned => None,
    };
    let set = set.unwrap_or_default();
    // The settings take precedence: the domain's row follows them.
    let kind = set.settings.model.as_ref().unwrap_or(&row.model);
    let model = set.models.active(kind).clone();
    Ok(DomainAnswer {
        model,
        settings: Some(Box::new(shown(set.settings))),
        ..describe(reads, row, owner)
    })
}

/// The settings in an answer; the model is shown with the domain.
fn shown(settings: DomainSettings) -> Settings {
    Settings {
        languages: settings.languages,
        default_language: settings.default_language,
        across_languages: settings.across_languages,
        window: settings
            .window
            .map(|window| humantime::format_duration(window).to_string()),
        near_duplicate: settings.near_duplicate,
        origins: settings.origins,
        max_age: settings.max_age,
        defaults: settings.defaults,
        public: settings.public,
        max_items: settings.max_items,
        max_events_per_second: settings.max_events_per_second,
        max_text: settings.max_text,
    }
}
