//! The service itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The service is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// Always true.
    #[schema(example = true)]
    pub ready: bool,
    /// Parts that do not work at present, as `part: reason`. Readers are answered meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
}
