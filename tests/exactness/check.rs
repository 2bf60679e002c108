//! Invariant "Exact", checked on a store: every list is the neighbours of the contract.

use std::collections::{BTreeMap, BTreeSet};

use kindred_domain::store::{ListRow, Liveness};
use kindred_shared::{Feature, ItemId};
use rayon::prelude::*;

use super::expected::Expected;
use super::reference::{AllScores, canonical_score};
use super::stored::{Stored, StoredDomain};
use crate::corpus::event::Fate;

/// Neighbours an item is entitled to.
const NEIGHBOURS: usize = 50;
/// Scores closer than this may rank either way against `f64`.
const TIE: f64 = 1e-6;
/// How far a feature's length may be from 1.
const UNIT: f64 = 1e-5;
/// Faults shown.
const SHOWN: usize = 10;

/// Asserts that nothing acknowledged is lost, and that every list is exact.
#[track_caller]
pub(crate) fn assert_exact(stored: &Stored, expected: &Expected) {
    let faults = faults(stored, expected);
    assert!(
        faults.is_empty(),
        "{} faults; the first:\n{}",
        faults.len(),
        faults[..faults.len().min(SHOWN)].join("\n")
    );
}

/// Everything that is not as it must be, in words.
pub(crate) fn faults(stored: &Stored, expected: &Expected) -> Vec<String> {
    let mut faults = lost(stored, expected);
    for (name, domain) in stored {
        faults.extend(rows_that_should_not_be(name, domain));
        faults.extend(wrong_lists(name, domain));
    }
    faults
}

/// Asserts that two stores know the same items and features, and hold the same lists to the bit.
#[track_caller]
pub(crate) fn assert_same_bits(left: &Stored, right: &Stored) {
    assert!(left.keys().eq(right.keys()), "other domains");
    for (name, domain) in left {
        let other = &right[name];
        let items = |of: &StoredDomain| -> Vec<(ItemId, u64, Liveness, bool)> {
            of.items
                .values()
                .map(|item| (item.id.clone(), item.version, item.liveness, item.hidden))
                .collect()
        };
        assert_eq!(items(domain), items(other), "items of {name}");
        assert!(
            domain.features.keys().eq(other.features.keys()),
            "ids of the features of {name}"
        );
        for (id, feature) in &domain.features {
            let counterpart = &other.features[id];
            assert_eq!(
                (&feature.space, feature.version, bits(&feature.feature)),
                (
                    &counterpart.space,
                    counterpart.version,
                    bits(&counterpart.feature)
                ),
                "the feature of {id} in {name}"
            );
        }
        assert!(
            domain.lists.keys().eq(other.lists.keys()),
            "ids of the lists of {name}"
        );
        for (id, list) in &domain.lists {
            assert_eq!(
                list_bits(list),
                list_bits(&other.lists[id]),
                "the list of {id} in {name}"
            );
        }
    }
}

fn bits(feature: &Feature) -> (Vec<u32>, &[u32], Vec<u32>) {
    (
        feature
            .dense()
            .iter()
            .map(|value| value.to_bits())
            .collect(),
        feature.term_ids(),
        feature
            .term_weights()
            .iter()
            .map(|value| value.to_bits())
            .collect(),
    )
}

fn list_bits(list: &ListRow) -> Vec<(&ItemId, u32)> {
    list.neighbours
        .iter()
        .map(|neighbour| (&neighbour.id, neighbour.score.to_bits()))
        .collect()
}

/// Invariant "Durable before acknowledged": each item is what its newest event says.
fn lost(stored: &Stored, expected: &Expected) -> Vec<String> {
    let mut faults = Vec::new();
    for (domain, id, version, fate) in expected.items() {
        let found = stored
            .get(domain)
            .and_then(|of| of.items.get(id))
            .map(|item| {
                let fate = match (item.liveness, item.hidden) {
                    (Liveness::Live, false) => Fate::Shown,
                    (Liveness::Live, true) => Fate::Hidden,
                    (Liveness::Deleted | Liveness::Expired, _) => Fate::Deleted,
                };
                (item.version, fate)
            });
        if found != Some((version, fate)) {
            faults.push(format!(
                "{domain}/{id}: expected version {version} {fate:?}, the store has {found:?}"
            ));
        }
    }
    let known: usize = stored.values().map(|domain| domain.items.len()).sum();
    let wanted = expected.items().count();
    if known != wanted {
        faults.push(format!("{known} items in the store, {wanted} were sent"));
    }
    faults
}

fn rows_that_should_not_be(name: &str, domain: &StoredDomain) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(epoch) = domain.row.dirty {
        faults.push(format!("{name} is dirty, of epoch {epoch}"));
    }
    let visible: BTreeSet<&ItemId> = domain.visible().map(|item| &item.id).collect();
    for id in domain.lists.keys() {
        if !visible.contains(id) {
            faults.push(format!("{name}/{id} has a list and is not visible"));
        }
    }
    for item in domain.items.values() {
        let feature = domain.features.get(&item.id);
        match (item.liveness, feature) {
            (Liveness::Live, None) => faults.push(format!("{name}/{} has no feature", item.id)),
            (Liveness::Live, Some(feature)) if feature.version != item.version => {
                faults.push(format!(
                    "{name}/{}: version {}, its feature's {}",
                    item.id, item.version, feature.version
                ));
            }
            (Liveness::Deleted | Liveness::Expired, Some(_)) => {
                faults.push(format!("{name}/{} is gone, its feature is not", item.id));
            }
            (Liveness::Live, Some(_)) | (Liveness::Deleted | Liveness::Expired, None) => {}
        }
    }
    faults
}

fn wrong_lists(name: &str, domain: &StoredDomain) -> Vec<String> {
    let mut faults = Vec::new();
    let mut spaces: BTreeMap<&str, Vec<&ItemId>> = BTreeMap::new();
    for item in domain.visible() {
        let Some(list) = domain.lists.get(&item.id) else {
            faults.push(format!("{name}/{} has no list", item.id));
            continue;
        };
        let Some(feature) = domain.features.get(&item.id) else {
            continue;
        };
        if !feature.feature.is_zero() {
            spaces
                .entry(feature.space.as_str())
                .or_default()
                .push(&item.id);
        } else if !list.neighbours.is_empty() {
            faults.push(format!("{name}/{}: neighbours of a zero feature", item.id));
        }
    }
    for (space, ids) in spaces {
        faults.extend(
            wrong_lists_of_space(domain, &ids)
                .into_iter()
                .map(|fault| format!("{name} {space} {fault}")),
        );
    }
    faults
}

fn wrong_lists_of_space(domain: &StoredDomain, ids: &[&ItemId]) -> Vec<String> {
    let features: Vec<&Feature> = ids.iter().map(|id| &domain.features[*id].feature).collect();
    let rows: BTreeMap<&ItemId, usize> =
        ids.iter().enumerate().map(|(row, id)| (*id, row)).collect();
    let scores = AllScores::new(&features);
    (0..ids.len())
        .into_par_iter()
        .filter_map(|row| {
            wrong_list(
                &domain.lists[ids[row]],
                row,
                &rows,
                &features,
                &scores.of(row),
            )
            .err()
            .map(|fault| format!("{}: {fault}", ids[row]))
        })
        .collect()
}

fn wrong_list(
    list: &ListRow,
    row: usize,
    rows: &BTreeMap<&ItemId, usize>,
    features: &[&Feature],
    scores: &[f64],
) -> Result<(), String> {
    if (scores[row] - 1.0).abs() > UNIT {
        return Err(format!(
            "its feature has the squared length {}",
            scores[row]
        ));
    }
    if list.neighbours.len() > NEIGHBOURS {
        return Err(format!("{} neighbours", list.neighbours.len()));
    }
    let mut listed = vec![false; scores.len()];
    listed[row] = true;
    for (at, neighbour) in list.neighbours.iter().enumerate() {
        let Some(&other) = rows.get(&neighbour.id) else {
            return Err(format!("{} is not visible in its space", neighbour.id));
        };
        if std::mem::replace(&mut listed[other], true) {
            return Err(format!("{} is itself or listed twice", neighbour.id));
        }
        let canonical = canonical_score(features[row], features[other]);
        if neighbour.score.to_bits() != canonical.to_bits() {
            return Err(format!(
                "{} has score {}, the canonical one is {canonical}",
                neighbour.id, neighbour.score
            ));
        }
        if (f64::from(neighbour.score) - scores[other]).abs() > TIE {
            return Err(format!(
                "{} has score {}, in f64 {}",
                neighbour.id, neighbour.score, scores[other]
            ));
        }
        if neighbour.score <= 0.0 {
            return Err(format!("{} has score {}", neighbour.id, neighbour.score));
        }
        if let Some(next) = list.neighbours.get(at + 1) {
            let ranks = neighbour
                .score
                .total_cmp(&next.score)
                .reverse()
                .then_with(|| neighbour.id.cmp(&next.id));
            if ranks.is_ge() {
                return Err(format!("{} before {}", neighbour.id, next.id));
            }
        }
    }
    let floor = match list.neighbours.last() {
        Some(last) if list.neighbours.len() == NEIGHBOURS => f64::from(last.score),
        _ => 0.0,
    };
    match (0..scores.len()).find(|&other| !listed[other] && scores[other] > floor + TIE) {
        Some(absent) => Err(format!(
            "row {absent} with score {} is missing from {} neighbours down to {floor}",
            scores[absent],
            list.neighbours.len()
        )),
        None => Ok(()),
    }
}
