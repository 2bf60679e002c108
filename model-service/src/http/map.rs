//! A two-dimensional map of a domain.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, get, web};
use kindred_api::map::{MapAnswer, MapItem};
use kindred_api::problem::ProblemKind;
use kindred_query::{Item, Map, Snapshot};
use kindred_shared::DomainName;
use utoipa_actix_web::service_config::ServiceConfig;

use super::asking::{Here, QueryTarget, not_scanned, place};
use super::error::Error;
use super::openapi;
use super::parts::{Lobby, Part, Queries, Reads};
use super::path::{InDomain, InPath};
use super::time::rfc3339_ms;

/// Categories shown.
const CATEGORIES: usize = 8;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(get);
}

/// A two-dimensional map of a domain: similar items are close together.
///
/// At most 2,000 items are placed along the two directions in which their features differ most, and
/// then moved by forces between neighbours in 240 steps: the same items always get the same places.
/// In a larger domain, items are chosen by the hash of their ids, along with their nearest
/// neighbours. The map is computed like a query, and reused for 30 s while the domain changes;
/// items deleted meanwhile do not appear.
#[utoipa::path(operation_id = "get_map", tag = "domains", params(InDomain), responses(
    (status = 200, description = "Places, and lines to nearest neighbours.", body = MapAnswer),
    (status = 400, response = openapi::BadRequest),
    (status = 404, response = openapi::NotFound),
    (status = 429, response = openapi::Busy),
    (status = 503, response = openapi::Unavailable),
))]
#[get("/v1/domains/{domain}/map")]
async fn get(
    path: InPath<InDomain>,
    lobby: web::Data<Lobby>,
    reads: Part<Reads>,
    queries: Part<Queries>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let domain = path.0.domain;
    let here = match place(&reads, &queries, &request, &domain, None, None).await? {
        QueryTarget::There(response) => return Ok(response),
        QueryTarget::Here(here) => here,
    };
    let now = reads.clock.now().unix_ms;
    let map = made(&lobby, &queries, &domain, &here, now).await?;
    let answer = told(&domain, &here.snapshot, &map, now);
    here.is_ours_still(&reads)?;
    Ok(HttpResponse::Ok().json(answer))
}

async fn made(
    lobby: &Lobby,
    queries: &Queries,
    domain: &DomainName,
    here: &Here,
    now: i64,
) -> Result<Arc<Map>, Error> {
    let snapshot = &here.snapshot;
    if let Some(map) = lobby.maps.find(domain, snapshot, Instant::now()) {
        return Ok(map);
    }
    let of = Arc::clone(snapshot);
    let map = queries
        .scans
        .run(move |cancelled| of.map(now, cancelled))
        .await;
    let Some(map) = map.map_err(not_scanned)? else {
        return Err(Error::new(
            ProblemKind::NotReady,
            "The map could not be completed. Try again.",
        )
        .retry_after(1));
    };
    let map = Arc::new(map);
    lobby
        .maps
        .keep(domain.clone(), snapshot, Arc::clone(&map), Instant::now());
    Ok(map)
}

/// The placed items that still exist, as readers may see them now.
fn told(domain: &DomainName, snapshot: &Snapshot, map: &Map, now: i64) -> MapAnswer {
    let there: Vec<Option<Item<'_>>> = map
        .placed
        .iter()
        .map(|(id, ..)| snapshot.item(id.as_str(), now))
        .collect();
    let kinds = [
        ("categories", Kinds::of(&there, categories)),
        ("group", Kinds::of(&there, group)),
    ];
    // If both label equally many items, the first one.
    let [(_, by_categories), (_, by_group)] = &kinds;
    let (by, kinds) = &kinds[usize::from(by_group.told > by_categories.told)];
    let mut places = Vec::with_capacity(there.len());
    let mut items = Vec::with_capacity(there.len());
    for (item, (_, x, y)) in there.iter().zip(&map.placed) {
        places.push(item.is_some().then_some(items.len()));
        if let Some(item) = item {
            items.push(MapItem {
                id: item.id().to_string(),
                title: item.shown().title.as_deref().map(str::to_owned),
                x: (x * 10.0).round() / 10.0,
                y: (y * 10.0).round() / 10.0,
                category: kinds.place(item),
            });
        }
    }
    let place = |at: u32| {
        let place = places.get(at as usize).copied().flatten()?;
        u32::try_from(place).ok()
    };
    MapAnswer {
        domain: domain.to_string(),
        as_of: rfc3339_ms(now),
        of: snapshot.items(now).count() as u64,
        by: (*by).to_owned(),
        categories: kinds.names.iter().map(|name| (*name).to_owned()).collect(),
        items,
        links: map
            .links
            .iter()
            .filter_map(|[a, b]| Some([place(*a)?, place(*b)?]))
            .collect(),
    }
}

/// The labels of an item.
type Labels = for<'a> fn(&Item<'a>) -> Vec<&'a str>;

fn categories<'a>(item: &Item<'a>) -> Vec<&'a str> {
    let categories = item.shown().categories.iter();
    categories.map(|category| &**category).collect()
}

fn group<'a>(item: &Item<'a>) -> Vec<&'a str> {
    item.shown().group.as_deref().into_iter().collect()
}

/// The most frequent labels.
struct Kinds<'a> {
    names: Vec<&'a str>,
    labels: Labels,
    /// Number of items that have one of them.
    told: usize,
}

impl<'a> Kinds<'a> {
    fn of(items: &[Option<Item<'a>>], labels: Labels) -> Self {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for label in items.iter().flatten().flat_map(labels) {
            *counts.entry(label).or_default() += 1;
        }
        let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
        counts.sort_unstable_by_key(|(label, count)| (Reverse(*count), *label));
        counts.truncate(CATEGORIES);
        let mut kinds = Self {
            names: counts.into_iter().map(|(label, _)| label).collect(),
            labels,
            told: 0,
        };
        let is_told = |item: &&Item<'_>| kinds.place(item).is_some();
        kinds.told = items.iter().flatten().filter(is_told).count();
        kinds
    }

    /// The index of the item's most frequent label.
    fn place(&self, item: &Item<'_>) -> Option<u32> {
        let own = (self.labels)(item);
        let at = self.names.iter().position(|name| own.contains(name))?;
        u32::try_from(at).ok()
    }
}
