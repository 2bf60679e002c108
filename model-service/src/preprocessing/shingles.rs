//! Shingles: runs of words that show which passages texts share (Broder, "On the resemblance and
//! containment of documents", 1997).
//!
//! A shingle is [`LENGTH`] consecutive words of a line, or a whole shorter line. Case and
//! punctuation are ignored.

use std::collections::BTreeSet;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::words::words;

/// Words per shingle.
const LENGTH: usize = 4;
/// Most words of a text examined for shared passages; boilerplate is at the ends.
const MOST_WORDS: usize = 2_000;

struct Word {
    range: Range<usize>,
    hash: u64,
}

/// The words of a plain text, by line.
fn lines(text: &str) -> impl Iterator<Item = Vec<Word>> {
    text.split_inclusive('\n').scan(0, |end, line| {
        let begin = *end;
        *end += line.len();
        let words = words(line).map(|(at, word)| Word {
            range: begin + at..begin + at + word.len(),
            hash: hash(word),
        });
        Some(words.collect())
    })
}

fn hash(word: &str) -> u64 {
    xxh3_64(word.to_lowercase().as_bytes())
}

/// The shingles of a line: for each its hash and the range of its words.
fn of_line(words: &[Word]) -> impl Iterator<Item = (u64, Range<usize>)> {
    let length = LENGTH.min(words.len()).max(1);
    let shingles = words.windows(length).enumerate();
    shingles.map(move |(at, words)| {
        let mut bytes = [0; 8 * LENGTH];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.hash.to_le_bytes());
        }
        (xxh3_64(&bytes), at..at + length)
    })
}

/// The hashes of all shingles of a plain text; for a long one, of its first and last words.
pub(super) fn of(text: &str) -> BTreeSet<u64> {
    let lines: Vec<Vec<Word>> = lines(text).collect();
    let count: usize = lines.iter().map(Vec::len).sum();
    // If a text is not too long, all of it is in the first part.
    let (first, last) = if count <= MOST_WORDS {
        (count, count)
    } else {
        (MOST_WORDS / 2, count - MOST_WORDS / 2)
    };
    let (mut found, mut before) = (BTreeSet::new(), 0);
    for line in &lines {
        let here = |at: usize| at.saturating_sub(before).min(line.len());
        for part in [&line[..here(first)], &line[here(last)..]] {
            found.extend(of_line(part).map(|(hash, _)| hash));
        }
        before += line.len();
    }
    found
}

/// A plain text without the words of these shingles; `None`: it contains none of them.
pub(super) fn without(text: &str, shingles: &BTreeSet<u64>) -> Option<String> {
    if shingles.is_empty() {
        return None;
    }
    let (mut rest, mut kept_to) = (String::new(), 0);
    for line in lines(text) {
        let mut dropped_to = 0;
        for (hash, words) in of_line(&line) {
            if !shingles.contains(&hash) {
                continue;
            }
            for word in &line[words.start.max(dropped_to)..words.end] {
                rest.push_str(&text[kept_to..word.range.start]);
                kept_to = word.range.end;
            }
            dropped_to = words.end;
        }
    }
    if kept_to == 0 {
        return None;
    }
    rest.push_str(&text[kept_to..]);
    Some(rest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use proptest::prelude::*;
    use unicode_segmentation::UnicodeSegmentation;

    use super::*;

    fn shared(texts: &[&str]) -> BTreeSet<u64> {
        let all = texts.iter().map(|text| of(text));
        all.reduce(|a, b| &a & &b).unwrap()
    }

    fn words(text: &str) -> Vec<&str> {
        text.unicode_words().collect()
    }

    #[test]
    fn what_texts_share_goes_wherever_it_stands() {
        let texts = [
            "The Daily Lighthouse, since 1894. Cats sleep most of the day. Read more on page 12!",
            "THE DAILY LIGHTHOUSE since 1894\nGlaciers carve valleys. Read more on page 7",
        ];
        let shared = shared(&texts);
        let rests = texts.map(|text| without(text, &shared).unwrap());
        assert_eq!(
            words(&rests[0]),
            ["Cats", "sleep", "most", "of", "the", "day", "12"]
        );
        assert_eq!(words(&rests[1]), ["Glaciers", "carve", "valleys", "7"]);
        assert_eq!(without("Glaciers carve valleys", &shared), None);
    }

    #[test]
    fn a_short_line_is_one_shingle() {
        let shared = shared(&["Read more\nof cats", "of glaciers\nread MORE"]);
        assert_eq!(shared.len(), 1);
        assert_eq!(
            words(&without("Cats\nRead more", &shared).unwrap()),
            ["Cats"]
        );
        assert_eq!(without("I read more books", &shared), None);
    }

    #[test]
    fn texts_without_spaces_have_shingles_too() {
        let shared = shared(&["毎日新聞社より。猫は寝る", "毎日新聞社より。氷河の谷"]);
        let rest = without("毎日新聞社より。猫は寝る", &shared).unwrap();
        assert!(!rest.contains("新聞") && rest.contains('猫'), "{rest}");
    }

    proptest! {
        #[test]
        fn of_its_own_shingles_a_text_has_no_word_left(text in "[a-c 0-9.\\n]{0,80}|\\PC{0,60}") {
            let rest = without(&text, &of(&text)).unwrap_or_else(|| text.clone());
            prop_assert_eq!(words(&rest), Vec::<&str>::new());
        }

        #[test]
        fn of_a_long_text_the_first_and_the_last_words_are_looked_at(lines in proptest::collection::vec(0_usize..2_500, 1..6)) {
            let mut at = 0;
            let mut line = |words: usize| -> String {
                let words = (0..words).map(|_| { at += 1; format!("w{at} ") });
                words.collect()
            };
            let text: Vec<String> = lines.iter().map(|words| line(*words)).collect();
            let found = of(&text.join("\n"));
            let count: usize = lines.iter().sum();
            prop_assert!(found.len() <= MOST_WORDS);
            if lines[0] >= 4 {
                prop_assert!(found.contains(&only("w1 w2 w3 w4")));
            }
            if lines[lines.len() - 1] >= 4 {
                let last: Vec<String> = (count - 3..=count).map(|n| format!("w{n}")).collect();
                prop_assert!(found.contains(&only(&last.join(" "))));
            }
        }
    }

    /// The hash of a text that is a single shingle.
    fn only(text: &str) -> u64 {
        let found = of(text);
        assert_eq!(found.len(), 1);
        found.into_iter().next().unwrap()
    }
}
