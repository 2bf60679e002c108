//! The habits of a domain: what is usual in its texts. These are the language of most texts, segments that most texts
//! share, such as a banner or a signature, and terms that many texts have. Shared segments say nothing about an item
//! and are left out when its feature is made. Frequent terms say little: the more texts have a term, the less it
//! weighs.
//!
//! Habits are derived from a sample that depends only on the live items, not on history, and are stored before anything
//! is made with them. So lists come out the same however often processes crash. The cost does not depend on the size of
//! the domain, and habits rarely change: a large domain's sample changes rarely, and what is usual occurs in more than
//! half of it. A feature records the habits with which it was made; a feature made with other habits is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use kindred_shared::Feature;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// Most segments that count as usual; the most frequent ones do.
const MOST_SEGMENTS: usize = 1_024;
/// Most terms whose frequency is kept; the most frequent ones are.
const MOST_TERMS: usize = 2_048;
/// A term counts as frequent if at least one in this many texts has it,
const FREQUENT: u64 = 16;
/// and at least this many texts.
const LEAST_FREQUENT: u64 = 2;
/// The version of the rules. Change it with the rules or with the definition of a segment: features are then made
/// again.
const RULE: u64 = 1;

/// The size of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleSize {
    /// Fewest texts from which habits are derived.
    pub fewest: u64,
    /// Most items in the sample: those whose ids have the lowest hashes.
    pub most: usize,
}

impl Default for SampleSize {
    fn default() -> Self {
        Self {
            fewest: 16,
            most: 64,
        }
    }
}

/// What is usual in a domain's texts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Habits {
    /// Number of live items when the sample was last examined; 0: never.
    #[serde(default)]
    pub of: u64,
    /// Fingerprint of the examined sample ([`fingerprint_of`]); 0: the sample changed meanwhile.
    #[serde(default)]
    pub sample: u64,
    /// Whether there were enough texts.
    #[serde(default)]
    pub are_known: bool,
    /// The language that most texts have, as stated or as detected with certainty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Hashes of the segments that most texts have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub boilerplate: BTreeSet<u64>,
    /// Number of examined texts; 0: no terms are known.
    #[serde(default, skip_serializing_if = "is_none")]
    pub texts: u64,
    /// Ids of frequent terms, as in features, and the number of those texts that have each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub terms: BTreeMap<u32, u64>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde asks for it
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Statistics of a sample of a domain's texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// Number of examined texts.
    pub texts: u64,
    /// How many of them have each segment, by its hash.
    pub segments: BTreeMap<u64, u64>,
    /// How many are in each language with certainty.
    pub languages: BTreeMap<String, u64>,
    /// How many have each term, by its id in features, after leaving out what most share. Empty if the model's weights
    /// do not depend on the domain.
    pub terms: BTreeMap<u32, u64>,
}

/// Identifies a sample by the hashes of the id and the content of each item, in order. Never 0.
pub fn fingerprint_of(sample: impl Iterator<Item = (u64, u64)>) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.write_u64(RULE);
    for (id, content) in sample {
        hasher.write_u64(id);
        hasher.write_u64(content);
    }
    hasher.finish().max(1)
}

impl Habits {
    /// Whether no sample has been examined yet.
    pub fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// The habits of a domain with `live` live items, given the statistics of a sample: segments that more than half of
    /// the texts have, and the most frequent language (of equally frequent ones, the first by code). Fewer than
    /// `fewest` texts have no habits.
    pub fn of(fewest: u64, live: u64, sample: u64, survey: &Survey) -> Self {
        let mut habits = Self {
            of: live,
            sample,
            are_known: survey.texts >= fewest,
            ..Self::default()
        };
        if !habits.are_known {
            return habits;
        }
        let shared = survey.segments.iter();
        let shared = shared.filter(|(_, count)| 2 * **count > survey.texts);
        let mut shared: Vec<(u64, u64)> = shared.map(|(hash, count)| (*count, *hash)).collect();
        shared.sort_unstable_by(|a, b| b.cmp(a));
        shared.truncate(MOST_SEGMENTS);
        habits.boilerplate = shared.into_iter().map(|(_, hash)| hash).collect();
        // `max_by_key` returns the last of equal ones; in reverse order that is the first by code.
        let most = survey.languages.iter().rev();
        habits.language = most
            .max_by_key(|(_, count)| **count)
            .map(|(code, _)| code.clone());
        if !survey.terms.is_empty() {
            habits.texts = survey.texts;
            habits.terms = frequent(&survey.terms, survey.texts);
        }
        habits
    }

    /// The same, but no term is frequent.
    #[must_use]
    pub fn without_terms(&self) -> Self {
        Self {
            terms: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// Reweights terms for this domain. The weights of frequent terms in a feature are multiplied by ln((n + 1) / f) /
    /// ln(n + 1), where f of n texts have the term: the inverse document frequency (Spärck Jones, "A statistical
    /// interpretation of term specificity", 1972), scaled so that a term of a single text keeps its weight. Then all
    /// weights are scaled so that the sparse part keeps its length. The dense part is unchanged.
    pub fn weigh(&self, feature: Feature) -> Feature {
        let ids = feature.term_ids();
        if self.terms.is_empty() || !ids.iter().any(|id| self.terms.contains_key(id)) {
            return feature;
        }
        let most = libm::log((self.texts + 1) as f64);
        let factor = |id: &u32| match self.terms.get(id) {
            Some(count) => 1.0 - libm::log((*count).max(1) as f64) / most,
            None => 1.0,
        };
        let weights = feature.term_weights().iter().map(|w| f64::from(*w));
        let scaled: Vec<f64> = weights.zip(ids).map(|(w, id)| w * factor(id)).collect();
        let before = length(feature.term_weights().iter().map(|w| f64::from(*w)));
        let scale = before / length(scaled.iter().copied());
        if !scale.is_finite() {
            return feature;
        }
        let scaled = scaled.into_iter().map(|w| (w * scale) as f32).collect();
        let weighed = Feature::new(feature.dense().to_vec(), ids.to_vec(), scaled);
        weighed.unwrap_or(feature)
    }

    /// Identifies these habits as far as features depend on them; 0: there are too few texts.
    pub fn fingerprint(&self) -> u64 {
        if !self.are_known {
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
        if !self.terms.is_empty() {
            hasher.write_u64(self.texts);
            for (id, count) in &self.terms {
                hasher.write_u32(*id);
                hasher.write_u64(*count);
            }
        }
        hasher.finish().max(1)
    }

    /// The language of a text whose own language is unknown: the usual one, if any is known with certainty. While there
    /// are too few texts, the one that most items have at that moment.
    pub fn language_or(&self, of_most: impl FnOnce() -> Option<String>) -> Option<String> {
        if self.are_known {
            self.language.clone()
        } else {
            of_most()
        }
    }
}

/// Of the terms with their numbers of texts, those that count as frequent.
fn frequent(terms: &BTreeMap<u32, u64>, texts: u64) -> BTreeMap<u32, u64> {
    let is_frequent = |count: u64| count >= LEAST_FREQUENT && count * FREQUENT >= texts;
    let frequent = terms.iter().filter(|(_, count)| is_frequent(**count));
    let mut frequent: Vec<(u64, u32)> = frequent.map(|(id, count)| (*count, *id)).collect();
    frequent.sort_unstable_by(|a, b| b.cmp(a));
    frequent.truncate(MOST_TERMS);
    frequent
        .into_iter()
        .map(|(count, id)| (id, count))
        .collect()
}

/// The Euclidean length.
fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    const FEWEST: u64 = 16;

    fn survey(texts: u64, segments: &[(u64, u64)], languages: &[(&str, u64)]) -> Survey {
        let languages = languages.iter().map(|(code, n)| ((*code).to_owned(), *n));
        Survey {
            texts,
            segments: segments.iter().copied().collect(),
            languages: languages.collect(),
            ..Survey::default()
        }
    }

    #[test]
    fn a_segment_is_usual_that_more_than_half_of_the_texts_have() {
        let found = Habits::of(FEWEST, 40, 0, &survey(32, &[(7, 17), (8, 16)], &[]));
        assert_eq!(found.boilerplate, [7].into());
        let few = Habits::of(FEWEST, 40, 0, &survey(15, &[(7, 15)], &[("de", 15)]));
        assert_eq!((few.fingerprint(), few.language), (0, None));
        let enough = Habits::of(FEWEST, 16, 0, &survey(16, &[(7, 15)], &[("de", 15)]));
        assert_ne!(enough.fingerprint(), 0);
    }

    #[test]
    fn the_most_frequent_language_is_the_usual_one() {
        let of = |languages| Habits::of(FEWEST, 32, 0, &survey(32, &[], languages)).language;
        assert_eq!(
            of(&[("de", 10), ("fr", 10), ("nl", 9)]).as_deref(),
            Some("de")
        );
        assert_eq!(of(&[("de", 10), ("fr", 11)]).as_deref(), Some("fr"));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn what_most_items_are_in_counts_only_while_there_are_too_few_texts_to_tell() {
        let of_most = || Some("sv".to_owned());
        let few = survey(15, &[], &[("de", 15)]);
        let few = Habits::of(FEWEST, 15, 0, &few).language_or(of_most);
        assert_eq!(few.as_deref(), Some("sv"));
        let many = survey(32, &[], &[("de", 2)]);
        let many = Habits::of(FEWEST, 32, 0, &many).language_or(of_most);
        assert_eq!(many.as_deref(), Some("de"));
        // Otherwise the result would depend on which text was read first.
        let unsure = Habits::of(FEWEST, 32, 0, &survey(32, &[], &[]));
        assert_eq!(unsure.language_or(of_most), None);
        assert_ne!(unsure.fingerprint(), 0);
    }

    #[test]
    fn of_too_many_segments_the_most_frequent_are_usual() {
        let segments: Vec<(u64, u64)> = (0..2_000).map(|n| (n, 20 + n % 2)).collect();
        let found = Habits::of(FEWEST, 40, 0, &survey(32, &segments, &[]));
        assert_eq!(found.boilerplate.len(), MOST_SEGMENTS);
        assert!((0..1_000).all(|n| found.boilerplate.contains(&(2 * n + 1))));
    }

    fn with_terms(texts: u64, terms: &[(u32, u64)]) -> Habits {
        let survey = Survey {
            terms: terms.iter().copied().collect(),
            ..survey(texts, &[], &[])
        };
        Habits::of(FEWEST, texts, 1, &survey)
    }

    #[test]
    fn terms_that_many_texts_have_weigh_less() {
        // A term in 3 of 64 texts is rare; term 5 is in all of them.
        let habits = with_terms(64, &[(1, 3), (2, 4), (3, 32), (5, 64)]);
        assert_eq!(habits.terms, [(2, 4), (3, 32), (5, 64)].into());
        let feature = Feature::new(vec![0.6], vec![1, 2, 3, 5], vec![0.4; 4]).unwrap();
        let weighed = habits.weigh(feature.clone());
        assert_eq!(
            (weighed.dense(), weighed.term_ids()),
            (&[0.6][..], &[1, 2, 3, 5][..])
        );
        let weight = |at: usize| f64::from(weighed.term_weights()[at]);
        for (at, count) in [(1, 4.0), (2, 32.0), (3, 64.0)] {
            let expected = (65.0_f64 / count).ln() / 65.0_f64.ln();
            assert!((weight(at) / weight(0) - expected).abs() < 1e-6, "{at}");
        }
        let whole = length(weighed.term_weights().iter().map(|w| f64::from(*w)));
        assert!((whole - 0.8).abs() < 1e-6, "{whole}");
        // A feature without any of these terms keeps its bits; so does every feature if no terms are known.
        let other = Feature::new(vec![0.6], vec![1, 7], vec![0.5, 0.62]).unwrap();
        assert_eq!(habits.weigh(other.clone()), other);
        assert_eq!(with_terms(64, &[]).weigh(feature.clone()), feature);
        // A text that consists only of what all texts have still counts as a text.
        let usual = Feature::new(vec![], vec![5], vec![1.0]).unwrap();
        assert_eq!(habits.weigh(usual.clone()), usual);
    }

    #[test]
    fn of_too_many_terms_the_most_frequent_count() {
        let terms: Vec<(u32, u64)> = (0..4_096).map(|id| (id, 20 + u64::from(id % 2))).collect();
        let habits = with_terms(64, &terms);
        assert_eq!(habits.terms.len(), MOST_TERMS);
        assert!(habits.terms.keys().all(|id| id % 2 == 1));
    }

    #[test]
    fn habits_of_other_terms_are_others_and_come_back_from_the_store() {
        let (a, b) = (with_terms(64, &[(2, 9)]), with_terms(64, &[(2, 10)]));
        assert_ne!(a.fingerprint(), b.fingerprint());
        assert_ne!(a.fingerprint(), with_terms(64, &[]).fingerprint());
        let text = serde_json::to_string(&a).unwrap();
        assert_eq!(serde_json::from_str::<Habits>(&text).unwrap(), a);
    }

    #[test]
    fn only_what_features_depend_on_tells_habits_apart() {
        let usual = survey(32, &[(7, 32)], &[("de", 32)]);
        let (a, b) = (
            Habits::of(FEWEST, 32, 1, &usual),
            Habits::of(FEWEST, 90, 2, &usual),
        );
        assert_ne!(a, b);
        assert_eq!(a.fingerprint(), b.fingerprint());
        let french = survey(32, &[(7, 32)], &[("fr", 32)]);
        let french = Habits::of(FEWEST, 32, 1, &french);
        assert_ne!(french.fingerprint(), a.fingerprint());
    }
}
