//! Changes whose answer needs the domain's owner: whether an item or a domain is gone for readers,
//! or the item does not exist.
//!
//! Only the owner knows, so the owner publishes the event; if none answers, this instance does.

use std::slice;

use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use chrono::Utc;
use kindred_shared::DomainName;
use kindred_shared::event::Event;

use super::error::Error;
use super::parts::{Reads, Writes, Written};
use super::path::OfItem;
use super::relay::{Change, as_ours, is_proxied};
use super::standing::is_visible;
use crate::owners::OwnerLocation;

/// What is needed for such a change.
pub(super) struct Doors<'a> {
    pub(super) reads: &'a Reads,
    pub(super) writes: &'a Writes,
    pub(super) request: &'a HttpRequest,
}

impl Doors<'_> {
    /// The answer of the domain's owner, if that is another instance. `None`: this instance has to
    /// do it.
    pub(super) async fn of_owner(
        &self,
        domain: &DomainName,
        method: Method,
        body: Option<Vec<u8>>,
    ) -> Option<HttpResponse> {
        if is_proxied(self.request.headers()) {
            return None;
        }
        let Ok(OwnerLocation::Remote(owner)) = self.reads.owners.of_domain(domain).await else {
            return None;
        };
        let path = self.request.uri().path_and_query()?.as_str().to_owned();
        let change = Change {
            path,
            method,
            body,
            by: None,
        };
        match self.reads.relay.change(&owner, change).await {
            Ok(answer) if answer.status != StatusCode::SERVICE_UNAVAILABLE.as_u16() => {
                Some(as_ours(&answer))
            }
            // The owner may have published it: publishing it twice does no harm.
            Ok(_) | Err(_) => None,
        }
    }

    /// Publishes the event, and waits for a while until it is settled here.
    pub(super) async fn settle(&self, event: Event) -> Result<Written, Error> {
        Ok(self.writes.settle(event).await?)
    }

    /// Whether this instance may still show the item to readers: the event was older than the
    /// stored item and had no effect, or the item has been put again.
    pub(super) async fn is_answered(&self, of: &OfItem) -> bool {
        let now = self.reads.clock.now();
        if let Some(view) = self.reads.views.get(&of.domain)
            && view.term().lasts(now.monotonic)
            && let Some(snapshot) = view.snapshot().as_ref()
        {
            return snapshot.item(of.id.as_str(), now.unix_ms).is_some();
        }
        let rows = self.reads.store.items(&of.domain, slice::from_ref(&of.id));
        match rows.await {
            Ok(rows) => rows.iter().flatten().any(|row| is_visible(row, Utc::now())),
            Err(_) => true,
        }
    }
}
