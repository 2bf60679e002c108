//! How long a job takes, by estimate: what is cut into pieces is cut by it, and who shares machines
//! shares their time by it.
//!
//! Times are those of one core of a slow machine. A worker does two jobs at once, on all its threads, so
//! with two cores that is how long a job takes by the clock. Only the AVX2 and AVX-512 kernels are so
//! fast; on a machine without either a piece takes longer.

use std::time::Duration;

use crate::block::Block;
use crate::job::{CompareTask, ExtractTask, Floor, Side, Task, TermCounts};

/// Longest a piece of work may take: 40 ms, so that with its way there and back it is done within 50 ms.
pub const PIECE: Duration = Duration::from_millis(40);
/// Pairs that a core compares in a millisecond: by the example `pieces` 46,000 with AVX2 where the right rows'
/// lists are full (docs/BENCHMARKS.md).
pub const PAIRS_PER_MS: usize = 40_000;
/// As how many pairs one counts whose right row has no list yet: with AVX2 such pairs took 2.6 times as long.
pub const FRESH: usize = 2;
/// Pairs of a piece.
pub const PIECE_PAIRS: usize = PIECE.as_millis() as usize * PAIRS_PER_MS;
/// Bytes of terms that a core reads and turns into features in a millisecond: making features alone is several
/// times as fast by the same example.
pub const TERM_BYTES_PER_MS: usize = 25_000;
/// Bytes of terms of a piece.
pub const PIECE_TERM_BYTES: usize = PIECE.as_millis() as usize * TERM_BYTES_PER_MS;

/// Least a job takes, however little is to be done: 2 ms for the messages, and for reading and writing
/// them.
const LEAST: Duration = Duration::from_millis(2);
/// Bytes of a row up to which a pair counts as one: those that were measured have 650, with 100 values and
/// 25 terms. Longer ones count as many times as they are longer, as rows of 768 values did.
const ROW_BYTES: usize = 1 << 10;
/// Bytes that a term counts for besides its letters.
const TERM_BYTES: usize = 8;

/// How long a job takes.
pub fn of(task: &Task) -> Duration {
    let (amount, per_ms) = match task {
        Task::Extract(task) => (terms_of(task), TERM_BYTES_PER_MS),
        Task::Compare(task) => (pairs_of(task), PAIRS_PER_MS),
    };
    let micros = amount.saturating_mul(1_000) / per_ms;
    LEAST.max(Duration::from_micros(micros as u64))
}

/// For how many pairs of short rows one pair of two blocks' rows counts; at least 1.
pub fn of_pair(left: &Block, right: &Block) -> usize {
    let row = |block: &Block| block.bytes() / block.rows().max(1);
    ((row(left) + row(right)) / (2 * ROW_BYTES)).max(1)
}

/// Bytes of an item's terms.
pub fn of_terms(item: &TermCounts) -> usize {
    let terms = item.terms.iter();
    terms.map(|(term, _)| term.len() + TERM_BYTES).sum()
}

fn terms_of(task: &ExtractTask) -> usize {
    task.rows.iter().map(of_terms).sum()
}

/// Pairs of short rows. Dead rows of the right count: they lie among the others.
fn pairs_of(task: &CompareTask) -> usize {
    let (left, rows) = (&task.left.block, task.left.live.count());
    let rights = task.rights.iter().map(|right| {
        let block = &right.block;
        rows.saturating_mul(block.rows())
            .saturating_mul(of_pair(left, block))
            .saturating_mul(if is_fresh(right) { FRESH } else { 1 })
    });
    let within = if task.within_left {
        rows.saturating_mul(rows) / 2 * of_pair(left, left) * FRESH
    } else {
        0
    };
    rights.fold(within, usize::saturating_add)
}

/// Whether most rows of a side want all there is.
fn is_fresh(side: &Side) -> bool {
    let open = side.floors.iter().filter(|floor| **floor == Floor::Open);
    2 * open.count() > side.block.rows()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::sync::Arc;

    use kindred_similarity::RowMask;

    use super::*;
    use crate::job::Side;
    use crate::{BlockBuilder, Feature, ItemId, Space};

    fn side(rows: usize, dimension: usize) -> Side {
        let mut builder = BlockBuilder::new(Space::own(dimension), dimension);
        let feature = Feature::new(vec![1.0; dimension], vec![], vec![]).unwrap();
        for row in 0..rows {
            builder.push(ItemId::new(&format!("i{row}")).unwrap(), 1, &feature);
        }
        Side {
            block: Arc::new(builder.build()),
            live: RowMask::all(rows),
            floors: vec![],
        }
    }

    #[test]
    fn a_comparison_takes_as_long_as_its_pairs_and_their_length() {
        let compare = |left: Side, rights: Vec<Side>, within_left| {
            of(&Task::Compare(Arc::new(CompareTask {
                left,
                within_left,
                rights,
                keep: 1,
            })))
        };
        assert_eq!(compare(side(3, 4), vec![side(5, 4)], true), LEAST);
        let rights = || vec![side(1_000, 4), side(500, 4)];
        let time = |pairs: u64| Duration::from_micros(pairs * 1_000 / PAIRS_PER_MS as u64);
        let whole = compare(side(1_000, 4), rights(), false);
        assert_eq!(whole, time(1_500_000));
        let with_own = compare(side(1_000, 4), rights(), true);
        assert_eq!(with_own, time(2_500_000));
        let mut fresh = rights();
        fresh[0].floors = vec![Floor::Open; 1_000];
        fresh[1].floors = vec![Floor::Closed; 500];
        assert_eq!(compare(side(1_000, 4), fresh, false), time(2_500_000));
        let mut few = side(1_000, 4);
        (500..1_000).for_each(|row| few.live.remove(row));
        assert_eq!(compare(few, rights(), false), whole / 2);
        let long = compare(side(1_000, 768), vec![side(1_000, 768)], false);
        assert_eq!(long, time(3_000_000));
    }

    #[test]
    fn an_extraction_takes_as_long_as_its_terms() {
        let extract = |terms: usize| {
            let item = TermCounts {
                id: ItemId::new("a").unwrap(),
                terms: (0..terms).map(|n| (format!("{n:08}").into(), 1)).collect(),
            };
            of(&Task::Extract(Arc::new(ExtractTask {
                space: Space::stored("words-1/en"),
                rows: vec![item],
            })))
        };
        assert_eq!(extract(10), LEAST);
        assert_eq!(extract(PIECE_TERM_BYTES / 16), PIECE);
    }
}
