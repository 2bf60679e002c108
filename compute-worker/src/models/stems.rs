//! Stemming: one term for all forms of a word.

use std::borrow::Cow;

use frostem::{Algorithm, Stemmer};

/// The Snowball stemmer of each language that has one, by canonical code. Its version is part of a model's inputs,
/// because stems are stored as hashes.
#[rustfmt::skip] // one a line would fill pages
const ALGORITHMS: [(&str, Algorithm); 32] = [
    ("ar", Algorithm::Arabic), ("ca", Algorithm::Catalan), ("cs", Algorithm::Czech),
    ("da", Algorithm::Danish), ("de", Algorithm::German), ("el", Algorithm::Greek),
    ("en", Algorithm::English), ("eo", Algorithm::Esperanto), ("es", Algorithm::Spanish),
    ("et", Algorithm::Estonian), ("eu", Algorithm::Basque), ("fa", Algorithm::Persian),
    ("fi", Algorithm::Finnish), ("fr", Algorithm::French), ("ga", Algorithm::Irish),
    ("hi", Algorithm::Hindi), ("hu", Algorithm::Hungarian), ("hy", Algorithm::Armenian),
    ("id", Algorithm::Indonesian), ("it", Algorithm::Italian), ("lt", Algorithm::Lithuanian),
    ("ne", Algorithm::Nepali), ("nl", Algorithm::Dutch), ("no", Algorithm::Norwegian),
    ("pl", Algorithm::Polish), ("pt", Algorithm::Portuguese), ("ro", Algorithm::Romanian),
    ("ru", Algorithm::Russian), ("sv", Algorithm::Swedish), ("ta", Algorithm::Tamil),
    ("tr", Algorithm::Turkish), ("uk", Algorithm::Ukrainian),
];

/// The library that stems, with its version.
pub(super) const SOURCE: &str = "frostem 2.20261016.1";

/// The stemmer of a language; without one, words stay as they are.
pub(super) struct Stems(Option<Stemmer>);

impl Stems {
    pub(super) fn of(language: &str) -> Self {
        let found = ALGORITHMS.iter().find(|(code, _)| *code == language);
        Self(found.map(|(_, algorithm)| Stemmer::new(*algorithm)))
    }

    /// The stem of a folded word; the word itself if its stem would be empty.
    pub(super) fn stem<'w>(&self, word: &'w str) -> Cow<'w, str> {
        match &self.0 {
            // Codes and numbers are not inflected.
            Some(stemmer) if !word.bytes().any(|byte| byte.is_ascii_digit()) => {
                let stem = stemmer.stem(word);
                if stem.is_empty() {
                    Cow::Borrowed(word)
                } else {
                    stem
                }
            }
            _ => Cow::Borrowed(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_of_a_word_are_one() {
        for (language, a, b) in [
            ("en", "night trains", "nights train"),
            ("de", "nachtzug katalogen", "nachtzugs katalog"),
            ("fr", "continuer nuits", "continuait nuit"),
            ("es", "trenes", "tren"),
            ("ru", "поезда", "поездом"),
            ("fi", "junassa", "junasta"),
        ] {
            let stems = Stems::of(language);
            for (a, b) in a.split(' ').zip(b.split(' ')) {
                assert_eq!(stems.stem(a), stems.stem(b), "{language}");
            }
        }
    }

    #[test]
    fn codes_and_unknown_languages_keep_their_words() {
        assert_eq!(Stems::of("en").stem("mp3s"), "mp3s");
        assert_eq!(Stems::of("th").stem("รถไฟ"), "รถไฟ");
        assert_eq!(Stems::of("und").stem("trains"), "trains");
    }

    proptest! {
        #[test]
        fn any_word_has_a_stem(
            at in 0..ALGORITHMS.len(),
            word in "\\PC{1,40}|[a-zà-žα-ωа-яء-يअ-हஅ-ஹ']{1,60}",
        ) {
            let stems = Stems::of(ALGORITHMS[at].0);
            prop_assert!(!stems.stem(&word).is_empty());
        }
    }
}
