//! Models whose features a sentence encoder makes.
//!
//! The feature is the encoder's vector of the text, of length 1, as its dense part. Each text is encoded by itself on
//! one thread, so that its feature depends neither on the others of its job nor on the number of threads.

use std::time::Duration;

use kindred_encoder::{Encoder, MOST_TEXT_BYTES};
use kindred_shared::job::TermCounts;
use kindred_shared::{Feature, ModelName, Space};
use rayon::prelude::*;

use super::{ExtractError, Model, Rows};

/// How long a text may take. The longest one takes a large encoder some seconds.
const WITHIN: Duration = Duration::from_secs(10);

/// The text of an item as encoders read it: the title, then the text, as far as they read.
pub fn passage(title: &str, text: &str) -> Box<str> {
    let (title, text) = (title.trim(), text.trim());
    let between = match title.is_empty() || text.is_empty() {
        true => "",
        false => "\n",
    };
    let mut passage = format!("{title}{between}{text}");
    passage.truncate(passage.floor_char_boundary(MOST_TEXT_BYTES));
    passage.into()
}

/// The model of an encoder.
#[derive(Debug)]
pub(super) struct Encoded {
    kind: ModelName,
    encoder: Encoder,
    within: Duration,
}

impl Encoded {
    pub(super) fn new(encoder: Encoder) -> Self {
        let kind = ModelName::of_encoder(encoder.name(), encoder.fingerprint());
        Self {
            kind: kind.expect("the names of encoders are shorter than those of kinds"),
            encoder,
            within: WITHIN,
        }
    }

    pub(super) fn kind(&self) -> &ModelName {
        &self.kind
    }

    /// A row without a text, or of which nothing is left that the encoder reads, gives the zero feature.
    fn feature(&self, row: &TermCounts) -> Result<Feature, ExtractError> {
        let Some((text, _)) = row.terms.first() else {
            return Ok(Feature::zero());
        };
        let vector = self.encoder.encode(text, self.within);
        let vector = vector.map_err(|error| ExtractError::Text(error.to_string()))?;
        let feature = Feature::new(vector, Vec::new(), Vec::new());
        feature.map_err(|error| ExtractError::Text(error.to_string()))
    }
}

impl Model for Encoded {
    fn name(&self) -> &str {
        self.kind.as_str()
    }

    /// The kind's name says which files it depends on.
    fn inputs(&self) -> String {
        String::new()
    }

    fn reads_texts(&self) -> bool {
        true
    }

    fn compares_languages(&self) -> bool {
        true
    }

    fn extract(&self, _: &Space, rows: Rows<'_>) -> Result<Vec<Feature>, ExtractError> {
        match rows {
            Rows::Terms(rows) => rows
                .par_iter()
                .with_max_len(1)
                .map(|row| self.feature(row))
                .collect(),
            Rows::Vectors(_) => Err(ExtractError::NotOfVectors(self.kind.to_string())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn a_passage_is_title_and_text_as_far_as_they_are_read() {
        assert_eq!(
            &*passage(" Night trains ", "are back."),
            "Night trains\nare back."
        );
        assert_eq!(
            (&*passage("", "a"), &*passage("a", " "), &*passage("", "")),
            ("a", "a", "")
        );
        let long = passage("a", &"é".repeat(MOST_TEXT_BYTES));
        assert!(long.len() <= MOST_TEXT_BYTES && long.len() > MOST_TEXT_BYTES - 2);
    }

    /// With the encoder that `tests/encoders/fetch` brings.
    mod minilm {
        use std::path::Path;
        use std::sync::Arc;

        use kindred_shared::ItemId;
        use kindred_shared::job::ExtractTask;
        use kindred_similarity::Kernel;

        use super::super::super::{Models, compares_languages};
        use super::*;
        use crate::word_vectors::Vectors;

        fn minilm() -> Encoder {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/encoders/minilm");
            Encoder::open(&folder, Kernel::Auto).expect("run tests/encoders/fetch first")
        }

        fn row(text: &str) -> TermCounts {
            TermCounts {
                id: ItemId::new("a").unwrap(),
                terms: match text {
                    "" => vec![],
                    text => vec![(text.into(), 1)],
                },
            }
        }

        #[test]
        fn features_are_the_same_together_and_alone_on_any_number_of_threads() {
            let models = Models::new(Arc::new(Vectors::none())).with_encoders(vec![minilm()]);
            let kind = models.of_encoders().remove(0);
            assert_eq!(kind.encoder().unwrap().0, "minilm");
            assert!(compares_languages(&kind));
            assert!(models.inputs().iter().any(|known| known.model == kind));
            let texts = [
                "night trains are back",
                "",
                "glaciers",
                "trains at night, and much more about them",
                "  ",
            ];
            let task = |texts: &[&str]| ExtractTask {
                space: Space::of_texts(&kind, "en"),
                rows: texts.iter().map(|text| row(text)).collect(),
            };
            let alone = texts.map(|text| models.extract(&task(&[text])).unwrap().remove(0));
            assert!(alone[1].is_zero() && alone[4].is_zero() && alone[0].is_scaled());
            assert_eq!(alone[0].dense().len(), 384);
            for threads in [1, 2, 5] {
                let pool = crate::pool(threads).unwrap();
                let together = pool.install(|| models.extract(&task(&texts)));
                assert_eq!(together.unwrap(), alone);
            }
        }

        #[test]
        fn a_text_that_takes_too_long_is_named_as_such() {
            let slow = Encoded {
                within: Duration::ZERO,
                ..Encoded::new(minilm())
            };
            let rows = [row("")];
            let space = Space::of_texts(slow.kind(), "en");
            assert!(slow.extract(&space, Rows::Terms(&rows)).is_ok());
            let rows = [row("night trains")];
            let late = slow.extract(&space, Rows::Terms(&rows)).unwrap_err();
            assert!(late.to_string().contains("did not finish"), "{late}");
            let vectors = slow.extract(&space, Rows::Vectors(&[&[1.0]]));
            assert!(matches!(vectors, Err(ExtractError::NotOfVectors(_))));
        }
    }
}
