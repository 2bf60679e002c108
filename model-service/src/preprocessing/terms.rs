//! Turns words into terms and counts them.
//!
//! A term is a word of UAX #29, folded ([`Folding`]), with these additions:
//! - in French, Italian and Catalan an elided article or pronoun is cut off (`l'eau` → `eau`);
//! - in English the possessive is cut off (`Ann's` → `ann`);
//! - in Korean particles and endings are cut off ([`korean`]);
//! - scripts without spaces between words (Chinese, Japanese kanji, Thai, Lao, Khmer, Burmese) give each
//!   two neighbouring characters: `北京大学` is `北京`, `京大`, `大学`. Single characters would lose
//!   their order, and make `日本` and `本日` the same;
//! - one letter right before `++` or `#` keeps it (`c++`, `f#`);
//! - stop words in capitals among other words are names, and count: `IT`, `WHO`, vitamin `A`;
//! - words of more than [`MAX_TERM_BYTES`] are dropped: they are encoded data, not language.
//!
//! By UAX #29 `e-mail` is two words, `3.5` is one, and each hiragana and each run of katakana is one.

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use kindred_shared::Folding;

use super::korean;
use super::stop_words::WordSet;
use super::words::words;

/// Longest term, in bytes of UTF-8 after folding; longer words are dropped.
pub const MAX_TERM_BYTES: usize = 128;
/// Most distinct terms per item; the most frequent are kept, ties in byte order.
pub const MAX_TERMS: usize = 2_048;

/// Bytes of an ordinary text per distinct term of it.
const BYTES_PER_TERM: usize = 16;
/// Most terms for which room is allocated in advance.
const MOST_RESERVED: usize = 512;

/// Elided words of French.
const ELIDED_FRENCH: [&str; 13] = [
    "c", "d", "j", "jusqu", "l", "lorsqu", "m", "n", "puisqu", "qu", "quoiqu", "s", "t",
];
/// Elided words of Italian.
const ELIDED_ITALIAN: [&str; 18] = [
    "all", "c", "coll", "d", "dall", "degl", "dell", "gl", "l", "m", "nell", "quell", "s", "sull",
    "t", "un", "v", "quest",
];
/// Elided words of Catalan.
const ELIDED_CATALAN: [&str; 6] = ["d", "l", "m", "n", "s", "t"];

/// The terms of one item so far.
pub(super) struct Counts<'a> {
    stop_words: Option<&'a WordSet>,
    folding: Folding,
    elided: &'static [&'static str],
    language: &'a str,
    counts: HashMap<Box<str>, u32, RandomState>,
}

/// A word and its offset.
type Word<'t> = (usize, &'t str);

impl<'a> Counts<'a> {
    pub(super) fn new(language: &'a str, stop_words: Option<&'a WordSet>) -> Self {
        Self {
            stop_words,
            folding: Folding::of(language),
            elided: match language {
                "fr" => &ELIDED_FRENCH,
                "it" => &ELIDED_ITALIAN,
                "ca" => &ELIDED_CATALAN,
                _ => &[],
            },
            language,
            counts: HashMap::default(),
        }
    }

    /// Counts the terms of a plain text, each occurrence `weight` times.
    pub(super) fn add(&mut self, text: &str, weight: u32) {
        let normal = self.folding.normal(text);
        self.counts
            .reserve((text.len() / BYTES_PER_TERM).min(MOST_RESERVED));
        let mut words = words(&normal).peekable();
        let mut before = None;
        while let Some(word) = words.next() {
            if is_unspaced(word.1) {
                let mut run = vec![word.1];
                let mut end = word.0 + word.1.len();
                while let Some((_, next)) =
                    words.next_if(|(at, next)| *at == end && is_unspaced(next))
                {
                    run.push(next);
                    end += next.len();
                }
                self.add_run(&run, weight);
                before = None;
                continue;
            }
            self.add_word(&normal, before, word, words.peek().copied(), weight);
            before = Some(word);
        }
    }

    /// Counts a word, unless it is a stop word.
    fn add_word(
        &mut self,
        text: &str,
        before: Option<Word<'_>>,
        (at, word): Word<'_>,
        after: Option<Word<'_>>,
        weight: u32,
    ) {
        let folded = self.folding.word(word);
        if let [b'a'..=b'z'] = folded.as_bytes() {
            let behind = &text[at + word.len()..];
            if let Some(sign) = ["++", "#"]
                .into_iter()
                .find(|sign| behind.starts_with(sign))
            {
                return self.count(&format!("{folded}{sign}"), weight);
            }
        }
        // A mark that normalisation separates from its letter comes with the space it now sits on.
        if folded.starts_with(char::is_whitespace) {
            return;
        }
        let term = self.without_affix(&folded);
        let is_stop_word =
            self.is_stop_word(&folded) || (term.len() < folded.len() && self.is_stop_word(term));
        if is_stop_word && !self.is_name(text, before, (at, word), after) {
            return;
        }
        if term.len() <= MAX_TERM_BYTES {
            self.count(term, weight);
        }
    }

    /// Counts the characters of a script without spaces in pairs; a single character counts alone.
    fn add_run(&mut self, run: &[&str], weight: u32) {
        // The most frequent word of Chinese by far, which would form pairs everywhere.
        let is_particle = |character: &&str| self.language == "zh" && *character == "的";
        let mut pair = String::new();
        let parts: Vec<&[&str]> = run.split(is_particle).collect();
        for part in parts {
            if let [alone] = part
                && !self.is_stop_word(alone)
            {
                self.count(alone, weight);
            }
            for two in part.windows(2) {
                pair.clear();
                pair.extend(two.iter().copied());
                let folded = self.folding.word(&pair);
                if !self.is_stop_word(&folded) && folded.len() <= MAX_TERM_BYTES {
                    self.count(&folded, weight);
                }
            }
        }
    }

    fn without_affix<'t>(&self, word: &'t str) -> &'t str {
        match self.language {
            "en" => word.strip_suffix("'s").unwrap_or(word),
            "ko" => korean::stem(word),
            _ => match word.split_once('\'') {
                Some((elided, rest)) if !rest.is_empty() && self.elided.contains(&elided) => rest,
                _ => word,
            },
        }
    }

    /// Numbers are never stop words: some lists contain digits, but a number may be all that
    /// distinguishes two items.
    fn is_stop_word(&self, word: &str) -> bool {
        self.stop_words.is_some_and(|words| words.contains(word))
            && !word.chars().all(char::is_numeric)
    }

    /// Whether a stop word is written like a name: in capitals, while its neighbours are not.
    ///
    /// A single letter inside a sentence is a name (`Vitamin A`, `hepatitis A vaccine`), unless a
    /// capital follows, as in titles (`A Night in A Train`). The English `I` is always a capital,
    /// so that means nothing.
    fn is_name(
        &self,
        text: &str,
        before: Option<Word<'_>>,
        (at, word): Word<'_>,
        after: Option<Word<'_>>,
    ) -> bool {
        if !word.chars().all(char::is_uppercase) {
            return false;
        }
        if word.chars().nth(1).is_some() {
            let in_capitals = |(_, other): Word<'_>| {
                other.chars().nth(1).is_some()
                    && other.chars().any(char::is_uppercase)
                    && !other.chars().any(char::is_lowercase)
            };
            return !before.is_some_and(in_capitals) && !after.is_some_and(in_capitals);
        }
        let Some((before_at, before)) = before else {
            return false;
        };
        let is_gap = |gap: &str| gap.chars().all(|c| c.is_whitespace() || c == '-');
        let within = is_gap(&text[before_at + before.len()..at]);
        let ends = after.is_none_or(|(after_at, after)| {
            !is_gap(&text[at + word.len()..after_at]) || !after.starts_with(char::is_uppercase)
        });
        within && ends && !(self.language == "en" && word == "I")
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

/// Whether a UAX #29 word is one character of a script without spaces between words.
fn is_unspaced(word: &str) -> bool {
    word.starts_with(|c: char| {
        matches!(c,
            // Thai, Lao; Burmese; Khmer.
            '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
            // Han.
            | '\u{3005}' | '\u{3007}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
    })
}
