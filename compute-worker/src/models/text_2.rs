//! Model `text-2`: turns the terms of a text in any language into its feature.
//!
//! The feature is (√s · dense, √(1 − s) · sparse), each part scaled to length 1 first. If one part is empty, the other
//! stands alone at length 1; if both are, the feature is zero. s = 0.4 · min(1, 50 / n) for a text of n stems: the
//! longer a text, the more its own words say what it is about.
//!
//! * Dense: Σ tf · row over the pieces of all terms. One table holds the rows for all languages ([`WordPieces`]); the
//!   rows include the weight of a piece: a/(a + p), a = 10⁻⁴.
//! * Sparse: log(1 + tf) · idf^1.5 of each stem, where tf counts all its forms. idf = min(14, −ln p), where p is the
//!   product of the probabilities of a form's pieces; of several forms the lowest idf counts.
//!
//! Terms come sorted, and every sum runs in that order or by ascending term id. Logarithms come from the `libm` crate;
//! roots and products follow IEEE 754. So the same terms give the same bits on every machine and with any number of
//! threads.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use kindred_shared::job::TermCounts;
use kindred_shared::{Feature, Space};
use rayon::prelude::*;

use super::assembly::{Lengths, assemble};
use super::stems::{self, Stems};
use super::words_1::term_id;
use super::{ExtractError, Model, Rows};
use crate::word_pieces::{Segmenter, WordPieces};

/// The model's name.
pub(super) const NAME: &str = "text-2";

/// The dense part's share of the square of a feature's length, in texts that are not long.
const DENSE_SHARE: f64 = 0.4;
/// Number of stems beyond which a text is long: from there on the dense share falls in inverse proportion.
const LONG: f64 = 50.0;
/// Upper limit of idf, in nats: rarer words carry no more information.
const MOST_IDF: f64 = 14.0;
/// Fewest rows a thread takes at a time.
const ROWS_PER_TASK: usize = 16;

/// Model `text-2`.
#[derive(Debug)]
pub struct Text2 {
    table: &'static WordPieces,
}

impl Text2 {
    /// The model that looks pieces up in this table.
    pub fn new(table: &'static WordPieces) -> Self {
        Self { table }
    }

    /// A row without terms, or whose terms are in neither part, gives the zero feature.
    fn features(&self, space: &Space, rows: &[TermCounts]) -> Vec<Feature> {
        let stems = Stems::of(space.language().unwrap_or_default());
        rows.par_iter()
            .with_min_len(ROWS_PER_TASK)
            .map_init(
                || Readings::new(self.table, &stems),
                |readings, row| self.feature(readings, &row.terms),
            )
            .collect()
    }

    fn feature<'t>(&self, readings: &mut Readings<'t>, terms: &'t [(Box<str>, u32)]) -> Feature {
        let mut dense = vec![0.0_f32; self.table.dimension()];
        let mut forms = Vec::with_capacity(terms.len());
        for (term, frequency) in terms {
            let reading = readings.of(term);
            for &piece in readings.pieces(reading) {
                self.table.add(piece, *frequency as f32, &mut dense);
            }
            forms.push(Form {
                id: reading.id,
                frequency: f64::from(*frequency),
                idf: f64::from(reading.cost).min(MOST_IDF),
            });
        }
        // Stable, so that forms of one stem stay in the order of their terms.
        forms.sort_by_key(|form| form.id);
        forms.dedup_by(|later, earlier| {
            let same = later.id == earlier.id;
            if same {
                earlier.frequency += later.frequency;
                earlier.idf = earlier.idf.min(later.idf);
            }
            same
        });
        let dense: Vec<f64> = dense.into_iter().map(f64::from).collect();
        let sparse: Vec<(u32, f64)> = forms
            .iter()
            .map(|form| (form.id, form.weight()))
            .filter(|&(_, weight)| weight > 0.0)
            .collect();
        assemble(&dense, &sparse, lengths(sparse.len()))
    }
}

/// Lengths of the feature's parts for a text with this many stems.
fn lengths(stems: usize) -> Lengths {
    let share = DENSE_SHARE * (LONG / stems as f64).min(1.0);
    Lengths {
        dense: share.sqrt(),
        sparse: (1.0 - share).sqrt(),
    }
}

/// What a term is read as. Finding that out takes longest of all, and the texts of one job share many terms.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Of its stem.
    id: u32,
    /// −ln p of its pieces.
    cost: f32,
    /// Where its pieces begin and end among all.
    pieces: (u32, u32),
}

/// The readings of all terms of a job so far.
struct Readings<'t> {
    table: &'static WordPieces,
    stems: &'t Stems,
    segmenter: Segmenter,
    known: HashMap<&'t str, Reading, RandomState>,
    pieces: Vec<usize>,
}

impl<'t> Readings<'t> {
    fn new(table: &'static WordPieces, stems: &'t Stems) -> Self {
        Self {
            table,
            stems,
            segmenter: Segmenter::default(),
            known: HashMap::default(),
            pieces: Vec::new(),
        }
    }

    fn of(&mut self, term: &'t str) -> Reading {
        if let Some(known) = self.known.get(term) {
            return *known;
        }
        let (pieces, cost) = self.segmenter.segment(self.table, term);
        let begin = self.pieces.len() as u32;
        self.pieces.extend_from_slice(pieces);
        let reading = Reading {
            id: term_id(&self.stems.stem(term)),
            cost,
            pieces: (begin, self.pieces.len() as u32),
        };
        self.known.insert(term, reading);
        reading
    }

    fn pieces(&self, of: Reading) -> &[usize] {
        &self.pieces[of.pieces.0 as usize..of.pieces.1 as usize]
    }
}

/// A form of a term, under the id of its stem.
struct Form {
    id: u32,
    frequency: f64,
    idf: f64,
}

impl Form {
    fn weight(&self) -> f64 {
        libm::log(1.0 + self.frequency) * self.idf * self.idf.sqrt()
    }
}

impl Model for Text2 {
    fn name(&self) -> &str {
        NAME
    }

    fn inputs(&self) -> String {
        format!(
            "pieces {}, stems {}, long from {LONG}",
            self.table.fingerprint(),
            stems::SOURCE
        )
    }

    fn reads_texts(&self) -> bool {
        true
    }

    fn compares_languages(&self) -> bool {
        true
    }

    fn weighs_by_domain(&self) -> bool {
        true
    }

    fn dense_length(&self) -> Option<usize> {
        Some(self.table.dimension())
    }

    fn term_ids(&self, language: &str) -> Box<dyn Fn(&str) -> u32 + Send + Sync> {
        let stems = Stems::of(language);
        Box::new(move |term| term_id(&stems.stem(term)))
    }

    fn extract(&self, space: &Space, rows: Rows<'_>) -> Result<Vec<Feature>, ExtractError> {
        match rows {
            Rows::Terms(rows) => Ok(self.features(space, rows)),
            Rows::Vectors(_) => Err(ExtractError::NotOfVectors(NAME.to_owned())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::ItemId;
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64;

    use super::super::assembly::length;
    use super::*;
    use crate::word_pieces::table_of;

    fn model() -> Text2 {
        let table = table_of(&[
            ("▁night", 9.0, [3, -4, 0, 0]),
            ("▁train", 10.0, [0, 0, 4, 3]),
            ("▁trains", 11.0, [0, 0, 3, 4]),
            ("▁sleep", 8.0, [1, 1, 1, 1]),
            ("er", 4.0, [-1, 2, 0, 0]),
            ("▁nothing", 7.0, [0, 0, 0, 0]),
        ]);
        Text2::new(Box::leak(Box::new(WordPieces::new(table.into()).unwrap())))
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

    fn one(model: &Text2, language: &str, terms: &[(&str, u32)]) -> Feature {
        let space = Space::stored(&format!("{NAME}/{language}"));
        model.features(&space, &[row(terms)]).remove(0)
    }

    fn norm(values: &[f32]) -> f64 {
        length(values.iter().map(|&value| f64::from(value))).unwrap_or(0.0)
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
    }

    #[test]
    fn a_feature_is_what_the_formula_says() {
        let feature = one(&model(), "en", &[("night", 2), ("sleeper", 1)]);
        // Rows: 2 · night + sleep + er, with a scale of 1/4.
        let sums = [6.0, -5.0, 1.0, 1.0].map(|value: f64| value * 0.25);
        let whole = sums.iter().map(|value| value * value).sum::<f64>().sqrt();
        for (value, sum) in feature.dense().iter().zip(sums) {
            near(f64::from(*value), sum / whole * 0.4_f64.sqrt());
        }
        let weights = [
            3.0_f64.ln() * 9.0_f64.powf(1.5),
            2.0_f64.ln() * 12.0_f64.powf(1.5),
        ];
        let whole = weights
            .iter()
            .map(|value| value * value)
            .sum::<f64>()
            .sqrt();
        for (term, weight) in [("night", weights[0]), ("sleeper", weights[1])] {
            let at = feature
                .term_ids()
                .iter()
                .position(|&id| id == term_id(term));
            let found = f64::from(feature.term_weights()[at.unwrap()]);
            near(found, weight / whole * 0.6_f64.sqrt());
        }
        near(norm(feature.dense()), 0.4_f64.sqrt());
        near(norm(feature.term_weights()), 0.6_f64.sqrt());
    }

    #[test]
    fn the_dense_part_of_a_long_text_counts_less() {
        for (stems, share) in [(1, 0.4), (50, 0.4), (100, 0.2), (400, 0.05)] {
            let words: Vec<String> = (0..stems - 1).map(|n| format!("öö{n}")).collect();
            let mut terms: Vec<(&str, u32)> = words.iter().map(|word| (&**word, 1)).collect();
            terms.push(("night", 1));
            let feature = one(&model(), "th", &terms);
            near(norm(feature.dense()).powi(2), share);
            near(norm(feature.term_weights()).powi(2), 1.0 - share);
        }
    }

    #[test]
    fn forms_of_a_word_are_one_term_in_languages_with_a_stemmer() {
        let terms = [("train", 1), ("trains", 2)];
        let feature = one(&model(), "en", &terms);
        assert_eq!(feature.term_ids(), [term_id("train")]);
        assert_eq!(one(&model(), "th", &terms).term_ids().len(), 2);
        // The weight of a stem depends on all its forms, and on the idf of the commonest one.
        let pair = one(&model(), "en", &[("night", 1), ("train", 1), ("trains", 2)]);
        let at = |term| {
            pair.term_ids()
                .iter()
                .position(|&id| id == term_id(term))
                .unwrap()
        };
        let ratio = f64::from(pair.term_weights()[at("train")] / pair.term_weights()[at("night")]);
        near(
            ratio,
            4.0_f64.ln() * 10.0_f64.powf(1.5) / (2.0_f64.ln() * 9.0_f64.powf(1.5)),
        );
    }

    #[test]
    fn parts_stand_alone_or_together() {
        let dense_is_zero = one(&model(), "en", &[("nothing", 3)]);
        assert!(dense_is_zero.dense().is_empty());
        assert_eq!(dense_is_zero.term_weights(), [1.0]);
        let unknown = one(&model(), "en", &[("öö", 3)]);
        assert!(unknown.dense().is_empty() && unknown.term_ids().len() == 1);
        assert_eq!(one(&model(), "en", &[]), Feature::zero());
    }

    /// Stored features must not change: if these bits do, so do all stored features, and the model needs a new name.
    /// xxh3 of all bits, with the table compiled in.
    #[test]
    fn the_bits_of_texts_with_the_table_compiled_in() {
        let model = Text2::new(WordPieces::builtin());
        assert_eq!(
            model.inputs(),
            "pieces a5bc340141cbb191b60290b29031a5dd, stems frostem 2.20261016.1, long from 50"
        );
        let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
        let mut all = Vec::new();
        for (language, terms) in [
            (
                "en",
                &[
                    ("kubernetes", 2),
                    ("minister", 4),
                    ("night", 1),
                    ("trains", 3),
                ][..],
            ),
            ("de", &[("nachtzug", 3), ("rückkehr", 1), ("züge", 2)]),
            ("ja", &[("京都", 2), ("東京", 1), ("都大", 1)]),
            ("fr", &[("ecole", 3), ("eleves", 1)]),
        ] {
            let feature = one(&model, language, terms);
            assert_eq!(feature.dense().len(), 128, "{language}");
            all.extend(bits(feature.dense()));
            all.extend_from_slice(feature.term_ids());
            all.extend(bits(feature.term_weights()));
        }
        let bytes: Vec<u8> = all.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        assert_eq!(format!("{:016x}", xxh3_64(&bytes)), "6dc7841dbcade6a4");
    }

    /// Words of similar meaning are near each other in any language.
    #[test]
    fn translations_are_near() {
        let model = Text2::new(WordPieces::builtin());
        let dense = |language, terms: &[(&str, u32)]| one(&model, language, terms).dense().to_vec();
        let cosine = |a: &[f32], b: &[f32]| {
            let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            f64::from(dot) / (norm(a) * norm(b))
        };
        let english = dense("en", &[("music", 1), ("player", 1)]);
        let other = dense("en", &[("chemistry", 1), ("molecule", 1)]);
        for (language, terms) in [
            ("de", [("musik", 1), ("abspielen", 1)]),
            ("fr", [("musique", 1), ("lecteur", 1)]),
            ("ru", [("музыка", 1), ("проигрыватель", 1)]),
        ] {
            let translated = dense(language, &terms);
            let (near, far) = (cosine(&translated, &english), cosine(&translated, &other));
            assert!(near > far + 0.2, "{language}: {near} and {far}");
        }
    }

    /// A job's texts share what their terms are read as.
    #[test]
    fn texts_have_the_same_features_together_and_alone() {
        let model = Text2::new(WordPieces::builtin());
        let words = [
            "nachtzug",
            "kubernetes",
            "trains",
            "train",
            "öö",
            "nachtzugverbindung",
        ];
        let rows: Vec<TermCounts> = (0..100_u32)
            .map(|n| {
                let picked = words
                    .iter()
                    .zip(1_u32..)
                    .filter(|(_, bit)| n >> bit & 1 == 0);
                row(&picked
                    .map(|(word, tf)| (*word, tf + n % 3))
                    .collect::<Vec<_>>())
            })
            .collect();
        let space = Space::stored("text-2/de");
        let together = model.features(&space, &rows);
        for (row, feature) in rows.iter().zip(together) {
            let alone = model.features(&space, std::slice::from_ref(row));
            assert_eq!(alone, [feature]);
        }
    }

    proptest! {
        #[test]
        fn any_terms_make_a_feature(
            terms in proptest::collection::btree_map("\\PC{0,20}|[a-zà-ž]{1,30}|[一-龥]{1,4}", 1_u32.., 0..12),
            language in "en|de|fr|ja|ar|th|",
        ) {
            let model = Text2::new(WordPieces::builtin());
            let terms: Vec<(&str, u32)> = terms.iter().map(|(term, tf)| (&**term, *tf)).collect();
            let feature = one(&model, &language, &terms);
            prop_assert_eq!(&feature, &one(&model, &language, &terms));
            let both = (norm(feature.dense()).powi(2) + norm(feature.term_weights()).powi(2)).sqrt();
            prop_assert!(feature == Feature::zero() || (both - 1.0).abs() < 1e-5);
        }
    }
}
