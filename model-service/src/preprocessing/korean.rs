//! Korean nouns without their particles, verbs without their endings.
//!
//! Korean puts spaces between phrases, not words: `서울에서` is "in Seoul", `서울의` "of Seoul". The most
//! frequent endings are cut off a phrase to get its stem. An ending is cut off only where it can
//! occur: many have two forms, one after a consonant and one after a vowel. The rest may be cut
//! again, so that `고양이` and `고양이가` get the same stem.

use std::collections::HashMap;
use std::sync::OnceLock;

use foldhash::fast::RandomState;

/// What must precede an ending.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Any,
    Consonant,
    Vowel,
}

use After::{Any, Consonant, Vowel};

/// An ending, what must precede it, and the number of syllables that must remain.
type Ending = (&'static str, After, usize);

/// Endings, longest first, with the number of syllables that must remain. Short ones that nouns
/// also end in (`회의`, `지도`) need a longer stem.
#[rustfmt::skip] // one a line would fill pages
const ENDINGS: [Ending; 97] = [
    ("이었습니다", Consonant, 2), ("으로부터", Any, 1), ("에서부터", Any, 1), ("였습니다", Vowel, 2),
    ("했습니다", Any, 2), ("됐습니다", Any, 2), ("에게서", Any, 1), ("으로서", Any, 1),
    ("으로써", Any, 1), ("로부터", Any, 1), ("에서는", Any, 1), ("에서도", Any, 1),
    ("에서의", Any, 1), ("이라고", Consonant, 2), ("이라는", Consonant, 2), ("합니다", Any, 2),
    ("됩니다", Any, 2), ("입니다", Any, 2), ("되었다", Any, 2), ("하였다", Any, 2),
    ("이었다", Consonant, 2), ("했지만", Any, 2), ("하지만", Any, 2), ("까지는", Any, 1),
    ("까지도", Any, 1), ("부터는", Any, 1), ("에서", Any, 1), ("에게", Any, 1), ("한테", Any, 2),
    ("께서", Any, 1), ("으로", Any, 1), ("부터", Any, 1), ("까지", Any, 1), ("처럼", Any, 1),
    ("보다", Any, 2), ("마다", Any, 2), ("조차", Any, 2), ("마저", Any, 2), ("밖에", Any, 2),
    ("만큼", Any, 2), ("이나", Consonant, 2), ("이며", Consonant, 2), ("이고", Consonant, 2),
    ("이다", Any, 2), ("라고", Vowel, 2), ("라는", Vowel, 2), ("로서", Any, 2), ("로써", Any, 2),
    ("에는", Any, 1), ("에도", Any, 1), ("에만", Any, 1), ("들이", Any, 1), ("들은", Any, 1),
    ("들을", Any, 1), ("들의", Any, 1), ("했다", Any, 2), ("했던", Any, 2), ("하다", Any, 2),
    ("한다", Any, 2), ("하는", Any, 2), ("하고", Any, 2), ("하며", Any, 2), ("하면", Any, 2),
    ("하여", Any, 2), ("해서", Any, 2), ("하게", Any, 2), ("하기", Any, 2), ("하지", Any, 2),
    ("됐다", Any, 2), ("된다", Any, 2), ("되다", Any, 2), ("되는", Any, 2), ("되고", Any, 2),
    ("되며", Any, 2), ("되어", Any, 2), ("였다", Vowel, 2), ("은", Consonant, 1), ("는", Vowel, 1),
    ("을", Consonant, 1), ("를", Vowel, 1), ("에", Any, 1), ("이", Consonant, 2), ("가", Vowel, 2),
    ("의", Any, 2), ("로", Any, 2), ("와", Vowel, 2), ("과", Consonant, 2), ("도", Any, 2),
    ("만", Any, 2), ("나", Vowel, 2), ("께", Any, 2), ("들", Any, 2), ("한", Any, 2), ("할", Any, 2),
    ("된", Any, 2), ("될", Any, 2), ("함", Any, 2),
];
/// Most endings per phrase.
const MOST_ENDINGS: usize = 4;

/// The stem of a word; words of other scripts are returned unchanged.
pub(super) fn stem(word: &str) -> &str {
    let mut stem = word;
    for _ in 0..MOST_ENDINGS {
        let endings = stem.chars().next_back().map_or(&[][..], ending_in);
        let Some(shorter) = endings.iter().find_map(|ending| without(stem, *ending)) else {
            break;
        };
        stem = shorter;
    }
    stem
}

/// The endings whose last syllable is this, longest first.
fn ending_in(syllable: char) -> &'static [Ending] {
    static BY_LAST: OnceLock<HashMap<char, Vec<Ending>, RandomState>> = OnceLock::new();
    let by_last = BY_LAST.get_or_init(|| {
        let mut by_last: HashMap<_, Vec<Ending>, _> = HashMap::default();
        for ending in ENDINGS {
            let last = ending.0.chars().next_back();
            by_last
                .entry(last.unwrap_or_default())
                .or_default()
                .push(ending);
        }
        by_last
    });
    by_last.get(&syllable).map_or(&[], Vec::as_slice)
}

fn without<'w>(word: &'w str, (ending, after, least): (&str, After, usize)) -> Option<&'w str> {
    let stem = word.strip_suffix(ending)?;
    let last = stem.chars().next_back()?;
    let fits = match (after, ends_in_consonant(last)) {
        (Any, _) | (_, None) | (Consonant, Some(true)) | (Vowel, Some(false)) => true,
        (Consonant, Some(false)) | (Vowel, Some(true)) => false,
    };
    (fits && stem.chars().nth(least - 1).is_some()).then_some(stem)
}

/// Whether a syllable ends in a consonant; `None` if it is not a Hangul syllable.
fn ends_in_consonant(syllable: char) -> Option<bool> {
    let at = u32::from(syllable).checked_sub(0xac00)?;
    (at < 11_172).then_some(at % 28 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn particles_and_endings_come_off() {
        for (expected, phrases) in [
            (
                "서울",
                &[
                    "서울",
                    "서울에서",
                    "서울의",
                    "서울은",
                    "서울로",
                    "서울까지는",
                ][..],
            ),
            ("지진", &["지진", "지진이", "지진은", "지진을", "지진으로"]),
            (
                "학교",
                &["학교", "학교가", "학교는", "학교를", "학교에서도", "학교와"],
            ),
            (
                "발생",
                &["발생", "발생했다", "발생하는", "발생했습니다", "발생한"],
            ),
            ("고양", &["고양이", "고양이가", "고양이를"]),
            ("물", &["물", "물을", "물은", "물에서"]),
            ("ai", &["ai", "ai는", "ai를"]),
        ] {
            for phrase in phrases {
                assert_eq!(stem(phrase), expected, "{phrase}");
            }
        }
    }

    #[test]
    fn nouns_that_end_like_a_particle_stay() {
        for noun in [
            "회의", "지도", "국가", "가을", "마을", "결과", "종이", "경로", "북한", "이", "의",
        ] {
            assert_eq!(stem(noun), noun);
        }
    }

    #[test]
    fn every_ending_is_found_by_its_last_syllable() {
        for (ending, ..) in ENDINGS {
            let last = ending.chars().next_back().unwrap_or_default();
            let found = ending_in(last).iter().position(|one| one.0 == ending);
            let of_all = ENDINGS.iter().filter(|one| one.0.ends_with(last));
            assert_eq!(
                found,
                of_all.clone().position(|one| one.0 == ending),
                "{ending}"
            );
            assert_eq!(ending_in(last).len(), of_all.count());
        }
        assert!(ending_in('a').is_empty());
    }

    #[test]
    fn longer_endings_come_first() {
        let lengths = ENDINGS.map(|(ending, ..)| ending.chars().count());
        assert!(lengths.is_sorted_by(|a, b| a >= b));
    }
}
