//! Settings of the domain: set by an event, which has its place among the domain's other events.

use std::sync::Arc;

use kindred_shared::ModelName;
use kindred_shared::event::{Configure, Reason, Refusal};
use serde_json::Value;

use super::{Domain, domain_row};
use crate::effect::{CommitStep, Ticket};
use crate::intake::{DeliveryTag, Outcome};
use crate::outbox::Mark;
use crate::settings::{Answered, DomainSettings, SettingsOutcome, WINDOW};
use crate::store::{SettingsRow, Write};
use crate::time::Now;
use crate::window::WindowSize;

/// Requests whose outcome is kept: those who made them look for it soon.
const ANSWERED: usize = 32;

impl Domain {
    /// Sets the domain's settings, registering the domain if need be. The delivery is settled when what
    /// became of the request is durable.
    pub(super) fn configure(&mut self, now: Now, tag: DeliveryTag, event: &Configure) {
        let wanted = Value::Object(event.settings.clone());
        let wanted: DomainSettings = match serde_json::from_value(wanted) {
            Ok(wanted) => wanted,
            Err(error) => {
                let refusal =
                    Refusal::new(Reason::InvalidField, Some("settings"), error.to_string());
                return self.outbox.settle(vec![tag], &Outcome::Refused(refusal));
            }
        };
        // Who publishes to the broker is checked by nobody before.
        if wanted
            .window
            .is_some_and(|window| !WINDOW.contains(&window))
        {
            let detail = "a window is 1ms to 1m long";
            let refusal = Refusal::new(Reason::InvalidField, Some("settings.window"), detail);
            return self.outbox.settle(vec![tag], &Outcome::Refused(refusal));
        }
        let mut row = self.set.take().unwrap_or_default();
        let is_known = row.answered.iter().any(|one| one.request == event.request);
        let is_new = self.row.is_none();
        if !is_known {
            let is_empty = self.catalogue.live() == 0;
            let outcome = match wanted.replacing(&row.settings, is_empty) {
                Ok(settings) => {
                    row.settings = settings;
                    if is_new {
                        SettingsOutcome::Created
                    } else {
                        SettingsOutcome::Replaced
                    }
                }
                Err(setting) => SettingsOutcome::Conflict(setting.to_owned()),
            };
            row.answered.push(Answered {
                request: event.request.clone(),
                outcome,
            });
            let surplus = row.answered.len().saturating_sub(ANSWERED);
            row.answered.drain(..surplus);
            row.updated_at = now.date();
        }
        self.use_settings(row);
        if is_new {
            self.register(now);
        }
        self.store_settings(tag);
    }

    fn store_settings(&mut self, tag: DeliveryTag) {
        let mut writes: Vec<Write> = self.set.clone().map(Write::Settings).into_iter().collect();
        let model = self.wanted_model();
        if let Some(row) = &mut self.row {
            row.model = model;
        }
        // A commit that marks the domain dirty writes its row anyway.
        if self.outbox.mark() == Mark::Dirty {
            let dirty = Some(self.tenure.epoch.0);
            writes.push(Write::Domain(domain_row(
                &mut self.row,
                &self.catalogue,
                dirty,
            )));
        }
        let ticket = self.commit(CommitStep::Settings, true, writes);
        self.configuring.push((ticket, tag));
    }

    /// Settings are durable.
    pub(super) fn settings_stored(&mut self, ticket: Ticket) {
        let stored = |(sent, _): &mut (Ticket, DeliveryTag)| *sent == ticket;
        let stored = self.configuring.extract_if(.., stored);
        let tags = stored.map(|(_, tag)| tag).collect();
        self.outbox.settle(tags, &Outcome::Stored);
    }

    /// The settings are these from now on.
    pub(super) fn use_settings(&mut self, row: SettingsRow) {
        self.backlog.resize(WindowSize {
            // What the store says comes from outside, too.
            length: (row.settings.window).map_or(self.settings.window.length, |window| {
                window.clamp(*WINDOW.start(), *WINDOW.end())
            }),
            ..self.settings.window
        });
        self.text_settings = Arc::new(row.settings.clone());
        self.set = Some(row);
    }

    /// The model that is set, else the one there is.
    pub(super) fn wanted_model(&self) -> ModelName {
        let set = self.text_settings.model.as_ref();
        set.unwrap_or_else(|| self.model()).clone()
    }
}
