//! Events as a test sends them.

use serde_json::{Value, json};

/// What an item is after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Shown,
    Hidden,
    Deleted,
}

/// An event and what it says.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) domain: String,
    pub(crate) id: String,
    pub(crate) version: u64,
    pub(crate) fate: Fate,
    /// The JSON object, on one line.
    pub(crate) line: String,
}

impl Event {
    /// An `item.created` with these other fields (`title`, `text`, `vector`, …).
    pub(crate) fn created(domain: &str, id: &str, version: u64, fields: &Value) -> Self {
        Self::upsert("item.created", domain, id, version, fields)
    }

    /// An `item.updated` with these other fields.
    pub(crate) fn updated(domain: &str, id: &str, version: u64, fields: &Value) -> Self {
        Self::upsert("item.updated", domain, id, version, fields)
    }

    fn upsert(kind: &str, domain: &str, id: &str, version: u64, fields: &Value) -> Self {
        let mut object = fields.clone();
        object["type"] = json!(kind);
        object["domain"] = json!(domain);
        object["id"] = json!(id);
        object["version"] = json!(version);
        let fate = if object["hidden"] == json!(true) {
            Fate::Hidden
        } else {
            Fate::Shown
        };
        Self {
            domain: domain.to_owned(),
            id: id.to_owned(),
            version,
            fate,
            line: object.to_string(),
        }
    }

    /// An `item.deleted`.
    pub(crate) fn deleted(domain: &str, id: &str, version: u64) -> Self {
        Self {
            domain: domain.to_owned(),
            id: id.to_owned(),
            version,
            fate: Fate::Deleted,
            line: json!({"type": "item.deleted", "domain": domain, "id": id, "version": version})
                .to_string(),
        }
    }
}
