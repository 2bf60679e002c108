//! Extraction, as far as it decides: which items go to a worker together, and what becomes of those whose
//! job was not done. Pure.

use kindred_shared::effort;

use crate::dispatch::Undone;
use crate::intake::Failure;

/// Most items of one extract job; and see [`effort::PIECE_TERM_BYTES`].
const ROWS_PER_JOB: usize = 512;

/// What becomes of items whose job was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing is said about them: their features are made later.
    Later(Failure),
    /// One of them may be at fault: each is extracted alone.
    EachAlone(Failure),
    /// The item is at fault: it is live without a feature, for this reason.
    Reject(String),
}

/// What to do about a job that was not done. `is_alone`: its item was tried with others before.
pub fn after(undone: Undone, is_alone: bool) -> Next {
    match undone {
        Undone::Stopping | Undone::Unanswered(_) => Next::Later(undone.into()),
        Undone::GivenUp(failure) if is_alone => Next::Reject(failure.detail),
        Undone::GivenUp(failure) => Next::EachAlone(failure),
    }
}

/// Items in the order they came, as many together as one job may have; one that is larger than that is
/// alone.
pub fn pieces<T>(items: Vec<T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut pieces: Vec<Vec<T>> = Vec::new();
    let mut sum = 0;
    for item in items {
        let of_item = bytes(&item);
        match pieces.last_mut() {
            Some(piece)
                if piece.len() < ROWS_PER_JOB && sum + of_item <= effort::PIECE_TERM_BYTES =>
            {
                piece.push(item);
                sum += of_item;
            }
            _ => {
                pieces.push(vec![item]);
                sum = of_item;
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_as_many_items_as_make_a_piece_of_work() {
        let lengths = |items: Vec<usize>| -> Vec<usize> {
            let pieces = pieces(items, |bytes| *bytes);
            pieces.iter().map(Vec::len).collect()
        };
        let most = effort::PIECE_TERM_BYTES;
        assert!(lengths(vec![]).is_empty());
        assert_eq!(lengths(vec![1; 1_100]), [512, 512, 76]);
        assert_eq!(
            lengths(vec![most / 2, most / 2, 1, 2 * most, 1]),
            [2, 1, 1, 1]
        );
    }

    #[test]
    fn only_what_workers_cannot_do_alone_is_at_fault() {
        let failure = Failure::passing("no");
        let undone = Undone::Unanswered(failure.clone());
        for is_alone in [false, true] {
            let next = after(undone.clone(), is_alone);
            assert_eq!(next, Next::Later(failure.clone()));
            assert!(matches!(after(Undone::Stopping, is_alone), Next::Later(_)));
        }
        let undone = Undone::GivenUp(failure.clone());
        assert_eq!(after(undone.clone(), false), Next::EachAlone(failure));
        assert_eq!(after(undone, true), Next::Reject("no".to_owned()));
    }
}
