//! The candidates of the rows of one block, each with a bound its score does not fall below.
//!
//! A row's base is the K-th highest of those bounds: what cannot reach it is dead, for K others
//! are certainly better. The base only rises. Where too many candidates cannot be told apart by
//! their bounds, the row becomes *exact*: its candidates get their canonical scores, and from
//! there on every newcomer is scored at once, so that no list ever overflows.

use kindred_shared::block::LANES;

use super::Kernel;
use super::layout::Layout;
use super::rows::Scorer;

/// The lists of a block's rows. Positions are those of the layout.
pub(super) struct Lists {
    /// Position of the first row.
    first: usize,
    keep: usize,
    /// Places a row has.
    room: usize,
    others: Vec<u32>,
    bounds: Vec<f32>,
    rows: Vec<Row>,
}

/// What is known of a row.
#[derive(Clone, Copy)]
struct Row {
    count: usize,
    /// Candidates at which the list is looked through again.
    limit: usize,
    base: f32,
    /// Whether bounds are canonical scores and `base` and `last` the K-th best's.
    exact: bool,
    /// Id of the K-th best of an exact row; candidates with the same score need a lower one.
    last: u32,
}

/// Candidates a list takes in between two looks.
fn between(keep: usize) -> usize {
    (keep / 2).max(32)
}

impl Lists {
    /// Empty lists of `count` rows from a position on; `floor` is the lowest score that counts.
    pub(super) fn new(first: usize, count: usize, keep: usize, floor: f32, exact: bool) -> Self {
        // Whole vectors, for counting.
        let room = (keep + 64 + between(keep)).next_multiple_of(LANES);
        let row = Row {
            count: 0,
            limit: room.min(keep + between(keep)),
            base: floor,
            exact,
            last: u32::MAX,
        };
        Self {
            first,
            keep,
            room,
            others: vec![0; count * room],
            bounds: vec![0.0; count * room],
            rows: vec![row; count],
        }
    }

    /// Puts the rows' bases where they belong.
    pub(super) fn bases(&self, bases: &mut [f32]) {
        for (base, row) in bases.iter_mut().zip(&self.rows) {
            *base = row.base;
        }
    }

    /// The base of a row.
    #[inline(always)]
    pub(super) fn base(&self, row: usize) -> f32 {
        self.rows[row].base
    }

    /// The lowest exact score that matters to a row, if all candidates' ids are `least` or more.
    pub(super) fn threshold(&self, row: usize, least: u32) -> f32 {
        let row = &self.rows[row];
        if row.exact && row.last <= least {
            row.base.next_up()
        } else {
            row.base
        }
    }

    /// Takes a candidate whose score lies in `bound ± slack`.
    #[inline]
    pub(super) fn push(&mut self, row: usize, other: u32, bound: f32, run: &Run<'_>) {
        if self.rows[row].exact {
            let score = run.scorer.score((self.first + row) as u32, other);
            self.push_exact(row, other, score, run);
        } else {
            self.add(row, other, bound, run);
        }
    }

    /// Takes a candidate with its canonical score.
    pub(super) fn push_exact(&mut self, row: usize, other: u32, score: f32, run: &Run<'_>) {
        let known = &self.rows[row];
        let wanted = score > known.base
            || (score == known.base && (!known.exact || run.scorer.id(other) < known.last));
        if wanted {
            self.add(row, other, score, run);
        }
    }

    #[inline(always)]
    fn add(&mut self, row: usize, other: u32, bound: f32, run: &Run<'_>) {
        let known = &mut self.rows[row];
        let at = row * self.room + known.count;
        self.others[at] = other;
        self.bounds[at] = bound;
        known.count += 1;
        if known.count == known.limit {
            self.compact(row, run);
        }
    }

    /// Takes all bounds of a row at once, if it has no candidates yet; `others` counts up from
    /// the block's first row and leaves out the row itself.
    pub(super) fn seed(&mut self, row: usize, bounds: &mut [f32], slack: f32, run: &Run<'_>) {
        bounds[row] = f32::NEG_INFINITY;
        if !self.rows[row].exact && bounds.len() > self.keep {
            let base = run.kernel.kth(bounds, self.keep);
            self.rows[row].base = base.max(self.rows[row].base);
        }
        for (other, &bound) in bounds.iter().enumerate() {
            if other != row && bound + slack >= self.rows[row].base {
                self.push(row, (self.first + other) as u32, bound, run);
            }
        }
    }

    /// Drops the dead of a row.
    fn compact(&mut self, row: usize, run: &Run<'_>) {
        if !self.rows[row].exact {
            let start = row * self.room;
            let count = self.rows[row].count;
            let others = &mut self.others[start..start + self.room];
            let bounds = &mut self.bounds[start..start + self.room];
            let filled = count.next_multiple_of(LANES);
            bounds[count..filled].fill(f32::NEG_INFINITY);
            let known = &mut self.rows[row];
            if count >= self.keep {
                known.base = known.base.max(run.kernel.kth(&bounds[..filled], self.keep));
            }
            let slack = run.layout.slacks((self.first + row) as u32);
            let mut kept = 0;
            // Without a branch: half of them stay.
            for at in 0..count {
                let (other, bound) = (others[at], bounds[at]);
                others[kept] = other;
                bounds[kept] = bound;
                kept += usize::from(bound + slack(other) >= known.base);
            }
            known.count = kept;
            known.limit = kept + between(self.keep);
            if known.limit <= self.room {
                return;
            }
        }
        let best = self.best(row, run);
        let at = row * self.room;
        for (place, &(other, score)) in best.iter().enumerate() {
            self.others[at + place] = other;
            self.bounds[at + place] = score;
        }
        let known = &mut self.rows[row];
        known.exact = true;
        known.count = best.len();
        known.limit = best.len() + between(self.keep);
        if let Some(&(other, score)) = best.get(self.keep - 1)
            && score >= known.base
        {
            known.base = score;
            known.last = run.scorer.id(other);
        }
    }

    /// The best of a row by canonical score, at most K, best first; positions and scores.
    pub(super) fn best(&mut self, row: usize, run: &Run<'_>) -> Vec<(u32, f32)> {
        let span = row * self.room..row * self.room + self.rows[row].count;
        let others = &self.others[span.clone()];
        let mut scores = vec![0.0; others.len()];
        if self.rows[row].exact {
            scores.copy_from_slice(&self.bounds[span]);
        } else {
            let position = (self.first + row) as u32;
            run.scorer.scores(position, others, &mut scores);
        }
        let mut best: Vec<(u32, f32)> = others.iter().copied().zip(scores).collect();
        // A score that is not a number ranks nowhere.
        best.retain(|&(_, score)| score >= run.floor);
        // Zeros of both signs are equal scores.
        best.sort_unstable_by(|a, b| {
            (b.1 + 0.0)
                .total_cmp(&(a.1 + 0.0))
                .then_with(|| run.scorer.id(a.0).cmp(&run.scorer.id(b.0)))
        });
        best.truncate(self.keep);
        best
    }

    /// The best of a row when all is done. Frees nothing.
    pub(super) fn finish(&mut self, row: usize, run: &Run<'_>) -> Vec<(u32, f32)> {
        if !self.rows[row].exact && self.rows[row].count > self.keep {
            // Fewer scores to compute.
            self.compact(row, run);
        }
        self.best(row, run)
    }
}

/// What lists need to know.
pub(super) struct Run<'a> {
    pub(super) kernel: Kernel,
    pub(super) layout: &'a Layout,
    pub(super) scorer: &'a Scorer<'a>,
    /// The lowest score that counts.
    pub(super) floor: f32,
}
