//! How far two systems agree, which needs no human judgements.

use std::collections::BTreeSet;

use serde::Serialize;

use super::systems::{ScoredItem, System};

/// Answers of a list that count.
const FIRST: usize = 10;

/// How far two systems agree over the items for which both have a list.
#[derive(Debug, Serialize)]
pub(super) struct Agreement {
    pub a: String,
    pub b: String,
    /// Mean share of the first ten that both have in common (of the longer list, if one has fewer).
    pub overlap: f64,
    /// Share of items whose best neighbour is the same.
    pub same_first: f64,
    /// The number of these items.
    pub of: usize,
    /// Items by their overlap, the least first, ties by id.
    #[serde(skip)]
    pub by_item: Vec<(usize, f64)>,
}

/// Each pair of systems that have a list in common.
pub(super) fn agreements(systems: &[System]) -> Vec<Agreement> {
    let pairs = (0..systems.len()).flat_map(|a| (a + 1..systems.len()).map(move |b| (a, b)));
    let both = pairs.filter_map(|(a, b)| agreement(&systems[a], &systems[b]));
    both.collect()
}

fn agreement(a: &System, b: &System) -> Option<Agreement> {
    let lists = a.lists.iter().zip(&b.lists).enumerate();
    let both = lists.filter(|(_, (one, other))| !(one.is_empty() || other.is_empty()));
    let (mut by_item, mut same_first) = (Vec::new(), 0_usize);
    for (item, (one, other)) in both {
        same_first += usize::from(one[0].item == other[0].item);
        by_item.push((item, overlap(one, other)));
    }
    let of = by_item.len();
    if of == 0 {
        return None;
    }
    by_item.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    Some(Agreement {
        a: a.name.clone(),
        b: b.name.clone(),
        overlap: by_item.iter().map(|(_, overlap)| overlap).sum::<f64>() / of as f64,
        same_first: same_first as f64 / of as f64,
        of,
        by_item,
    })
}

fn overlap(a: &[ScoredItem], b: &[ScoredItem]) -> f64 {
    let first = |list: &[ScoredItem]| -> BTreeSet<usize> {
        list.iter().take(FIRST).map(|answer| answer.item).collect()
    };
    let (a, b) = (first(a), first(b));
    a.intersection(&b).count() as f64 / a.len().max(b.len()) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn system(name: &str, lists: &[&[usize]]) -> System {
        let list = |items: &&[usize]| {
            let answer = |item: &usize| ScoredItem {
                item: *item,
                score: 0.5,
            };
            items.iter().map(answer).collect()
        };
        System::answered(
            name.to_owned(),
            lists.iter().map(list).collect(),
            HashMap::new(),
        )
    }

    #[test]
    fn agreement_is_what_both_have_of_the_first_ten() {
        let long: Vec<usize> = (1..21).collect();
        let other: Vec<usize> = (6..26).collect();
        let a = system("a", &[&long, &[0, 2], &[], &[1]]);
        let b = system("b", &[&other, &[0], &[1], &[2]]);
        let found = agreements(&[a, b]);
        let [found] = &found[..] else {
            panic!("{found:?}");
        };
        // Item 2 has no list by one of them.
        assert_eq!(found.of, 3);
        assert_eq!(found.by_item, [(3, 0.0), (0, 0.5), (1, 0.5)]);
        assert!((found.overlap - 1.0 / 3.0).abs() < 1e-12);
        assert!((found.same_first - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_is_said_where_there_is_nothing_in_common() {
        let (a, b) = (system("a", &[&[1], &[]]), system("b", &[&[], &[0]]));
        assert!(agreements(&[a, b]).is_empty());
    }
}
