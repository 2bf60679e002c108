//! What is similar to an item.

use std::collections::HashMap;
use std::iter;

use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, get};
use chrono::{DateTime, Utc};
use kindred_api::problem::Kind;
use kindred_api::similar::{DEFAULT_LIMIT, SimilarAnswer, SimilarItem};
use kindred_shared::{DomainName, ItemId, ModelName};
use utoipa_actix_web::service_config::ServiceConfig;

use super::error::Error;
use super::openapi;
use super::parts::{Part, Reads};
use super::path::{InPath, OfItem};
use super::query::{Given, InQuery, Parameters};
use super::standing::is_visible;
use super::time::{now_ms, rfc3339, rfc3339_ms};
use kindred_domain::list::{KEEP, NEIGHBOURS};
use kindred_domain::store::{ItemRow, Neighbour, newest_feature};
use kindred_query::DomainView;

/// When to ask again for a list that is being made, in seconds.
const RETRY_S: &str = "1";

/// What of the list is asked for.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct SimilarQuery {
    /// At most so many: 1 to 50; 10 if left out.
    #[param(minimum = 1, maximum = 50, example = 10)]
    limit: Option<u64>,
}

impl Parameters for SimilarQuery {
    fn read(given: &Given) -> Result<Self, Error> {
        let invalid = || {
            Error::new(
                Kind::InvalidParameter,
                format!(
                    "limit is one whole number of 1 to {NEIGHBOURS}; without it {DEFAULT_LIMIT}."
                ),
            )
            .field("limit")
        };
        let limit = given.whole_number("limit", 1..=NEIGHBOURS as u64, invalid)?;
        Ok(Self { limit })
    }
}

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(get);
}

/// The items most similar to one.
///
/// Exact: no visible item of the domain with the same language that is left out has a higher
/// score. Deleted, hidden and expired items are in no answer. While an item's first list is being
/// made, the answer is empty, `as_of` is null, and `Retry-After` says when to ask again.
#[utoipa::path(operation_id = "get_similar", tag = "items", params(OfItem, SimilarQuery),
    responses(
        (status = 200, description = "The neighbours, best first.", body = SimilarAnswer,
         headers(("Retry-After" = u32, description = "Only while the first list is being made: when to ask again, in seconds.")),
         example = json!({"domain": "news.example", "id": "a-17", "model": "words-1", "as_of": "2026-11-23T09:00:00.410Z", "similar": [{"id": "a-9", "score": 0.731_445_3, "title": "Sleeper to the coast", "url": "https://news.example/a-9"}]})),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::Unavailable),
    ))]
#[get("/v1/domains/{domain}/items/{id}/similar")]
async fn get(
    path: InPath<OfItem>,
    query: InQuery<SimilarQuery>,
    reads: Part<Reads>,
) -> Result<HttpResponse, Error> {
    let InPath(OfItem { domain, id }) = path;
    let limit = query.0.limit.map_or(DEFAULT_LIMIT, |limit| limit as usize);
    let view = reads.views.get(&domain).filter(|view| view.is_loaded());
    let found = match view {
        Some(view) => from_view(&reads, &domain, &id, limit, &view).await?,
        None => from_store(&reads, &domain, &id, limit).await?,
    };
    let Some(found) = found else {
        return Err(match reads.store.domain(&domain).await? {
            Some(_) => Error::unknown_item(),
            None => Error::unknown_domain(),
        });
    };
    let model = match found.model {
        Some(model) => model,
        None => model_of(&reads, &domain, &id).await?,
    };
    let mut response = HttpResponse::Ok();
    if found.as_of.is_none() {
        response.insert_header((RETRY_AFTER, RETRY_S));
    }
    Ok(response.json(SimilarAnswer {
        domain,
        id,
        model,
        as_of: found.as_of,
        similar: found.similar,
    }))
}

/// A visible item's answer.
struct Found {
    /// `None`: not told by what answered.
    model: Option<ModelName>,
    as_of: Option<String>,
    similar: Vec<SimilarItem>,
}

/// The item's model: its feature's, else its domain's.
async fn model_of(reads: &Reads, domain: &DomainName, id: &ItemId) -> Result<ModelName, Error> {
    let Some(row) = reads.store.domain(domain).await? else {
        return Err(Error::unknown_domain());
    };
    let newest = newest_feature(&*reads.store, domain, &row.model, id).await?;
    Ok(newest.map_or(row.model, |stamp| stamp.space.model()))
}

/// Of an active domain: lists from its view, titles from the store. `None`: not visible.
async fn from_view(
    reads: &Reads,
    domain: &DomainName,
    id: &ItemId,
    limit: usize,
    view: &DomainView,
) -> Result<Option<Found>, Error> {
    let listed = view.similar(id, KEEP, now_ms());
    let (neighbours, as_of) = match listed {
        Some(listed) => (listed.neighbours, Some(rfc3339_ms(listed.as_of))),
        None => (Vec::new(), None),
    };
    // The view forgets what is gone at once, so one read is enough but for a race.
    let mut rest = neighbours.as_slice();
    let mut similar = Vec::with_capacity(limit);
    let mut first = true;
    while first || (similar.len() < limit && !rest.is_empty()) {
        let (asked, later) = rest.split_at(rest.len().min(limit - similar.len()));
        let Some(rows) = visible_rows(reads, domain, id, asked).await? else {
            return Ok(None);
        };
        similar.extend(titled(asked, rows));
        rest = later;
        first = false;
    }
    Ok(Some(Found {
        model: None,
        as_of,
        similar,
    }))
}

/// Of a domain that sleeps or is loading: stored list, then the rows of the item and its
/// neighbours, leaving out what is not visible. `None`: not visible.
async fn from_store(
    reads: &Reads,
    domain: &DomainName,
    id: &ItemId,
    limit: usize,
) -> Result<Option<Found>, Error> {
    let list = reads.store.list(domain, id).await?;
    let neighbours = list.as_ref().map_or(&[][..], |list| &list.neighbours);
    let Some(rows) = visible_rows(reads, domain, id, neighbours).await? else {
        return Ok(None);
    };
    let similar = titled(neighbours, rows).take(limit).collect();
    Ok(Some(Found {
        as_of: list.as_ref().map(|list| rfc3339(list.updated_at)),
        model: list.map(|list| list.model),
        similar,
    }))
}

/// The rows of those neighbours that are visible; `None` when the item itself is not.
async fn visible_rows(
    reads: &Reads,
    domain: &DomainName,
    id: &ItemId,
    neighbours: &[Neighbour],
) -> Result<Option<HashMap<ItemId, ItemRow>>, Error> {
    let ids: Vec<ItemId> = iter::once(id)
        .chain(neighbours.iter().map(|neighbour| &neighbour.id))
        .cloned()
        .collect();
    let rows = reads.store.items(domain, &ids).await?;
    let now: DateTime<Utc> = Utc::now();
    let mut visible: HashMap<ItemId, ItemRow> = ids
        .into_iter()
        .zip(rows)
        .filter_map(|(id, row)| Some((id, row.filter(|row| is_visible(row, now))?)))
        .collect();
    Ok(visible.remove(id).map(|_| visible))
}

fn titled(
    neighbours: &[Neighbour],
    mut rows: HashMap<ItemId, ItemRow>,
) -> impl Iterator<Item = SimilarItem> {
    neighbours.iter().filter_map(move |neighbour| {
        let row = rows.remove(&neighbour.id)?;
        Some(SimilarItem {
            id: row.id,
            score: neighbour.score,
            title: row.title,
            url: row.url,
        })
    })
}
