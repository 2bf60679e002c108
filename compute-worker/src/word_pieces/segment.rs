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
    /// With its mark.
    word: String,
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
        self.word.push_str(BEGIN);
        self.word.push_str(word);
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
            let ways = &mut self.ways;
            let mut take = |piece: usize, end: usize, base: f32| {
                let cost = base + table.cost(piece);
                if cost < ways[end].cost {
                    ways[end] = Way {
                        cost,
                        start: start as u32,
                        piece: Some(piece as u32),
                    };
                }
            };
            if start == 0 {
                // Marked pieces come first: of two segmentations of equal cost the first one stays.
                table.find_beginnings(&self.word, |end, piece| {
                    if end > BEGIN.len() {
                        take(piece, end - BEGIN.len(), base);
                    }
                });
            }
            let extra = if start == 0 && !bare { BARE_COST } else { 0.0 };
            table.find_beginnings(&word[start..], |end, piece| {
                take(piece, start + end, base + extra);
            });
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
            .map(|text| table.find(text).unwrap())
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

    /// Tries every substring of a word.
    fn by_all_substrings(table: &WordPieces, word: &str) -> (Vec<usize>, f32) {
        let bare = word.chars().next().is_some_and(is_unspaced);
        let marked = format!("{BEGIN}{word}");
        let whole = [bare.then_some(word), Some(marked.as_str())];
        let mut whole = whole.into_iter().flatten();
        if let Some(piece) = whole.find_map(|text| table.find(text)) {
            return (vec![piece], table.cost(piece));
        }
        // Of the best way to each position: its cost, where its last piece begins, and the piece.
        let mut ways = vec![(f32::INFINITY, 0, None); word.len() + 1];
        ways[0].0 = 0.0;
        for (start, character) in word.char_indices() {
            let base = ways[start].0;
            for (at, last) in word[start..].char_indices() {
                let end = start + at + last.len_utf8();
                let mut take = |text: &str, base: f32| {
                    if let Some(piece) = table.find(text) {
                        let cost = base + table.cost(piece);
                        if cost < ways[end].0 {
                            ways[end] = (cost, start, Some(piece));
                        }
                    }
                };
                if start == 0 {
                    take(&marked[..BEGIN.len() + end], base);
                }
                let extra = if start == 0 && !bare { BARE_COST } else { 0.0 };
                take(&word[start..end], base + extra);
            }
            let next = start + character.len_utf8();
            if base + UNKNOWN_COST < ways[next].0 {
                ways[next] = (base + UNKNOWN_COST, start, None);
            }
        }
        let (mut pieces, mut end) = (Vec::new(), word.len());
        while end > 0 {
            pieces.extend(ways[end].2);
            end = ways[end].1;
        }
        pieces.reverse();
        (pieces, ways[word.len()].0)
    }

    proptest! {
        /// With the table compiled in.
        #[test]
        fn no_better_pieces_are_missed(
            word in "[a-zäöüß]{1,24}|[а-я]{1,16}|[一-龥ぁ-んァ-ヶ]{1,6}|[가-힣]{1,6}|[ء-ي]{1,12}|\\PC{0,16}",
        ) {
            let table = WordPieces::builtin();
            let mut segmenter = Segmenter::default();
            let (pieces, cost) = segmenter.segment(table, &word);
            prop_assert_eq!((pieces.to_vec(), cost), by_all_substrings(table, &word));
        }

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
