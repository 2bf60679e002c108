//! Models that are being built. A model is ready only once the store has the lists of the items that it was built from.

use std::collections::BTreeMap;

use kindred_domain::models::{ModelEntry, Stage};
use kindred_shared::{DomainName, ItemId, ModelName};

use crate::invariants::{Checked, Invariant, is_shown, violated};
use crate::simulated::tables::Tables;

/// The visible items that the store had when the building of each model began, and their versions.
#[derive(Debug, Default)]
pub(crate) struct Building(BTreeMap<(DomainName, ModelName), BTreeMap<ItemId, u64>>);

impl Building {
    /// The row of a domain's settings is written; `before`: the models beside the served one that it had until now.
    pub(crate) fn written(
        &mut self,
        domain: &DomainName,
        before: &BTreeMap<ModelName, ModelEntry>,
        tables: &Tables,
    ) -> Checked {
        let set = tables.settings.get(&());
        for (name, entry) in set.into_iter().flat_map(|set| set.models.beside()) {
            let was = before.get(name).filter(|was| was.kind == entry.kind);
            let key = (domain.clone(), name.clone());
            match (was.map(|was| &was.stage), &entry.stage) {
                (Some(Stage::Building), Stage::Building) => {}
                (_, Stage::Building) => {
                    let shown = tables.items.rows().filter(|(_, row)| is_shown(row));
                    let versions = shown.map(|(id, row)| (id.clone(), row.version));
                    self.0.insert(key, versions.collect());
                }
                (Some(Stage::Building), Stage::Ready) => {
                    let items = self.0.remove(&key).unwrap_or_default();
                    has_lists(domain, name, &items, tables)?;
                }
                // A model that was served stays ready: its lists follow.
                _ => {}
            }
        }
        Ok(())
    }
}

/// Those of the items that have not changed since must have a list.
fn has_lists(
    domain: &DomainName,
    name: &ModelName,
    items: &BTreeMap<ItemId, u64>,
    tables: &Tables,
) -> Checked {
    let lists = tables.beside_lists.get(name);
    for (id, version) in items {
        // The list of an item that expires may be deleted before its row says so.
        let stays = tables.items.get(id).is_some_and(|row| {
            row.version == *version && is_shown(row) && row.expires_at.is_none()
        });
        if stays && lists.and_then(|lists| lists.get(id)).is_none() {
            let detail = format!("{name} of {domain} is ready, and the list of {id} is not stored");
            return violated(Invariant::Exact, detail);
        }
    }
    Ok(())
}
