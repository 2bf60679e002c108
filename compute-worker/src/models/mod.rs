//! Models: ways to turn the terms or the vector of an item into its feature.
//!
//! A model is a file here and a line in [`Models::new`]; everything else finds it by its name, the prefix of the spaces
//! of its features.

mod assembly;
mod encoded;
mod mix;
mod own;
mod stems;
mod text_2;
mod words_1;

use std::fmt;
use std::sync::Arc;

use kindred_encoder::{Encoder, OpenError};
use kindred_runtime::config::Texts;
use kindred_shared::job::{ExtractTask, TermCounts};
use kindred_shared::{Feature, ModelInputs, ModelName, Space};
use kindred_similarity::Kernel;

use crate::word_pieces::WordPieces;
use crate::word_vectors::{Vectors, VectorsError};
use encoded::Encoded;
pub use encoded::passage;
pub use mix::{Ingredient, MOST_VALUES, mix};
pub use own::Own;
pub use text_2::Text2;
pub use words_1::{Words1, term_id};

/// The model of domains that do not set one.
const DEFAULT: &str = text_2::NAME;

/// The model of domains that do not set one.
pub fn default_model() -> ModelName {
    ModelName::new(DEFAULT).expect("names of models are constants")
}

/// The names of all models, whichever word vectors are available.
pub fn names() -> Vec<ModelName> {
    let all = Models::new(Arc::new(Vectors::none())).inputs();
    all.into_iter().map(|known| known.model).collect()
}

/// The names of the models that make features from texts: those that a domain can be set to.
pub fn names_of_texts() -> Vec<ModelName> {
    let models = Models::new(Arc::new(Vectors::none()));
    let of_texts = models.all().filter(|model| model.reads_texts());
    of_texts
        .map(|model| ModelName::new(model.name()).expect("names of models are constants"))
        .collect()
}

/// Whether a model's features of texts in different languages can be compared with each other.
pub fn compares_languages(model: &ModelName) -> bool {
    let models = Models::new(Arc::new(Vectors::none()));
    let built_in = models.get(model.as_str());
    built_in.map_or(model.encoder().is_some(), Model::compares_languages)
}

/// Whether a model's terms weigh less the more texts of a domain contain them.
pub fn weighs_by_domain(model: &ModelName) -> bool {
    let models = Models::new(Arc::new(Vectors::none()));
    models
        .get(model.as_str())
        .is_some_and(Model::weighs_by_domain)
}

/// The length of the dense parts that a model makes, if it never differs.
pub fn dense_length(model: &ModelName) -> Option<usize> {
    let models = Models::new(Arc::new(Vectors::none()));
    models.get(model.as_str()).and_then(Model::dense_length)
}

/// Returns a function that gives the id of a term of a text in this language, as in a model's features. For an unknown
/// model, it gives the ids that most models use.
pub fn term_ids(model: &ModelName, language: &str) -> Box<dyn Fn(&str) -> u32 + Send + Sync> {
    let models = Models::new(Arc::new(Vectors::none()));
    match models.get(model.as_str()) {
        Some(model) => model.term_ids(language),
        None => Box::new(term_id),
    }
}

/// The inputs of features.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// Terms of texts.
    Terms(&'a [TermCounts]),
    /// Vectors that items bring with them.
    Vectors(&'a [&'a [f32]]),
}

/// One way to make features. The same rows give the same bits on every machine, with any number of threads. A change of
/// the bits needs a new model name.
pub trait Model: fmt::Debug + Send + Sync {
    /// Its name: `[a-z0-9-]{1,64}`.
    fn name(&self) -> &str;

    /// A description of what its features depend on besides the rows; empty: on nothing. Features with different inputs
    /// cannot be compared with each other.
    fn inputs(&self) -> String;

    /// Whether it makes features from terms.
    fn reads_texts(&self) -> bool;

    /// Whether features of texts in different languages can be compared with each other. One space may then hold all of
    /// them. Each feature is made in the space of its text's language.
    fn compares_languages(&self) -> bool;

    /// Whether terms weigh less the more texts of a domain contain them. That weighting happens where the domain is
    /// known; [`extract`](Self::extract) knows no other texts.
    fn weighs_by_domain(&self) -> bool {
        false
    }

    /// The length of its dense parts, if it never differs.
    fn dense_length(&self) -> Option<usize> {
        None
    }

    /// Returns a function that gives the id of a term of a text in this language, as in features.
    fn term_ids(&self, _language: &str) -> Box<dyn Fn(&str) -> u32 + Send + Sync> {
        Box::new(term_id)
    }

    /// The feature of each row, in their order, computed on the current rayon pool.
    ///
    /// # Errors
    /// [`ExtractError`], for example if the model does not take such rows.
    fn extract(&self, space: &Space, rows: Rows<'_>) -> Result<Vec<Feature>, ExtractError>;
}

/// Why no features were made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// No model has the name in the space.
    #[error("model {0:?} is not known here")]
    UnknownModel(String),
    /// The model exists, but makes no features from terms.
    #[error("model {0:?} does not make features from terms")]
    NotOfTerms(String),
    /// The model exists, but makes no features from vectors.
    #[error("model {0:?} does not make features from vectors")]
    NotOfVectors(String),
    /// A text has no feature, for this reason; none of its job has one then.
    #[error("{0}")]
    Text(String),
}

/// Why models cannot be used as configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelsError {
    /// Word vectors are invalid.
    #[error(transparent)]
    Vectors(#[from] VectorsError),
    /// An encoder cannot be opened.
    #[error("encoders: {0}")]
    Encoder(#[from] OpenError),
}

/// All models, by name: those of every program, and those of the sentence encoders that it is configured with.
#[derive(Debug, Clone)]
pub struct Models {
    built_in: Arc<[Box<dyn Model>]>,
    encoded: Arc<[Encoded]>,
}

impl Models {
    /// The models of every program; some of them look words up in these vectors.
    pub fn new(vectors: Arc<Vectors>) -> Self {
        Self {
            built_in: Arc::new([
                Box::new(Text2::new(WordPieces::builtin())),
                Box::new(Words1::new(vectors)),
                Box::new(Own),
            ]),
            encoded: Arc::new([]),
        }
    }

    /// All models of a configuration.
    ///
    /// # Errors
    /// [`ModelsError`] for the first file that cannot be used.
    pub fn configured(texts: &Texts, kernel: Kernel) -> Result<Self, ModelsError> {
        let models = Self::new(Arc::new(Vectors::configured(&texts.vectors)?));
        Ok(match &texts.encoders {
            Some(folder) => models.with_encoders(kindred_encoder::open_all(folder, kernel)?),
            None => models,
        })
    }

    /// The same, and a model for each of these encoders.
    #[must_use]
    pub fn with_encoders(self, encoders: Vec<Encoder>) -> Self {
        Self {
            encoded: encoders.into_iter().map(Encoded::new).collect(),
            ..self
        }
    }

    fn all(&self) -> impl Iterator<Item = &dyn Model> {
        let built_in = self.built_in.iter().map(|model| &**model);
        built_in.chain(self.encoded.iter().map(|model| model as &dyn Model))
    }

    /// The kinds of the encoders' models.
    pub fn of_encoders(&self) -> Vec<ModelName> {
        self.encoded
            .iter()
            .map(|model| model.kind().clone())
            .collect()
    }

    /// The model with this name.
    pub fn get(&self, name: &str) -> Option<&dyn Model> {
        self.all().find(|model| model.name() == name)
    }

    /// Every model's name and inputs.
    pub fn inputs(&self) -> Vec<ModelInputs> {
        let inputs = |model: &dyn Model| ModelInputs {
            model: ModelName::new(model.name()).expect("names of models are constants"),
            inputs: model.inputs(),
        };
        self.all().map(inputs).collect()
    }

    /// The features of a job's rows, made by the model that the space names.
    ///
    /// # Errors
    /// [`ExtractError`].
    pub fn extract(&self, task: &ExtractTask) -> Result<Vec<Feature>, ExtractError> {
        let name = task.space.model();
        let Some(model) = self.get(name.as_str()) else {
            return Err(ExtractError::UnknownModel(name.to_string()));
        };
        model.extract(&task.space, Rows::Terms(&task.rows))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn every_model_has_a_name_of_its_own_and_is_found_by_it() {
        let models = Models::new(Arc::new(Vectors::none()));
        let inputs = models.inputs();
        for (at, known) in inputs.iter().enumerate() {
            let name = known.model.as_str();
            assert_eq!(models.get(name).map(Model::name), Some(name));
            assert!(inputs[..at].iter().all(|other| other.model != known.model));
        }
        assert!(models.get(DEFAULT).is_some());
        assert!(models.get("words-0").is_none());
    }

    /// Explanations of scores look up words by these ids.
    #[test]
    fn the_ids_of_terms_are_those_of_features() {
        let models = Models::new(Arc::new(Vectors::none()));
        for name in ["words-1", "text-2"] {
            let model = ModelName::new(name).unwrap();
            let task = ExtractTask {
                space: Space::of_texts(&model, "en"),
                rows: vec![TermCounts {
                    id: kindred_shared::ItemId::new("a").unwrap(),
                    terms: vec![("kilometres".into(), 1), ("marathon".into(), 2)],
                }],
            };
            let made = models.extract(&task).unwrap();
            let id_of = term_ids(&model, "en");
            let mut ids = ["kilometres", "marathon"].map(id_of);
            ids.sort_unstable();
            assert_eq!(made[0].term_ids(), ids, "{name}");
        }
    }

    #[test]
    fn says_what_it_makes_no_features_of() {
        let models = Models::new(Arc::new(Vectors::none()));
        let task = |space: &str| ExtractTask {
            space: Space::stored(space),
            rows: Vec::new(),
        };
        assert_eq!(
            models.extract(&task("words-0/en")),
            Err(ExtractError::UnknownModel("words-0".into()))
        );
        assert_eq!(
            models.extract(&task("own/2")),
            Err(ExtractError::NotOfTerms("own".into()))
        );
        assert_eq!(models.extract(&task("words-1/en")), Ok(Vec::new()));
        assert_eq!(models.extract(&task("text-2/en")), Ok(Vec::new()));
    }
}
