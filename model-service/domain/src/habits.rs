//! What is usual in the texts of a domain: the language of most, and segments that most of them share, like a banner
//! or a signature. Such segments say nothing of an item, and are left out when its feature is made.
//!
//! Habits are found in a sample that follows from the live items alone, whatever came before, and are stored before
//! anything is made with them: so lists are the same however often things crashed. A domain of any size costs the
//! same, and habits seldom change: a large domain's sample seldom does, and what is usual is in more than half of it. A feature
//! says which habits it was made with; one of others is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// Fewest live items of which anything is called usual.
pub const FEWEST: u64 = 16;
/// Most items that are looked at: those whose ids have the least hashes.
pub const SAMPLE: usize = 64;
/// Most segments that are called usual; the most frequent ones are.
const MOST_SEGMENTS: usize = 1_024;
/// Which rule finds them; whoever changes it, or what a segment is, changes this: features are made again then.
const RULE: u64 = 1;

/// What is usual in a domain's texts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Habits {
    /// Live items when they were looked at last; 0: never.
    #[serde(default)]
    pub of: u64,
    /// Fingerprint of the sample that was looked at ([`fingerprint_of`]).
    #[serde(default)]
    pub sample: u64,
    /// Language that most texts are said or surely detected to be in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Hashes of the segments that most texts have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub boilerplate: BTreeSet<u64>,
}

/// What a sample of a domain's texts has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// Texts that were looked at.
    pub texts: u64,
    /// How many of them have each segment, by its hash.
    pub segments: BTreeMap<u64, u64>,
    /// How many are surely in each language.
    pub languages: BTreeMap<String, u64>,
}

/// What tells a sample from others: of each of its items the hash of its id and of its content, in their order.
pub fn fingerprint_of(sample: impl Iterator<Item = (u64, u64)>) -> u64 {
    let mut hasher = Xxh3::new();
    for (id, content) in sample {
        hasher.write_u64(id);
        hasher.write_u64(content);
    }
    hasher.finish()
}

impl Habits {
    /// Whether nothing was looked at yet.
    pub fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// What is usual in a domain of so many live items, of which a sample has this: segments that more than half of the
    /// texts have, and the most frequent language, of equal ones the first by code. Of fewer than [`FEWEST`] texts nothing
    /// is usual.
    pub fn of(live: u64, sample: u64, survey: &Survey) -> Self {
        let mut habits = Self {
            of: live,
            sample,
            ..Self::default()
        };
        if live < FEWEST || survey.texts < FEWEST {
            return habits;
        }
        let shared = survey.segments.iter();
        let shared = shared.filter(|(_, count)| 2 * **count > survey.texts);
        let mut shared: Vec<(u64, u64)> = shared.map(|(hash, count)| (*count, *hash)).collect();
        shared.sort_unstable_by(|a, b| b.cmp(a));
        shared.truncate(MOST_SEGMENTS);
        habits.boilerplate = shared.into_iter().map(|(_, hash)| hash).collect();
        // The last of equal ones is taken: the first by code, from behind.
        let most = survey.languages.iter().rev();
        habits.language = most
            .max_by_key(|(_, count)| **count)
            .map(|(code, _)| code.clone());
        habits
    }

    /// What tells these habits from others, as far as features depend on them; 0: nothing is usual.
    pub fn fingerprint(&self) -> u64 {
        if self.language.is_none() && self.boilerplate.is_empty() {
            return 0;
        }
        let mut hasher = Xxh3::new();
        hasher.write_u64(RULE);
        let language = self.language.as_deref().unwrap_or_default();
        hasher.write_u64(language.len() as u64);
        hasher.write(language.as_bytes());
        for segment in &self.boilerplate {
            hasher.write_u64(*segment);
        }
        hasher.finish().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(texts: u64, segments: &[(u64, u64)], languages: &[(&str, u64)]) -> Survey {
        let languages = languages.iter().map(|(code, n)| ((*code).to_owned(), *n));
        Survey {
            texts,
            segments: segments.iter().copied().collect(),
            languages: languages.collect(),
        }
    }

    #[test]
    fn a_segment_is_usual_that_more_than_half_of_the_texts_have() {
        let found = Habits::of(40, 0, &survey(32, &[(7, 17), (8, 16)], &[]));
        assert_eq!(found.boilerplate, [7].into());
        let few = Habits::of(40, 0, &survey(15, &[(7, 15)], &[("de", 15)]));
        assert_eq!(few.fingerprint(), 0);
        let small = Habits::of(15, 0, &survey(16, &[(7, 15)], &[("de", 15)]));
        assert_eq!(small.fingerprint(), 0);
    }

    #[test]
    fn the_most_frequent_language_is_the_usual_one() {
        let of = |languages| Habits::of(32, 0, &survey(32, &[], languages)).language;
        assert_eq!(
            of(&[("de", 10), ("fr", 10), ("nl", 9)]).as_deref(),
            Some("de")
        );
        assert_eq!(of(&[("de", 10), ("fr", 11)]).as_deref(), Some("fr"));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn of_too_many_segments_the_most_frequent_are_usual() {
        let segments: Vec<(u64, u64)> = (0..2_000).map(|n| (n, 20 + n % 2)).collect();
        let found = Habits::of(40, 0, &survey(32, &segments, &[]));
        assert_eq!(found.boilerplate.len(), MOST_SEGMENTS);
        assert!((0..1_000).all(|n| found.boilerplate.contains(&(2 * n + 1))));
    }

    #[test]
    fn only_what_features_depend_on_tells_habits_apart() {
        let usual = survey(32, &[(7, 32)], &[("de", 32)]);
        let (a, b) = (Habits::of(32, 1, &usual), Habits::of(90, 2, &usual));
        assert_ne!(a, b);
        assert_eq!(a.fingerprint(), b.fingerprint());
        let french = survey(32, &[(7, 32)], &[("fr", 32)]);
        assert_ne!(Habits::of(32, 1, &french).fingerprint(), a.fingerprint());
    }
}
