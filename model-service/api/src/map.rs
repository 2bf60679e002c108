//! A domain in two dimensions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Items of a domain at places that are the closer, the more similar they are, as far as two dimensions can show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MapAnswer {
    /// The domain.
    #[schema(example = "news.example")]
    pub domain: String,
    /// Of when it is.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.410Z")]
    pub as_of: String,
    /// How many visible items there are; of many some are shown.
    #[schema(example = 5_000)]
    pub of: u64,
    /// What they are told apart by: `categories`, or `group` where more of them are in the commonest groups.
    #[schema(example = "categories")]
    pub by: String,
    /// The commonest categories, or groups, of those that are shown, the commonest first; at most eight.
    pub categories: Vec<String>,
    /// The items that are shown, by id.
    pub items: Vec<MapItem>,
    /// Pairs of places in `items`: each item and those of its nearest neighbours that are shown.
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
    /// The place in `categories` of its own, of several the commonest; left out where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<u32>,
}
