//! Scans: all possible candidates, from the features of a snapshot.

use std::sync::atomic::{AtomicBool, Ordering};

use kindred_domain::features::{Features, Live};
use kindred_domain::slot::Slot;
use kindred_shared::ItemId;
use kindred_similarity::{Kernel, RowMask, RowRef, Side, TableBuilder, Task, compare};
use rayon::prelude::*;

use crate::admission::Admission;
use crate::question::{AskError, Part, ResolvedSubject};
use crate::ranking::{Candidate, Ranking};
use crate::snapshot::Snapshot;

/// Rows that are processed in one go: a unit of work that an idle thread can take over from a busy one.
const PIECE: usize = 2_048;
/// A comparison takes about the same time however many rows of a block count: it pays off if at least one in this many
/// does.
const COMPARED: usize = 16;
/// Fewer rows than this are scored one by one in less time than a comparison needs to start.
const FEW: usize = 1_024;

/// A scan.
pub(crate) struct Scan<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) asked: &'a ResolvedSubject<'a>,
    pub(crate) admission: &'a Admission<'a>,
    pub(crate) ranking: Ranking,
    pub(crate) kernel: Kernel,
    pub(crate) cancelled: &'a AtomicBool,
}

/// Some rows of a block, and the part with which they are compared.
struct Piece<'a> {
    live: &'a Live,
    parts: &'a [&'a Part],
    rows: Vec<u32>,
}

impl Scan<'_> {
    /// Every item that may be answered and has a score that counts, in any order; on the current rayon pool. `first`:
    /// if given, only this many of the best are needed, and others may be missing.
    ///
    /// Only admitted items are scored, so a scan for few items costs little more than looking at the facts of all.
    pub(crate) fn candidates(&self, first: Option<usize>) -> Result<Vec<Candidate>, AskError> {
        let mut spaces: Vec<(&[Live], Vec<&Part>)> = Vec::new();
        if self.asked.weight > 0.0 {
            for (space, lives) in self.snapshot.features().spaces() {
                let parts = self.asked.parts.iter().filter(|part| part.space == *space);
                let parts: Vec<&Part> = parts.collect();
                if !parts.is_empty() {
                    spaces.push((lives, parts));
                }
            }
        }
        let mut pieces: Vec<(&Live, &[&Part], usize)> = Vec::new();
        for (lives, parts) in &spaces {
            for live in *lives {
                let starts = (0..live.rows.slots.len()).step_by(PIECE);
                pieces.extend(starts.map(|start| (live, &**parts, start)));
            }
        }
        let admitted = pieces.into_par_iter().map(|(live, parts, start)| Piece {
            live,
            parts,
            rows: self.admitted(live, start),
        });
        let admitted: Vec<Piece<'_>> = admitted.filter(|piece| !piece.rows.is_empty()).collect();
        if let (Some(first), Some(part)) = (first, self.one_part())
            && is_worth_comparing(self.snapshot.features(), part, &admitted)
        {
            return self.compared(part, &admitted, first);
        }
        let found = admitted.par_iter().map(|piece| self.scored(piece));
        let found: Vec<Vec<Candidate>> = found.collect();
        self.unless_cancelled()?;
        Ok(found.concat())
    }

    /// The rows from `start` on, within one piece, that may be answered.
    fn admitted(&self, live: &Live, start: usize) -> Vec<u32> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let slots = &live.rows.slots;
        let rows = live.live.within(start..start + PIECE);
        let admitted = rows.filter(|row| self.admission.admits_slot(slots[*row]));
        admitted.map(|row| row as u32).collect()
    }

    /// The single part, if the question's scores are exactly its scores.
    fn one_part(&self) -> Option<&Part> {
        let [part] = &self.asked.parts[..] else {
            return None;
        };
        // If another part has a share of the weight, scores are scaled, and some may become equal.
        let is_all = part.weight > 0.0 && part.weight == self.asked.weight;
        (is_all && self.ranking == Ranking::Score).then_some(part)
    }

    /// The best `first` candidates of some rows, found by comparison: only rows that approximate scores do not rule out
    /// are scored exactly.
    fn compared(
        &self,
        part: &Part,
        pieces: &[Piece<'_>],
        first: usize,
    ) -> Result<Vec<Candidate>, AskError> {
        let mut own = TableBuilder::new(part.feature.dense().len());
        let (ids, weights) = (part.feature.term_ids(), part.feature.term_weights());
        own.push(part.feature.dense(), ids, weights)?;
        let (own, all) = (own.build(), RowMask::all(1));
        let mut sides: Vec<(&Live, RowMask)> = Vec::new();
        for piece in pieces {
            let rows = &piece.live.rows;
            if !part.probe.is_comparable(rows.block.table()) {
                continue;
            }
            if sides
                .last()
                .is_none_or(|(live, _)| !std::ptr::eq(*live, piece.live))
            {
                sides.push((piece.live, RowMask::none(rows.slots.len())));
            }
            if let Some((_, mask)) = sides.last_mut() {
                let rows = piece.rows.iter();
                rows.for_each(|row| mask.insert(*row as usize));
            }
        }
        let slot = |row: RowRef| -> Slot {
            let (live, _) = sides[usize::from(row.side) - 1];
            live.rows.slots[row.row as usize]
        };
        let id = |row: RowRef| -> Option<&ItemId> {
            // The question's own row meets each other row once.
            (row.side > 0)
                .then(|| self.snapshot.id(slot(row)))
                .flatten()
        };
        let task = Task {
            left: Side {
                table: &own,
                live: &all,
                floors: vec![self.admission.least()],
                apart: Vec::new(),
            },
            within_left: false,
            rights: (sides.iter())
                .map(|(live, mask)| Side {
                    table: live.rows.block.table(),
                    live: mask,
                    floors: Vec::new(),
                    apart: Vec::new(),
                })
                .collect(),
            keep: first,
        };
        let by_id = |a: RowRef, b: RowRef| id(a).cmp(&id(b));
        let compared = compare(self.kernel, &task, &by_id, self.cancelled);
        self.unless_cancelled()?;
        let found = compared?
            .found
            .into_iter()
            .flat_map(|found| found.candidates);
        Ok(found
            .map(|one| Candidate {
                slot: slot(one.row),
                score: one.score,
                rank: f64::from(one.score),
            })
            .collect())
    }

    /// Rows whose score counts.
    fn scored(&self, piece: &Piece<'_>) -> Vec<Candidate> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let table = piece.live.rows.block.table();
        let mut sums = vec![0.0_f64; piece.rows.len()];
        let mut scores = Vec::new();
        for part in piece.parts {
            // Features of one space have the same length; if the store says otherwise, they are not compared.
            if !part.probe.is_comparable(table) {
                continue;
            }
            part.probe.scores(table, &piece.rows, &mut scores);
            for (sum, score) in sums.iter_mut().zip(&scores) {
                *sum += part.weight * f64::from(*score);
            }
        }
        let slots = &piece.live.rows.slots;
        let scored = piece.rows.iter().zip(sums);
        scored
            .filter_map(|(row, sum)| {
                let (slot, score) = (slots[*row as usize], self.asked.score(sum));
                let rank = match self.ranking {
                    Ranking::Score => f64::from(score),
                    ranking => ranking.rank(&self.admission.item(slot)?, score),
                };
                let counts = self.admission.counts(score);
                counts.then_some(Candidate { slot, score, rank })
            })
            .collect()
    }

    fn unless_cancelled(&self) -> Result<(), AskError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(AskError::Cancelled);
        }
        Ok(())
    }
}

/// Whether a comparison finds the best of some rows faster than scoring all of them.
fn is_worth_comparing(features: &Features, part: &Part, pieces: &[Piece<'_>]) -> bool {
    let admitted: usize = pieces.iter().map(|piece| piece.rows.len()).sum();
    let lives = features.of(&part.space).iter();
    let rows: usize = lives.map(|live| live.rows.slots.len()).sum();
    admitted >= FEW && COMPARED * admitted >= rows
}
