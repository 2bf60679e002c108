//! What is similar to an item.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, get};
use chrono::Utc;
use kindred_api::similar::{Computed, SimilarAnswer, SimilarItem};
use kindred_shared::language::canonical;
use kindred_shared::{DomainName, ItemId, ModelName};
use serde::{Serialize, Serializer};
use utoipa_actix_web::service_config::ServiceConfig;

use super::answers::{AnswerJson, ItemJson, json};
use super::asking::{Answered, Here, QueryTarget, answer, has_defaults, place};
use super::conditions::Wanted;
use super::error::Error;
use super::filter_parameters::FilterQuery;
use super::models::stored;
use super::openapi;
use super::parts::{Part, Queries, Reads};
use super::path::{InPath, OfItem};
use super::queries::respond;
use super::query::{Given, InQuery, Parameters};
use super::question::{Of, QueryRequest, model};
use super::relay::{as_ours, is_proxied};
use super::standing::is_visible;
use super::taking_part::{TakingPart, reader};
use super::time::{rfc3339, rfc3339_ms};
use super::values::invalid;
use crate::owners::OwnerLocation;
use kindred_domain::list::NEIGHBOURS;
use kindred_domain::shown::title;
use kindred_domain::store::{ItemRow, Neighbour, newest_feature};
use kindred_query::Item;

/// Most results answered from the store: stored lists are not longer.
const STORED: usize = NEIGHBOURS;

/// The parameters of a query by item. Documented as [`SimilarQuery`] and [`FilterQuery`].
struct ByParameters(Wanted, Option<String>, Option<ModelName>);

/// Conditions besides those of [`FilterQuery`].
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents what ByParameters reads")]
struct SimilarQuery {
    /// Number of results; 10 if left out. At most 100 with `diversity` or `explain`.
    #[param(minimum = 1, maximum = 1000, example = 10)]
    limit: Option<u64>,
    /// Leaves out results with a lower score.
    #[param(minimum = 0, maximum = 1)]
    min_score: Option<f32>,
    /// An id to leave out; at most 1,000.
    exclude: Option<Vec<String>>,
    /// `none` turns the domain's default filter off. Filters in JSON need a POST.
    filter: Option<String>,
    /// A score halves for every such span of age, such as `7d`: results are ordered by what is
    /// left. Not with `balance`.
    #[param(example = "7d")]
    half_life: Option<String>,
    /// Whether to rank items that are close to everything lower: results are ordered by the score
    /// less half of both items' hubness.
    balance: Option<bool>,
    /// `near` or `group`: keeps one of each set of near-duplicates, or of each group.
    collapse: Option<String>,
    /// How much results are to differ from each other: 0 to 1.
    #[param(minimum = 0, maximum = 1)]
    diversity: Option<f64>,
    /// Whether to explain each result.
    explain: Option<bool>,
    /// `newest` or `random`: fills up a short answer.
    fallback: Option<String>,
    /// The reader: while an experiment runs, the conditions of the reader's arm replace the
    /// domain's defaults.
    #[param(min_length = 1, max_length = 256, example = "r-5f21")]
    reader: Option<String>,
    /// The model to use, which must be ready; the active one if left out.
    #[param(pattern = "^[a-z0-9-]{1,64}$", example = "words-1")]
    model: Option<String>,
}

impl Parameters for ByParameters {
    fn read(given: &Given) -> Result<Self, Error> {
        let wanted = Wanted::of_parameters(given)?;
        let once = || invalid("reader", "reader may be given only once.");
        let reader = given.once("reader", once)?.map(reader).transpose()?;
        let once = || invalid("model", "model is given once.");
        let named = given.once("model", once)?.map(model).transpose()?;
        Ok(Self(wanted, reader, named))
    }
}

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(get);
}

/// The items most similar to one.
///
/// Any instance may be asked: the owner of an active domain answers from memory. Without
/// conditions, a sleeping domain answers with the stored list, marked `stale` while too few
/// replicas of the database answer. With conditions, a sleeping domain is woken, which may take up
/// to 5 s.
///
/// Results are exact: no visible item of the same domain and language that is left out ranks above
/// one in the answer. Deleted, hidden and expired items never appear. While an item's first list is
/// being made, the answer is empty, `as_of` is left out, and `Retry-After` says when to retry.
#[utoipa::path(operation_id = "get_similar", tag = "items", params(OfItem, SimilarQuery, FilterQuery),
    responses(
        (status = 200, description = "The neighbours, best first.", body = SimilarAnswer,
         headers(("Retry-After" = u32, description = "Only while the first list is being made: when to retry, in seconds.")),
         example = json!({"domain": "news.example", "id": "a-17", "model": "words-1", "as_of": "2026-11-23T09:00:00.410Z", "computed": "list", "similar": [{"id": "a-9", "score": 0.731_445_3, "title": "Sleeper to the coast", "url": "https://news.example/a-9"}]})),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 429, response = openapi::Busy),
        (status = 503, response = openapi::Unavailable),
    ))]
#[get("/v1/domains/{domain}/items/{id}/similar")]
async fn get(
    path: InPath<OfItem>,
    query: InQuery<ByParameters>,
    reads: Part<Reads>,
    queries: Part<Queries>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let (InPath(of), InQuery(ByParameters(wanted, reader, model))) = (path, query);
    let takes_part = TakingPart::of(&queries, &of.domain, reader.as_deref()).await;
    let only_limit = wanted.only_limit();
    if let Some(limit) = only_limit.filter(|_| takes_part.is_none() && model.is_none()) {
        if let Some(answer) = from_view(&reads, &of, limit) {
            return answer;
        }
        let is_loaded = Here::of(&reads, &of.domain).is_some_and(|here| here.is_registered());
        if !is_loaded {
            let plain = plain(&reads, &request, &of, limit).await?;
            if let Some(answer) = plain {
                return Ok(answer);
            }
        }
    }
    let here = match place(&reads, &queries, &request, &of.domain, model.as_ref(), None).await {
        Ok(QueryTarget::There(response)) => return Ok(response),
        Ok(QueryTarget::Here(here)) => here,
        Err(error) => {
            // Readers in an experiment get an answer as soon as others do.
            let limit = only_limit.filter(|_| takes_part.is_some() && model.is_none());
            let plain = match limit {
                Some(limit) => from_store(&reads, &of, limit).await?,
                None => None,
            };
            return plain.ok_or(error);
        }
    };
    let asked = QueryRequest {
        of: Of::Items(vec![(of.id, 1.0)]),
        wanted,
        reader,
        model,
    };
    let answered = answer(&reads, &queries, &of.domain, &here, asked).await?;
    Ok(respond(answered))
}

/// For a domain that is not loaded here: its owner's answer, or else its stored list, if that
/// suffices.
async fn plain(
    reads: &Reads,
    request: &HttpRequest,
    of: &OfItem,
    limit: usize,
) -> Result<Option<HttpResponse>, Error> {
    match from_owner(reads, request, of).await {
        Some(answer) => Ok(Some(answer)),
        None => from_store(reads, of, limit).await,
    }
}

/// For an active domain, from its snapshot. `None`: ask the store, or more is requested than a list
/// has.
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
        let is_known = snapshot.model().is_some();
        return is_known.then(|| Err(Error::unknown_item()));
    };
    let served = item.served();
    if has_defaults(snapshot.settings()) || (served.is_some() && !item.lists(limit)) {
        return None;
    }
    let as_of = served.map(|served| rfc3339_ms(served.as_of));
    let answer = AnswerJson {
        domain: &of.domain,
        id: Some(&of.id),
        model: item.model()?,
        experiment: None,
        arm: None,
        as_of: as_of.as_deref(),
        computed: Computed::List,
        similar: NeighboursJson { item, limit },
        unknown: &[],
    };
    Some(Ok(respond(Answered {
        body: json(&answer, limit.min(STORED)),
        is_listed: as_of.is_some(),
    })))
}

struct NeighboursJson<'a> {
    item: Item<'a>,
    limit: usize,
}

impl Serialize for NeighboursJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let neighbours = self.item.neighbours().take(self.limit);
        serializer.collect_seq(neighbours.map(|(other, score)| ItemJson::new(other, score)))
    }
}

/// The answer of the domain's owner, if that is another instance. `None`: there is none, or it does
/// not answer; read the store instead.
async fn from_owner(reads: &Reads, request: &HttpRequest, of: &OfItem) -> Option<HttpResponse> {
    if is_proxied(request.headers()) {
        return None;
    }
    let Ok(OwnerLocation::Remote(owner)) = reads.owners.of_domain(&of.domain).await else {
        return None;
    };
    let path = request.uri().path_and_query()?.as_str();
    let answer = reads.relay.ask_soon(&owner, path).await?;
    // An owner that cannot read the store knows no more than this instance.
    (answer.status != StatusCode::SERVICE_UNAVAILABLE.as_u16()).then(|| as_ours(&answer))
}

/// For a domain that sleeps or is loading: the stored list, item and neighbours, without those that
/// are not visible. `None`: more is requested than is stored.
async fn from_store(
    reads: &Reads,
    of: &OfItem,
    limit: usize,
) -> Result<Option<HttpResponse>, Error> {
    let OfItem { domain, id } = of;
    let reading = reads.store.reading(domain, id).await?;
    let now = Utc::now();
    if !reading.item.is_some_and(|row| is_visible(&row, now)) {
        return Err(match reads.registered(domain).await? {
            Some(_) => Error::unknown_item(),
            None => Error::unknown_domain(),
        });
    }
    let neighbours = reading
        .list
        .as_ref()
        .map_or(&[][..], |list| &list.neighbours);
    // While the database hardly answers, stored data is all there is.
    if !reading.is_stale {
        let is_short = limit > STORED && neighbours.len() >= STORED;
        let set = reads.store.settings(domain).await?;
        // The domain recomputes a damaged one once it is loaded.
        let is_lost = reading.list.is_none() && reads.store.damaged(domain).count > 0;
        if is_short || is_lost || set.is_some_and(|row| has_defaults(&row.settings)) {
            return Ok(None);
        }
    }
    let rows = reading.neighbours.into_iter();
    let rows = rows.map(|row| row.filter(|row| is_visible(row, now)));
    let similar = titled(neighbours, rows).take(limit).collect();
    let as_of = reading.list.as_ref().map(|list| rfc3339(list.updated_at));
    let model = match reading.list {
        Some(list) => list.model,
        None => model_of(reads, domain, id).await?,
    };
    let is_listed = as_of.is_some();
    let answer = SimilarAnswer {
        domain: domain.clone(),
        id: Some(id.clone()),
        model,
        experiment: None,
        arm: None,
        as_of,
        computed: Computed::List,
        stale: reading.is_stale,
        similar,
        unknown: Vec::new(),
    };
    let body = json(&answer, limit.min(STORED));
    Ok(Some(respond(Answered { body, is_listed })))
}

/// The item's model: that of own vectors, or the served one.
async fn model_of(reads: &Reads, domain: &DomainName, id: &ItemId) -> Result<ModelName, Error> {
    let (models, kind) = stored(reads, domain).await?;
    let newest = newest_feature(&*reads.store, domain, &kind, id).await?;
    let own = newest.filter(|stamp| stamp.space.is_own());
    Ok(match own {
        Some(stamp) => stamp.space.model(),
        None => models.active(&kind).clone(),
    })
}

/// The neighbours whose rows exist, as they are shown. The language that their texts were read in
/// is not looked up: the published one is shown.
fn titled(
    neighbours: &[Neighbour],
    rows: impl Iterator<Item = Option<ItemRow>>,
) -> impl Iterator<Item = SimilarItem> {
    neighbours.iter().zip(rows).filter_map(|(neighbour, row)| {
        let row = row?;
        Some(SimilarItem {
            id: row.id,
            score: neighbour.score,
            rank: None,
            title: row.title.as_deref().and_then(title).map(String::from),
            url: row.url,
            image: row.image,
            group: row.group,
            categories: row.categories.into_iter().collect(),
            published_at: row.published_at.map(rfc3339),
            language: row.language.as_deref().and_then(canonical),
            also: Vec::new(),
            why: None,
            fallback: false,
        })
    })
}
