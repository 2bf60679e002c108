//! One item: read, put, deleted.

use std::slice;

use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, delete, get, put};
use chrono::Utc;
use kindred_api::item::{Accepted, GoneItem, Item, ItemAnswer, ItemBody, Status};
use kindred_api::problem::ProblemKind;
use kindred_domain::markup::plain_text;
use kindred_domain::shown::title;
use kindred_domain::store::{FeatureStamp, ItemRow, StoreError, newest_feature};
use kindred_shared::event::{self, Delete, Event, MAX_VERSION, Reason};
use kindred_shared::language::canonical;
use kindred_shared::{DomainName, ItemId};
use utoipa_actix_web::service_config::ServiceConfig;

use super::access::is_let_in;
use super::admission::check;
use super::body::{Body, Chunks, Whole};
use super::error::Error;
use super::openapi;
use super::parts::{Part, Reads, Writes, confirmed};
use super::path::{InPath, OfItem};
use super::query::{Given, InQuery, Parameters};
use super::settled::Doors;
use super::standing::{Seen, standing};
use super::time::{now_ms, rfc3339};

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(get).service(put).service(delete);
}

/// What to include about an item.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ItemQuery {
    /// Whether to include its text, as plain text; false if left out.
    #[param(example = true)]
    text: Option<bool>,
}

impl Parameters for ItemQuery {
    fn read(given: &Given) -> Result<Self, Error> {
        let invalid = || {
            Error::new(
                ProblemKind::InvalidParameter,
                "text is true or false, once.",
            )
            .field("text")
        };
        let text = match given.once("text", invalid)? {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => return Err(invalid()),
        };
        Ok(Self { text })
    }
}

/// An item and its status.
#[utoipa::path(operation_id = "get_item", tag = "items", params(OfItem, ItemQuery),
    responses(
        (status = 200, description = "The item. A deleted or expired item has only its version \
            and status.", body = ItemAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::Unavailable),
    ))]
#[get("/v1/domains/{domain}/items/{id}")]
async fn get(
    path: InPath<OfItem>,
    query: InQuery<ItemQuery>,
    reads: Part<Reads>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let InPath(OfItem { domain, id }) = path;
    if let Some(answer) = reads
        .relay
        .of_owner(&reads.owners, &request, &domain)
        .await?
    {
        return Ok(answer);
    }
    let row = reads
        .store
        .items(&domain, slice::from_ref(&id))
        .await?
        .pop();
    let Some(of) = reads.registered(&domain).await? else {
        return Err(Error::unknown_domain());
    };
    let Some(row) = row.flatten() else {
        return Err(Error::unknown_item());
    };
    let stamp = newest_feature(&*reads.store, &domain, &of.model, &id).await?;
    // Read the view after the row: the domain takes a change in before its row is stored, so a
    // domain that is quiet now has seen it.
    let view = reads.views.get(&domain);
    let view = view.filter(|view| view.snapshot().is_some());
    let seen = view.map_or(Seen::Stored, |view| Seen::InView {
        quiet: view.status().quiet,
        served: view.served(&id, now_ms()),
    });
    let asks_list = match seen {
        Seen::Stored => true,
        Seen::InView { served, .. } => served.is_some_and(|served| served.since <= 0),
    };
    let listed_at = if asks_list {
        let list = reads.store.list(&domain, &id).await?;
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
        Status::Accepted | Status::Scheduled | Status::Live | Status::Rejected => {
            let language = language_used(&row, stamp.as_ref());
            let text = match query.0.text {
                Some(true) => text_of(&reads, &domain, &id).await?,
                Some(false) | None => None,
            };
            ItemAnswer::There(Box::new(Item {
                domain,
                id,
                version: row.version,
                status: standing.status,
                status_since,
                status_reason: standing.reason,
                served_since: standing.served_since.map(rfc3339),
                accepted_at: Some(rfc3339(row.first_accepted())),
                title: row.title.as_deref().and_then(title).map(String::from),
                url: row.url,
                image: row.image,
                language,
                language_given: row.language,
                group: row.group,
                categories: row.categories,
                published_at: row.published_at.map(rfc3339),
                publish_at: row.publish_at.map(rfc3339),
                expires_at: row.expires_at.map(rfc3339),
                hidden: row.hidden,
                attributes: row.attributes,
                text,
            }))
        }
    };
    Ok(HttpResponse::Ok().json(answer))
}

/// The text of an item, without markup.
async fn text_of(
    reads: &Reads,
    domain: &DomainName,
    id: &ItemId,
) -> Result<Option<String>, StoreError> {
    let content = reads
        .store
        .contents(domain, slice::from_ref(id))
        .await?
        .pop();
    let text = content.flatten().and_then(|content| content.text);
    Ok(text.map(|text| plain_text(&text).into_owned()))
}

/// The language that an item's text is read in: the given one, else that of its feature.
pub(super) fn language_used(row: &ItemRow, stamp: Option<&FeatureStamp>) -> Option<String> {
    let named = row.language.as_deref().and_then(canonical);
    named.or_else(|| canonical(stamp?.space.language()?))
}

/// Creates an item or replaces it.
///
/// The body is the whole item. `type`, `domain` and `id` may be left out: the URL has them. Without
/// `version` it gets one higher than every earlier version of the item. The answer is sent once the
/// item is durable; its list follows shortly after. A version older than the stored one has no
/// effect. If the item is `hidden`, or its `publish_at` is in the future, `gone` in the answer says
/// whether it has disappeared for readers, as for a deletion.
#[utoipa::path(operation_id = "put_item", tag = "items", params(OfItem),
    request_body(content = ItemBody, content_type = "application/json",
        description = "The item; a title, a text or a vector is needed. `Content-Encoding: gzip` \
            is supported.",
        example = json!({"title": "Night trains return", "text": "From spring on, sleepers run again.", "url": "https://news.example/a-17", "language": "en", "categories": ["rail"]})),
    responses(
        (status = 202, description = "Durable.", body = Accepted,
         example = json!({"domain": "news.example", "id": "a-17", "version": 1_795_424_400_000_u64, "status": "accepted"})),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 408, response = openapi::SlowBody),
        (status = 413, response = openapi::TooLarge),
        (status = 415, response = openapi::UnsupportedEncoding),
        (status = 422, response = openapi::Unprocessable),
        (status = 429, response = openapi::OverQuota),
        (status = 503, response = openapi::Unavailable),
    ))]
#[put("/v1/domains/{domain}/items/{id}")]
async fn put(
    path: InPath<OfItem>,
    body: Body,
    writes: Part<Writes>,
    reads: Part<Reads>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let of = path.0;
    let (bytes, event) = read_event(&writes, &of, body).await?;
    // Another instance has already admitted what it sends.
    if !is_let_in(&request) {
        check(&writes, &reads, &event).await?;
    }
    match &event {
        Event::Upsert(upsert) if upsert.hides(Utc::now()) => {
            let doors = Doors {
                reads: &reads,
                writes: &writes,
                request: &request,
            };
            take_away(&doors, of, event, Method::PUT, Some(bytes.into_bytes())).await
        }
        _ => write(&writes, of, event).await,
    }
}

/// Reads an item to be put: its bytes, and the parsed event.
pub(super) async fn read_event(
    writes: &Writes,
    of: &OfItem,
    body: Body<impl Chunks>,
) -> Result<(Whole, Event), Error> {
    let bytes = body.read_whole(writes.limits.message_bytes).await?;
    let event = event::parse_item(&bytes, &writes.limits, &of.domain, &of.id)
        .inspect_err(|refusal| writes.refused(refusal))?;
    Ok((bytes, event))
}

/// What a deletion or a patch specifies besides the item.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct VersionQuery {
    /// Orders the item's events: 0 to 2^53 - 1. If left out: after all earlier events.
    #[param(example = 1_795_424_460_000_u64)]
    pub(super) version: Option<u64>,
}

impl Parameters for VersionQuery {
    fn read(given: &Given) -> Result<Self, Error> {
        let invalid = || {
            Error::new(
                ProblemKind::Refused(Reason::InvalidVersion),
                format!(
                    "version is an integer from 0 to {MAX_VERSION}; leave it out for the newest."
                ),
            )
            .with_status(StatusCode::BAD_REQUEST)
            .field("version")
        };
        let version = given.whole_number("version", 0..=MAX_VERSION, invalid)?;
        Ok(Self { version })
    }
}

/// Deletes an item.
///
/// The answer is sent once the deletion is durable. `"gone": true`: the item appears in no answer
/// to any request that begins from now on, on any instance. `"gone": false`: that was not certain
/// within 2 s, or the deletion was older than the stored item. The deletion of an unknown id is
/// recorded, too, so that an older event that arrives later has no effect.
#[utoipa::path(operation_id = "delete_item", tag = "items", params(OfItem, VersionQuery),
    responses(
        (status = 202, description = "Durable.", body = Accepted,
         example = json!({"domain": "news.example", "id": "a-17", "version": 1_795_424_460_000_u64, "status": "accepted", "gone": true})),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 429, response = openapi::OverQuota),
        (status = 503, response = openapi::Unavailable),
    ))]
#[delete("/v1/domains/{domain}/items/{id}")]
async fn delete(
    path: InPath<OfItem>,
    query: InQuery<VersionQuery>,
    writes: Part<Writes>,
    reads: Part<Reads>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let (InPath(of), InQuery(query)) = (path, query);
    let event = Event::Delete(Delete {
        domain: of.domain.clone(),
        id: of.id.clone(),
        version: query.version,
    });
    let doors = Doors {
        reads: &reads,
        writes: &writes,
        request: &request,
    };
    take_away(&doors, of, event, Method::DELETE, None).await
}

/// Deletes or hides an item; the answer says whether it is gone for readers.
async fn take_away(
    doors: &Doors<'_>,
    of: OfItem,
    event: Event,
    method: Method,
    body: Option<Vec<u8>>,
) -> Result<HttpResponse, Error> {
    if let Some(answer) = doors.of_owner(&of.domain, method, body).await {
        return Ok(answer);
    }
    let given = event.version();
    let written = doors.settle(event).await?;
    let gone = written.is_settled && !doors.is_answered(&of).await;
    Ok(accepted(of, written.version.or(given), Some(gone)))
}

async fn write(writes: &Writes, of: OfItem, event: Event) -> Result<HttpResponse, Error> {
    let given = event.version();
    let version = confirmed(writes.hand_over(event).await?).await?.or(given);
    Ok(accepted(of, version, None))
}

pub(super) fn accepted(of: OfItem, version: Option<u64>, gone: Option<bool>) -> HttpResponse {
    HttpResponse::Accepted().json(Accepted {
        domain: of.domain,
        id: of.id,
        version,
        status: Status::Accepted,
        gone,
    })
}
