//! Counts written rows.

use std::sync::atomic::{AtomicU64, Ordering};

/// A table whose rows are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Domains,
    Settings,
    Items,
    Texts,
    Features,
    Lists,
    Partitions,
    Models,
    ModelLists,
    Log,
}

const NAMES: [&str; 10] = [
    "domains",
    "domain_settings",
    "items",
    "item_texts",
    "item_features",
    "similar_items",
    "partitions",
    "domain_models",
    "similar_items_by_model",
    "domain_log",
];

/// Rows written since the start, deletions included, by table.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; NAMES.len()]);

impl Counts {
    pub(super) fn add(&self, table: Table) {
        self.0[table as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        NAMES.into_iter().zip(counts).collect()
    }
}
