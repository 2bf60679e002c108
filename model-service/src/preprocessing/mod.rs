//! From an item's title and text to its language and its terms.
//!
//! HTML is reduced to text ([`text`]), the language is chosen ([`language`]), and the words that
//! are no stop words are counted ([`terms`]). All of it is pure and the same everywhere.

mod elements;
pub mod language;
mod markup;
mod stop_words;
pub mod terms;
pub mod text;

use language::{Languages, UnknownLanguage};
use stop_words::StopWords;
use terms::Counts;

/// How often an occurrence in the title counts.
pub const TITLE_WEIGHT: u32 = 3;
/// How often an occurrence in the text counts.
pub const TEXT_WEIGHT: u32 = 1;

/// Turns titles and texts into terms. One serves all threads and domains.
#[derive(Debug)]
pub struct Preprocessor {
    languages: Languages,
    default_language: &'static str,
    stop_words: StopWords,
}

/// What preprocessing makes of one item.
#[derive(Clone, PartialEq, Eq)]
pub struct Preprocessed {
    /// The language the item counts as, in canonical form (see [`language::canonical`]).
    pub language: String,
    /// Term and frequency (≥ 1), strictly ascending by term; at most [`terms::MAX_TERMS`].
    pub terms: Vec<(Box<str>, u32)>,
}

impl std::fmt::Debug for Preprocessed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} terms of {:?}", self.terms.len(), self.language)
    }
}

impl Preprocessor {
    /// A preprocessor that detects `languages` and falls back on `default_language`, which need
    /// not be one of them. With no languages nothing is detected.
    ///
    /// # Errors
    /// [`UnknownLanguage`] naming the first code that cannot be detected.
    pub fn new(languages: &[String], default_language: &str) -> Result<Self, UnknownLanguage> {
        let languages = Languages::new(languages)?;
        let default_language = language::known(default_language)?;
        let stop_words = StopWords::default();
        for code in languages.codes().chain([default_language]) {
            stop_words.of(code);
        }
        Ok(Self {
            languages,
            default_language,
            stop_words,
        })
    }

    /// The language and the terms of an item.
    ///
    /// A given language wins, also one that is not configured; else a reliable detection; else
    /// the domain's default, or the configured one where the domain has none. Title and text may
    /// be plain text or HTML.
    pub fn preprocess(
        &self,
        title: Option<&str>,
        text: Option<&str>,
        given_language: Option<&str>,
        default_language: Option<&str>,
    ) -> Preprocessed {
        let title = text::plain_text(title.unwrap_or_default());
        let text = text::plain_text(text.unwrap_or_default());
        let language = given_language
            .and_then(language::canonical)
            .or_else(|| self.languages.detect(&title, &text).map(str::to_owned))
            .or_else(|| default_language.and_then(language::canonical))
            .unwrap_or_else(|| self.default_language.to_owned());
        let mut counts = Counts::new(&language, self.stop_words.of(&language));
        counts.add(&title, TITLE_WEIGHT);
        counts.add(&text, TEXT_WEIGHT);
        let terms = counts.finish();
        Preprocessed { language, terms }
    }
}

#[cfg(test)]
mod tests;
