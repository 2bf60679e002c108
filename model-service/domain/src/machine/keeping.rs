//! Models beside the served one, as seen by the machine of the served model.
//!
//! It alone writes what is stored about models ([`Models`], in the settings row). It processes changes as events of the
//! domain, passes durable events on before it acknowledges them, and has machines run for the other models. For how
//! another model comes to be served see [`super::activating`].

use std::collections::BTreeMap;
use std::time::Duration;

use kindred_shared::event::{ModelChange, Modelled};
use kindred_shared::{Backoff, ModelName};

use super::activating::{Activation, PATIENCE, Step};
use super::{Domain, Phase};
use crate::effect::{CommitStep, Effect, Passed, Ticket};
use crate::intake::{DeliveryTag, Failure, Outcome};
use crate::log::{KINDRED, models_changed};
use crate::models::{Followed, ModelReport, Models, NO_MODELS, Stage};
use crate::settings::SettingsOutcome;
use crate::time::{Now, RETRY};

/// The models beside the served one, as its machine sees them.
#[derive(Debug)]
pub(super) struct Keeping {
    /// The models whose machines should run, and their latest reports.
    pub(super) kept: BTreeMap<ModelName, ModelReport>,
    /// Set while it is unknown whether other machines still run.
    waiting: Option<Ticket>,
    /// Durable changes that are being passed on, and the deliveries to settle after that.
    passing: Vec<(Ticket, Vec<(DeliveryTag, Outcome)>)>,
    /// Changes on their way to the store, and the deliveries that requested them.
    changing: Vec<(Ticket, Option<DeliveryTag>)>,
    pub(super) activation: Option<Activation>,
    /// A model whose rows are being deleted.
    sweeping: Option<(Ticket, ModelName)>,
    /// No new attempt before this.
    sweep_at: Option<Duration>,
    retry: Backoff,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            kept: BTreeMap::new(),
            waiting: None,
            passing: Vec::new(),
            changing: Vec::new(),
            activation: None,
            sweeping: None,
            sweep_at: None,
            retry: RETRY,
        }
    }
}

impl Keeping {
    /// Forgets everything except which machines run.
    pub(super) fn anew(&mut self) -> Self {
        Self {
            kept: std::mem::take(&mut self.kept),
            waiting: self.waiting,
            ..Self::default()
        }
    }

    /// Deliveries that will not be settled by what was in progress.
    pub(super) fn take_unsettled(&mut self) -> Vec<DeliveryTag> {
        let passing = self.passing.drain(..).flat_map(|(_, settled)| settled);
        let mut tags: Vec<DeliveryTag> = passing.map(|(tag, _)| tag).collect();
        tags.extend(self.changing.drain(..).filter_map(|(_, tag)| tag));
        tags.extend(self.activation.take().into_iter().flat_map(|one| one.tags));
        tags
    }

    /// The requested machines run, and no others.
    pub(super) fn kept(&mut self, ticket: Ticket) {
        self.waiting.take_if(|waiting| *waiting == ticket);
    }

    /// A model's machine reports its state.
    pub(super) fn told(&mut self, model: &ModelName, report: ModelReport) {
        if let Some(last) = self.kept.get_mut(model) {
            *last = report;
        }
    }

    /// Whether it is unknown which machines run.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether rows of a model are being deleted.
    pub(super) fn is_sweeping(&self) -> bool {
        self.sweeping.is_some()
    }

    /// Whether events wait until another model is served.
    pub(super) fn is_activating(&self) -> bool {
        let activation = self.activation.as_ref();
        activation.is_some_and(|one| !matches!(one.step, Step::Wanted { .. }))
    }

    /// Takes out an activation that has not begun, before everything else is forgotten.
    pub(super) fn take_wanted(&mut self) -> Option<Activation> {
        self.activation
            .take_if(|one| matches!(one.step, Step::Wanted { .. }))
    }

    /// Puts it back.
    pub(super) fn want(&mut self, wanted: Option<Activation>) {
        self.activation = wanted;
    }

    /// Whether everything durable has been passed on.
    pub(super) fn has_passed_all(&self) -> bool {
        self.passing.is_empty()
    }

    /// Whether every change is durable, and everything else is passed on.
    pub(super) fn has_stored_all(&self) -> bool {
        self.passing.is_empty() && self.changing.is_empty()
    }

    /// Whether nothing is left to do, and the stored state of all models is clean: whoever finds the served model clean
    /// need not look at the others.
    pub(super) fn is_calm(&self, models: &Models) -> bool {
        self.has_stored_all()
            && self.waiting.is_none()
            && self.activation.is_none()
            && self.sweeping.is_none()
            && !models.has_leaving()
            && self.kept.values().all(|report| report.is_clean)
    }

    /// When something must be done without an answer.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let until = self.activation.as_ref().and_then(|one| match one.step {
            Step::Wanted { until } => Some(until),
            _ => None,
        });
        let may_sweep = self.sweeping.is_none()
            && self.waiting.is_none()
            && self.changing.is_empty()
            && !self.is_activating();
        let sweep_at = self.sweep_at.filter(|_| may_sweep);
        [until, sweep_at].into_iter().flatten().min()
    }

    /// Whether this is the ticket of the deletion of a model's rows.
    pub(super) fn is_swept_by(&self, ticket: Ticket) -> bool {
        let sweeping = self.sweeping.as_ref();
        sweeping.is_some_and(|(sent, _)| *sent == ticket)
    }
}

impl Domain {
    /// The domain's models as stored, or on their way to the store.
    pub(super) fn models(&self) -> &Models {
        self.set.as_ref().map_or(&NO_MODELS, |set| &set.models)
    }

    /// Requests that machines run for these models, and no others.
    pub(super) fn keep(&mut self, models: Vec<Followed>) {
        // While it is unknown whether some still run, the answer may have been lost.
        let are_none =
            models.is_empty() && self.keeping.kept.is_empty() && !self.keeping.is_waiting();
        if are_none || self.outbox.model_beside().is_some() {
            return;
        }
        let ticket = self.outbox.ticket();
        let mut before = std::mem::take(&mut self.keeping.kept);
        let kept = models.iter().map(|one| {
            let report = before.remove(&one.name).unwrap_or_default();
            (one.name.clone(), report)
        });
        self.keeping.kept = kept.collect();
        self.keeping.waiting = Some(ticket);
        self.outbox.push(Effect::Keep { ticket, models });
    }

    /// Requests that machines run for all models beside the served one, once no change of models is on its way to the
    /// store: what its model mixes a machine reads there.
    pub(super) fn keep_models(&mut self) {
        if self.row.is_some() && self.keeping.changing.is_empty() {
            self.keep(self.models().followed());
        }
    }

    /// The same, but running machines start again, because the domain's settings have changed.
    pub(super) fn keep_models_anew(&mut self) {
        self.keep(Vec::new());
        self.keep_models();
    }

    /// Has the domain's row name the kind of the served model, as the settings decide. The commit that marks the domain
    /// dirty writes the row anyway.
    pub(super) fn name_chosen(&mut self) {
        if let (Some(row), Some(set)) = (&mut self.row, &self.set)
            && set.models.are_chosen()
            && let Some(model) = &set.settings.model
            && row.model != *model
        {
            row.model.clone_from(model);
            self.outbox.inherit(true);
            self.commit(CommitStep::Models, false, Vec::new());
        }
    }

    /// Passes durable changes on to the machines of other models; deliveries are settled after that. While machines are
    /// still to end, readers may see what they show.
    pub(super) fn pass(&mut self, passed: Vec<Passed>, settled: Vec<(DeliveryTag, Outcome)>) {
        if self.keeping.kept.is_empty() && !self.keeping.is_waiting() {
            return self.outbox.settle_each(settled);
        }
        let ticket = self.outbox.ticket();
        self.keeping.passing.push((ticket, settled));
        self.outbox.push(Effect::Pass { ticket, passed });
    }

    /// The machines of other models have processed the changes.
    pub(super) fn passed(&mut self, now: Now, ticket: Ticket) {
        if self.is_loaded() {
            // Items may have reached their time of publication meanwhile.
            self.publish(now);
        }
        let passed = |(sent, _): &mut (Ticket, _)| *sent == ticket;
        let settled = self.keeping.passing.extract_if(.., passed);
        let settled = settled.flat_map(|(_, settled)| settled).collect();
        self.outbox.settle_each(settled);
    }

    /// Processes a request to add, serve or delete a model. The delivery is settled once the outcome of the request is
    /// durable.
    pub(super) fn change_model(&mut self, now: Now, tag: DeliveryTag, event: &Modelled) {
        if self.row.is_none() {
            return self.refuse_unknown(tag, "so it can have no model");
        }
        let kind = self.model().clone();
        let mut set = self.set.take().unwrap_or_default();
        let before = set.models.clone();
        let is_known = set.answered.iter().any(|one| one.request == event.request);
        if is_known {
            self.set = Some(set);
            return self.store_models(Some(tag));
        }
        if let Some(activation) = &mut self.keeping.activation
            && matches!(event.change, ModelChange::Activate)
        {
            if activation.request == event.request {
                activation.tags.push(tag);
                self.set = Some(set);
                return;
            }
            let why = format!("{} is being activated; try again", activation.name);
            set.answer(&event.request, SettingsOutcome::Conflict(why));
        } else {
            match set.models.change(&kind, &event.name, &event.change) {
                Some(outcome) => set.answer(&event.request, outcome),
                None => {
                    let until = now.monotonic + PATIENCE;
                    self.keeping.activation = Some(Activation {
                        tags: vec![tag],
                        request: event.request.clone(),
                        by: event.by.clone(),
                        name: event.name.clone(),
                        step: Step::Wanted { until },
                    });
                    self.set = Some(set);
                    return;
                }
            }
        }
        let changed = models_changed(&before, &set.models);
        set.log.append_all(now, &event.by, changed);
        set.updated_at = now.date();
        self.set = Some(set);
        self.store_models(Some(tag));
    }

    pub(super) fn store_models(&mut self, tag: Option<DeliveryTag>) {
        let set = self.set.clone().unwrap_or_default();
        let ticket = self.commit_settings(CommitStep::Models, set);
        self.keeping.changing.push((ticket, tag));
    }

    /// A step of a change is durable.
    pub(super) fn models_stored(&mut self, now: Now, ticket: Ticket) {
        let stored = |(sent, _): &mut (Ticket, _)| *sent == ticket;
        let tags: Vec<_> = self.keeping.changing.extract_if(.., stored).collect();
        if tags.is_empty() {
            return self.activation_stored(now, ticket);
        }
        let tags = tags.into_iter().filter_map(|(_, tag)| tag).collect();
        self.keep_models();
        self.outbox.settle(tags, &Outcome::Stored(None));
    }

    /// Whether the domain's state in memory is that of the store.
    pub(super) fn is_known(&self) -> bool {
        self.row.is_some() && (self.is_loaded() || matches!(self.phase, Phase::Loading(_)))
    }

    /// Stores what the machines of other models reported, if it is new.
    pub(super) fn note_reports(&mut self, now: Now) {
        let must_wait =
            self.keeping.is_activating() || self.removal.is_some() || self.is_log_full();
        if self.keeping.kept.is_empty() || !self.is_known() || must_wait {
            return;
        }
        let Some(set) = &mut self.set else { return };
        let before = set.models.clone();
        let mut is_news = false;
        for (name, report) in &self.keeping.kept {
            let was = set.models.beside().get(name).map(|entry| &entry.stage);
            let stage = match &report.failed {
                Some(why) => Stage::Failed(why.clone()),
                None if report.is_whole && was == Some(&Stage::Building) => Stage::Ready,
                None => continue,
            };
            is_news |= set.models.reach(name, stage);
        }
        if is_news {
            let changed = models_changed(&before, &set.models);
            set.log.append_all(now, KINDRED, changed);
            self.store_models(None);
        }
    }

    /// Deletes rows of models that were deleted, or whose lists are stored elsewhere now.
    pub(super) fn sweep_models(&mut self, now: Now) {
        let keeping = &self.keeping;
        let is_due = keeping.sweep_at.is_none_or(|at| at <= now.monotonic)
            && keeping.sweeping.is_none()
            && keeping.waiting.is_none()
            && keeping.changing.is_empty()
            && !keeping.is_activating()
            && self.removal.is_none();
        if !is_due || !self.is_known() {
            return;
        }
        if let Some(swept) = self.models().next_leaving(self.model()) {
            let ticket = self.outbox.ticket();
            self.keeping.sweep_at = None;
            self.keeping.sweeping = Some((ticket, swept.name.clone()));
            self.outbox.push(Effect::SweepModel { ticket, swept });
        }
    }

    /// Some rows of a model are deleted, or the attempt failed.
    pub(super) fn model_swept(&mut self, now: Now, result: Result<bool, Failure>) {
        let Some((_, name)) = self.keeping.sweeping.take() else {
            return;
        };
        match (result, &mut self.set) {
            (Ok(true), Some(set)) => {
                self.keeping.retry.worked();
                set.models.left(&name);
                self.store_models(None);
            }
            (Ok(_), _) => self.keeping.retry.worked(),
            (Err(failure), _) => {
                self.trouble = Some(failure.detail);
                let again_at = now.monotonic + self.keeping.retry.failed();
                self.keeping.sweep_at = Some(again_at);
            }
        }
    }
}
