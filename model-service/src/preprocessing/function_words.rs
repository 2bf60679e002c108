//! Detects the language of a short text by its function words, such as articles and prepositions.
//!
//! Letter statistics need some hundred letters to tell 70 languages apart. A headline has fewer,
//! but any reader sees that "warum die … so lange … war und was der … hat" is German.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use kindred_shared::Folding;

use super::stop_words::StopWords;

/// Fewest distinct function words of a language for a text to be in it.
const FEWEST: u32 = 2;
/// Required lead over any other language; one suffices for the language that the letters suggest.
const LEAD: u32 = 2;
/// Fewest different function words that leave no doubt, whatever the letters suggest, ...
const CLEAR_FEWEST: u32 = 8;
/// ... as long as no other language has more than one for every this many of them.
const CLEAR_TIMES: u32 = 2;

/// One bit per language, by its index in [`FunctionWords::languages`].
type Mask = u128;

/// The function words of several languages.
#[derive(Debug)]
pub(super) struct FunctionWords {
    languages: Vec<&'static str>,
    words: HashMap<Box<str>, Word, RandomState>,
}

/// A function word.
#[derive(Debug)]
struct Word {
    /// All are numbered from 0.
    number: usize,
    languages: Mask,
}

impl FunctionWords {
    /// The function words of these languages, at most 128. Takes some 10 ms and 2 MB for 70
    /// languages.
    pub(super) fn of(languages: impl Iterator<Item = &'static str>) -> Self {
        let stop_words = StopWords::default();
        let languages: Vec<_> = languages.take(Mask::BITS as usize).collect();
        let mut words: HashMap<Box<str>, Word, RandomState> = HashMap::default();
        for (at, language) in languages.iter().enumerate() {
            for word in stop_words.of(language).into_iter().flatten() {
                let number = words.len();
                let word = words.entry(Box::from(&*folded(word))).or_insert(Word {
                    number,
                    languages: 0,
                });
                word.languages |= 1 << at;
            }
        }
        Self { languages, words }
    }

    /// The language that a text of words between spaces is certainly in. `by_letters`: the language
    /// that its letters suggest, without certainty.
    pub(super) fn language_of(&self, text: &str, by_letters: &str) -> Option<&'static str> {
        let (code, most, second) = self.first_two(text.split_ascii_whitespace())?;
        let lead = if by_letters == code { 1 } else { LEAD };
        (most >= FEWEST && most >= second + lead).then_some(code)
    }

    /// The language of samples of one text about which their function words leave no doubt.
    pub(super) fn clear_language_of(&self, samples: &[Cow<'_, str>]) -> Option<&'static str> {
        let words = samples
            .iter()
            .flat_map(|sample| sample.split_ascii_whitespace());
        let (code, most, second) = self.first_two(words)?;
        (most >= CLEAR_FEWEST && most >= CLEAR_TIMES * second).then_some(code)
    }

    /// The language with the most different function words, how many these are, and how many the next one has.
    fn first_two<'t>(
        &self,
        words: impl Iterator<Item = &'t str>,
    ) -> Option<(&'static str, u32, u32)> {
        let mut counts = vec![0_u32; self.languages.len()];
        let mut seen = vec![0_u64; self.words.len() / 64 + 1];
        for word in words {
            let Some(word) = self.words.get(&*folded(word)) else {
                continue;
            };
            let (part, bit) = (&mut seen[word.number / 64], 1 << (word.number % 64));
            if *part & bit != 0 {
                continue;
            }
            *part |= bit;
            let mut mask = word.languages;
            while mask != 0 {
                counts[mask.trailing_zeros() as usize] += 1;
                mask &= mask - 1;
            }
        }
        let at = (0..counts.len()).max_by_key(|at| counts[*at])?;
        let most = std::mem::take(&mut counts[at]);
        let second = counts.into_iter().max().unwrap_or(0);
        Some((self.languages[at], most, second))
    }
}

/// Folds a word in a way that suits all languages: stop words were folded by the rules of their
/// own.
fn folded(word: &str) -> Cow<'_, str> {
    if word.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Cow::Borrowed(word);
    }
    Folding::default().fold(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> FunctionWords {
        let codes = [
            "ca", "cs", "da", "de", "en", "eo", "es", "fi", "fr", "hu", "it", "nl", "no", "pl",
            "pt", "ro", "sk", "sv", "tr",
        ];
        FunctionWords::of(codes.into_iter())
    }

    #[test]
    fn a_headline_is_known_by_the_words_between_its_subjects() {
        for (code, text) in [
            (
                "de",
                "Warum die Hafenbrücke in Hamburg so lange gesperrt war und was der Umbau gekostet hat",
            ),
            ("en", "How the new bridge was paid for, and by whom"),
            (
                "nl",
                "Waarom de brug zo lang dicht was en wat het heeft gekost",
            ),
            (
                "es",
                "Por qué nadie sabe cuándo se abre el puente, pero todos lo esperan desde hoy",
            ),
            (
                "pl",
                "Dlaczego most był tak długo zamknięty i ile to kosztowało",
            ),
        ] {
            assert_eq!(all().language_of(text, ""), Some(code), "{text}");
        }
    }

    #[test]
    fn enough_function_words_leave_no_doubt() {
        let clear = |text: &str| all().clear_language_of(&[Cow::Borrowed(text)]);
        let german = "die Brücke ist seit heute wieder offen und der Verkehr kann nach zwei Jahren über sie fließen weil \
                      das Amt mit dem Umbau fertig wurde";
        assert_eq!(clear(german), Some("de"));
        assert_eq!(clear("Hafenbrücke wieder offen"), None, "too few");
        // As many of English.
        let mixed = format!(
            "{german} the bridge is open again and it has been for you and me since they were done with this"
        );
        assert_eq!(clear(&mixed), None);
        // Danish and Norwegian have nearly all of theirs in common.
        let danish = "broen er åben igen og det er den fordi man har været i gang med at bygge den om i to år";
        assert_eq!(clear(danish), None);
    }

    #[test]
    fn words_of_several_languages_say_nothing_of_one() {
        // In English, German and Dutch each.
        assert_eq!(all().language_of("in was so die", ""), None);
        assert_eq!(all().language_of("Hafenbrücke gesperrt", "de"), None);
        // One word, however often.
        assert_eq!(all().language_of("und und und und", "de"), None);
        assert_eq!(all().language_of("", "de"), None);
    }

    #[test]
    fn what_the_letters_speak_for_needs_a_smaller_lead() {
        let found = |by_letters| all().language_of("De quem é a ponte", by_letters);
        assert_eq!(
            (found(""), found("ca"), found("pt")),
            (None, None, Some("pt"))
        );
    }
}
