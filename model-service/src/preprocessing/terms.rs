//! Words to terms, and how often each is there.
//!
//! A term is a word of UAX #29 in folded text ([`fold`]), with four additions:
//! - in French, Italian and Catalan an elided article or pronoun is cut off (`l'eau` → `eau`);
//! - in English the possessive is cut off (`Ann's` → `ann`);
//! - one letter right before `++` or `#` keeps it (`c++`, `f#`), or it would be a stop word;
//! - words of more than [`MAX_TERM_BYTES`] are dropped: they are encoded data, not language.
//!
//! By UAX #29 `e-mail` is two words, `3.5` is one, and each Chinese character, each hiragana
//! and each run of katakana is one. Accents, umlauts and `ß` are kept: they tell words apart.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// Longest term, in bytes of UTF-8 after folding; longer words are dropped.
pub const MAX_TERM_BYTES: usize = 128;
/// Most distinct terms of an item; the most frequent are kept, of equal ones the first by bytes.
pub const MAX_TERMS: usize = 2_048;

/// What French elides before a vowel.
const ELIDED_FRENCH: [&str; 13] = [
    "c", "d", "j", "jusqu", "l", "lorsqu", "m", "n", "puisqu", "qu", "quoiqu", "s", "t",
];
/// What Italian elides before a vowel.
const ELIDED_ITALIAN: [&str; 18] = [
    "all", "c", "coll", "d", "dall", "degl", "dell", "gl", "l", "m", "nell", "quell", "s", "sull",
    "t", "un", "v", "quest",
];
/// What Catalan elides before a vowel.
const ELIDED_CATALAN: [&str; 6] = ["d", "l", "m", "n", "s", "t"];

/// NFKC, one kind of apostrophe, no soft hyphens, lower case.
///
/// Lower case is Unicode's for every language; the dot that it leaves above the `i` of a Turkish
/// `İ` is dropped, so that `İstanbul` and `istanbul` are one term.
pub fn fold(text: &str) -> String {
    let mut folded = text
        .chars()
        .filter(|c| !matches!(c, '\u{ad}' | '\u{2060}' | '\u{feff}'))
        .nfkc()
        .map(|c| match c {
            '\u{2018}' | '\u{2019}' | '\u{2bc}' => '\'',
            other => other,
        })
        .collect::<String>()
        .to_lowercase();
    if folded.contains("i\u{307}") {
        folded = folded.replace("i\u{307}", "i");
    }
    folded
}

/// The terms of one item so far.
pub(super) struct Counts<'a> {
    stop_words: Option<&'a HashSet<Box<str>>>,
    elided: &'static [&'static str],
    possessive: bool,
    counts: HashMap<Box<str>, u32>,
}

impl<'a> Counts<'a> {
    pub(super) fn new(language: &str, stop_words: Option<&'a HashSet<Box<str>>>) -> Self {
        Self {
            stop_words,
            elided: match language {
                "fr" => &ELIDED_FRENCH,
                "it" => &ELIDED_ITALIAN,
                "ca" => &ELIDED_CATALAN,
                _ => &[],
            },
            possessive: language == "en",
            counts: HashMap::new(),
        }
    }

    /// Counts the terms of a plain text, each occurrence `weight` times.
    pub(super) fn add(&mut self, text: &str, weight: u32) {
        let folded = fold(text);
        for (at, word) in folded.unicode_word_indices() {
            if let Some(term) = self.term(&folded[at..], word) {
                self.count(term, weight);
            }
        }
    }

    /// The term of a word, if it is none of the stop words; `from_word` is the text from it on.
    fn term<'t>(&self, from_word: &'t str, word: &'t str) -> Option<&'t str> {
        if let [b'a'..=b'z'] = word.as_bytes()
            && let Some(sign) = ["++", "#"]
                .into_iter()
                .find(|sign| from_word[1..].starts_with(sign))
        {
            return Some(&from_word[..1 + sign.len()]);
        }
        // A mark that normalisation parted from its letter comes with the space it now sits on.
        if self.is_stop_word(word) || word.starts_with(char::is_whitespace) {
            return None;
        }
        let term = self.without_affix(word);
        (!self.is_stop_word(term) && term.len() <= MAX_TERM_BYTES).then_some(term)
    }

    fn without_affix<'t>(&self, word: &'t str) -> &'t str {
        if self.possessive {
            return word.strip_suffix("'s").unwrap_or(word);
        }
        match word.split_once('\'') {
            Some((elided, rest)) if !rest.is_empty() && self.elided.contains(&elided) => rest,
            _ => word,
        }
    }

    /// Numbers never are: some lists hold digits, but a number can be all that tells two items
    /// apart.
    fn is_stop_word(&self, word: &str) -> bool {
        self.stop_words.is_some_and(|words| words.contains(word))
            && !word.chars().all(char::is_numeric)
    }

    fn count(&mut self, term: &str, weight: u32) {
        match self.counts.get_mut(term) {
            Some(count) => *count = count.saturating_add(weight),
            None => {
                self.counts.insert(term.into(), weight);
            }
        }
    }

    /// The terms and their frequencies, strictly ascending by term.
    pub(super) fn finish(self) -> Vec<(Box<str>, u32)> {
        let mut terms: Vec<(Box<str>, u32)> = self.counts.into_iter().collect();
        if terms.len() > MAX_TERMS {
            terms.select_nth_unstable_by(MAX_TERMS, |a, b| {
                (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0))
            });
            terms.truncate(MAX_TERMS);
        }
        terms.sort_unstable();
        terms
    }
}
