//! From an item's title and text to its language and its terms.
//!
//! HTML is reduced to text ([`plain_text`]), the language is chosen ([`language`]), and the words that
//! are no stop words are counted ([`terms`]). All of it is pure and the same everywhere.

mod function_words;
mod korean;
pub mod language;
mod sample;
mod shingles;
mod stop_words;
pub mod terms;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use compute_worker::models::term_ids;
use kindred_domain::habits::{Habits, Survey};
use kindred_domain::markup::plain_text;
use kindred_domain::settings::DomainSettings;
use kindred_shared::ModelName;
use kindred_shared::language::canonical;
use language::{Languages, UnknownLanguage};
use stop_words::StopWords;
use terms::Counts;

/// How often an occurrence in the title counts.
pub const TITLE_WEIGHT: u32 = 3;
/// How often an occurrence in the text counts.
pub const TEXT_WEIGHT: u32 = 1;

/// Turns titles and texts into terms. One serves all threads and domains.
#[derive(Debug)]
pub struct Preprocessor {
    languages: Languages,
    default_language: &'static str,
    /// A domain's settings name the default: it goes before what the domain's items are mostly in.
    default_is_set: bool,
    stop_words: StopWords,
}

/// A way of reading texts: the languages that are detected, the one fallen back on, and whether the
/// domain's settings name it.
type Way = (Vec<String>, String, bool);

/// The preprocessors of all domains: one for each way of reading texts.
#[derive(Debug)]
pub struct Preprocessors {
    languages: Vec<String>,
    default_language: String,
    usual: Arc<Preprocessor>,
    others: Mutex<HashMap<Way, Arc<Preprocessor>>>,
}

/// Preprocessors that are kept beside the usual one; past it all are made anew.
const KEPT: usize = 64;

impl Preprocessors {
    /// Where a domain's settings say nothing, `languages` are detected, and `default_language` is fallen
    /// back on.
    ///
    /// # Errors
    /// As [`Preprocessor::new`].
    pub fn new(languages: &[String], default_language: &str) -> Result<Self, UnknownLanguage> {
        Ok(Self {
            languages: languages.to_vec(),
            default_language: default_language.to_owned(),
            usual: Arc::new(Preprocessor::new(languages, default_language)?),
            others: Mutex::default(),
        })
    }

    /// The preprocessor of a domain. One whose settings name an unknown language is read as usual: they
    /// were checked when they were set, and another version of Kindred may know more.
    pub fn of(&self, settings: &DomainSettings) -> Arc<Preprocessor> {
        if settings.languages.is_none() && settings.default_language.is_none() {
            return Arc::clone(&self.usual);
        }
        let languages = settings.languages.as_ref().unwrap_or(&self.languages);
        let default_language = settings.default_language.as_ref();
        let default_language = default_language.unwrap_or(&self.default_language);
        let default_is_set = settings.default_language.is_some();
        let key = (languages.clone(), default_language.clone(), default_is_set);
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = others.get(&key) {
            return Arc::clone(known);
        }
        let made = match Preprocessor::new(languages, default_language) {
            Ok(mut made) => {
                made.default_is_set = default_is_set;
                Arc::new(made)
            }
            Err(error) => {
                tracing::warn!(%error, "settings name a language that is not known here");
                Arc::clone(&self.usual)
            }
        };
        if others.len() >= KEPT {
            others.clear();
        }
        others.insert(key, Arc::clone(&made));
        made
    }
}

/// What is usual in a domain's other texts, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usual<'a> {
    /// The language that most are in.
    pub language: Option<&'a str>,
    /// Hashes of the passages that most have ([`Habits::boilerplate`]).
    pub boilerplate: Option<&'a BTreeSet<u64>>,
}

impl<'a> Usual<'a> {
    /// What the habits of a domain say.
    pub fn of(habits: &'a Habits) -> Self {
        Self {
            language: habits.language.as_deref(),
            boilerplate: Some(&habits.boilerplate),
        }
    }

    /// A plain text without what is usual.
    fn without<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let rest = self
            .boilerplate
            .and_then(|usual| shingles::without(text, usual));
        rest.map_or(Cow::Borrowed(text), Cow::Owned)
    }
}

/// What preprocessing makes of one item.
#[derive(Clone, PartialEq, Eq)]
pub struct Preprocessed {
    /// The language the item counts as, in canonical form (see [`canonical`]).
    pub language: String,
    /// Whether the language was given or surely detected, and not fallen back on.
    pub is_sure: bool,
    /// Term and frequency (≥ 1), strictly ascending by term; at most [`terms::MAX_TERMS`].
    pub terms: Vec<(Box<str>, u32)>,
}

impl std::fmt::Debug for Preprocessed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} terms of {:?}", self.terms.len(), self.language)
    }
}

impl Preprocessor {
    /// A preprocessor that detects `languages` and falls back on `default_language`, which need
    /// not be one of them. With no languages nothing is detected.
    ///
    /// # Errors
    /// [`UnknownLanguage`] naming the first code that cannot be detected.
    pub fn new(languages: &[String], default_language: &str) -> Result<Self, UnknownLanguage> {
        let languages = Languages::new(languages)?;
        Ok(Self {
            languages,
            default_language: language::known(default_language)?,
            default_is_set: false,
            stop_words: StopWords::default(),
        })
    }

    /// The language and the terms of an item.
    ///
    /// A given language wins, also one that is not configured; else a sure detection; else the default of
    /// the domain's settings; else what the domain's other items are mostly in; else the
    /// configured default. Title and text may be plain text or HTML. Passages that most of the domain's texts
    /// have are left out, unless nothing else is there. Where all words are stop words ("The Who"), they are the
    /// terms.
    pub fn preprocess(
        &self,
        title: Option<&str>,
        text: Option<&str>,
        given_language: Option<&str>,
        usual: Usual<'_>,
    ) -> Preprocessed {
        let whole_title = plain_text(title.unwrap_or_default());
        let whole_text = plain_text(text.unwrap_or_default());
        let (mut title, mut text) = (usual.without(&whole_title), usual.without(&whole_text));
        let has_word = |text: &str| text.chars().any(char::is_alphanumeric);
        if !has_word(&title) && !has_word(&text) {
            (title, text) = (Cow::Borrowed(&*whole_title), Cow::Borrowed(&*whole_text));
        }
        let sure = given_language
            .and_then(canonical)
            .or_else(|| self.languages.detect(&title, &text).map(str::to_owned));
        let is_sure = sure.is_some();
        let language = sure.unwrap_or_else(|| {
            let habitual = usual.language.filter(|_| !self.default_is_set);
            habitual.unwrap_or(self.default_language).to_owned()
        });
        let count = |stop_words| {
            let mut counts = Counts::new(&language, stop_words);
            counts.add(&title, TITLE_WEIGHT);
            counts.add(&text, TEXT_WEIGHT);
            counts.finish()
        };
        let mut terms = count(self.stop_words.of(&language));
        if terms.is_empty() {
            terms = count(None);
        }
        Preprocessed {
            language,
            is_sure,
            terms,
        }
    }

    /// The ids of the terms of a text, without what is usual, in the features of a model.
    pub fn term_ids(
        &self,
        title: Option<&str>,
        text: Option<&str>,
        given_language: Option<&str>,
        usual: Usual<'_>,
        model: &ModelName,
    ) -> BTreeSet<u32> {
        let read = self.preprocess(title, text, given_language, usual);
        let id_of = term_ids(model, &read.language);
        read.terms.iter().map(|(term, _)| id_of(term)).collect()
    }

    /// What a text has that the domain's other texts may have, too.
    pub fn survey(
        &self,
        title: Option<&str>,
        text: Option<&str>,
        given_language: Option<&str>,
    ) -> Surveyed {
        let title = plain_text(title.unwrap_or_default());
        let text = plain_text(text.unwrap_or_default());
        let detected = || self.languages.detect(&title, &text).map(str::to_owned);
        let language = given_language.and_then(canonical).or_else(detected);
        let mut shingles = shingles::of(&title);
        shingles.append(&mut shingles::of(&text));
        Surveyed { language, shingles }
    }
}

/// What a text has that others may have, too.
#[derive(Debug, Clone)]
pub struct Surveyed {
    /// The language it is surely in.
    language: Option<String>,
    /// Hashes of its passages.
    shingles: BTreeSet<u64>,
}

impl Surveyed {
    /// Adds the text to what is known of a sample.
    pub fn add_to(self, survey: &mut Survey) {
        survey.texts += 1;
        for shingle in self.shingles {
            *survey.segments.entry(shingle).or_default() += 1;
        }
        if let Some(language) = self.language {
            *survey.languages.entry(language).or_default() += 1;
        }
    }

    /// What a sample of texts has.
    pub fn together(texts: impl IntoIterator<Item = Self>) -> Survey {
        let mut survey = Survey::default();
        texts.into_iter().for_each(|text| text.add_to(&mut survey));
        survey
    }
}

#[cfg(test)]
mod tests;
