//! Texts of queries: read and made features of as those of items are, in this process.

use std::collections::HashMap;
use std::sync::Arc;

use compute_worker::models::term_ids;
use kindred_shared::job::{ExtractTask, Job, Reply, Task, TermCounts};
use kindred_shared::{DomainName, Feature, ItemId, ModelName, Space};

use crate::preprocessing::{Preprocessed, Preprocessors, Usual};
use kindred_domain::extraction::habitual;
use kindred_domain::habits::Habits;
use kindred_domain::settings::DomainSettings;

/// Does an extract job, on the threads it has.
pub type Extract = Arc<dyn Fn(&Job) -> Reply + Send + Sync>;

/// Makes features of texts.
#[derive(Clone)]
pub struct Texts {
    preprocessors: Arc<Preprocessors>,
    extract: Extract,
}

/// A text as it is asked of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// Its title.
    pub title: Option<String>,
    /// The text itself.
    pub text: Option<String>,
    /// Its language, if it is given.
    pub language: Option<String>,
}

/// Of which domain's rules a text is read by.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The domain.
    pub domain: &'a DomainName,
    /// Its model.
    pub model: &'a ModelName,
    /// What is set for it.
    pub settings: &'a DomainSettings,
    /// How many of its items have a feature in each space.
    pub spaces: &'a [(Space, usize)],
    /// What is usual in its texts.
    pub habits: &'a Habits,
}

/// Words by the ids of their terms.
pub type Words = HashMap<u32, Box<str>>;

impl Texts {
    /// Reads texts with these, and makes features with that.
    pub fn new(preprocessors: Arc<Preprocessors>, extract: Extract) -> Self {
        Self {
            preprocessors,
            extract,
        }
    }

    /// The space and the feature of a text, and its words. May take some milliseconds, and much longer when
    /// word vectors are read first.
    ///
    /// # Errors
    /// Why no feature could be made, in words.
    pub fn feature(
        &self,
        text: &Text,
        rules: Rules<'_>,
    ) -> Result<(Space, Feature, Words), String> {
        let of_most = || {
            let spaces = rules.spaces.iter();
            habitual(rules.model, spaces.map(|(space, rows)| (space, *rows)))
        };
        let language = rules.habits.language_or(of_most);
        let usual = Usual {
            language: language.as_deref(),
            ..Usual::of(rules.habits)
        };
        let preprocessed = self.preprocessors.of(rules.settings).preprocess(
            text.title.as_deref(),
            text.text.as_deref(),
            text.language.as_deref(),
            usual,
        );
        let space = Space::of_texts(rules.model, &preprocessed.language);
        if preprocessed.terms.is_empty() {
            return Ok((space, Feature::zero(), Words::new()));
        }
        let words = words(rules.model, &preprocessed);
        let row = TermCounts {
            // It is nobody's, and no feature depends on it.
            id: ItemId::new("query").expect("a constant"),
            terms: preprocessed.terms,
        };
        let job = Job {
            domain: rules.domain.clone(),
            task: Task::Extract(Arc::new(ExtractTask {
                space: space.clone(),
                rows: vec![row],
            })),
        };
        match (self.extract)(&job) {
            Reply::Extracted(mut features) if features.len() == 1 => {
                let feature = features.pop().unwrap_or_else(Feature::zero);
                Ok((space, rules.habits.weigh(feature), words))
            }
            Reply::Failed(why) => Err(why),
            Reply::UnknownModel(model) => Err(format!(
                "model {model} makes no features here now; see the log"
            )),
            other => Err(format!("a worker answered another question: {other:?}")),
        }
    }

    /// The words of a text that was read in a language, by the ids that they have in features of the model.
    pub fn words(&self, text: &Text, model: &ModelName, settings: &DomainSettings) -> Words {
        let preprocessed = self.preprocessors.of(settings).preprocess(
            text.title.as_deref(),
            text.text.as_deref(),
            text.language.as_deref(),
            Usual::default(),
        );
        words(model, &preprocessed)
    }
}

/// Of words with one id the first.
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
