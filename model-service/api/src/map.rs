//! A map of a domain.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Items of a domain in two dimensions. The more similar items are, the closer together they are, as far as two
/// dimensions allow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MapAnswer {
    /// The domain.
    #[schema(example = "news.example")]
    pub domain: String,
    /// When it was computed.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.410Z")]
    pub as_of: String,
    /// The number of visible items; if there are many, only some are shown.
    #[schema(example = 5_000)]
    pub of: u64,
    /// How they are coloured: by `categories`, or by `group` if more of them are in the most common groups.
    #[schema(example = "categories")]
    pub by: String,
    /// The most common categories, or groups, of the items shown, most common first; at most eight.
    pub categories: Vec<String>,
    /// The items that are shown, by id.
    pub items: Vec<MapItem>,
    /// Pairs of indexes into `items`: each item, and those of its nearest neighbours that are shown.
    #[schema(example = json!([[0, 7]]))]
    pub links: Vec<[u32; 2]>,
}

/// An item on the map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MapItem {
    /// Its id.
    #[schema(example = "a-17")]
    pub id: String,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// From left to right, 0 to 1,000.
    pub x: f32,
    /// From top to bottom, 0 to 1,000.
    pub y: f32,
    /// The index of its category in `categories`; if it has several, of the most common one; left out if it has none of
    /// these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<u32>,
}
