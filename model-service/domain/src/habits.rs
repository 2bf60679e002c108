//! What is usual in the texts of a domain: the language of most, and segments that most of them share, like a banner
//! or a signature. Such segments say nothing of an item, and are left out when its feature is made.
//!
//! Habits are state that is stored, not a function of the items: they change by a rule with hysteresis, so that items
//! that come and go do not turn them back and forth. A feature says which habits it was made with; one of others is made
//! again. They are found in a sample, so that a domain of any size costs the same.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// Fewest live items of which anything is called usual.
pub const FEWEST: u64 = 16;
/// Most items that are looked at.
pub const SAMPLE: usize = 256;
/// Most segments that are called usual; the most frequent ones are.
const MOST_SEGMENTS: usize = 256;

/// What is usual in a domain's texts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Habits {
    /// Live items when they were looked at last; 0: never.
    #[serde(default)]
    pub of: u64,
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

impl Habits {
    /// Whether nothing was looked at yet.
    pub fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// Whether to look again: twice or half as many items are live as the last time, or as many texts are new
    /// since.
    pub(crate) fn are_due(&self, live: u64, new: u64) -> bool {
        live >= FEWEST && (live >= 2 * self.of || 2 * live <= self.of || new >= live)
    }

    /// Habits after a look at a domain of so many live items. A segment is usual that more than half of the texts have,
    /// and stays so until less than a quarter has it. A language stays the usual one until another has twice as
    /// many texts.
    /// Of fewer than [`FEWEST`] texts nothing is usual that was not before.
    #[must_use]
    pub fn after(&self, live: u64, survey: &Survey) -> Self {
        if survey.texts < FEWEST {
            return Self {
                of: live,
                ..self.clone()
            };
        }
        let shared = survey.segments.iter().filter(|(hash, count)| {
            let times = if self.boilerplate.contains(hash) {
                4
            } else {
                2
            };
            times * **count > survey.texts
        });
        let mut shared: Vec<(u64, u64)> = shared.map(|(hash, count)| (*count, *hash)).collect();
        shared.sort_unstable_by(|a, b| b.cmp(a));
        shared.truncate(MOST_SEGMENTS);
        let count = |language: &str| survey.languages.get(language).copied().unwrap_or(0);
        // Of those that are as frequent, the first by code.
        let most = survey
            .languages
            .iter()
            .rev()
            .max_by_key(|(_, count)| **count);
        let language = match (&self.language, most) {
            (Some(now), Some((_, most))) if *most < 2 * count(now).max(1) => Some(now.clone()),
            (_, Some((most, _))) => Some(most.clone()),
            (now, None) => now.clone(),
        };
        Self {
            of: live,
            language,
            boilerplate: shared.into_iter().map(|(_, hash)| hash).collect(),
        }
    }

    /// What tells these habits from others, as far as features depend on them; 0: nothing is usual.
    pub fn fingerprint(&self) -> u64 {
        if self.language.is_none() && self.boilerplate.is_empty() {
            return 0;
        }
        let mut hasher = Xxh3::new();
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
    use proptest::prelude::*;

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
    fn a_segment_becomes_usual_above_half_and_stays_so_down_to_a_quarter() {
        let at = |before: &Habits, count| before.after(32, &survey(32, &[(7, count)], &[]));
        let none = Habits::default();
        assert!(at(&none, 16).boilerplate.is_empty());
        let usual = at(&none, 17);
        assert!(usual.boilerplate.contains(&7));
        assert!(at(&usual, 9).boilerplate.contains(&7));
        assert!(at(&usual, 8).boilerplate.is_empty());
    }

    #[test]
    fn a_language_stays_usual_until_another_has_twice_as_many_texts() {
        let at = |before: &Habits, languages| before.after(32, &survey(32, &[], languages));
        let german = at(&Habits::default(), &[("de", 10), ("fr", 10), ("nl", 9)]);
        assert_eq!(german.language.as_deref(), Some("de"));
        let same = at(&german, &[("de", 10), ("fr", 19)]);
        assert_eq!(same.language.as_deref(), Some("de"));
        assert_eq!(at(&same, &[]).language.as_deref(), Some("de"));
        let french = at(&same, &[("de", 10), ("fr", 20)]);
        assert_eq!(french.language.as_deref(), Some("fr"));
    }

    #[test]
    fn habits_are_looked_at_when_a_domain_has_doubled_halved_or_changed() {
        let of = |of| Habits {
            of,
            ..Habits::default()
        };
        assert!(!of(0).are_due(15, 15));
        assert!(of(0).are_due(16, 16));
        assert!(!of(16).are_due(31, 15));
        assert!(of(16).are_due(32, 16));
        assert!(of(64).are_due(32, 0));
        assert!(!of(64).are_due(33, 0));
        assert!(of(64).are_due(65, 65));
    }

    proptest! {
        /// The same look twice changes nothing the second time; what was looked at last is no habit.
        #[test]
        fn a_second_look_changes_nothing(
            segments in proptest::collection::btree_map(0_u64..40, 0_u64..64, 0..30),
            languages in proptest::collection::btree_map("[a-c]", 1_u64..64, 0..4),
            before in proptest::collection::btree_set(0_u64..40, 0..9),
        ) {
            let survey = Survey { texts: 64, segments, languages };
            let before = Habits { boilerplate: before, ..Habits::default() };
            let once = before.after(64, &survey);
            let twice = once.after(90, &survey);
            prop_assert_eq!(once.fingerprint(), twice.fingerprint());
            prop_assert_eq!(&once.boilerplate, &twice.boilerplate);
            prop_assert_eq!(twice.of, 90);
        }
    }
}
