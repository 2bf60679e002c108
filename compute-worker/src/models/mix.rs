//! Mixes features of several models into one.

use kindred_shared::Feature;

use super::assembly::length;

/// Longest dense part of a mixed feature: what jobs may have.
pub const MOST_VALUES: usize = 4_096;

/// Distinguishes the terms of the parts: the golden ratio in 32 bits, whose multiples differ in many bits.
const SALT: u32 = 0x9e37_79b9;

/// A part of a mixed feature.
#[derive(Debug, Clone, Copy)]
pub struct Ingredient<'a> {
    /// The item's feature of this part; zero: it lacks the part.
    pub feature: &'a Feature,
    /// Above 0.
    pub weight: f64,
    /// The length of dense parts, if it never differs.
    pub length: Option<usize>,
}

/// Mixes an item's features: each is scaled by the root of its share of the weights of those that are not zero. Then the
/// dot product of two such features is the sum of weight times score of each part, divided by the sum of the weights, if
/// both items have all parts. The same list of parts must be given for all items.
///
/// Dense parts of a known length come first, one after the other. Those of unknown length follow in turn, a value of
/// each at a time, because an item that lacks a part does not tell how much room that takes. Zeros at the end are left
/// out. Ids of terms are those of the first part, and are distinguished from it in others, so that words of different
/// models do not meet.
///
/// `None`: the dense part would have more than [`MOST_VALUES`], or a part is longer than stated.
pub fn mix(parts: &[Ingredient<'_>]) -> Option<Feature> {
    let there = parts.iter().filter(|part| !part.feature.is_zero());
    let sum: f64 = there.map(|part| part.weight).sum();
    let (mut dense, mut sparse) = (Vec::new(), Vec::new());
    let fixed: usize = parts.iter().filter_map(|part| part.length).sum();
    let in_turn = parts.iter().filter(|part| part.length.is_none()).count();
    let (mut next_fixed, mut turn) = (0, 0);
    for (number, part) in (0_u32..).zip(parts) {
        let scale = (part.weight / sum).sqrt();
        let scaled = |value: &f32| f64::from(*value) * scale;
        let (first, step) = match part.length {
            Some(length) => {
                next_fixed += length;
                (next_fixed - length, 1)
            }
            None => {
                turn += 1;
                (fixed + turn - 1, in_turn)
            }
        };
        let values = part.feature.dense();
        if let Some(last) = values.len().checked_sub(1) {
            let end = first + last * step + 1;
            let has_room = part.length.is_none_or(|length| values.len() <= length);
            if end > MOST_VALUES || !has_room {
                return None;
            }
            dense.resize(dense.len().max(end), 0.0);
        }
        for (at, value) in values.iter().enumerate() {
            dense[first + at * step] = scaled(value);
        }
        let salt = SALT.wrapping_mul(number);
        let terms = part.feature.term_ids().iter();
        let terms = terms.zip(part.feature.term_weights());
        sparse.extend(terms.map(|(id, weight)| (id ^ salt, scaled(weight))));
    }
    // Of two parts' terms that have one id by chance the heavier one stays.
    sparse.sort_by(|a: &(u32, f64), b| a.0.cmp(&b.0).then_with(|| b.1.abs().total_cmp(&a.1.abs())));
    let terms = sparse.len();
    sparse.dedup_by_key(|(id, _)| *id);
    let is_shorter = sparse.len() < terms;
    let all = sparse.iter().map(|(_, weight)| *weight);
    // Otherwise it has length 1 as the parts have, and an item with one part has that part's feature.
    let length = match is_shorter {
        true => length(dense.iter().copied().chain(all))?,
        false => 1.0,
    };
    let dense = dense.iter().map(|value| (value / length) as f32).collect();
    let (ids, weights) = sparse
        .iter()
        .map(|(id, weight)| (*id, (weight / length) as f32))
        .unzip();
    let mixed = Feature::new(dense, ids, weights);
    let mixed =
        mixed.expect("ids were sorted and made unique, and values over their length are at most 1");
    Some(mixed.trimmed())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use proptest::prelude::*;

    use super::super::assembly::{Lengths, assemble};
    use super::*;

    fn feature(dense: Vec<f32>, terms: Vec<(u32, f32)>) -> Feature {
        let dense: Vec<f64> = dense.into_iter().map(f64::from).collect();
        let terms: Vec<(u32, f64)> = terms
            .into_iter()
            .map(|(id, w)| (id, f64::from(w)))
            .collect();
        let half = 0.5_f64.sqrt();
        assemble(
            &dense,
            &terms,
            Lengths {
                dense: half,
                sparse: half,
            },
        )
    }

    /// A feature with both parts, one, or none.
    fn any_feature(dense: usize) -> impl Strategy<Value = Feature> {
        let dense = prop::collection::vec(-1.0_f32..1.0, dense);
        let terms = prop::collection::btree_map(any::<u32>(), 0.1_f32..1.0, 0..6);
        (prop::option::of(dense), terms).prop_map(|(dense, terms)| {
            feature(dense.unwrap_or_default(), terms.into_iter().collect())
        })
    }

    fn score(a: &Feature, b: &Feature) -> f64 {
        let dense = a.dense().iter().zip(b.dense());
        let dense: f64 = dense.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        let weight = |feature: &Feature, id: &u32| {
            let at = feature.term_ids().binary_search(id).ok()?;
            Some(f64::from(feature.term_weights()[at]))
        };
        let terms = a.term_ids().iter();
        let sparse: f64 = terms
            .filter_map(|id| Some(weight(a, id)? * weight(b, id)?))
            .sum();
        dense + sparse
    }

    proptest! {
        /// The definition: of each part that both have, the root of the product of its shares, times its score.
        #[test]
        fn the_score_is_the_weighted_sum_of_the_parts_scores(
            a in (any_feature(4), any_feature(3), any_feature(6)),
            b in (any_feature(4), any_feature(3), any_feature(6)),
            weights in (0.01_f64..10.0, 0.01_f64..10.0, 0.01_f64..10.0),
        ) {
            let weights = [weights.0, weights.1, weights.2];
            let of = |parts: &(Feature, Feature, Feature)| [parts.0.clone(), parts.1.clone(), parts.2.clone()];
            let (a, b) = (of(&a), of(&b));
            let mixed = |parts: &[Feature; 3]| {
                let lengths = [Some(4), None, None];
                let parts = parts.iter().zip(weights).zip(lengths);
                let parts: Vec<Ingredient<'_>> = parts
                    .map(|((feature, weight), length)| Ingredient { feature, weight, length })
                    .collect();
                mix(&parts).unwrap()
            };
            let sum = |parts: &[Feature; 3]| -> f64 {
                let there = parts.iter().zip(weights).filter(|(part, _)| !part.is_zero());
                there.map(|(_, weight)| weight).sum()
            };
            let (of_a, of_b) = (mixed(&a), mixed(&b));
            prop_assert!(of_a.is_scaled());
            prop_assert!(of_a.dense().last() != Some(&0.0));
            let expected: f64 = (0..3)
                .filter(|part| !a[*part].is_zero() && !b[*part].is_zero())
                .map(|part| {
                    let shares = (weights[part] / sum(&a)) * (weights[part] / sum(&b));
                    shares.sqrt() * score(&a[part], &b[part])
                })
                .sum();
            // Terms of different parts have one id once in millions of pairs.
            prop_assert!((score(&of_a, &of_b) - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn an_item_with_one_part_has_that_parts_feature() {
        let one = feature(vec![3.0, 4.0], vec![(7, 1.0)]);
        let zero = Feature::zero();
        let part = |feature, length| Ingredient {
            feature,
            weight: 0.3,
            length,
        };
        let mixed = mix(&[part(&one, Some(2)), part(&zero, None)]).unwrap();
        assert_eq!(mixed, one);
        assert_eq!(
            mix(&[part(&zero, Some(2)), part(&zero, None)]),
            Some(Feature::zero())
        );
    }

    #[test]
    fn more_values_than_a_job_may_have_are_no_feature() {
        let long = feature(vec![1.0; MOST_VALUES], vec![]);
        let one = feature(vec![1.0], vec![]);
        let part = |feature, length| Ingredient {
            feature,
            weight: 1.0,
            length,
        };
        assert!(mix(&[part(&long, None)]).is_some());
        assert_eq!(mix(&[part(&one, Some(1)), part(&long, None)]), None);
        assert_eq!(mix(&[part(&one, None), part(&long, None)]), None);
    }
}
