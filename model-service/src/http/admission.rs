//! Admits events over HTTP by their domain's quotas, as far as this instance knows them.

use std::slice;
use std::time::Instant;

use chrono::Utc;
use kindred_domain::quota::{fits, no_room};
use kindred_domain::settings::DomainSettings;
use kindred_domain::store::{ItemRow, Liveness};
use kindred_shared::DomainName;
use kindred_shared::event::{Event, Upsert};

use super::error::Error;
use super::parts::{Reads, Writes};
use super::quotas::Over;

/// Admits an event under the current settings of its domain.
///
/// # Errors
/// 429 when it is over a quota.
pub(super) async fn check(writes: &Writes, reads: &Reads, event: &Event) -> Result<(), Error> {
    let Some(settings) = reads.settings(event.domain()).await else {
        return Ok(());
    };
    let admitted = admit(writes, reads, &settings, event).await;
    admitted.map_err(|over| over.into_error(&settings))
}

/// Admits an event under its domain's settings.
///
/// # Errors
/// The quota that it exceeds.
pub(super) async fn admit(
    writes: &Writes,
    reads: &Reads,
    settings: &DomainSettings,
    event: &Event,
) -> Result<(), Over> {
    if event.takes_away(Utc::now()) {
        return Ok(());
    }
    if let Event::Upsert(upsert) = event {
        fits(settings, upsert).map_err(Over::Size)?;
        if let Some(most) = settings.max_items {
            has_room(writes, reads, most, upsert).await?;
        }
    }
    match settings.max_events_per_second {
        Some(most) => writes
            .quotas
            .is_in_time(event.domain(), most, Instant::now()),
        None => Ok(()),
    }
}

/// Whether a domain has room for an item, or already has the item.
async fn has_room(writes: &Writes, reads: &Reads, most: u64, upsert: &Upsert) -> Result<(), Over> {
    let (domain, quotas) = (&upsert.domain, &writes.quotas);
    if quotas.takes_room(domain, most, None, Instant::now()) {
        return Ok(());
    }
    // An existing item takes no additional room.
    let rows = reads.store.items(domain, slice::from_ref(&upsert.id));
    let rows = rows.await.unwrap_or_default();
    let is_live = |row: &ItemRow| row.liveness == Liveness::Live;
    if rows.iter().flatten().any(is_live) {
        return Ok(());
    }
    let live = live(reads, domain).await;
    if quotas.takes_room(domain, most, Some(live), Instant::now()) {
        return Ok(());
    }
    Err(Over::Size(no_room(most)))
}

/// Live items of a domain, as far as this instance knows.
async fn live(reads: &Reads, domain: &DomainName) -> u64 {
    let view = reads.views.get(domain);
    let in_view = view.filter(|view| view.snapshot().is_some());
    match in_view {
        Some(view) => view.status().live,
        None => match reads.registered(domain).await {
            Ok(row) => row.map_or(0, |row| row.live),
            // When the count cannot be read, nothing is refused.
            Err(_) => 0,
        },
    }
}
