//! Explanations: what an item's score consists of.

use kindred_shared::Feature;

use crate::question::{Part, ResolvedSubject};
use crate::snapshot::Item;

/// What a score consists of. The dense part and the shares of all terms add up to the score, except for rounding to
/// `f32` (below 10⁻⁶).
#[derive(Debug, Clone, PartialEq)]
pub struct Why {
    /// The contribution of the dense parts.
    pub dense: f64,
    /// The contribution of each term, the highest first, then by term; `None`: items' own vectors have no terms.
    pub terms: Option<Vec<(u32, f64)>>,
}

/// Explains an item's score.
pub(crate) fn why(asked: &ResolvedSubject<'_>, item: &Item<'_>) -> Why {
    let Some((space, live, row)) = item.feature() else {
        return Why {
            dense: 0.0,
            terms: None,
        };
    };
    let feature = live.rows.block.feature(row as usize);
    let parts = asked.parts.iter().filter(|part| part.space == *space);
    let (mut dense, mut terms) = (0.0, Vec::new());
    for part in parts {
        let share = part.weight / asked.weight;
        dense += share * product(part.feature.dense(), feature.dense());
        shares(part, &feature, share, &mut terms);
    }
    // Adds up what several items of the question contribute to one term.
    terms.sort_by_key(|(id, _)| *id);
    terms.dedup_by(|later, earlier| {
        let is_same = later.0 == earlier.0;
        if is_same {
            earlier.1 += later.1;
        }
        is_same
    });
    terms.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    Why {
        dense,
        terms: space.language().is_some().then_some(terms),
    }
}

fn product(left: &[f32], right: &[f32]) -> f64 {
    let values = left.iter().zip(right);
    values.map(|(l, r)| f64::from(*l) * f64::from(*r)).sum()
}

/// The contribution of each term that both have.
fn shares(part: &Part, feature: &Feature, weight: f64, shares: &mut Vec<(u32, f64)>) {
    let (ids, weights) = (part.feature.term_ids(), part.feature.term_weights());
    for (id, own) in ids.iter().zip(weights) {
        if let Ok(at) = feature.term_ids().binary_search(id) {
            let other = feature.term_weights()[at];
            shares.push((*id, weight * f64::from(*own) * f64::from(other)));
        }
    }
}
