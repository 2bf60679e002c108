//! Turns an item's title and text into its language and its terms.
//!
//! HTML is reduced to text ([`plain_text`]), the language is detected ([`language`]), and words
//! that are not stop words are counted ([`terms`]). All of it is pure and gives the same result
//! everywhere.

mod function_words;
mod korean;
pub mod language;
mod sample;
mod shingles;
mod stop_words;
pub mod terms;
mod words;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use compute_worker::models::{passage, term_ids};
use kindred_domain::habits::{Habits, Survey};
use kindred_domain::markup::plain_text;
use kindred_domain::settings::DomainSettings;
use kindred_shared::ModelName;
use kindred_shared::language::canonical;
use language::{Languages, UnknownLanguage};
use stop_words::StopWords;
use terms::Counts;

/// Weight of an occurrence in the title.
pub const TITLE_WEIGHT: u32 = 3;
/// Weight of an occurrence in the text.
pub const TEXT_WEIGHT: u32 = 1;

/// Turns titles and texts into terms. One instance serves all threads and domains.
#[derive(Debug)]
pub struct Preprocessor {
    languages: Languages,
    default_language: &'static str,
    /// Whether a domain's settings name the default language: it then takes precedence over the
    /// language of most of the domain's items.
    default_is_set: bool,
    stop_words: StopWords,
}

/// How to read texts: the detected languages, the default language, and whether the domain's
/// settings name it.
type Way = (Vec<String>, String, bool);

/// The preprocessors of all domains: one per way of reading texts.
#[derive(Debug)]
pub struct Preprocessors {
    languages: Vec<String>,
    default_language: String,
    usual: Arc<Preprocessor>,
    others: Mutex<HashMap<Way, Arc<Preprocessor>>>,
}

/// Preprocessors cached besides the default one; beyond it the cache is cleared.
const KEPT: usize = 64;

impl Preprocessors {
    /// Unless a domain's settings say otherwise, `languages` are detected and `default_language` is
    /// the fallback.
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

    /// The preprocessor of a domain. If its settings name an unknown language, the default
    /// preprocessor is used: settings are validated when they are set, but a newer Kindred may know
    /// more languages.
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
                tracing::warn!(%error, "settings name an unknown language");
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

/// Habits of a domain's other texts, as far as known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usual<'a> {
    /// The language of most texts.
    pub language: Option<&'a str>,
    /// Hashes of passages that most texts contain ([`Habits::boilerplate`]).
    pub boilerplate: Option<&'a BTreeSet<u64>>,
}

impl<'a> Usual<'a> {
    /// From the habits of a domain.
    pub fn of(habits: &'a Habits) -> Self {
        Self {
            language: habits.language.as_deref(),
            boilerplate: Some(&habits.boilerplate),
        }
    }

    /// A plain text without common passages.
    fn without<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let rest = self
            .boilerplate
            .and_then(|usual| shingles::without(text, usual));
        rest.map_or(Cow::Borrowed(text), Cow::Owned)
    }
}

/// The result of preprocessing one item.
#[derive(Clone, PartialEq, Eq)]
pub struct Preprocessed {
    /// The language of the item, in canonical form (see [`canonical`]).
    pub language: String,
    /// Whether the language was given or detected with certainty, rather than a fallback.
    pub is_sure: bool,
    /// Term and frequency (≥ 1), strictly ascending by term; at most [`terms::MAX_TERMS`].
    pub terms: Vec<(Box<str>, u32)>,
}

impl std::fmt::Debug for Preprocessed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} terms of {:?}", self.terms.len(), self.language)
    }
}

/// Title and text of an item as they are read.
struct Read {
    title: String,
    text: String,
    language: String,
    /// Whether the language was given or detected with certainty.
    is_sure: bool,
}

fn has_word(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

impl Preprocessor {
    /// A preprocessor that detects `languages` and falls back to `default_language`, which need not
    /// be one of them. Without languages nothing is detected.
    ///
    /// # Errors
    /// [`UnknownLanguage`] naming the first unknown code.
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
    /// The language is, in this order: the given one, even if it is not configured; one detected
    /// with certainty; the default in the domain's settings; the language of most of the domain's
    /// items; the configured default. Title and text may be plain text or HTML. Passages that most
    /// of the domain's texts contain are left out, unless nothing else remains. If all words are
    /// stop words ("The Who"), they are the terms.
    pub fn preprocess(
        &self,
        title: Option<&str>,
        text: Option<&str>,
        given_language: Option<&str>,
        usual: Usual<'_>,
    ) -> Preprocessed {
        let read = self.read(title, text, given_language, usual);
        let count = |stop_words| {
            let mut counts = Counts::new(&read.language, stop_words);
            counts.add(&read.title, TITLE_WEIGHT);
            counts.add(&read.text, TEXT_WEIGHT);
            counts.finish()
        };
        let mut terms = count(self.stop_words.of(&read.language));
        if terms.is_empty() {
            terms = count(None);
        }
        Preprocessed {
            language: read.language,
            is_sure: read.is_sure,
            terms,
        }
    }

    /// The same for models of this kind: a sentence encoder reads the text itself, which is then
    /// the only term.
    pub fn preprocess_for(
        &self,
        kind: &ModelName,
        title: Option<&str>,
        text: Option<&str>,
        given_language: Option<&str>,
        usual: Usual<'_>,
    ) -> Preprocessed {
        if kind.encoder().is_none() {
            return self.preprocess(title, text, given_language, usual);
        }
        let read = self.read(title, text, given_language, usual);
        let passage = passage(&read.title, &read.text);
        Preprocessed {
            language: read.language,
            is_sure: read.is_sure,
            terms: match has_word(&passage) {
                true => vec![(passage, 1)],
                false => Vec::new(),
            },
        }
    }

    /// Title and text without markup and common passages, and their language.
    fn read(
        &self,
        title: Option<&str>,
        text: Option<&str>,
        given_language: Option<&str>,
        usual: Usual<'_>,
    ) -> Read {
        let whole_title = plain_text(title.unwrap_or_default());
        let whole_text = plain_text(text.unwrap_or_default());
        let (mut title, mut text) = (usual.without(&whole_title), usual.without(&whole_text));
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
        Read {
            title: title.into_owned(),
            text: text.into_owned(),
            language,
            is_sure,
        }
    }

    /// The term ids of a text, without common passages, in the features of a model.
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

    /// Extracts what a text may have in common with the domain's other texts.
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

/// What a text may have in common with others.
#[derive(Debug, Clone)]
pub struct Surveyed {
    /// Its language, if certain.
    language: Option<String>,
    /// Hashes of its passages.
    shingles: BTreeSet<u64>,
}

impl Surveyed {
    /// Adds the text to the survey of a sample.
    pub fn add_to(self, survey: &mut Survey) {
        survey.texts += 1;
        for shingle in self.shingles {
            *survey.segments.entry(shingle).or_default() += 1;
        }
        if let Some(language) = self.language {
            *survey.languages.entry(language).or_default() += 1;
        }
    }

    /// The survey of a sample of texts.
    pub fn together(texts: impl IntoIterator<Item = Self>) -> Survey {
        let mut survey = Survey::default();
        texts.into_iter().for_each(|text| text.add_to(&mut survey));
        survey
    }
}

#[cfg(test)]
mod tests;
