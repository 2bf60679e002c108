//! What is similar to an item, to several, or to a text or vector: what is asked, and what is answered.

use kindred_shared::{DomainName, ItemId, ModelName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Answers of a query at most.
pub const LIMIT: usize = 1_000;
/// Answers of a query unless asked for otherwise.
pub const DEFAULT_LIMIT: usize = 10;
/// Terms that an answer says it is there for, at most.
pub const MOST_TERMS: usize = 10;

/// What a query answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SimilarAnswer {
    /// The domain.
    #[schema(value_type = String, example = "news.example")]
    pub domain: DomainName,
    /// The item that was asked of, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "a-17")]
    pub id: Option<ItemId>,
    /// The model the scores come from.
    #[schema(value_type = String, example = "words-1")]
    pub model: ModelName,
    /// The experiment that its reader takes part in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "fresh-first")]
    pub experiment: Option<String>,
    /// The arm of it that the reader is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "fresh")]
    pub arm: Option<String>,
    /// Of when it is. Left out while there is nothing to compare with yet: the item's first list is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.410Z")]
    pub as_of: Option<String>,
    /// Whether it is the item's stored list, which was exact for this, or was computed now.
    pub computed: Computed,
    /// True: too few copies of the database answered to be certain. The answer may be behind, and name what
    /// has been deleted since. Otherwise left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Best rank first; of equals by id ascending, byte by byte.
    pub similar: Vec<SimilarItem>,
    /// Ids that were asked of and are not there for readers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub unknown: Vec<ItemId>,
}

/// How an answer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Computed {
    /// From the stored list, which was exact for it.
    List,
    /// From the scores of all items that may be answered.
    Scan,
}

/// One item that is answered. What has no value is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SimilarItem {
    /// Its id.
    #[schema(value_type = String, example = "a-9")]
    pub id: ItemId,
    /// Similarity, above 0 (0: it fills the answer up); it reads back as the same 32 bit number.
    #[schema(example = 0.731_445_3)]
    pub score: f32,
    /// What the order follows, where that is not the score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<f64>,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Sleeper to the coast")]
    pub title: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://news.example/a-9")]
    pub url: Option<String>,
    /// The address of its picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// When readers could first see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2026-11-20T08:00:00.000Z")]
    pub published_at: Option<String>,
    /// The language its text is read in, else as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "en")]
    pub language: Option<String>,
    /// Ids that are not answered because it is (`collapse`): the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub also: Vec<ItemId>,
    /// What its score is made of (`explain`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<WhyJson>,
    /// True: it is not similar, but fills the answer up (`fallback`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
}

/// What a score is made of: its parts add up to it within 10⁻⁶.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Why)]
pub struct WhyJson {
    /// What the meaning of words gives, or the vectors that items brought.
    #[schema(example = 0.21)]
    pub dense: f64,
    /// What words that both have give, the most first: the first 10. Vectors have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Vec<TermShare>>,
    /// What all other words give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.01)]
    pub rest: Option<f64>,
}

/// What one word gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TermShare {
    /// The word, as it is compared.
    #[schema(example = "glacier")]
    pub term: String,
    /// Its part of the score.
    #[schema(example = 0.08)]
    pub share: f64,
}

/// A query: one of `items`, `vector`, and `text` or `title`; and conditions, each of which may be `false` or `none`, so
/// that what is set for the domain does not count.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Query {
    /// Items to be like, at most 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 100)]
    pub items: Option<Vec<WeightedItem>>,
    /// A text to be like; plain text or HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The model to answer by: one that is ready; the active one if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9-]{1,64}$", example = "words-1")]
    pub model: Option<String>,
    /// Its language; left out, it is detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// A vector to be like: 1 to 4,096 numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 4096)]
    pub vector: Option<Vec<f32>>,
    /// Who reads the answer: 1 to 256 bytes. While an experiment runs, its arm's conditions count in place of those
    /// that are set for the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256, example = "r-5f21")]
    pub reader: Option<String>,
    /// `limit` (1 to 1,000), `min_score`, `exclude`, `filter`, `half_life`, `balance`, `collapse`, `diversity`,
    /// `explain`, `fallback`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub conditions: Map<String, Value>,
}

/// An item to be like, or to be unlike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WeightedItem {
    /// Its id.
    #[schema(example = "a-17")]
    pub id: String,
    /// How much it counts; below 0: to be unlike it. 1 if left out. Not all are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 1.0)]
    pub weight: Option<f64>,
}

/// Several queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryBatch {
    /// At most 100.
    #[schema(min_items = 1, max_items = 100)]
    pub queries: Vec<Query>,
}

/// What several queries answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AnswerBatch {
    /// In the order of the queries: an answer, or a problem.
    #[schema(value_type = Vec<Object>)]
    pub answers: Vec<Value>,
}

/// Pairs of items to be scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pairs {
    /// At most 1,000.
    #[schema(min_items = 1, max_items = 1000, value_type = Vec<Vec<String>>, example = json!([["a-17", "a-9"]]))]
    pub pairs: Vec<[String; 2]>,
    /// The model to score by: one that is ready; the active one if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9-]{1,64}$", example = "words-1")]
    pub model: Option<String>,
}

/// The scores of pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Scores {
    /// In the order of the pairs; null: one is not there for readers, or they cannot be compared.
    #[schema(example = json!([0.731_445_3, null]))]
    pub scores: Vec<Option<f32>>,
}
