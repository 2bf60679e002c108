//! Which items go to a worker together.

use kindred_shared::job::TermCounts;
use kindred_shared::{ModelName, effort};

/// The most that one extract job may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceSize {
    /// Items, at least 1.
    pub items: usize,
    /// Bytes of terms, by [`effort::of_terms`]. A single item may have more.
    pub bytes: usize,
    /// Bytes of texts that are read at a time. A single item may have more.
    pub text_bytes: usize,
}

/// Bytes of texts that a core turns into terms in a few tens of milliseconds: 256 KiB, which is also the size of the largest text.
const PIECE_TEXT_BYTES: usize = 256 << 10;

impl PieceSize {
    /// For reading texts on this many threads: each gets work for at least one of the largest texts.
    #[must_use]
    pub fn on_threads(self, threads: usize) -> Self {
        let text_bytes = PIECE_TEXT_BYTES.saturating_mul(threads.max(1));
        Self { text_bytes, ..self }
    }
}

/// Texts that a sentence encoder gets in one job: some threads are busy with them, and other domains' jobs wait for no
/// more than some tenths of a second.
const ENCODED_ITEMS: usize = 4;

impl PieceSize {
    /// For models of this kind.
    #[must_use]
    pub fn of_kind(self, kind: &ModelName) -> Self {
        match kind.encoder() {
            Some(_) => Self {
                items: ENCODED_ITEMS,
                ..self
            },
            None => self,
        }
    }
}

impl Default for PieceSize {
    /// One piece of work.
    fn default() -> Self {
        Self {
            items: 512,
            bytes: effort::PIECE_TERM_BYTES,
            text_bytes: PIECE_TEXT_BYTES,
        }
    }
}

/// Groups items, in the order they came, into jobs as large as allowed; an item that is larger than that gets a job of
/// its own.
pub(super) fn pieces<T>(items: Vec<(T, TermCounts)>, most: PieceSize) -> Vec<Vec<(T, TermCounts)>> {
    let mut pieces: Vec<Vec<(T, TermCounts)>> = Vec::new();
    let mut sum = 0;
    for item in items {
        let bytes = effort::of_terms(&item.1);
        match pieces.last_mut() {
            Some(piece) if piece.len() < most.items && sum + bytes <= most.bytes => {
                piece.push(item);
                sum += bytes;
            }
            _ => {
                pieces.push(vec![item]);
                sum = bytes;
            }
        }
    }
    pieces
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::ItemId;

    use super::*;

    #[test]
    fn a_job_has_as_many_items_as_make_a_piece_of_work() {
        // With a single term each, which counts 8 bytes in addition to its letters.
        let item = |bytes: usize| {
            let terms = vec![("x".repeat(bytes - 8).into(), 1)];
            let id = ItemId::new("a").unwrap();
            ((), TermCounts { id, terms })
        };
        let lengths = |items: Vec<usize>| -> Vec<usize> {
            let most = PieceSize {
                items: 3,
                bytes: 100,
                text_bytes: 100,
            };
            let pieces = pieces(items.into_iter().map(item).collect(), most);
            pieces.iter().map(Vec::len).collect()
        };
        assert!(lengths(vec![]).is_empty());
        assert_eq!(lengths(vec![9; 7]), [3, 3, 1]);
        assert_eq!(lengths(vec![50, 50, 9, 200, 9]), [2, 1, 1, 1]);
    }
}
