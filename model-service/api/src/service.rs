//! The service itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The service is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// Always true.
    #[schema(example = true)]
    pub ready: bool,
}
