//! Queries for what is similar to an item, to several items, to a text or to a vector, and their answers.

use kindred_shared::{DomainName, ItemId, ModelName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Most answers of a query.
pub const LIMIT: usize = 1_000;
/// Default number of answers.
pub const DEFAULT_LIMIT: usize = 10;
/// Most terms in an explanation.
pub const MOST_TERMS: usize = 10;

/// The answer to a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SimilarAnswer {
    /// The domain.
    #[schema(value_type = String, example = "news.example")]
    pub domain: DomainName,
    /// The item of the query, if there was exactly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "a-17")]
    pub id: Option<ItemId>,
    /// The model that computed the scores.
    #[schema(value_type = String, example = "words-1")]
    pub model: ModelName,
    /// The experiment in which the reader takes part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "fresh-first")]
    pub experiment: Option<String>,
    /// The arm in which the reader is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "fresh")]
    pub arm: Option<String>,
    /// The time whose state it reflects. Left out while there is nothing to compare with yet: the item's first list is
    /// being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.410Z")]
    pub as_of: Option<String>,
    /// Whether this is the item's stored list, which was exact for the query, or was computed now.
    pub computed: Computed,
    /// True: too few copies of the database answered to be certain. The answer may be outdated, and contain items that
    /// have been deleted since. Otherwise left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Best rank first; equal ranks by id, ascending in byte order.
    pub similar: Vec<SimilarItem>,
    /// Ids in the query that readers do not see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub unknown: Vec<ItemId>,
}

/// How an answer was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Computed {
    /// Read from the stored list, which was exact for the query.
    List,
    /// Computed from the scores of all items that may be answered.
    Scan,
}

/// An answered item. Fields without a value are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SimilarItem {
    /// Its id.
    #[schema(value_type = String, example = "a-9")]
    pub id: ItemId,
    /// Similarity, above 0 (0: the item fills up the answer). It reads back as the same 32-bit number.
    #[schema(example = 0.731_445_3)]
    pub score: f32,
    /// What the answer is ordered by, if not by score.
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
    /// The language in which its text was read, otherwise as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "en")]
    pub language: Option<String>,
    /// Ids that are left out because this item is answered (`collapse`): the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub also: Vec<ItemId>,
    /// What its score consists of (`explain`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<WhyJson>,
    /// True: it is not similar, but fills up the answer (`fallback`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
}

/// What a score consists of: the parts add up to it within 10⁻⁶.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Why)]
pub struct WhyJson {
    /// The contribution of the meaning of words, or of items' own vectors.
    #[schema(example = 0.21)]
    pub dense: f64,
    /// The contribution of words that both have, the highest first: the first 10. Own vectors have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Vec<TermShare>>,
    /// The contribution of all other words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.01)]
    pub rest: Option<f64>,
}

/// The contribution of one word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TermShare {
    /// The word, in the form in which it is compared.
    #[schema(example = "glacier")]
    pub term: String,
    /// Its contribution to the score.
    #[schema(example = 0.08)]
    pub share: f64,
}

/// A query: one of `items`, `vector`, and `text` or `title`; and conditions. A condition may be `false` or `none`, to
/// override the domain's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Query {
    /// Find items similar to these; at most 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 100)]
    pub items: Option<Vec<WeightedItem>>,
    /// Find items similar to this text; plain text or HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The text's title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The model to use: one that is ready; the active one if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9-]{1,64}$", example = "words-1")]
    pub model: Option<String>,
    /// The text's language; detected if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Find items similar to this vector: 1 to 4,096 numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 4096)]
    pub vector: Option<Vec<f32>>,
    /// The reader of the answer: 1 to 256 bytes. While an experiment is running, the conditions of the reader's arm
    /// replace the domain's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256, example = "r-5f21")]
    pub reader: Option<String>,
    /// `limit` (1 to 1,000), `min_score`, `exclude`, `filter`, `half_life`, `balance`, `collapse`, `diversity`,
    /// `explain`, `fallback`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub conditions: Map<String, Value>,
}

/// An item to which answers should be similar, or dissimilar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WeightedItem {
    /// Its id.
    #[schema(example = "a-17")]
    pub id: String,
    /// Its weight; below 0: answers should be dissimilar to it. 1 if left out. Not all may be 0.
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

/// The answers to several queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AnswerBatch {
    /// In the order of the queries: each an answer or a problem.
    #[schema(value_type = Vec<Object>)]
    pub answers: Vec<Value>,
}

/// Pairs of items to score.
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
    /// In the order of the pairs; null: readers do not see one of them, or they are not comparable.
    #[schema(example = json!([0.731_445_3, null]))]
    pub scores: Vec<Option<f32>>,
}
