//! API keys: how they are created and listed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request for a new key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    /// `read`, `write` or `manage` for one domain (`read:news.example`), for all domains with a prefix (`read:news.*`)
    /// or for all domains (`read:*`); `metrics`; or `admin`, which allows everything.
    #[schema(min_items = 1, example = json!(["read:news.example", "write:news.example"]))]
    pub grants: Vec<String>,
    /// How long it is valid, such as `90d`; forever if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "90d")]
    pub expires: Option<String>,
}

/// The names of its fields.
pub const KEY_FIELDS: [&str; 2] = ["expires", "grants"];

/// A new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    /// Its id.
    #[schema(example = "iKl5Bq3xw0Zt")]
    pub id: String,
    /// The secret that its holder sends. It is shown only this once, and not stored.
    #[schema(example = "kk_NrWx2l0hPqk6iVQm1s0b3t9yFzGdJcUeA7oXnRwLuTY")]
    pub secret: String,
    /// What it allows.
    #[schema(example = json!(["read:news.example"]))]
    pub grants: Vec<String>,
    /// When it expires; left out if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2027-02-21T09:00:00.000Z")]
    pub expires: Option<String>,
}

/// A key as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Its id.
    #[schema(example = "iKl5Bq3xw0Zt")]
    pub id: String,
    /// What it allows.
    #[schema(example = json!(["read:news.example"]))]
    pub grants: Vec<String>,
    /// When it was created.
    #[schema(format = DateTime, example = "2026-11-23T09:00:00.000Z")]
    pub created: String,
    /// When it expires; left out if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2027-02-21T09:00:00.000Z")]
    pub expires: Option<String>,
}

/// Every key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeysAnswer {
    /// Oldest first.
    pub keys: Vec<Key>,
}
