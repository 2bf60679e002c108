//! What is similar to an item.

use std::collections::HashMap;
use std::iter;

use actix_web::HttpResponse;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::Query;
use chrono::{DateTime, Utc};
use kindred_shared::{DomainName, ItemId, ModelName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::{Api, now_ms, rfc3339, rfc3339_ms};
use super::problem::{Kind, Problem};
use super::status::is_visible;
use kindred_domain::list::{KEEP, NEIGHBOURS};
use kindred_domain::store::{ItemRow, Neighbour, newest_feature};
use kindred_query::DomainView;

/// Neighbours of an answer unless asked for otherwise.
const DEFAULT_LIMIT: usize = 10;
/// When to ask again for a list that is being made, in seconds.
const RETRY_S: &str = "1";

/// An item's neighbours.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SimilarAnswer {
    /// The item's domain.
    #[schema(value_type = String, example = "news.example")]
    domain: DomainName,
    /// The item.
    #[schema(value_type = String, example = "a-17")]
    id: ItemId,
    /// The model the scores come from.
    #[schema(value_type = String, example = "words-1")]
    model: ModelName,
    /// When the list was made; null while the first one is being made.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.410Z")]
    as_of: Option<String>,
    /// Best first: by score descending, then by id ascending, byte by byte.
    similar: Vec<SimilarItem>,
}

/// A neighbour.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SimilarItem {
    /// Its id.
    #[schema(value_type = String, example = "a-9")]
    id: ItemId,
    /// Similarity, above 0; it reads back as the same 32 bit number.
    #[schema(example = 0.731_445_3)]
    score: f32,
    /// Its title.
    #[schema(example = "Sleeper to the coast")]
    title: Option<String>,
    /// Its address.
    #[schema(example = "https://news.example/a-9")]
    url: Option<String>,
}

#[derive(Deserialize)]
struct SimilarQuery {
    limit: Option<String>,
}

fn limit(query: &str) -> Result<usize, Problem> {
    let invalid = || {
        Problem::new(
            Kind::InvalidParameter,
            format!("limit is one whole number of 1 to {NEIGHBOURS}; without it {DEFAULT_LIMIT}."),
        )
        .field("limit")
    };
    let Query(query) = Query::<SimilarQuery>::from_query(query).map_err(|_| invalid())?;
    match query.limit {
        None => Ok(DEFAULT_LIMIT),
        // `parse` alone would take a leading plus.
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text
            .parse()
            .ok()
            .filter(|limit| (1..=NEIGHBOURS).contains(limit))
            .ok_or_else(invalid),
        Some(_) => Err(invalid()),
    }
}

/// The items most similar to one.
///
/// Exact: no visible item of the domain with the same language that is left out has a higher
/// score. Deleted, hidden and expired items are in no answer. While an item's first list is being
/// made, the answer is empty, `as_of` is null, and `Retry-After` says when to ask again.
#[utoipa::path(get, path = "/v1/domains/{domain}/items/{id}/similar", operation_id = "get_similar", tag = "items",
    params(
        ("domain" = String, Path, description = "The domain: `[A-Za-z0-9._-]{1,128}`.", example = "news.example"),
        ("id" = String, Path, description = "The item's id, percent-encoded once; a slash is `%2F`.", example = "a-17"),
        ("limit" = Option<u64>, Query, description = "At most so many: 1 to 50; 10 if left out.", minimum = 1, maximum = 50, example = 10),
    ),
    responses(
        (status = 200, description = "The neighbours, best first.", body = SimilarAnswer,
         headers(("Retry-After" = u32, description = "Only while the first list is being made: when to ask again, in seconds.")),
         example = json!({"domain": "news.example", "id": "a-17", "model": "words-1", "as_of": "2026-11-23T09:00:00.410Z", "similar": [{"id": "a-9", "score": 0.731_445_3, "title": "Sleeper to the coast", "url": "https://news.example/a-9"}]})),
        (status = 400, response = crate::serving::openapi::BadRequest),
        (status = 404, response = crate::serving::openapi::NotFound),
        (status = 503, response = crate::serving::openapi::Unavailable),
    ))]
pub(crate) async fn get(
    api: &Api,
    domain: DomainName,
    id: ItemId,
    query: &str,
) -> Result<HttpResponse, Problem> {
    let limit = limit(query)?;
    let view = api.views.get(&domain).filter(|view| view.is_loaded());
    let found = match view {
        Some(view) => from_view(api, &domain, &id, limit, &view).await?,
        None => from_store(api, &domain, &id, limit).await?,
    };
    let Some(found) = found else {
        return Err(match api.store.domain(&domain).await? {
            Some(_) => Problem::unknown_item(),
            None => Problem::unknown_domain(),
        });
    };
    let model = match found.model {
        Some(model) => model,
        None => model_of(api, &domain, &id).await?,
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
async fn model_of(api: &Api, domain: &DomainName, id: &ItemId) -> Result<ModelName, Problem> {
    let Some(row) = api.store.domain(domain).await? else {
        return Err(Problem::unknown_domain());
    };
    let newest = newest_feature(&*api.store, domain, &row.model, id).await?;
    Ok(newest.map_or(row.model, |stamp| stamp.space.model()))
}

/// Of an active domain: lists from its view, titles from the store. `None`: not visible.
async fn from_view(
    api: &Api,
    domain: &DomainName,
    id: &ItemId,
    limit: usize,
    view: &DomainView,
) -> Result<Option<Found>, Problem> {
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
        let Some(rows) = visible_rows(api, domain, id, asked).await? else {
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
    api: &Api,
    domain: &DomainName,
    id: &ItemId,
    limit: usize,
) -> Result<Option<Found>, Problem> {
    let list = api.store.list(domain, id).await?;
    let neighbours = list.as_ref().map_or(&[][..], |list| &list.neighbours);
    let Some(rows) = visible_rows(api, domain, id, neighbours).await? else {
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
    api: &Api,
    domain: &DomainName,
    id: &ItemId,
    neighbours: &[Neighbour],
) -> Result<Option<HashMap<ItemId, ItemRow>>, Problem> {
    let ids: Vec<ItemId> = iter::once(id)
        .chain(neighbours.iter().map(|neighbour| &neighbour.id))
        .cloned()
        .collect();
    let rows = api.store.items(domain, &ids).await?;
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
