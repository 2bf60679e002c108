//! Keys: as they are made, and as they are told.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new key is to open.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    /// `read`, `write` or `manage` of a domain (`read:news.example`), of those that begin alike (`read:news.*`) or of
    /// all (`read:*`); `metrics`; `admin`: everything.
    #[schema(min_items = 1, example = json!(["read:news.example", "write:news.example"]))]
    pub grants: Vec<String>,
    /// For how long it is to hold, as `90d`; for ever if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "90d")]
    pub expires: Option<String>,
}

/// The names of its fields.
pub const KEY_FIELDS: [&str; 2] = ["expires", "grants"];

/// A key that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    /// Its name.
    #[schema(example = "iKl5Bq3xw0Zt")]
    pub id: String,
    /// What its holder sends. It is told this once, and kept nowhere.
    #[schema(example = "kk_NrWx2l0hPqk6iVQm1s0b3t9yFzGdJcUeA7oXnRwLuTY")]
    pub secret: String,
    /// What it opens.
    #[schema(example = json!(["read:news.example"]))]
    pub grants: Vec<String>,
    /// From when on it opens nothing; left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2027-02-21T09:00:00.000Z")]
    pub expires: Option<String>,
}

/// A key, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Its name.
    #[schema(example = "iKl5Bq3xw0Zt")]
    pub id: String,
    /// What it opens.
    #[schema(example = json!(["read:news.example"]))]
    pub grants: Vec<String>,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.000Z")]
    pub created: String,
    /// From when on it opens nothing; left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2027-02-21T09:00:00.000Z")]
    pub expires: Option<String>,
}

/// Every key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeysAnswer {
    /// The oldest first.
    pub keys: Vec<Key>,
}
