//! Words that say nothing about what an item is about.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::terms::fold;

/// The stop words of every language that has a list, made when first asked for.
pub(super) struct StopWords {
    languages: &'static [&'static str],
    /// In the order of `languages`.
    lists: Vec<OnceLock<HashSet<Box<str>>>>,
}

impl StopWords {
    /// The stop words of a language, folded as terms are; `None` when it has no list.
    pub(super) fn of(&self, language: &str) -> Option<&HashSet<Box<str>>> {
        let at = self.languages.binary_search(&language).ok()?;
        let words = stop_words::lookup(language)?;
        Some(self.lists[at].get_or_init(|| {
            words
                .iter()
                .map(|word| fold(word).into_boxed_str())
                .collect()
        }))
    }
}

impl Default for StopWords {
    fn default() -> Self {
        let languages = stop_words::available_languages();
        Self {
            languages,
            lists: languages.iter().map(|_| OnceLock::new()).collect(),
        }
    }
}

impl std::fmt::Debug for StopWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let made = self
            .lists
            .iter()
            .filter(|list| list.get().is_some())
            .count();
        write!(f, "{made} of {} lists", self.lists.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_made_once_and_folded() {
        let stop_words = StopWords::default();
        assert!(stop_words.of("no such language").is_none());
        assert_eq!(
            format!("{stop_words:?}"),
            format!("0 of {} lists", stop_words.lists.len())
        );
        for language in [
            "en", "de", "fr", "es", "it", "pt", "nl", "sv", "no", "ja", "zh",
        ] {
            assert!(
                stop_words.of(language).is_some_and(|list| list.len() > 100),
                "{language}"
            );
        }
        let english = stop_words.of("en");
        assert!(english.is_some_and(|list| list.contains("don't") && list.contains("the")));
        let turkish = stop_words.of("tr");
        assert!(turkish.is_some_and(|list| list.contains("için")));
    }
}
