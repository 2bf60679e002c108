//! Answers of queries, serialised directly from a snapshot.

use kindred_api::similar::{Computed, MOST_TERMS};
use kindred_query::{self as query, Found, Item, Match, Snapshot, Why};
use kindred_shared::{DomainName, ItemId};
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::time::{rfc3339, rfc3339_ms};
use crate::actors::texts::Words;

/// Initial capacity for an answer without its items, in bytes.
const ANSWER_BYTES: usize = 512;
/// Initial capacity per item of an answer, in bytes.
const ITEM_BYTES: usize = 384;

/// A [`kindred_api::similar::SimilarAnswer`] for serialisation.
#[derive(Serialize)]
pub(super) struct AnswerJson<'a, S> {
    pub(super) domain: &'a DomainName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a ItemId>,
    pub(super) model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) experiment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arm: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) as_of: Option<&'a str>,
    pub(super) computed: Computed,
    pub(super) similar: S,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) unknown: &'a [ItemId],
}

/// A [`kindred_api::similar::SimilarItem`] for serialisation.
#[derive(Serialize)]
pub(super) struct ItemJson<'a> {
    id: &'a ItemId,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    categories: &'a [std::sync::Arc<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<&'a ItemId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<WhyJson<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fallback: bool,
}

/// A [`kindred_api::similar::WhyJson`] for serialisation.
#[derive(Serialize)]
struct WhyJson<'a> {
    dense: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<Vec<TermJson<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<f64>,
}

/// A [`kindred_api::similar::TermShare`] for serialisation.
#[derive(Serialize)]
struct TermJson<'a> {
    term: &'a str,
    share: f64,
}

impl<'a> ItemJson<'a> {
    /// An item with its score only.
    pub(super) fn new(item: Item<'a>, score: f32) -> Self {
        let shown = item.shown();
        Self {
            id: item.id(),
            score,
            rank: None,
            title: shown.title.as_deref(),
            url: shown.url.as_deref(),
            image: shown.image.as_deref(),
            group: shown.group.as_deref(),
            categories: &shown.categories,
            published_at: shown.published_at.map(rfc3339),
            language: item.facts().language(),
            also: Vec::new(),
            why: None,
            fallback: false,
        }
    }
}

/// The explanation of a score in an answer.
fn why<'a>(why: &Why, score: f32, words: &'a Words) -> WhyJson<'a> {
    let Some(terms) = &why.terms else {
        return WhyJson {
            dense: why.dense,
            terms: None,
            rest: None,
        };
    };
    // A term whose word is no longer known counts as part of the rest: the text may have changed
    // since.
    let known = terms.iter().filter_map(|(id, share)| {
        let term = words.get(id)?;
        Some(TermJson {
            term,
            share: *share,
        })
    });
    let listed: Vec<TermJson<'_>> = known.take(MOST_TERMS).collect();
    let of_listed: f64 = listed.iter().map(|term| term.share).sum();
    WhyJson {
        dense: why.dense,
        rest: Some(f64::from(score) - why.dense - of_listed),
        terms: Some(listed),
    }
}

/// The items of an answer.
struct Matches<'a> {
    snapshot: &'a Snapshot,
    similar: &'a [Match],
    words: &'a Words,
}

impl Serialize for Matches<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = serializer.serialize_seq(None)?;
        for one in self.similar {
            // A snapshot contains every item it returns.
            let Some(item) = self.snapshot.at(one.slot) else {
                continue;
            };
            let also = one.also.iter().filter_map(|slot| self.snapshot.at(*slot));
            items.serialize_element(&ItemJson {
                rank: one.rank,
                also: also.map(|item| item.id()).collect(),
                why: one.why.as_ref().map(|of| why(of, one.score, self.words)),
                fallback: one.fallback,
                ..ItemJson::new(item, one.score)
            })?;
        }
        items.end()
    }
}

/// What an answer is about.
pub(super) struct About<'a> {
    pub(super) domain: &'a DomainName,
    /// The item of the query, if it is about one.
    pub(super) id: Option<&'a ItemId>,
    pub(super) model: &'a str,
    /// The reader's experiment and arm.
    pub(super) takes_part: Option<(&'a str, &'a str)>,
    /// The words of the query's items or text, for [`Why`].
    pub(super) words: &'a Words,
}

/// The result of a query as an answer.
pub(super) fn found(snapshot: &Snapshot, found: &Found, about: &About<'_>) -> Vec<u8> {
    let as_of = found.as_of.map(rfc3339_ms);
    let answer = AnswerJson {
        domain: about.domain,
        id: about.id,
        model: about.model,
        experiment: about.takes_part.map(|(experiment, _)| experiment),
        arm: about.takes_part.map(|(_, arm)| arm),
        as_of: as_of.as_deref(),
        computed: match found.computed {
            query::Computed::List => Computed::List,
            query::Computed::Scan => Computed::Scan,
        },
        similar: Matches {
            snapshot,
            similar: &found.similar,
            words: about.words,
        },
        unknown: &found.unknown,
    };
    json(&answer, found.similar.len())
}

/// An answer with about this many items as JSON.
pub(super) fn json(answer: &impl Serialize, items: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(ANSWER_BYTES + items * ITEM_BYTES);
    serde_json::to_writer(&mut body, answer).expect("texts and numbers can be written to memory");
    body
}
