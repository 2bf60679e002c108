//! What is similar to an item.

use kindred_shared::{DomainName, ItemId, ModelName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Neighbours of an answer at most.
pub const LIMIT: usize = 50;
/// Neighbours of an answer unless asked for otherwise.
pub const DEFAULT_LIMIT: usize = 10;

/// An item's neighbours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SimilarAnswer {
    /// The item's domain.
    #[schema(value_type = String, example = "news.example")]
    pub domain: DomainName,
    /// The item.
    #[schema(value_type = String, example = "a-17")]
    pub id: ItemId,
    /// The model the scores come from.
    #[schema(value_type = String, example = "words-1")]
    pub model: ModelName,
    /// When the list was made; null while the first one is being made.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.410Z")]
    pub as_of: Option<String>,
    /// True: too few copies of the database answered to be certain. The answer may be behind, and name what
    /// has been deleted since. Otherwise left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Best first: by score descending, then by id ascending, byte by byte.
    pub similar: Vec<SimilarItem>,
}

/// A neighbour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SimilarItem {
    /// Its id.
    #[schema(value_type = String, example = "a-9")]
    pub id: ItemId,
    /// Similarity, above 0; it reads back as the same 32 bit number.
    #[schema(example = 0.731_445_3)]
    pub score: f32,
    /// Its title.
    #[schema(example = "Sleeper to the coast")]
    pub title: Option<String>,
    /// Its address.
    #[schema(example = "https://news.example/a-9")]
    pub url: Option<String>,
}
