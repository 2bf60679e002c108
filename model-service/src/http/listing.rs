//! Lists the items of a domain page by page, from the store.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use actix_web::{HttpResponse, get};
use chrono::Utc;
use kindred_api::item::{ItemsAnswer, ListedItem};
use kindred_api::problem::ProblemKind;
use kindred_domain::shown::{Interner, title};
use kindred_domain::store::{ItemRow, Store, StoreError};
use kindred_query::Filter;
use kindred_shared::{DomainName, ItemId};
use utoipa_actix_web::service_config::ServiceConfig;

use super::choosing::{Choice, Languages, MOST_FEATURES};
use super::error::Error;
use super::filter_parameters::{FilterParameters, FilterQuery};
use super::openapi;
use super::parts::{Part, Reads};
use super::path::{InDomain, InPath};
use super::query::{Given, InQuery, Parameters};
use super::time::rfc3339;

/// Default number of items per page.
const USUAL: usize = 100;
/// Most items per page.
const MOST: u64 = 1_000;
/// Rows read at a time.
const ROWS: usize = 1_000;
/// Most rows read for a page by id: if matches are rare, `next` continues after them.
const MOST_ROWS: usize = 50_000;
/// Longest `q`, in bytes.
const MOST_WORDS_BYTES: usize = 1_000;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(get);
}

/// Which items to list, and in which order.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ItemsQuery {
    /// Most items: 1 to 1,000; 100 if left out.
    #[param(minimum = 1, maximum = 1_000, example = 100)]
    limit: Option<u64>,
    /// Where to continue: `next` of the previous page.
    #[param(min_length = 1)]
    after: Option<String>,
    /// Words that must all be in the title or the id, in any case.
    #[param(example = "night trains")]
    q: Option<String>,
    /// `id`, byte by byte, or `newest`: by `published_at`, else `publish_at`, else the item's first
    /// event. `id` if left out.
    #[param(example = "newest")]
    sort: Option<String>,
}

/// The request: [`ItemsQuery`], and a filter.
struct ItemsRequest {
    query: ItemsQuery,
    filter: Filter,
}

impl Parameters for ItemsRequest {
    fn read(given: &Given) -> Result<Self, Error> {
        let mut filter = FilterParameters::default();
        for (name, value) in given.pairs() {
            filter.take(name, value)?;
        }
        Ok(Self {
            query: ItemsQuery::read(given)?,
            filter: filter.filter()?,
        })
    }
}

impl Parameters for ItemsQuery {
    fn read(given: &Given) -> Result<Self, Error> {
        let invalid = |name: &'static str, allowed: String| {
            move || {
                Error::new(
                    ProblemKind::InvalidParameter,
                    format!("{name} is {allowed}."),
                )
                .field(name)
            }
        };
        let limit = invalid(
            "limit",
            format!("an integer from 1 to {MOST}; the default is {USUAL}"),
        );
        let sort = given.once("sort", invalid("sort", "id or newest, once".to_owned()))?;
        if sort.is_some_and(|sort| !matches!(sort, "id" | "newest")) {
            return Err(invalid("sort", "id or newest, once".to_owned())());
        }
        let words = format!("words with at most {MOST_WORDS_BYTES} bytes, once");
        let q = given.once("q", invalid("q", words.clone()))?;
        if q.is_some_and(|q| q.len() > MOST_WORDS_BYTES) {
            return Err(invalid("q", words)());
        }
        let after = invalid("after", "the next of the previous page, once".to_owned());
        Ok(Self {
            limit: given.whole_number("limit", 1..=MOST, limit)?,
            after: given.once("after", after)?.map(str::to_owned),
            q: q.map(str::to_owned),
            sort: sort.map(str::to_owned),
        })
    }
}

/// The items of a domain, page by page.
///
/// Every live item in the store, including hidden and scheduled ones. If more may follow, the
/// answer has `next`; pass it as `after`. A page may have fewer items than `limit`, or none, and
/// still have a `next`, because a page by id reads at most 50,000 items. `newest` reads the whole
/// domain for each page. With a filter by language, a page reads the features of at most 1,000
/// items whose language was not given.
#[utoipa::path(operation_id = "list_items", tag = "items", params(InDomain, ItemsQuery, FilterQuery),
    responses(
        (status = 200, description = "A page.", body = ItemsAnswer),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::Unavailable),
    ))]
#[get("/v1/domains/{domain}/items")]
async fn get(
    path: InPath<InDomain>,
    query: InQuery<ItemsRequest>,
    reads: Part<Reads>,
) -> Result<HttpResponse, Error> {
    let (domain, ItemsRequest { query, filter }) = (path.0.domain, query.0);
    let Some(row) = reads.registered(&domain).await? else {
        return Err(Error::unknown_domain());
    };
    let limit = query.limit.map_or(USUAL, |limit| limit as usize);
    let choice = Choice::new(query.q.as_deref().unwrap_or_default(), filter, Utc::now());
    let mut pages = Pages {
        store: &*reads.store,
        domain: &domain,
        choice: &choice,
        languages: Languages::new(&reads, &domain, &row.model),
        held: Interner::default(),
        limit,
    };
    let answer = if query.sort.as_deref() == Some("newest") {
        let after = query
            .after
            .as_deref()
            .map(NewestPosition::read)
            .transpose()?;
        pages.newest(after).await?
    } else {
        let after = query.after.as_deref().map(id_from).transpose()?;
        pages.by_id(after).await?
    };
    Ok(HttpResponse::Ok().json(answer))
}

/// The id at which a page continues: the first item that was not listed yet.
fn id_from(next: &str) -> Result<ItemId, Error> {
    let id = next.strip_prefix("i:").map(ItemId::new);
    id.and_then(Result::ok).ok_or_else(unknown_place)
}

fn next_from(id: &ItemId) -> String {
    format!("i:{id}")
}

fn unknown_place() -> Error {
    let detail = "after is the next of the previous page, with the same sort.";
    Error::new(ProblemKind::InvalidParameter, detail).field("after")
}

/// What pages are made from.
struct Pages<'a> {
    store: &'a dyn Store,
    domain: &'a DomainName,
    choice: &'a Choice,
    languages: Languages<'a>,
    held: Interner,
    limit: usize,
}

impl Pages<'_> {
    async fn by_id(&mut self, mut from: Option<ItemId>) -> Result<ItemsAnswer, StoreError> {
        let mut items: Vec<ListedItem> = Vec::new();
        let mut read = 0;
        loop {
            let page = self
                .store
                .scan_items(self.domain, from.as_ref(), ROWS)
                .await?;
            read += page.rows.len();
            let mut rows = page.rows;
            rows.retain(|row| self.choice.may_be(row, &mut self.held));
            let most = self.limit - items.len();
            let chosen = self.languages.choose(self.choice, &rows, most).await?;
            let next = rows.get(chosen.looked_at).map(|row| next_from(&row.id));
            items.extend(at(&chosen.places, rows).map(listed));
            if next.is_some() {
                return Ok(ItemsAnswer { items, next });
            }
            match page.next {
                None => return Ok(ItemsAnswer { items, next: None }),
                Some(next) if read >= MOST_ROWS => {
                    let next = Some(next_from(&next));
                    return Ok(ItemsAnswer { items, next });
                }
                Some(next) => from = Some(next),
            }
        }
    }

    async fn newest(&mut self, after: Option<NewestPosition>) -> Result<ItemsAnswer, StoreError> {
        // As many rows as languages can be read for may be needed for a page.
        let kept = if self.choice.asks_for_languages() {
            self.limit.max(MOST_FEATURES)
        } else {
            self.limit
        };
        let mut best: BinaryHeap<Placed> = BinaryHeap::new();
        let mut has_more = false;
        let mut from = None;
        loop {
            let page = self
                .store
                .scan_items(self.domain, from.as_ref(), ROWS)
                .await?;
            for row in page.rows {
                let place = NewestPosition::of(&row);
                let is_before = after.as_ref().is_some_and(|after| place <= *after);
                if is_before || !self.choice.may_be(&row, &mut self.held) {
                    continue;
                }
                best.push(Placed(place, row));
                if best.len() > kept {
                    best.pop();
                    has_more = true;
                }
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let best = best.into_sorted_vec().into_iter();
        let (places, rows): (Vec<NewestPosition>, Vec<ItemRow>) =
            best.map(|Placed(place, row)| (place, row)).unzip();
        let chosen = self
            .languages
            .choose(self.choice, &rows, self.limit)
            .await?;
        has_more |= chosen.looked_at < rows.len();
        let last = chosen.looked_at.checked_sub(1);
        let last = last
            .and_then(|last| places.get(last))
            .map(NewestPosition::written);
        Ok(ItemsAnswer {
            items: at(&chosen.places, rows).map(listed).collect(),
            next: last.filter(|_| has_more),
        })
    }
}

/// The rows at these ascending indices.
fn at(places: &[usize], rows: Vec<ItemRow>) -> impl Iterator<Item = ItemRow> {
    let mut places = places.iter().peekable();
    let rows = rows.into_iter().enumerate();
    rows.filter_map(move |(place, row)| places.next_if(|next| **next == place).map(|_| row))
}

/// Position of an item among the newest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct NewestPosition {
    /// The newest first.
    at: Reverse<i64>,
    id: ItemId,
}

impl NewestPosition {
    fn of(row: &ItemRow) -> Self {
        let at = row.published_at.or(row.publish_at);
        let at = at.unwrap_or_else(|| row.first_accepted());
        Self {
            at: Reverse(at.timestamp_millis()),
            id: row.id.clone(),
        }
    }

    fn read(written: &str) -> Result<Self, Error> {
        let place = written.strip_prefix("n:").and_then(|rest| {
            let (at, id) = rest.split_once(':')?;
            Some(Self {
                at: Reverse(at.parse().ok()?),
                id: ItemId::new(id).ok()?,
            })
        });
        place.ok_or_else(unknown_place)
    }

    fn written(&self) -> String {
        format!("n:{}:{}", self.at.0, self.id)
    }
}

/// An item at its position; the last position is the greatest.
struct Placed(NewestPosition, ItemRow);

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Placed {}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

fn listed(row: ItemRow) -> ListedItem {
    ListedItem {
        accepted_at: rfc3339(row.first_accepted()),
        title: row.title.as_deref().and_then(title).map(String::from),
        id: row.id,
        version: row.version,
        url: row.url,
        image: row.image,
        language_given: row.language,
        group: row.group,
        categories: row.categories,
        published_at: row.published_at.map(rfc3339),
        publish_at: row.publish_at.map(rfc3339),
        expires_at: row.expires_at.map(rfc3339),
        hidden: row.hidden,
        attributes: row.attributes,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn places_come_back_as_they_were_written() {
        let place = |id: &str, at| NewestPosition {
            at: Reverse(at),
            id: ItemId::new(id).unwrap(),
        };
        for one in [place("a:b", 5), place("é", -7)] {
            assert_eq!(NewestPosition::read(&one.written()).ok(), Some(one));
        }
        assert!(place("b", 9) < place("a", 8), "the newest first");
        assert!(place("a", 9) < place("b", 9));
        assert_eq!(next_from(&id_from("i:a:b").unwrap()), "i:a:b");
        assert!(NewestPosition::read("i:a").is_err() && id_from("n:1:a").is_err());
    }
}
