//! Settings of the domain. They are set by an event, which keeps its place among the domain's other events.

use std::sync::Arc;

use kindred_shared::ModelName;
use kindred_shared::event::{Configure, Reason, Refusal};
use serde_json::Value;

use super::{Domain, domain_row};
use crate::effect::{CommitStep, Ticket};
use crate::intake::{DeliveryTag, Outcome};
use crate::log::settings_changed;
use crate::outbox::Mark;
use crate::settings::{DomainSettings, SettingsOutcome, WINDOW};
use crate::store::{SettingsRow, Write};
use crate::time::Now;
use crate::view_change::ViewChange;
use crate::window::WindowSize;

/// Settings on their way to the store.
#[derive(Debug)]
pub(super) struct Configuring {
    ticket: Ticket,
    pub(super) tag: DeliveryTag,
    /// The model they name.
    model: Option<ModelName>,
    /// Whether they are others than before.
    are_changed: bool,
}

impl Domain {
    /// Sets the domain's settings and registers the domain if necessary. The delivery is settled once the outcome of
    /// the request is durable.
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
        // Events from the broker have not been validated before.
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
        let before = row.settings.clone();
        if !is_known {
            let is_empty = self.catalogue.live() == 0;
            let was = row.settings.model.clone();
            let outcome = match wanted.replacing(&row.settings, is_empty) {
                // Which of several models is served cannot be changed by settings.
                Ok(settings) if row.models.are_chosen() && settings.model != was => {
                    SettingsOutcome::Conflict("model".to_owned())
                }
                Ok(settings) => {
                    row.settings = settings;
                    let changed = settings_changed(&before, &row.settings);
                    let changed = changed.into_iter().collect();
                    row.log.append_all(now, &event.by, changed);
                    if is_new {
                        SettingsOutcome::Created
                    } else {
                        SettingsOutcome::Replaced
                    }
                }
                Err(setting) => SettingsOutcome::Conflict(setting.to_owned()),
            };
            row.answer(&event.request, outcome);
            row.updated_at = now.date();
        }
        let are_changed = row.settings != before;
        self.use_settings(row);
        if is_new {
            self.register(now);
        }
        self.store_settings(tag, are_changed);
    }

    fn store_settings(&mut self, tag: DeliveryTag, are_changed: bool) {
        let set = self.set.clone().unwrap_or_default();
        let ticket = self.commit_settings(CommitStep::Settings, set);
        let model = self.text_settings.model.clone();
        self.configuring.push(Configuring {
            ticket,
            tag,
            model,
            are_changed,
        });
    }

    /// The settings are durable. Only now does the domain's row name the model: a crash may leave any part of a commit,
    /// and the row must not name a model that nobody set.
    pub(super) fn settings_stored(&mut self, ticket: Ticket) {
        let Some(at) = self.configuring.iter().position(|one| one.ticket == ticket) else {
            return;
        };
        let done = self.configuring.remove(at);
        let Configuring { tag, model, .. } = done;
        if done.are_changed {
            self.keep_models_anew();
        }
        if self.lists.are_served() {
            // From now on readers use them.
            self.serve(ViewChange::default());
        }
        // Earlier commits have been superseded.
        for earlier in self
            .configuring
            .iter_mut()
            .filter(|one| one.ticket < ticket)
        {
            earlier.model.clone_from(&model);
        }
        match (model, &mut self.row) {
            (Some(model), Some(row)) if row.model != model => row.model = model,
            _ => {
                return match self.naming.last() {
                    // The row is already on its way for another request, but that commit may fail.
                    Some((ticket, _)) => self.naming.push((*ticket, tag)),
                    None => self.outbox.settle(vec![tag], &Outcome::Stored(None)),
                };
            }
        }
        let mut writes = Vec::new();
        // The commit that marks the domain dirty writes its row anyway.
        if self.outbox.mark() == Mark::Dirty {
            let dirty = Some(self.tenure.epoch.0);
            let row = domain_row(&mut self.row, &self.catalogue, dirty);
            writes.push(Write::Domain(row));
        }
        let ticket = self.commit(CommitStep::Model, true, writes);
        self.naming.push((ticket, tag));
    }

    /// The domain's row names the model that is set.
    pub(super) fn model_stored(&mut self, ticket: Ticket) {
        let stored = |(sent, _): &mut (Ticket, DeliveryTag)| *sent == ticket;
        let tags = self.naming.extract_if(.., stored).map(|(_, tag)| tag);
        let tags = tags.collect();
        self.outbox.settle(tags, &Outcome::Stored(None));
    }

    /// Adopts these settings.
    pub(super) fn use_settings(&mut self, row: SettingsRow) {
        self.backlog.resize(WindowSize {
            // The store's content is outside input, too.
            length: (row.settings.window).map_or(self.settings.window.length, |window| {
                window.clamp(*WINDOW.start(), *WINDOW.end())
            }),
            ..self.settings.window
        });
        let mut settings = row.settings.clone();
        let kind = settings.model.as_ref();
        settings.mix = kind.and_then(|kind| row.models.mix_of(kind).cloned().map(Arc::new));
        self.text_settings = Arc::new(settings);
        self.set = Some(row);
    }
}
