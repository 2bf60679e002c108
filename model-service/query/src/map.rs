//! A map of a domain: similar items are placed close to each other in two dimensions.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;

use kindred_domain::slot::Slot;
use kindred_shared::{Feature, ItemId, Space};
use xxhash_rust::xxh3::xxh3_64;

use crate::layout::{Link, places};
use crate::snapshot::{Item, Snapshot};

/// Most items on a map; of more, some are chosen.
pub const MOST_PLACED: usize = 2_000;
/// Neighbours that are included with each chosen item.
const COMPANY: usize = 4;
/// Neighbours that attract an item.
const DRAWN: usize = 4;
/// Neighbours to which lines are drawn.
const LINED: usize = 3;

/// Positions of items.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Map {
    /// The items on the map, by id: from left to right and from top to bottom, 0 to 1,000.
    pub placed: Vec<(ItemId, f32, f32)>,
    /// Pairs of indexes into `placed` of nearest neighbours.
    pub links: Vec<[u32; 2]>,
}

impl Snapshot {
    /// The map of visible items; `now` in ms since 1970. If there are too many, those with the lowest hashes of ids are
    /// chosen, with their nearest neighbours, so that mostly the same items are shown while the domain changes. `None`:
    /// cancelled.
    pub fn map(&self, now: i64, cancelled: &AtomicBool) -> Option<Map> {
        let mut chosen = self.chosen(now);
        chosen.sort_unstable_by(|a, b| a.id().cmp(b.id()));
        let at: HashMap<Slot, usize> = chosen
            .iter()
            .enumerate()
            .map(|(at, item)| (item.slot(), at))
            .collect();
        let mut drawn: Vec<Link> = Vec::new();
        let mut lined = Vec::new();
        for (from, item) in chosen.iter().enumerate() {
            let near = item
                .neighbours()
                .filter_map(|(other, score)| Some((*at.get(&other.slot())?, score)));
            for (place, (to, score)) in near.take(DRAWN).enumerate() {
                drawn.push((from, to, score));
                if place < LINED {
                    lined.push([from.min(to), from.max(to)]);
                }
            }
        }
        lined.sort_unstable();
        lined.dedup();
        let features = common_features(&chosen);
        let dense: Vec<&[f32]> = features
            .iter()
            .map(|feature| feature.as_ref().map_or(&[][..], Feature::dense))
            .collect();
        let places = places(&dense, &drawn, cancelled)?;
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Some(Map {
            placed: chosen
                .iter()
                .zip(places)
                .map(|(item, [x, y])| (item.id().clone(), x, y))
                .collect(),
            links: lined.into_iter().map(|pair| pair.map(number)).collect(),
        })
    }

    fn chosen(&self, now: i64) -> Vec<Item<'_>> {
        let mut all: Vec<Item<'_>> = self.items(now).collect();
        if all.len() <= MOST_PLACED {
            return all;
        }
        all.sort_by_cached_key(|item| xxh3_64(item.id().as_str().as_bytes()));
        let (mut chosen, mut there) = (Vec::with_capacity(MOST_PLACED), HashSet::new());
        for item in all {
            let company = item.neighbours().take(COMPANY).map(|(other, _)| other);
            for one in [item].into_iter().chain(company) {
                if chosen.len() < MOST_PLACED && there.insert(one.slot()) {
                    chosen.push(one);
                }
            }
        }
        chosen
    }
}

/// The features in the space with the most items; those in other spaces cannot be compared with them.
fn common_features(items: &[Item<'_>]) -> Vec<Option<Feature>> {
    let mut counts: HashMap<&Space, usize> = HashMap::new();
    let found: Vec<_> = items.iter().map(Item::feature).collect();
    for (space, ..) in found.iter().flatten() {
        *counts.entry(space).or_default() += 1;
    }
    let most = counts
        .into_iter()
        .max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0)));
    let of_most = |space: &Space| most.is_some_and(|(most, _)| most == space);
    found
        .into_iter()
        .map(|found| {
            let (space, live, row) = found?;
            of_most(space).then(|| live.rows.block.feature(row as usize))
        })
        .collect()
}
