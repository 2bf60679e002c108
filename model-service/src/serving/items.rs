//! One item: read, put, deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use actix_web::HttpResponse;
use actix_web::error::PayloadError;
use actix_web::web::Query;
use bytes::Bytes;
use chrono::Utc;
use futures_util::Stream;
use kindred_shared::event::{self, Delete, Event, MAX_VERSION, Reason};
use kindred_shared::{DomainName, ItemId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::{Api, confirmed, now_ms, rfc3339};
use super::body::{Encoding, read_whole, too_large};
use super::problem::{Kind, Problem};
use super::status::{Seen, Status, standing};
use kindred_domain::intake::PublishError;
use kindred_domain::store::newest_feature;

/// A write is durable.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// The item's domain.
    #[schema(value_type = String, example = "news.example")]
    domain: DomainName,
    /// The item's id.
    #[schema(value_type = String, example = "a-17")]
    id: ItemId,
    /// The version it was written with: the publisher's, or the time of its arrival in ms. Where
    /// a newer version is stored, the write had no effect.
    #[schema(example = 1_795_424_400_000_u64)]
    version: u64,
    /// Always `accepted`.
    #[schema(value_type = Status)]
    status: Status,
}

/// An item that is there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Item {
    /// Its domain.
    #[schema(value_type = String, example = "news.example")]
    domain: DomainName,
    /// Its id.
    #[schema(value_type = String, example = "a-17")]
    id: ItemId,
    /// Its version.
    #[schema(example = 1_795_424_400_000_u64)]
    version: u64,
    /// How it fares: `accepted`, `live` or `rejected`.
    status: Status,
    /// Since when it is there.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.120Z")]
    status_since: String,
    /// Why it was rejected, or why its list is empty.
    status_reason: Option<String>,
    /// Since when this list is served, or an older one while a newer is being made.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.410Z")]
    served_since: Option<String>,
    /// Title.
    #[schema(example = "Night trains return")]
    title: Option<String>,
    /// Address.
    #[schema(example = "https://news.example/a-17")]
    url: Option<String>,
    /// Language as published, else as detected.
    #[schema(example = "en")]
    language: Option<String>,
    /// Section.
    #[schema(example = "travel")]
    group: Option<String>,
    /// Labels.
    categories: BTreeSet<String>,
    /// When readers could first see it.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.000Z")]
    published_at: Option<String>,
    /// From when on it is no longer live.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Live but not to be shown or listed.
    hidden: bool,
    /// Free keys and values.
    attributes: BTreeMap<String, String>,
}

/// An item that is no longer there: nothing of its content is told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GoneItem {
    /// Its domain.
    #[schema(value_type = String, example = "news.example")]
    domain: DomainName,
    /// Its id.
    #[schema(value_type = String, example = "a-16")]
    id: ItemId,
    /// Its version.
    #[schema(example = 1_795_424_460_000_u64)]
    version: u64,
    /// `deleted` or `expired`.
    status: Status,
    /// Since when.
    #[schema(format = DateTime, example = "2026-11-23T09:01:00.000Z")]
    status_since: String,
}

/// An item, there or gone.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ItemAnswer {
    /// It is there.
    There(Box<Item>),
    /// It is gone.
    Gone(GoneItem),
}

/// An item and how it fares.
#[utoipa::path(get, path = "/v1/domains/{domain}/items/{id}", operation_id = "get_item", tag = "items",
    params(
        ("domain" = String, Path, description = "The domain: `[A-Za-z0-9._-]{1,128}`.", example = "news.example"),
        ("id" = String, Path, description = "The item's id, percent-encoded once; a slash is `%2F`.", example = "a-17"),
    ),
    responses(
        (status = 200, description = "The item. One that was deleted or has expired tells its version and status, nothing else.", body = ItemAnswer),
        (status = 400, response = crate::serving::openapi::BadRequest),
        (status = 404, response = crate::serving::openapi::NotFound),
        (status = 503, response = crate::serving::openapi::Unavailable),
    ))]
pub(crate) async fn get(
    api: &Api,
    domain: DomainName,
    id: ItemId,
) -> Result<HttpResponse, Problem> {
    let row = api.store.items(&domain, slice::from_ref(&id)).await?.pop();
    let Some(row) = row.flatten() else {
        return Err(match api.store.domain(&domain).await? {
            Some(_) => Problem::unknown_item(),
            None => Problem::unknown_domain(),
        });
    };
    let stamp = match api.store.domain(&domain).await? {
        Some(of) => newest_feature(&*api.store, &domain, &of.model, &id).await?,
        None => None,
    };
    // The view after the row: what a row says is under way before it is stored, so a domain that
    // is quiet now has seen it.
    let view = api.views.get(&domain).filter(|view| view.is_loaded());
    let seen = view.map_or(Seen::Stored, |view| Seen::InView {
        quiet: view.status().quiet,
        served: view.served(&id, now_ms()),
    });
    let asks_list = match seen {
        Seen::Stored => true,
        Seen::InView { served, .. } => served.is_some_and(|served| served.since <= 0),
    };
    let listed_at = if asks_list {
        let list = api.store.list(&domain, &id).await?;
        list.map(|list| list.updated_at)
    } else {
        None
    };
    let standing = standing(&row, stamp.as_ref(), seen, listed_at, Utc::now());
    let status_since = rfc3339(standing.since);
    let answer = match standing.status {
        Status::Deleted | Status::Expired => ItemAnswer::Gone(GoneItem {
            domain,
            id,
            version: row.version,
            status: standing.status,
            status_since,
        }),
        Status::Accepted | Status::Live | Status::Rejected => {
            let detected = || Some(stamp.as_ref()?.space.language()?.to_owned());
            ItemAnswer::There(Box::new(Item {
                domain,
                id,
                version: row.version,
                status: standing.status,
                status_since,
                status_reason: standing.reason,
                served_since: standing.served_since.map(rfc3339),
                title: row.title,
                url: row.url,
                language: row.language.or_else(detected),
                group: row.group,
                categories: row.categories,
                published_at: row.published_at.map(rfc3339),
                expires_at: row.expires_at.map(rfc3339),
                hidden: row.hidden,
                attributes: row.attributes,
            }))
        }
    };
    Ok(HttpResponse::Ok().json(answer))
}

/// Creates an item or replaces it.
///
/// The body is all of the item. `type`, `domain` and `id` may be left out: the address says them.
/// Without `version` it gets the time of its arrival in ms. The answer comes once it is durable;
/// its list follows shortly after. An older version than the stored one has no effect.
#[utoipa::path(put, path = "/v1/domains/{domain}/items/{id}", operation_id = "put_item", tag = "items",
    params(
        ("domain" = String, Path, description = "The domain: `[A-Za-z0-9._-]{1,128}`. It registers itself with its first item, unless the service is told otherwise.", example = "news.example"),
        ("id" = String, Path, description = "The item's id: 1 to 256 bytes of UTF-8 without control characters, percent-encoded once; a slash is `%2F`.", example = "a-17"),
    ),
    request_body(content = crate::serving::openapi::ItemBody, content_type = "application/json",
        description = "The item; a title, a text or a vector is needed. `Content-Encoding: gzip` is understood.",
        example = json!({"title": "Night trains return", "text": "From spring on, sleepers run again.", "url": "https://news.example/a-17", "language": "en", "categories": ["rail"]})),
    responses(
        (status = 202, description = "Durable.", body = Accepted,
         example = json!({"domain": "news.example", "id": "a-17", "version": 1_795_424_400_000_u64, "status": "accepted"})),
        (status = 400, response = crate::serving::openapi::BadRequest),
        (status = 404, response = crate::serving::openapi::NotFound),
        (status = 408, response = crate::serving::openapi::SlowBody),
        (status = 413, response = crate::serving::openapi::TooLarge),
        (status = 415, response = crate::serving::openapi::UnsupportedEncoding),
        (status = 422, response = crate::serving::openapi::Unprocessable),
        (status = 429, response = crate::serving::openapi::OverQuota),
        (status = 503, response = crate::serving::openapi::Unavailable),
    ))]
pub(crate) async fn put<S>(
    api: &Api,
    domain: DomainName,
    id: ItemId,
    mut body: S,
    encoding: Encoding,
    length: Option<u64>,
) -> Result<HttpResponse, Problem>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let limit = api.limits.message_bytes;
    if length.is_some_and(|bytes| bytes > limit as u64) {
        return Err(too_large(limit as u64));
    }
    let bytes = read_whole(&mut body, encoding, limit).await?;
    let event = event::parse_item(&bytes, &api.limits, &domain, &id)
        .inspect_err(|refusal| api.refused(refusal))?;
    write(api, domain, id, event).await
}

#[derive(Deserialize)]
struct DeleteQuery {
    version: Option<String>,
}

/// Deletes an item.
///
/// The answer comes once the deletion is durable; from then on the item is in no answer. The
/// deletion of an unknown id is kept too, so that an older event that comes later has no effect.
#[utoipa::path(delete, path = "/v1/domains/{domain}/items/{id}", operation_id = "delete_item", tag = "items",
    params(
        ("domain" = String, Path, description = "The domain: `[A-Za-z0-9._-]{1,128}`.", example = "news.example"),
        ("id" = String, Path, description = "The item's id, percent-encoded once; a slash is `%2F`.", example = "a-17"),
        ("version" = Option<u64>, Query, description = "Orders the item's events: 0 to 2^53 - 1. Without it the time of arrival in ms.", example = 1_795_424_460_000_u64),
    ),
    responses(
        (status = 202, description = "Durable.", body = Accepted,
         example = json!({"domain": "news.example", "id": "a-17", "version": 1_795_424_460_000_u64, "status": "accepted"})),
        (status = 400, response = crate::serving::openapi::BadRequest),
        (status = 404, response = crate::serving::openapi::NotFound),
        (status = 429, response = crate::serving::openapi::OverQuota),
        (status = 503, response = crate::serving::openapi::Unavailable),
    ))]
pub(crate) async fn delete(
    api: &Api,
    domain: DomainName,
    id: ItemId,
    query: &str,
) -> Result<HttpResponse, Problem> {
    let invalid = || {
        Problem::with_status(
            Kind::Refused(Reason::InvalidVersion),
            400,
            format!("version is one whole number of 0 to {MAX_VERSION}; leave it out for now."),
        )
        .field("version")
    };
    let Query(query) = Query::<DeleteQuery>::from_query(query).map_err(|_| invalid())?;
    let version = match query.version {
        None => None,
        // `parse` alone would take a leading plus.
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            let version = text.parse().ok().filter(|version| *version <= MAX_VERSION);
            Some(version.ok_or_else(invalid)?)
        }
        Some(_) => return Err(invalid()),
    };
    let event = Event::Delete(Delete {
        domain: domain.clone(),
        id: id.clone(),
        version,
    });
    write(api, domain, id, event).await
}

async fn write(
    api: &Api,
    domain: DomainName,
    id: ItemId,
    mut event: Event,
) -> Result<HttpResponse, Problem> {
    let version = api.stamp(&mut event);
    let durable = async { confirmed(api.hand_over(event).await?).await };
    durable
        .await
        .map_err(|error: PublishError| Problem::from(error))?;
    Ok(HttpResponse::Accepted().json(Accepted {
        domain,
        id,
        version,
        status: Status::Accepted,
    }))
}
