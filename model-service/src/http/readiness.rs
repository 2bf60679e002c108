//! Whether the service can do its work.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use kindred_api::problem::Kind;

use super::error::Error;

/// When to ask a service again that is not ready, in seconds.
const RETRY_S: u32 = 1;

/// Whether the service can do its work, and if not, why. Each part of it says so for itself.
#[derive(Debug, Default)]
pub struct Readiness {
    reasons: RwLock<BTreeMap<&'static str, String>>,
}

impl Readiness {
    /// Ready: no part has a reason not to be.
    pub fn ready() -> Self {
        Self::default()
    }

    /// Not ready until `part` says otherwise.
    pub fn waiting_for(part: &'static str, reason: impl Into<String>) -> Self {
        let readiness = Self::default();
        readiness.not_ready(part, reason);
        readiness
    }

    /// `part` cannot do its work, for this reason; it replaces the part's reason of before.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        self.reasons
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(part, reason.into());
    }

    /// `part` can do its work.
    pub fn set_ready(&self, part: &'static str) {
        self.reasons
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(part);
    }

    /// Why the service is not ready, as `part: reason`; empty: it is.
    pub fn reasons(&self) -> Vec<String> {
        self.reasons
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(part, reason)| format!("{part}: {reason}"))
            .collect()
    }
}

/// The service is not ready, for these reasons.
pub(crate) fn not_ready(reasons: Vec<String>) -> Error {
    Error::new(
        Kind::NotReady,
        format!("{}. It goes on by itself; ask again.", reasons.join("; ")),
    )
    .reasons(reasons)
    .retry_after(RETRY_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_no_part_has_a_reason_left() {
        let readiness = Readiness::waiting_for("store", "opening");
        readiness.not_ready("lease", "held by another");
        readiness.not_ready("store", "compacting");
        assert_eq!(
            readiness.reasons(),
            ["lease: held by another", "store: compacting"]
        );
        readiness.set_ready("store");
        readiness.set_ready("lease");
        assert!(readiness.reasons().is_empty());
    }
}
