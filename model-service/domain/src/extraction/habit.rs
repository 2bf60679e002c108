//! The language of most of a domain's texts.

use std::collections::BTreeMap;

use kindred_shared::name::ALL_LANGUAGES;
use kindred_shared::{ModelName, Space};

/// The language of most rows in these spaces, counting only spaces of the model. Of equally frequent languages, the
/// first by code.
///
/// This is for domains that are too small to have [habits](crate::habits). It is computed for each window, so the
/// language in which a text of uncertain language is read depends on what the domain had when its feature was made.
pub fn habitual<'a>(
    model: &ModelName,
    spaces: impl Iterator<Item = (&'a Space, usize)>,
) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (space, rows) in spaces {
        let is_of_one = |language: &&str| space.model() == *model && *language != ALL_LANGUAGES;
        if let Some(language) = space.language().filter(is_of_one) {
            *counts.entry(language).or_default() += rows;
        }
    }
    let most = counts.values().max().copied().filter(|most| *most > 0)?;
    let first = counts.into_iter().find(|(_, rows)| *rows == most);
    first.map(|(language, _)| language.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn the_habitual_language_is_that_of_most_items() {
        let model = ModelName::new("words-1").unwrap();
        let spaces = |counts: &[(&str, usize)]| -> Vec<(Space, usize)> {
            let space = |(name, rows): &(&str, usize)| (Space::stored(name), *rows);
            counts.iter().map(space).collect()
        };
        for (counts, expected) in [
            (&[][..], None),
            (&[("words-1/de", 0)], None),
            (&[("words-1/de", 2), ("words-1/en", 1)], Some("de")),
            (
                &[("words-1/en", 1), ("words-1/fr", 5), ("words-1/de", 5)],
                Some("de"),
            ),
            (
                &[("words-1/sv", 1), ("own/3", 9), ("words-2/en", 9)],
                Some("sv"),
            ),
            (&[("words-1/mul", 9)], None),
        ] {
            let spaces = spaces(counts);
            let found = habitual(&model, spaces.iter().map(|(space, rows)| (space, *rows)));
            assert_eq!(found.as_deref(), expected, "{counts:?}");
        }
    }
}
