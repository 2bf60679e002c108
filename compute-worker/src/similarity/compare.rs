//! Compares rows with rows: exact, in blocks, each pair once for both sides.
//!
//! Left rows are cut into chunks whose dense rows stay in the second-level cache and whose
//! sparse rows are turned into a term index; right rows into strips. Threads take strips. Within
//! a strip every right row meets a whole chunk at once: its sparse products come from the index,
//! its dense ones from the kernel, and one addition and one comparison with both rows' thresholds
//! tells whether the pair matters to anyone. Almost no pair does.
//!
//! The order in which candidates come does not matter (`Best`), so the answer is the same for
//! any number of threads.
//!
//! Memory: at most 2·(keep + 1) candidates of 12 bytes a row, the left rows once more, and
//! [`CHUNK_ROWS`] × [`MAX_STRIP_ROWS`] candidates a thread.

use std::sync::{Mutex, PoisonError};

use kindred_shared::job::{Candidate, CompareReply, CompareTask, Floor, Found, RowRef, Side};
use kindred_shared::{Block, ItemId};
use rayon::prelude::*;

use super::Kernel;
use super::best::{Best, Ids};
use super::items::Items;
use super::terms::TermIndex;

/// Left rows of a chunk: at 112 values a row, 112 KiB of dense rows.
const CHUNK_ROWS: usize = 256;
/// Right rows of a strip, at most and at least.
const MAX_STRIP_ROWS: usize = 512;
const MIN_STRIP_ROWS: usize = 32;
/// Strips a thread should get, so that none waits long for the last.
const STRIPS_PER_THREAD: usize = 4;
/// Scores looked at together; almost always none of them matters.
const GROUP: usize = 16;

/// Does a comparison on the current rayon pool.
///
/// Every live left row meets every live row of each right side, and with `within_left` every
/// pair of live left rows meets once. Each pair feeds both its rows. Rows of one item do not
/// meet. `found` is ordered by side, then row.
///
/// # Panics
/// When sides differ in dimension (but for a side without dense parts), floors or masks do not fit their block, or there are more
/// than 65,535 right sides: such a task was not made by this project.
pub fn compare(kernel: Kernel, task: &CompareTask) -> CompareReply {
    let sides = Sides::new(task);
    let limit = task.keep.min(sides.live_rows()).saturating_add(1);
    let left_rows: Vec<u32> = live_rows(&task.left);
    let chunks: Vec<Chunk<'_>> = left_rows
        .par_chunks(CHUNK_ROWS)
        .map(|rows| Chunk::new(&task.left, rows, limit))
        .collect();
    let run = Run {
        kernel,
        sides: &sides,
        chunks: &chunks,
        items: Items::new(&task.left, &left_rows),
        limit,
    };

    let mut pairs = 0;
    if task.within_left {
        run.within_left();
        pairs += run.items.pairs_within();
    }
    let mut found: Vec<Found> = Vec::new();
    for (side, right) in (1..).zip(&task.rights) {
        let rows = live_rows(right);
        let length = rows
            .len()
            .div_ceil(STRIPS_PER_THREAD * rayon::current_num_threads())
            .clamp(MIN_STRIP_ROWS, MAX_STRIP_ROWS);
        let strips: Vec<(u64, Vec<Found>)> = rows
            .par_chunks(length)
            .map(|strip| {
                (
                    run.items.pairs_with(right, strip),
                    run.strip(side, right, strip),
                )
            })
            .collect();
        for (met, strip) in strips {
            pairs += met;
            found.extend(strip);
        }
    }
    let mut all: Vec<Found> = chunks
        .iter()
        .flat_map(|chunk| chunk.finish(&sides))
        .collect();
    all.extend(found);
    CompareReply { pairs, found: all }
}

fn live_rows(side: &Side) -> Vec<u32> {
    side.live.iter().map(|row| row as u32).collect()
}

/// The sides of a task by their number.
struct Sides<'a> {
    sides: Vec<&'a Side>,
}

impl<'a> Sides<'a> {
    fn new(task: &'a CompareTask) -> Self {
        let sides: Vec<&Side> = std::iter::once(&task.left).chain(&task.rights).collect();
        assert!(sides.len() <= 1 << 16, "a side has a 16-bit number");
        for side in &sides {
            let rows = side.block.rows();
            assert_eq!(side.live.rows(), rows, "a mask speaks of its block's rows");
            assert!(
                side.floors.is_empty() || side.floors.len() == rows,
                "there is one floor a row, or none at all"
            );
            assert!(
                side.block.is_comparable(&task.left.block),
                "rows of one space are equally long"
            );
        }
        Self { sides }
    }

    fn live_rows(&self) -> usize {
        self.sides.iter().map(|side| side.live.count()).sum()
    }
}

impl Ids for Sides<'_> {
    fn id(&self, row: RowRef) -> &ItemId {
        self.sides[usize::from(row.side)].block.id(row.row as usize)
    }
}

fn floor(side: &Side, row: u32) -> &Floor {
    side.floors.get(row as usize).unwrap_or(&Floor::Closed)
}

/// Some left rows, laid out for comparing, and what was found for them.
struct Chunk<'a> {
    block: &'a Block,
    rows: &'a [u32],
    dense: Vec<f32>,
    index: TermIndex,
    best: Mutex<Vec<Best<'a>>>,
}

impl<'a> Chunk<'a> {
    fn new(left: &'a Side, rows: &'a [u32], limit: usize) -> Self {
        let mut dense = Vec::with_capacity(rows.len() * left.block.stride());
        for &row in rows {
            dense.extend_from_slice(left.block.dense(row as usize));
        }
        let best = rows
            .iter()
            .map(|&row| Best::new(floor(left, row), limit))
            .collect();
        Self {
            block: &left.block,
            rows,
            dense,
            index: TermIndex::new(&left.block, rows),
            best: Mutex::new(best),
        }
    }

    fn thresholds(&self) -> Vec<f32> {
        let best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        best.iter().map(Best::threshold).collect()
    }

    /// Takes what a thread found for this chunk's rows.
    fn merge(&self, hits: &[(u32, Candidate)], sides: &Sides<'_>) {
        if hits.is_empty() {
            return;
        }
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        for &(number, candidate) in hits {
            best[number as usize].push(candidate, sides);
        }
    }

    fn finish(&self, sides: &Sides<'_>) -> Vec<Found> {
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        self.rows
            .iter()
            .zip(best.drain(..))
            .filter_map(|(&row, best)| best.finish(RowRef { side: 0, row }, sides))
            .collect()
    }
}

/// What all threads of a comparison share.
struct Run<'a> {
    kernel: Kernel,
    sides: &'a Sides<'a>,
    chunks: &'a [Chunk<'a>],
    items: Items<'a>,
    limit: usize,
}

impl Run<'_> {
    /// Compares a strip of a right side with all left rows; what was found for its rows.
    fn strip(&self, side: u16, right: &Side, strip: &[u32]) -> Vec<Found> {
        let mut best: Vec<Best<'_>> = strip
            .iter()
            .map(|&row| Best::new(floor(right, row), self.limit))
            .collect();
        let mut scores = [0.0; CHUNK_ROWS];
        let mut hits = Vec::new();
        for chunk in self.chunks {
            let thresholds = chunk.thresholds();
            hits.clear();
            for (&row, best) in strip.iter().zip(&mut best) {
                let scores = &mut scores[..chunk.rows.len()];
                self.score(chunk, &right.block, row, scores);
                let id = right.block.id(row as usize);
                for_hits(scores, &thresholds, best.threshold(), |number, score| {
                    let left = chunk.rows[number];
                    if chunk.block.id(left as usize) == id {
                        return best.threshold();
                    }
                    if score >= thresholds[number] {
                        let row = RowRef { side, row };
                        hits.push((number as u32, Candidate { row, score }));
                    }
                    let row = RowRef { side: 0, row: left };
                    best.push(Candidate { row, score }, self.sides);
                    best.threshold()
                });
            }
            chunk.merge(&hits, self.sides);
        }
        strip
            .iter()
            .zip(best)
            .filter_map(|(&row, best)| best.finish(RowRef { side, row }, self.sides))
            .collect()
    }

    /// Compares the left rows among themselves, each pair once.
    fn within_left(&self) {
        let numbers: Vec<(usize, usize)> = (0..self.chunks.len())
            .flat_map(|later| (0..=later).map(move |earlier| (earlier, later)))
            .collect();
        numbers
            .par_iter()
            .for_each(|&(earlier, later)| self.chunk_pair(earlier, later));
    }

    fn chunk_pair(&self, earlier: usize, later: usize) {
        let (chunk, other) = (&self.chunks[earlier], &self.chunks[later]);
        let (thresholds, others) = (chunk.thresholds(), other.thresholds());
        let (mut hits, mut other_hits) = (Vec::new(), Vec::new());
        let mut scores = [0.0; CHUNK_ROWS];
        for (at, (&row, &threshold)) in other.rows.iter().zip(&others).enumerate() {
            // Within one chunk a row meets only those before it.
            let count = if earlier == later {
                at
            } else {
                chunk.rows.len()
            };
            let scores = &mut scores[..count];
            self.score(chunk, other.block, row, scores);
            let id = other.block.id(row as usize);
            for_hits(scores, &thresholds, threshold, |number, score| {
                let left = chunk.rows[number];
                if chunk.block.id(left as usize) != id {
                    if score >= thresholds[number] {
                        let row = RowRef { side: 0, row };
                        hits.push((number as u32, Candidate { row, score }));
                    }
                    if score >= threshold {
                        let row = RowRef { side: 0, row: left };
                        other_hits.push((at as u32, Candidate { row, score }));
                    }
                }
                threshold
            });
        }
        chunk.merge(&hits, self.sides);
        other.merge(&other_hits, self.sides);
    }

    /// The scores of one row with the first `scores.len()` rows of a chunk.
    fn score(&self, chunk: &Chunk<'_>, block: &Block, row: u32, scores: &mut [f32]) {
        let (ids, weights) = block.sparse(row as usize);
        let mut sparse = [0.0; CHUNK_ROWS];
        let sparse = &mut sparse[..scores.len()];
        self.kernel.sparse_dots(&chunk.index, ids, weights, sparse);
        if chunk.dense.is_empty() || block.dimension() == 0 {
            scores.fill(0.0);
        } else {
            self.kernel
                .dots(&chunk.dense, block.dense(row as usize), scores);
        }
        for (score, sparse) in scores.iter_mut().zip(sparse) {
            *score += *sparse;
        }
    }
}

/// Calls `hit` for every score that reaches its own threshold or the common one; `hit` answers
/// with the common threshold from there on.
#[inline(always)]
fn for_hits(
    scores: &[f32],
    thresholds: &[f32],
    mut common: f32,
    mut hit: impl FnMut(usize, f32) -> f32,
) {
    let thresholds = &thresholds[..scores.len()];
    let groups = scores.chunks(GROUP).zip(thresholds.chunks(GROUP));
    for (group, (scores, thresholds)) in groups.enumerate() {
        let any = scores
            .iter()
            .zip(thresholds)
            .fold(false, |any, (score, threshold)| {
                any | (*score >= *threshold) | (*score >= common)
            });
        if !any {
            continue;
        }
        for (at, (&score, &threshold)) in scores.iter().zip(thresholds).enumerate() {
            if score >= threshold || score >= common {
                common = hit(group * GROUP + at, score);
            }
        }
    }
}
