//! Model `words-1`: turns the terms of a text into its feature.
//!
//! The feature is (√0.25 · dense, √0.75 · sparse), each part scaled to length 1 first. If one part
//! is empty, the other stands alone at length 1; if both are, the feature is zero.
//!
//! * Dense: the mean of the words' vectors, each occurrence weighted a/(a + p), a = 10⁻³ (Arora, Liang and Ma, "A
//!   simple but tough-to-beat baseline for sentence embeddings", 2017). Words without a vector are ignored. The divisor
//!   of the mean is omitted, because scaling to length 1 cancels it.
//! * Sparse: log(1 + tf) · idf with idf = −ln p, and −ln p(n) for an unknown word.
//!
//! p comes from the word's rank in the vector file (see `zipf`). Terms come sorted, and every sum
//! runs in that order or by ascending term id, in `f64`; logarithms come from the `libm` crate. So
//! the same terms give the same bits on every machine and with any number of threads.

use std::sync::Arc;

use kindred_shared::job::TermCounts;
use kindred_shared::{Feature, Space};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::assembly::{Lengths, assemble};
use super::{ExtractError, Model, Rows};
use crate::word_vectors::{Vectors, WordVectors, Zipf};

/// The model's name.
pub(super) const NAME: &str = "words-1";

/// The a of a/(a + p): words much more likely than this hardly count.
const SMOOTHING: f64 = 1e-3;
/// √0.25 and √0.75.
const LENGTHS: Lengths = Lengths {
    dense: 0.5,
    sparse: 0.866_025_403_784_438_6,
};
/// n for a language without vectors, where every word is unknown. All idf are then equal, so
/// scaling to length 1 cancels this number.
const UNRANKED_WORDS: usize = 100_000;
/// Fewest rows a thread takes at a time.
const ROWS_PER_TASK: usize = 16;

/// Model `words-1`.
#[derive(Debug)]
pub struct Words1 {
    vectors: Arc<Vectors>,
    unranked: Zipf,
}

impl Words1 {
    /// The model that looks words up in these vectors.
    pub fn new(vectors: Arc<Vectors>) -> Self {
        Self {
            vectors,
            unranked: Zipf::new(UNRANKED_WORDS),
        }
    }

    /// A row without terms, or whose terms cancel out, gives the zero feature.
    fn features(&self, space: &Space, rows: &[TermCounts]) -> Vec<Feature> {
        let words = space
            .language()
            .and_then(|language| self.vectors.get(language));
        rows.par_iter()
            .with_min_len(ROWS_PER_TASK)
            .map(|row| self.feature(words.map(Arc::as_ref), &row.terms))
            .collect()
    }

    fn feature(&self, words: Option<&WordVectors>, terms: &[(Box<str>, u32)]) -> Feature {
        let zipf = words.map_or(&self.unranked, WordVectors::zipf);
        let mut dense = vec![0.0_f64; words.map_or(0, WordVectors::dimension)];
        let mut sparse = Vec::with_capacity(terms.len());
        for (term, frequency) in terms {
            let frequency = f64::from(*frequency);
            let rank = words.and_then(|words| words.rank(term));
            let idf = match (words, rank) {
                (Some(words), Some(rank)) => {
                    let weight = frequency * SMOOTHING / (SMOOTHING + zipf.probability(rank));
                    for (sum, &value) in dense.iter_mut().zip(words.vector(rank)) {
                        *sum += weight * f64::from(value);
                    }
                    zipf.idf(rank)
                }
                _ => zipf.unknown_idf(),
            };
            sparse.push((term_id(term), libm::log(1.0 + frequency) * idf));
        }
        // Stable, so that colliding weights are added in the order of their terms.
        sparse.sort_by_key(|&(id, _)| id);
        sparse.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 += later.1;
            }
            same
        });
        assemble(&dense, &sparse, LENGTHS)
    }
}

impl Model for Words1 {
    fn name(&self) -> &str {
        NAME
    }

    fn inputs(&self) -> String {
        format!("vectors {}", self.vectors.fingerprint())
    }

    fn reads_texts(&self) -> bool {
        true
    }

    /// Only one language may have vectors: the features of two languages need not have a common
    /// length.
    fn compares_languages(&self) -> bool {
        false
    }

    fn extract(&self, space: &Space, rows: Rows<'_>) -> Result<Vec<Feature>, ExtractError> {
        match rows {
            Rows::Terms(rows) => Ok(self.features(space, rows)),
            Rows::Vectors(_) => Err(ExtractError::NotOfVectors(NAME.to_owned())),
        }
    }
}

/// The id of a term: the low 32 bits of xxh3-64 of its UTF-8 bytes.
pub fn term_id(term: &str) -> u32 {
    xxh3_64(term.as_bytes()) as u32
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::ItemId;
    use proptest::prelude::*;

    use super::super::assembly::length;
    use super::*;
    use crate::word_vectors::file_of;

    const WORDS: [&str; 5] = ["the", "mouse", "keyboard", "anti", "zero"];

    fn model() -> Words1 {
        #[rustfmt::skip]
        let rows = [
            0.6, 0.8, 0.0,
            0.0, 0.6, -0.8,
            0.8, 0.0, 0.6,
            0.0, -0.6, 0.8,
            0.0, 0.0, 0.0,
        ];
        let file = file_of(&WORDS, &rows, &[1.5, 3.0, 2.5, 3.0, 0.0]);
        let words = WordVectors::from_bytes(&file).unwrap();
        Words1::new(Arc::new(Vectors::none().with_words("en", words)))
    }

    fn row(terms: &[(&str, u32)]) -> TermCounts {
        let mut terms: Vec<(Box<str>, u32)> =
            terms.iter().map(|&(term, tf)| (term.into(), tf)).collect();
        terms.sort();
        TermCounts {
            id: ItemId::new("a").unwrap(),
            terms,
        }
    }

    fn one(model: &Words1, language: &str, terms: &[(&str, u32)]) -> Feature {
        let space = Space::stored(&format!("{NAME}/{language}"));
        model.features(&space, &[row(terms)]).remove(0)
    }

    fn length_of(feature: &Feature) -> f64 {
        let values = feature.dense().iter().chain(feature.term_weights());
        length(values.map(|&value| f64::from(value))).unwrap_or(0.0)
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// Stored features must not change: if these bits do, so do all stored features, and the model
    /// needs a new name. The numbers agree with the formula computed independently in f64.
    #[test]
    fn the_bits_of_a_small_text() {
        let terms = [("keyboard", 1), ("mouse", 4), ("the", 7), ("trackball", 2)];
        let feature = one(&model(), "en", &terms);
        assert_eq!(
            bits(feature.dense()),
            [0x3E57_6259, 0x3EC9_270E, 0xBE68_2C42]
        );
        assert_eq!(
            feature.term_ids(),
            [0x1CF3_3D7D, 0x401D_8708, 0x44A1_F870, 0xAA63_47D0]
        );
        assert_eq!(
            bits(feature.term_weights()),
            [0x3EF6_DB2C, 0x3EF3_15A8, 0x3EF8_8855, 0x3E73_67AE]
        );
    }

    /// The same with the English vectors compiled in: xxh3 of all bits.
    #[test]
    fn the_bits_of_a_text_with_the_vectors_compiled_in() {
        let model = Words1::new(Arc::new(Vectors::builtin()));
        assert_eq!(
            model.inputs(),
            "vectors en:f8bae34bdada0d1fb08a369380f208a0"
        );
        let terms = [
            ("government", 1),
            ("kubernetes", 2),
            ("minister", 4),
            ("new", 3),
        ];
        let feature = one(&model, "en", &terms);
        assert_eq!((feature.dense().len(), feature.term_ids().len()), (100, 4));
        let all = [
            bits(feature.dense()),
            feature.term_ids().to_vec(),
            bits(feature.term_weights()),
        ];
        let bytes: Vec<u8> = all.concat().iter().flat_map(|b| b.to_le_bytes()).collect();
        assert_eq!(format!("{:016x}", xxh3_64(&bytes)), "cac0baea7475a738");
    }

    #[test]
    fn parts_stand_alone_or_together() {
        let model = model();
        let both = one(&model, "en", &[("mouse", 2), ("trackball", 1)]);
        assert_eq!((both.dense().len(), both.term_ids().len()), (3, 2));
        assert!((length(both.dense().iter().map(|&v| f64::from(v))).unwrap() - 0.5).abs() < 1e-7);
        let unknown = one(&model, "en", &[("trackball", 1)]);
        assert_eq!(
            (unknown.dense().len(), unknown.term_weights()),
            (0, &[1.0][..])
        );
        let foreign = one(&model, "xx", &[("mouse", 2), ("maus", 2)]);
        assert!(foreign.dense().is_empty());
        let half = std::f32::consts::FRAC_1_SQRT_2;
        assert_eq!(foreign.term_weights(), [half, half]);
        assert!(one(&model, "en", &[]).is_zero());
    }

    #[test]
    fn a_dense_sum_of_zero_is_empty() {
        let feature = one(&model(), "en", &[("zero", 3)]);
        assert!(feature.dense().is_empty());
        assert_eq!(feature.term_weights(), [1.0]);
    }

    #[test]
    fn frequency_and_rarity_weigh() {
        let model = model();
        let feature = one(&model, "en", &[("the", 1), ("keyboard", 1), ("new", 1)]);
        let weight = |term: &str| {
            let at = feature.term_ids().binary_search(&term_id(term)).unwrap();
            f64::from(feature.term_weights()[at])
        };
        // idf of ranks 0, 2 and 5 (unknown: one past the last of five), from the formula.
        let normaliser: f64 = (0..5).map(|r| 1.0 / (f64::from(r) + 2.7)).sum();
        let idf = |rank: f64| ((rank + 2.7) * normaliser).ln();
        assert!((weight("keyboard") / weight("the") - idf(2.0) / idf(0.0)).abs() < 1e-5);
        assert!((weight("new") / weight("the") - idf(5.0) / idf(0.0)).abs() < 1e-5);
        let twice = one(&model, "en", &[("the", 3), ("keyboard", 1)]);
        let at = |term: &str| twice.term_ids().binary_search(&term_id(term)).unwrap();
        let ratio = f64::from(twice.term_weights()[at("the")])
            / f64::from(twice.term_weights()[at("keyboard")]);
        assert!((ratio - 2.0 * idf(0.0) / idf(2.0)).abs() < 1e-5, "{ratio}");
    }

    #[test]
    fn colliding_terms_are_added() {
        // Two words with the same low 32 bits, found by a birthday search.
        let mut seen = std::collections::HashMap::new();
        let (first, second) = (0..)
            .find_map(|n: u32| {
                let word = format!("w{n}");
                let id = term_id(&word);
                seen.insert(id, word.clone()).map(|other| (other, word))
            })
            .unwrap();
        let feature = one(&model(), "xx", &[(&first, 1), (&second, 1), ("b", 1)]);
        assert_eq!(feature.term_ids().len(), 2);
        let at = feature.term_ids().binary_search(&term_id(&first)).unwrap();
        let ratio = feature.term_weights()[at] / feature.term_weights()[1 - at];
        assert!((ratio - 2.0).abs() < 1e-6, "{ratio}");
    }

    proptest! {
        #[test]
        fn features_have_length_one_and_ascending_ids(
            terms in proptest::collection::btree_map("[a-e]{1,3}", 1_u32..1000, 0..40),
            known in proptest::collection::vec((0..WORDS.len(), 1_u32..9), 0..5),
        ) {
            let model = model();
            let mut all: std::collections::BTreeMap<String, u32> = terms;
            all.extend(known.into_iter().map(|(at, tf)| (WORDS[at].to_owned(), tf)));
            let list: Vec<(&str, u32)> = all.iter().map(|(term, &tf)| (&**term, tf)).collect();
            for language in ["en", "xx"] {
                let feature = one(&model, language, &list);
                if list.is_empty() {
                    prop_assert!(feature.is_zero());
                } else {
                    prop_assert!((length_of(&feature) - 1.0).abs() < 1e-6);
                    prop_assert!(feature.term_ids().is_sorted());
                }
            }
        }
    }
}
