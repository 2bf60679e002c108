//! Scans: every candidate there is, from the features of a snapshot.

use std::sync::atomic::{AtomicBool, Ordering};

use kindred_domain::features::Live;
use rayon::prelude::*;

use crate::admission::Admission;
use crate::question::{AskError, Asked, Part};
use crate::ranking::{Candidate, Ranking};

/// Every item that may be answered and has a score that counts, in no order; on the current rayon pool. Only
/// items that are admitted are scored, so a scan for few items costs little more than looking at what
/// is said of all.
pub(crate) fn scan(
    asked: &Asked<'_>,
    admission: &Admission<'_>,
    features: &kindred_domain::features::Features,
    ranking: Ranking,
    cancelled: &AtomicBool,
) -> Result<Vec<Candidate>, AskError> {
    let mut blocks: Vec<(&Live, Vec<&Part>)> = Vec::new();
    for (space, all) in features.spaces() {
        let parts = asked.parts.iter().filter(|part| part.space == *space);
        let parts: Vec<&Part> = parts.collect();
        if !parts.is_empty() && asked.weight > 0.0 {
            blocks.extend(all.iter().map(|live| (live, parts.clone())));
        }
    }
    let found = blocks.par_iter().map(|(live, parts)| {
        if cancelled.load(Ordering::Relaxed) {
            return Vec::new();
        }
        scan_block(asked, admission, live, parts, ranking)
    });
    let found: Vec<Vec<Candidate>> = found.collect();
    if cancelled.load(Ordering::Relaxed) {
        return Err(AskError::Cancelled);
    }
    Ok(found.concat())
}

fn scan_block(
    asked: &Asked<'_>,
    admission: &Admission<'_>,
    live: &Live,
    parts: &[&Part],
    ranking: Ranking,
) -> Vec<Candidate> {
    let table = live.rows.block.table();
    let slots = &live.rows.slots;
    let admitted = live.live.iter().filter_map(|row| {
        let item = admission.item(slots[row])?;
        Some((u32::try_from(row).ok()?, item))
    });
    let (rows, items): (Vec<u32>, Vec<_>) = admitted.unzip();
    if rows.is_empty() {
        return Vec::new();
    }
    let mut sums = vec![0.0_f64; rows.len()];
    let mut scores = Vec::new();
    for part in parts {
        // Features of one space are alike; what a store says otherwise is compared with nothing.
        if !part.probe.is_comparable(table) {
            continue;
        }
        part.probe.scores(table, &rows, &mut scores);
        for (sum, score) in sums.iter_mut().zip(&scores) {
            *sum += part.weight * f64::from(*score);
        }
    }
    let scored = items.iter().zip(sums);
    scored
        .filter_map(|(item, sum)| {
            let score = asked.score(sum);
            admission.counts(score).then(|| Candidate {
                slot: item.slot(),
                score,
                rank: ranking.rank(item, score),
            })
        })
        .collect()
}
