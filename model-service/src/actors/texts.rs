//! Texts in queries: read and turned into features like those of items, in this process.

use std::collections::HashMap;
use std::sync::Arc;

use compute_worker::models::{
    Ingredient, compares_languages, dense_length, mix, term_ids, weighs_by_domain,
};
use kindred_shared::job::{ExtractTask, Job, Reply, Task, TermCounts};
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space};

use crate::preprocessing::{Preprocessed, Preprocessors, Usual};
use kindred_domain::extraction::habitual;
use kindred_domain::habits::Habits;
use kindred_domain::settings::DomainSettings;

/// Runs an extract job on the calling thread, one of those that compute queries. On the threads of windows, it would
/// wait for everything that they have begun, and the waiting thread might start another query meanwhile.
pub type Extract = Arc<dyn Fn(&Job) -> Reply + Send + Sync>;

/// Turns texts into features.
#[derive(Clone)]
pub struct Texts {
    preprocessors: Arc<Preprocessors>,
    extract: Extract,
}

/// A text in a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// Its title.
    pub title: Option<String>,
    /// The body.
    pub text: Option<String>,
    /// Its language, if given.
    pub language: Option<String>,
}

/// How to read a text: by the rules of a domain.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The domain.
    pub domain: &'a DomainName,
    /// Its model.
    pub model: &'a ModelName,
    /// Its settings.
    pub settings: &'a DomainSettings,
    /// The number of its items with a feature, for each space.
    pub spaces: &'a [(Space, usize)],
    /// The habits of its texts.
    pub habits: &'a Habits,
}

/// Words by term id.
pub type Words = HashMap<u32, Box<str>>;

impl Texts {
    /// Reads texts with `preprocessors`, and makes features with `extract`.
    pub fn new(preprocessors: Arc<Preprocessors>, extract: Extract) -> Self {
        Self {
            preprocessors,
            extract,
        }
    }

    /// The space and the feature of a text, and its words. Takes some milliseconds, and much longer
    /// when word vectors have to be read first. Of a mix, the text has the parts of texts.
    ///
    /// # Errors
    /// Why no feature could be made, in words.
    pub fn feature(
        &self,
        text: &Text,
        rules: Rules<'_>,
    ) -> Result<(Space, Feature, Words), String> {
        let mixed = rules.settings.mix.as_ref();
        let Some(mixed) = mixed.filter(|_| rules.model.is_mix()) else {
            return self.feature_by(text, rules);
        };
        let (mut made, mut language, mut words) = (Vec::new(), None, Words::new());
        for (kind, weight) in mixed.by_kind() {
            let mut feature = Feature::zero();
            if !kind.is_of_domain() {
                let of_part = |(space, rows): &(Space, usize)| {
                    let language = space.language().filter(|_| space.model() == *rules.model)?;
                    Some((Space::of_texts(kind, language), *rows))
                };
                let spaces: Vec<_> = rules.spaces.iter().filter_map(of_part).collect();
                let without_terms = (!weighs_by_domain(kind)).then(|| rules.habits.without_terms());
                let rules = Rules {
                    model: kind,
                    spaces: &spaces,
                    habits: without_terms.as_ref().unwrap_or(rules.habits),
                    ..rules
                };
                let (space, of_part, its_words) = self.feature_by(text, rules)?;
                language = space.language().map(str::to_owned);
                feature = of_part;
                // Terms of the first part have the ids that explanations look for.
                if made.is_empty() {
                    words = its_words;
                }
            }
            made.push((weight, dense_length(kind), feature));
        }
        let parts = made.iter().map(|(weight, length, feature)| Ingredient {
            feature,
            weight: *weight,
            length: *length,
        });
        let feature = mix(&parts.collect::<Vec<_>>()).unwrap_or_else(Feature::zero);
        let space = match language {
            Some(language) => Space::of_texts(rules.model, &language),
            None => Space::without_language(rules.model),
        };
        Ok((space, feature, words))
    }

    fn feature_by(&self, text: &Text, rules: Rules<'_>) -> Result<(Space, Feature, Words), String> {
        let of_most = || {
            let spaces = rules.spaces.iter();
            habitual(rules.model, spaces.map(|(space, rows)| (space, *rows)))
        };
        let language = rules.habits.language_or(of_most);
        let usual = Usual {
            language: language.as_deref(),
            ..Usual::of(rules.habits)
        };
        let preprocessed = self.preprocessors.of(rules.settings).preprocess_for(
            rules.model,
            text.title.as_deref(),
            text.text.as_deref(),
            text.language.as_deref(),
            usual,
        );
        let across = rules.settings.across_languages == Some(true);
        let compared_in = match across && compares_languages(rules.model) {
            true => Space::of_all_languages(rules.model),
            false => Space::of_texts(rules.model, &preprocessed.language),
        };
        if preprocessed.terms.is_empty() {
            return Ok((compared_in, Feature::zero(), Words::new()));
        }
        let words = match rules.model.encoder() {
            Some(_) => Words::new(),
            None => words(rules.model, &preprocessed),
        };
        let row = TermCounts {
            // It belongs to no item, and no feature depends on it.
            id: ItemId::new("query").expect("a constant"),
            terms: preprocessed.terms,
        };
        let job = Job {
            domain: rules.domain.clone(),
            task: Task::Extract(Arc::new(ExtractTask {
                space: Space::of_texts(rules.model, &preprocessed.language),
                rows: vec![row],
            })),
        };
        match (self.extract)(&job) {
            Reply::Extracted(mut features) if features.len() == 1 => {
                let feature = features.pop().unwrap_or_else(Feature::zero);
                Ok((compared_in, rules.habits.weigh(feature), words))
            }
            Reply::Failed(why) => Err(why),
            Reply::UnknownModel(model) => Err(format!(
                "model {model} cannot make features here at the moment; see the log"
            )),
            other => Err(format!("unexpected kind of reply from a worker: {other:?}")),
        }
    }

    /// The words of a text, by the term ids that they have in features of the model; the text is
    /// read in the given language.
    pub fn words(&self, text: &Text, model: &ModelName, settings: &DomainSettings) -> Words {
        let preprocessed = self.preprocessors.of(settings).preprocess(
            text.title.as_deref(),
            text.text.as_deref(),
            text.language.as_deref(),
            Usual::default(),
        );
        let mix = settings.mix.as_ref().filter(|_| model.is_mix());
        // Terms of the first part have the ids that explanations look for.
        let first = mix.and_then(|mix| mix.kinds().next().cloned());
        words(first.as_ref().unwrap_or(model), &preprocessed)
    }
}

/// The first of the words that share an id.
fn words(model: &ModelName, text: &Preprocessed) -> Words {
    let id_of = term_ids(model, &text.language);
    let mut words = Words::new();
    for (term, _) in &text.terms {
        words.entry(id_of(term)).or_insert_with(|| term.clone());
    }
    words
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Texts").finish_non_exhaustive()
    }
}
