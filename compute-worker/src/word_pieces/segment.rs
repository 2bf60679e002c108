//! Segments words into pieces: the whole word if the table has it, else its likeliest pieces.
//!
//! The likeliest pieces are those with the highest product of probabilities (Viterbi; Kudo,
//! "Subword Regularization", 2018). `▁` marks pieces that begin a word.

use super::WordPieces;

/// Marks the beginning of a word.
const BEGIN: &str = "▁";
/// −ln p of a character that is in no piece.
const UNKNOWN_COST: f32 = 20.0;
/// −ln p for starting a word with a piece that is not marked as word-initial.
const BARE_COST: f32 = 4.0;

/// The best segmentation of the text up to some position.
#[derive(Debug, Clone, Copy)]
struct Way {
    cost: f32,
    /// Where its last piece begins, and the piece; none for a character that is in no piece.
    start: u32,
    piece: Option<u32>,
}

/// Buffers for segmenting, reused for each word.
#[derive(Debug, Default)]
pub(crate) struct Segmenter {
    word: Vec<u8>,
    ways: Vec<Way>,
    pieces: Vec<usize>,
}

impl Segmenter {
    /// The pieces of a word, folded as terms are, in order, and −ln p of the segmentation.
    ///
    /// Time is proportional to the length of the word times that of the longest piece.
    pub(crate) fn segment(&mut self, table: &WordPieces, word: &str) -> (&[usize], f32) {
        self.pieces.clear();
        let bare = word.chars().next().is_some_and(is_unspaced);
        self.word.clear();
        self.word.extend_from_slice(BEGIN.as_bytes());
        self.word.extend_from_slice(word.as_bytes());
        let whole = [bare.then_some(BEGIN.len()), Some(0)];
        for from in whole.into_iter().flatten() {
            if let Some(piece) = table.find(&self.word[from..]) {
                self.pieces.push(piece);
                return (&self.pieces, table.cost(piece));
            }
        }
        let cost = self.likeliest(table, word, bare);
        (&self.pieces, cost)
    }

    fn likeliest(&mut self, table: &WordPieces, word: &str, bare: bool) -> f32 {
        let unreached = Way {
            cost: f32::INFINITY,
            start: 0,
            piece: None,
        };
        self.ways.clear();
        self.ways.resize(word.len() + 1, unreached);
        self.ways[0].cost = 0.0;
        for (start, character) in word.char_indices() {
            let base = self.ways[start].cost;
            let next = start + character.len_utf8();
            let last = word.len().min(start + table.longest());
            for end in (next..=last).filter(|&end| word.is_char_boundary(end)) {
                let begin = BEGIN.len();
                if start == 0 {
                    // The marked piece comes first: of two segmentations of equal cost the first
                    // one stays.
                    self.take(table, 0, begin + end, end, base);
                }
                let extra = if start == 0 && !bare { BARE_COST } else { 0.0 };
                self.take(table, begin + start, begin + end, end, base + extra);
            }
            if base + UNKNOWN_COST < self.ways[next].cost {
                self.ways[next] = Way {
                    cost: base + UNKNOWN_COST,
                    start: start as u32,
                    piece: None,
                };
            }
        }
        let mut end = word.len();
        while end > 0 {
            let way = self.ways[end];
            self.pieces.extend(way.piece.map(|piece| piece as usize));
            end = way.start as usize;
        }
        self.pieces.reverse();
        self.ways[word.len()].cost
    }

    /// Extends a segmentation by the piece `word[from..to]` up to `end`, if that is the best way
    /// there so far.
    fn take(&mut self, table: &WordPieces, from: usize, to: usize, end: usize, base: f32) {
        let Some(piece) = table.find(&self.word[from..to]) else {
            return;
        };
        let cost = base + table.cost(piece);
        if cost < self.ways[end].cost {
            self.ways[end] = Way {
                cost,
                start: from.saturating_sub(BEGIN.len()) as u32,
                piece: Some(piece as u32),
            };
        }
    }
}

/// Whether a character's script is written without spaces between words: its pieces are never
/// marked as word-initial.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{10ffff}')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use proptest::prelude::*;

    use super::super::table_of;
    use super::*;

    const TEXTS: [(&str, f32); 9] = [
        ("▁night", 9.0),
        ("▁nacht", 9.0),
        ("zug", 8.0),
        ("▁zug", 7.0),
        ("g", 5.0),
        ("zu", 2.0),
        ("▁n", 3.0),
        ("東京", 6.0),
        ("都", 5.0),
    ];

    fn table() -> WordPieces {
        WordPieces::new(table_of(&TEXTS.map(|(text, cost)| (text, cost, [1; 4]))).into()).unwrap()
    }

    #[track_caller]
    fn segments(word: &str, expected: &[&str], cost: f32) {
        let table = table();
        let mut segmenter = Segmenter::default();
        let (pieces, found) = segmenter.segment(&table, word);
        let expected: Vec<usize> = expected
            .iter()
            .map(|text| table.find(text.as_bytes()).unwrap())
            .collect();
        assert_eq!((pieces, found), (&*expected, cost), "{word}");
    }

    #[test]
    fn whole_words_go_before_their_pieces() {
        segments("night", &["▁night"], 9.0);
        segments("zug", &["▁zug"], 7.0);
        segments("東京", &["東京"], 6.0);
    }

    #[test]
    fn other_words_are_their_likeliest_pieces() {
        // "zu" and "g" together are likelier than "zug".
        segments("nachtzug", &["▁nacht", "zu", "g"], 16.0);
        segments("東京都", &["東京", "都"], 11.0);
        segments("zuzug", &["zu", "zu", "g"], 13.0);
    }

    #[test]
    fn characters_that_no_piece_holds_cost_and_add_nothing() {
        segments("nachtöl", &["▁nacht"], 49.0);
        segments("ö", &[], 20.0);
        segments("", &[], 0.0);
    }

    proptest! {
        #[test]
        fn any_word_has_pieces_or_none(words in proptest::collection::vec("\\PC{0,40}|[nachtzug東京都]{0,40}", 1..4)) {
            let table = table();
            let mut segmenter = Segmenter::default();
            for word in words {
                let (pieces, cost) = segmenter.segment(&table, &word);
                prop_assert!(pieces.iter().all(|&piece| piece < table.texts()));
                prop_assert!(cost.is_finite() && pieces.len() <= word.len());
            }
        }
    }
}
