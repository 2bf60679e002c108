//! Why an item is answered: what its score is made of.

use kindred_shared::Feature;

use crate::question::{Asked, Part};
use crate::snapshot::Item;

/// What a score is made of. Its dense part and the shares of all its terms add up to the score, but for
/// roundings of `f32` (below 10⁻⁶).
#[derive(Debug, Clone, PartialEq)]
pub struct Why {
    /// What dense parts give.
    pub dense: f64,
    /// What each term gives, the most first, then by term; `None`: vectors of items' own have no terms.
    pub terms: Option<Vec<(u32, f64)>>,
}

/// Why an item has its score.
pub(crate) fn why(asked: &Asked<'_>, item: &Item<'_>) -> Why {
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
    // What several items asked of have of one term.
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

/// What each term that both have gives.
fn shares(part: &Part, feature: &Feature, weight: f64, shares: &mut Vec<(u32, f64)>) {
    let (ids, weights) = (part.feature.term_ids(), part.feature.term_weights());
    for (id, own) in ids.iter().zip(weights) {
        if let Ok(at) = feature.term_ids().binary_search(id) {
            let other = feature.term_weights()[at];
            shares.push((*id, weight * f64::from(*own) * f64::from(other)));
        }
    }
}
