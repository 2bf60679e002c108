//! Mixes the features of items that were made by the parts of a mix.

use std::collections::BTreeMap;

use compute_worker::models::{Ingredient, mix};
use kindred_domain::effect::Made;
use kindred_domain::habits::Habits;
use kindred_domain::slot::Slot;
use kindred_shared::{Feature, ModelName, Space};

/// What a part of a mix made.
pub(super) struct Part {
    pub(super) weight: f64,
    /// The length of dense parts, if it never differs.
    pub(super) length: Option<usize>,
    pub(super) made: BTreeMap<Slot, Made>,
}

/// The features of the items of which every part has made one. One that a part rejects, the mix rejects. One that would
/// be too long is zero.
pub(super) fn mixed(kind: &ModelName, mut parts: Vec<Part>, habits: &Habits) -> Vec<Made> {
    let Some(first) = parts.first() else {
        return Vec::new();
    };
    let slots: Vec<Slot> = first.made.keys().copied().collect();
    let item = |slot: Slot| -> Option<Made> {
        let mut of_parts = Vec::with_capacity(parts.len());
        for part in &mut parts {
            of_parts.push((part.weight, part.length, part.made.remove(&slot)?));
        }
        Some(one(kind, of_parts, habits))
    };
    slots.into_iter().filter_map(item).collect()
}

fn one(kind: &ModelName, of_parts: Vec<(f64, Option<usize>, Made)>, habits: &Habits) -> Made {
    let ingredients: Vec<Ingredient<'_>> = of_parts
        .iter()
        .map(|(weight, length, made)| Ingredient {
            feature: &made.feature,
            weight: *weight,
            length: *length,
        })
        .collect();
    let feature = mix(&ingredients);
    // All parts of texts read them in the same language.
    let mut spaces = of_parts.iter().map(|(_, _, made)| &made.space);
    let language = spaces.find_map(|space| space.language());
    let space = language.map_or_else(
        || Space::without_language(kind),
        |language| Space::of_texts(kind, language),
    );
    let habits = language.map_or(0, |_| habits.fingerprint());
    let (slot, version) = of_parts
        .first()
        .map_or((Slot(0), 0), |(_, _, made)| (made.slot, made.version));
    let mut rows: Vec<_> = of_parts
        .into_iter()
        .filter_map(|(.., made)| made.row)
        .collect();
    let rejected = rows.iter().position(|row| row.rejected.is_some());
    let row = match rejected {
        Some(at) => Some(rows.swap_remove(at)),
        None => rows.pop(),
    };
    let is_rejected = rejected.is_some();
    Made {
        slot,
        version,
        space,
        habits,
        feature: match feature {
            Some(feature) if !is_rejected => feature,
            _ => Feature::zero(),
        },
        row,
    }
}
