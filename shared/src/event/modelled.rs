//! The event that changes a domain's models. Kindred's HTTP interface publishes it, so that it is ordered among the
//! domain's item events; publishers of items do not send it.

use serde::{Deserialize, Serialize};

use crate::event::configure::{checked, nobody};
use crate::event::{Limits, Refusal};
use crate::name::{DomainName, ModelName};

/// The event's type.
pub const MODELLED: &str = "domain.modelled";

/// Builds, activates or deletes a model of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modelled {
    /// The domain.
    pub domain: DomainName,
    /// Names the request: 1 to 64 bytes. A repeated request takes effect once.
    pub request: String,
    /// The model.
    pub name: ModelName,
    /// The change.
    #[serde(flatten)]
    pub change: ModelChange,
    /// Who asked for it, as in [`Configure`](super::Configure).
    #[serde(default = "nobody")]
    pub by: String,
}

/// A change of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum ModelChange {
    /// Build it beside the active one.
    Put {
        /// How its features are made: the name of a model that the program knows.
        kind: ModelName,
    },
    /// Make it the active one.
    Activate,
    /// Delete it with its lists.
    Delete,
}

impl Modelled {
    /// Parses an event that came with a routing key, which must be its domain.
    ///
    /// # Errors
    /// A [`Refusal`] that names what is wrong.
    pub fn parse(bytes: &[u8], limits: &Limits, routing_key: &str) -> Result<Self, Refusal> {
        checked(bytes, limits, routing_key, |this: &Self| {
            (&this.domain, &this.request, &this.by)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;
    use crate::event::{Event, Reason};

    #[test]
    fn is_read_back_as_written_and_checked() {
        let name = |name| ModelName::new(name).unwrap();
        for change in [
            ModelChange::Put {
                kind: name("words-1"),
            },
            ModelChange::Activate,
            ModelChange::Delete,
        ] {
            let modelled = Modelled {
                domain: DomainName::new("news").unwrap(),
                request: "r1".to_owned(),
                name: name("better"),
                change,
                by: "k1".to_owned(),
            };
            let written = Event::Model(Box::new(modelled.clone())).to_json();
            let read =
                |bytes: &str, key| Modelled::parse(bytes.as_bytes(), &Limits::default(), key);
            assert_eq!(read(&written, "news"), Ok(modelled));
            let reason = |bytes: &str, key| read(bytes, key).unwrap_err().reason;
            assert_eq!(reason(&written, "blog"), Reason::DomainMismatch);
            let named_badly = written.replace("better", "Better");
            assert_eq!(reason(&named_badly, "news"), Reason::InvalidJson);
        }
    }
}
