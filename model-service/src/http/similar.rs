//! What is similar to an item.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, get};
use chrono::Utc;
use kindred_api::problem::Kind;
use kindred_api::similar::{DEFAULT_LIMIT, SimilarAnswer, SimilarItem};
use kindred_shared::{DomainName, ItemId, ModelName};
use serde::{Serialize, Serializer};
use utoipa_actix_web::service_config::ServiceConfig;

use super::error::Error;
use super::openapi;
use super::parts::{Part, Reads};
use super::path::{InPath, OfItem};
use super::query::{Given, InQuery, Parameters};
use super::relay::{as_ours, is_proxied};
use super::standing::is_visible;
use super::time::{rfc3339, rfc3339_ms};
use crate::owners::Whose;
use kindred_domain::list::NEIGHBOURS;
use kindred_domain::shown::title;
use kindred_domain::store::{ItemRow, Neighbour, newest_feature};
use kindred_query::Item;

/// When to ask again for a list that is being made, in seconds.
const RETRY_S: &str = "1";
/// Room for an answer without its neighbours, in bytes; a longer one grows.
const ANSWER_BYTES: usize = 512;
/// Room for a neighbour in an answer, in bytes.
const NEIGHBOUR_BYTES: usize = 256;

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
/// Any instance may be asked: the owner of an active domain answers from memory. Of a domain that sleeps the
/// stored list is answered; while too few copies of the database answer, it is marked `stale`.
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
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let InPath(of) = path;
    let limit = query.0.limit.map_or(DEFAULT_LIMIT, |limit| limit as usize);
    if let Some(answer) = from_view(&reads, &of, limit) {
        return answer;
    }
    match from_owner(&reads, &request, &of).await {
        Some(answer) => Ok(answer),
        None => from_store(&reads, of, limit).await,
    }
}

/// Of an active domain, all from its snapshot. `None`: the store is to be asked.
fn from_view(reads: &Reads, of: &OfItem, limit: usize) -> Option<Result<HttpResponse, Error>> {
    let view = reads.views.get(&of.domain)?;
    let now = reads.clock.now();
    if !view.term().lasts(now.monotonic) {
        return None;
    }
    view.used(now.monotonic);
    let snapshot = view.snapshot();
    let snapshot = snapshot.as_ref()?;
    let Some(item) = snapshot.item(of.id.as_str(), now.unix_ms) else {
        // Without a model the domain may not even be registered.
        let is_known = snapshot.is_whole() && snapshot.model().is_some();
        return is_known.then(|| Err(Error::unknown_item()));
    };
    let as_of = item.served().map(|served| rfc3339_ms(served.as_of));
    let answer = SimilarJson {
        domain: &of.domain,
        id: &of.id,
        model: item.model()?,
        as_of: as_of.as_deref(),
        similar: NeighboursJson { item, limit },
    };
    Some(Ok(respond(json(&answer, limit), as_of.is_some())))
}

/// A [`SimilarAnswer`] as it is written, straight from a snapshot.
#[derive(Serialize)]
struct SimilarJson<'a> {
    domain: &'a DomainName,
    id: &'a ItemId,
    model: &'a str,
    as_of: Option<&'a str>,
    similar: NeighboursJson<'a>,
}

struct NeighboursJson<'a> {
    item: Item<'a>,
    limit: usize,
}

impl Serialize for NeighboursJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let neighbours = self.item.neighbours().take(self.limit);
        serializer.collect_seq(neighbours.map(|(other, score)| {
            let shown = other.shown();
            NeighbourJson {
                id: other.id(),
                score,
                title: shown.title.as_deref(),
                url: shown.url.as_deref(),
            }
        }))
    }
}

/// A [`SimilarItem`] as it is written.
#[derive(Serialize)]
struct NeighbourJson<'a> {
    id: &'a ItemId,
    score: f32,
    title: Option<&'a str>,
    url: Option<&'a str>,
}

fn json(answer: &impl Serialize, limit: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(ANSWER_BYTES + limit * NEIGHBOUR_BYTES);
    serde_json::to_writer(&mut body, answer).expect("texts and numbers can be written to memory");
    body
}

/// An answer of 200; one without a list says when to ask again.
fn respond(body: Vec<u8>, is_listed: bool) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    if !is_listed {
        response.insert_header((RETRY_AFTER, HeaderValue::from_static(RETRY_S)));
    }
    response.body(body)
}

/// What the domain's owner answers, where it is another instance. `None`: there is none, or it does not
/// answer; what is stored is to be read.
async fn from_owner(reads: &Reads, request: &HttpRequest, of: &OfItem) -> Option<HttpResponse> {
    if is_proxied(request.headers()) {
        return None;
    }
    let Ok(Whose::Theirs(owner)) = reads.owners.of_domain(&of.domain).await else {
        return None;
    };
    let path = request.uri().path_and_query()?.as_str();
    let answer = reads.relay.ask_soon(&owner, path).await?;
    // An owner that cannot read the store either knows no more than this instance.
    (answer.status != StatusCode::SERVICE_UNAVAILABLE.as_u16()).then(|| as_ours(&answer))
}

/// Of a domain that sleeps or is loading: stored list, item and neighbours, leaving out what is not
/// visible.
async fn from_store(reads: &Reads, of: OfItem, limit: usize) -> Result<HttpResponse, Error> {
    let OfItem { domain, id } = of;
    let reading = reads.store.reading(&domain, &id).await?;
    let now = Utc::now();
    if !reading.item.is_some_and(|row| is_visible(&row, now)) {
        return Err(match reads.registered(&domain).await? {
            Some(_) => Error::unknown_item(),
            None => Error::unknown_domain(),
        });
    }
    let neighbours = reading
        .list
        .as_ref()
        .map_or(&[][..], |list| &list.neighbours);
    let rows = reading.neighbours.into_iter();
    let rows = rows.map(|row| row.filter(|row| is_visible(row, now)));
    let similar = titled(neighbours, rows).take(limit).collect();
    let as_of = reading.list.as_ref().map(|list| rfc3339(list.updated_at));
    let model = match reading.list {
        Some(list) => list.model,
        None => model_of(reads, &domain, &id).await?,
    };
    let is_listed = as_of.is_some();
    let answer = SimilarAnswer {
        domain,
        id,
        model,
        as_of,
        stale: reading.is_stale,
        similar,
    };
    Ok(respond(json(&answer, limit), is_listed))
}

/// The item's model: its feature's, else its domain's.
async fn model_of(reads: &Reads, domain: &DomainName, id: &ItemId) -> Result<ModelName, Error> {
    let Some(row) = reads.registered(domain).await? else {
        return Err(Error::unknown_domain());
    };
    let newest = newest_feature(&*reads.store, domain, &row.model, id).await?;
    Ok(newest.map_or(row.model, |stamp| stamp.space.model()))
}

/// Those neighbours whose rows are there, as they are shown.
fn titled(
    neighbours: &[Neighbour],
    rows: impl Iterator<Item = Option<ItemRow>>,
) -> impl Iterator<Item = SimilarItem> {
    neighbours.iter().zip(rows).filter_map(|(neighbour, row)| {
        let row = row?;
        Some(SimilarItem {
            id: row.id,
            score: neighbour.score,
            title: row.title.as_deref().and_then(title).map(String::from),
            url: row.url,
        })
    })
}
