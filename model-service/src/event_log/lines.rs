//! What a commit adds to the log.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use kindred_domain::material::{Material, upsert_of};
use kindred_domain::store::{Content, ItemRow, Liveness, RemovalStage, Write};
use kindred_shared::DomainName;
use kindred_shared::event::{CONFIGURED, Configure, Delete, Event, NOBODY, REMOVED, Removal};
use serde_json::{Map, Value};

/// Names the request of settings in the log, whose own name is not known.
const FROM_LOG: &str = "log";

/// The settings that were logged last, by domain: the row that has them also has what changes more often.
pub(crate) type Told = HashMap<DomainName, Map<String, Value>>;

/// Whole lines, each with its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Lines {
    /// NDJSON.
    pub(super) text: Vec<u8>,
    /// Number of lines.
    pub(super) count: u64,
}

impl Lines {
    /// What a commit of a domain's rows at this time means, as events.
    pub(crate) fn of(
        domain: &DomainName,
        writes: &[Write],
        at: DateTime<Utc>,
        told: &mut Told,
    ) -> Self {
        let mut lines = Self::default();
        for (place, write) in writes.iter().enumerate() {
            let event = match write {
                Write::Item(row) => {
                    match event_of(domain, row, content_of(row, &writes[..place])) {
                        Some(event) => event,
                        None => continue,
                    }
                }
                Write::Settings(row) => {
                    let Ok(Value::Object(settings)) = serde_json::to_value(&row.settings) else {
                        continue;
                    };
                    if told.get(domain) == Some(&settings) {
                        continue;
                    }
                    told.insert(domain.clone(), settings.clone());
                    Event::Configure(Box::new(Configure {
                        domain: domain.clone(),
                        request: FROM_LOG.to_owned(),
                        settings,
                        by: NOBODY.to_owned(),
                    }))
                }
                Write::Domain(row) => match &row.removal {
                    Some(removed) if removed.stage == RemovalStage::Sweeping => {
                        told.remove(domain);
                        Event::Remove(Removal {
                            domain: domain.clone(),
                            request: removed.request.clone(),
                        })
                    }
                    Some(_) | None => continue,
                },
                Write::PurgeDomain
                | Write::PurgeItem(_)
                | Write::Content(..)
                | Write::DeleteContent(_)
                | Write::Feature(_)
                | Write::DeleteFeatures(_)
                | Write::DeleteFeature(..)
                | Write::List(_)
                | Write::DeleteList(_)
                | Write::Beside(..)
                | Write::BesideHabits(..)
                | Write::BesideList(..)
                | Write::DeleteBesideList(..)
                | Write::Log(_)
                | Write::TrimLog(_) => continue,
            };
            lines.add(&event, at);
        }
        lines
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn add(&mut self, event: &Event, at: DateTime<Utc>) {
        let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
        self.text.extend_from_slice(br#"{"at":""#);
        self.text.extend_from_slice(at.as_bytes());
        self.text.extend_from_slice(br#"","#);
        // Events about a domain have their type in the properties of their message.
        let kind = match event {
            Event::Configure(_) => Some(CONFIGURED),
            Event::Remove(_) => Some(REMOVED),
            Event::Upsert(_)
            | Event::Patch(_)
            | Event::Delete(_)
            | Event::Model(_)
            | Event::Record(_) => None,
        };
        if let Some(kind) = kind {
            self.text.extend_from_slice(br#""type":""#);
            self.text.extend_from_slice(kind.as_bytes());
            self.text.extend_from_slice(br#"","#);
        }
        let json = event.to_json();
        self.text
            .extend_from_slice(json.strip_prefix('{').unwrap_or(&json).as_bytes());
        self.text.push(b'\n');
        self.count += 1;
    }
}

/// The content that a commit writes for an item: shortly before the item's row, with only its feature between them.
fn content_of<'a>(row: &ItemRow, before: &'a [Write]) -> Option<&'a Content> {
    before.iter().rev().take(2).find_map(|write| match write {
        Write::Content(id, content) if *id == row.id => Some(content),
        _ => None,
    })
}

/// The event that makes an item as a commit makes it; `None` if the commit only concerns what was derived from it.
fn event_of(domain: &DomainName, row: &ItemRow, content: Option<&Content>) -> Option<Event> {
    match row.liveness {
        Liveness::Live => {
            let stored = Material {
                row: row.clone(),
                content: content?.clone(),
            };
            Some(Event::Upsert(Box::new(upsert_of(domain, stored))))
        }
        Liveness::Deleted => Some(Event::Delete(Delete {
            domain: domain.clone(),
            id: row.id.clone(),
            version: Some(row.version),
        })),
        // The upsert before it says when.
        Liveness::Expired => None,
    }
}
