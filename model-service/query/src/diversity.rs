//! Diversity: answers that differ from each other, chosen by maximal marginal relevance (Carbonell and Goldstein, "The
//! use of MMR, diversity-based reranking for reordering documents and producing summaries", 1998).

use kindred_similarity::Kernel;

use crate::collapse::Representative;
use crate::peers::Peers;
use crate::question::AskError;
use crate::snapshot::Snapshot;

/// Number of candidates from which to choose.
pub(crate) const POOL: usize = 400;

/// Chooses `limit` of the best candidates greedily: each time the one with the highest (1 − λ)·rank − λ·(highest score
/// with an already chosen one; 0 if none); the first of equals. This value becomes its rank.
pub(crate) fn diversify(
    snapshot: &Snapshot,
    pool: Vec<Representative>,
    lambda: f64,
    limit: usize,
    kernel: Kernel,
    now: i64,
) -> Result<Vec<Representative>, AskError> {
    let mut peers = Peers::new(kernel);
    let item = |one: &Representative| snapshot.visible(one.candidate.slot, now);
    for (member, one) in pool.iter().enumerate() {
        if let Some(item) = item(one) {
            peers.add(member, &item);
        }
    }
    let mut closest: Vec<Option<f32>> = vec![None; pool.len()];
    let mut left: Vec<Option<Representative>> = pool.into_iter().map(Some).collect();
    let mut chosen: Vec<Representative> = Vec::new();
    while chosen.len() < limit {
        let mut best: Option<(usize, f64)> = None;
        for (at, one) in left.iter().enumerate() {
            let Some(one) = one else { continue };
            let close = f64::from(closest[at].unwrap_or(0.0));
            let value = (1.0 - lambda) * one.candidate.rank - lambda * close;
            if best.is_none_or(|(_, highest)| value > highest) {
                best = Some((at, value));
            }
        }
        let Some((at, value)) = best else { break };
        let Some(mut one) = left[at].take() else {
            break;
        };
        // Candidates without a score with it get 0, which is more than a negative score.
        let mut scores = vec![0.0_f32; closest.len()];
        if let Some(item) = item(&one) {
            peers.scores(&item, |member, score| scores[member] = score)?;
        }
        for (closest, score) in closest.iter_mut().zip(scores) {
            *closest = Some(closest.map_or(score, |so_far| so_far.max(score)));
        }
        one.candidate.rank = value;
        chosen.push(one);
    }
    Ok(chosen)
}
