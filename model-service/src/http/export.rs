//! Exports all live items of a domain, as the events that create them.

use std::sync::Arc;

use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpResponse, get};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use kindred_api::problem::ProblemKind;
use kindred_domain::material::upsert_of;
use kindred_domain::store::{ItemRow, Liveness, Store, StoreError};
use kindred_shared::event::Event;
use kindred_shared::{DomainName, ItemId};
use utoipa_actix_web::service_config::ServiceConfig;

use super::error::Error;
use super::openapi;
use super::parts::{Part, Reads};
use super::path::{InDomain, InPath};
use super::query::{Given, InQuery, Parameters};
use crate::store::materials::of_rows;

/// Most items read at a time, with their texts.
const ITEMS: usize = 200;
/// How many are read first, before it is known how long they are.
const FIRST_ITEMS: usize = 8;
/// How many bytes of lines to read at a time, about: they are held until the client has received them.
const LINES_BYTES: usize = 1 << 20;
/// How many of these bytes are sent at once.
const PIECE_BYTES: usize = 16 << 10;
/// Largest `limit`.
const MOST: u64 = 1 << 53;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(get);
}

/// Where an export starts, and its length.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// The id of the last item that the client already has: the export continues after it.
    #[param(example = "a-17")]
    after: Option<String>,
    /// Most lines; all if left out.
    #[param(minimum = 1, example = 1_000)]
    limit: Option<u64>,
}

impl Parameters for ExportQuery {
    fn read(given: &Given) -> Result<Self, Error> {
        let invalid = |name: &'static str, allowed: &'static str| {
            move || {
                Error::new(
                    ProblemKind::InvalidParameter,
                    format!("{name} is {allowed}."),
                )
                .field(name)
            }
        };
        let limit = invalid("limit", "one integer, at least 1");
        let after = invalid("after", "the id of one item");
        Ok(Self {
            after: given.once("after", after)?.map(str::to_owned),
            limit: given.whole_number("limit", 1..=MOST, limit)?,
        })
    }
}

/// All live items of a domain, as events.
///
/// NDJSON: one `item.updated` per line, ordered by id, including texts, vectors and versions, with
/// titles as they were sent. Importing it produces the same lists. An item that changes meanwhile
/// is exported as it was before or after the change. With `after`, the export continues after that
/// id. A connection that ends early means that the export is incomplete.
#[utoipa::path(operation_id = "export_domain", tag = "domains", params(InDomain, ExportQuery),
    responses(
        (status = 200, description = "One event per line.", body = String, content_type = "application/x-ndjson"),
        (status = 400, response = openapi::BadRequest),
        (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::Unavailable),
    ))]
#[get("/v1/domains/{domain}/export")]
async fn get(
    path: InPath<InDomain>,
    query: InQuery<ExportQuery>,
    reads: Part<Reads>,
) -> Result<HttpResponse, Error> {
    let (domain, query) = (path.0.domain, query.0);
    if reads.registered(&domain).await?.is_none() {
        return Err(Error::unknown_domain());
    }
    let after = query.after.map(|after| {
        ItemId::new(&after).map_err(|error| {
            Error::new(ProblemKind::InvalidParameter, error.to_string()).field("after")
        })
    });
    let after = after.transpose()?;
    let export = Export {
        store: Arc::clone(&reads.store),
        domain,
        from: after.clone(),
        after,
        left: query.limit.unwrap_or(u64::MAX),
        items: FIRST_ITEMS,
        now: Utc::now(),
    };
    // As long as nothing was sent, a store error can still be reported as such.
    let (first, rest) = export.some().await?;
    let first = stream::iter([Ok::<_, StoreError>(first)]);
    let rest = stream::try_unfold(rest, |export| async move {
        match export {
            Some(export) => export.some().await.map(Some),
            None => Ok(None),
        }
    });
    let lines = first.chain(rest).map_ok(in_pieces).try_flatten();
    let lines = lines.inspect_err(|error| {
        tracing::warn!(%error, "an export broke off");
    });
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, ndjson))
        .streaming(lines))
}

/// Lines, a piece at a time, so that little is copied for the connection.
fn in_pieces(mut lines: Bytes) -> impl Stream<Item = Result<Bytes, StoreError>> {
    stream::iter(std::iter::from_fn(move || {
        let piece = lines.split_to(lines.len().min(PIECE_BYTES));
        (!piece.is_empty()).then_some(Ok(piece))
    }))
}

/// How many items to read next, given the bytes that the lines of the last `items` items have.
fn items_next(items: usize, bytes: usize) -> usize {
    let fit = items.saturating_mul(LINES_BYTES) / bytes.max(1);
    fit.clamp(1, ITEMS)
}

/// Position of an export.
struct Export {
    store: Arc<dyn Store>,
    domain: DomainName,
    /// The first id to read.
    from: Option<ItemId>,
    /// An item that the client already has.
    after: Option<ItemId>,
    left: u64,
    /// How many items are read next.
    items: usize,
    now: DateTime<Utc>,
}

impl Export {
    /// The next lines, and the rest of the export, if there may be more.
    async fn some(mut self) -> Result<(Bytes, Option<Self>), StoreError> {
        let from = self.from.as_ref();
        let page = self
            .store
            .scan_items(&self.domain, from, self.items)
            .await?;
        let after = self.after.take();
        let is_wanted = |row: &ItemRow| {
            let is_over = row.expires_at.is_some_and(|at| at <= self.now);
            row.liveness == Liveness::Live && !is_over && Some(&row.id) != after.as_ref()
        };
        let mut rows: Vec<ItemRow> = page.rows.into_iter().filter(is_wanted).collect();
        rows.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= rows.len() as u64;
        let materials = of_rows(&*self.store, &self.domain, rows).await?;
        let mut lines = Vec::new();
        // They may have been withdrawn between the reads.
        for material in materials.into_iter().filter(|read| is_wanted(&read.row)) {
            let upsert = upsert_of(&self.domain, material);
            lines.extend_from_slice(Event::Upsert(Box::new(upsert)).to_json().as_bytes());
            lines.push(b'\n');
        }
        self.items = items_next(self.items, lines.len());
        self.from = page.next;
        let has_more = self.from.is_some() && self.left > 0;
        Ok((Bytes::from(lines), has_more.then_some(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_items_are_the_fewer_are_read_at_a_time() {
        assert_eq!(items_next(FIRST_ITEMS, 0), ITEMS);
        assert_eq!(items_next(FIRST_ITEMS, FIRST_ITEMS * 100), ITEMS);
        assert_eq!(items_next(8, 8 * (128 << 10)), 8);
        assert_eq!(items_next(200, 200 * (64 << 10)), 16);
        assert_eq!(items_next(8, 8 * (2 << 20)), 1);
    }

    #[actix_web::test]
    async fn lines_go_in_pieces_and_whole() {
        let lines = Bytes::from(vec![b'x'; 2 * PIECE_BYTES + 1]);
        let pieces: Vec<Bytes> = in_pieces(lines.clone())
            .map(|piece| piece.expect("a piece"))
            .collect()
            .await;
        let lengths: Vec<usize> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [PIECE_BYTES, PIECE_BYTES, 1]);
        assert_eq!(pieces.concat(), lines);
        assert_eq!(in_pieces(Bytes::new()).count().await, 0);
    }
}
