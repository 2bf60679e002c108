//! Activation: serving another model.
//!
//! One row decides it. First the model that was served so far gets a row which says that its lists must be computed,
//! because the tables of models beside the served one do not have them. Then the settings name the other model, with
//! its habits. From then on readers see what that model showed, and this machine reads the store again as the machine
//! of the new model. Events wait meanwhile, which takes two commits.

use std::time::Duration;

use kindred_shared::ModelName;
use kindred_shared::event::ModelChange;

use super::{Domain, Phase};
use crate::effect::{CommitStep, Effect, Ticket};
use crate::intake::{DeliveryTag, Failure, Outcome};
use crate::log::Changed;
use crate::outbox::Mark;
use crate::settings::SettingsOutcome;
use crate::store::{BesideRow, Write};
use crate::time::Now;

/// How long an activation waits until its model is loaded: shorter than whoever asked waits for the outcome.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// A request to serve another model.
#[derive(Debug)]
pub(super) struct Activation {
    pub(super) tags: Vec<DeliveryTag>,
    pub(super) request: String,
    /// Who asked for it.
    pub(super) by: String,
    pub(super) name: ModelName,
    pub(super) step: Step,
}

#[derive(Debug)]
pub(super) enum Step {
    /// Waits until the model is loaded.
    Wanted { until: Duration },
    /// Waits until everything accepted is durable and passed on.
    Closing,
    /// The row of the model that was served so far is being stored.
    Preparing(Ticket),
    /// The deciding settings are being stored.
    Deciding(Ticket),
}

impl Domain {
    /// Advances an activation as far as possible.
    pub(super) fn start_activating(&mut self, now: Now) {
        let Some(activation) = &self.keeping.activation else {
            return;
        };
        if !self.is_known() || self.removal.is_some() {
            return;
        }
        if let Step::Wanted { until } = activation.step {
            let report = self.keeping.kept.get(&activation.name);
            let is_loaded = report.is_some_and(|report| report.is_whole);
            if is_loaded || now.monotonic >= until {
                self.close_for_activation(now, is_loaded);
            }
        }
        let is_being_cleaned = matches!(self.outbox.mark(), Mark::Cleaning(_));
        let is_closed = self.acceptance.is_empty()
            && self.unread.is_empty()
            && self.whole.is_empty()
            && self.configuring.is_empty()
            && self.naming.is_empty()
            && self.keeping.has_stored_all()
            && !self.keeping.is_waiting()
            // Its answer stores the models as they are before the activation.
            && !self.keeping.is_sweeping()
            && !self.surveying.is_storing()
            && !is_being_cleaned;
        if is_closed
            && let Some(activation) = &self.keeping.activation
            && matches!(activation.step, Step::Closing)
        {
            let was = self.model_name().clone();
            let writes = vec![
                Write::Beside(
                    was.clone(),
                    BesideRow {
                        dirty: Some(self.tenure.epoch.0),
                        live: 0,
                        visible: 0,
                        next_expiry: None,
                    },
                ),
                Write::BesideHabits(was, (*self.surveying.habits).clone()),
            ];
            let ticket = self.commit(CommitStep::Models, false, writes);
            self.activation_goes_on(Step::Preparing(ticket));
        }
    }

    fn activation_goes_on(&mut self, step: Step) {
        if let Some(activation) = &mut self.keeping.activation {
            activation.step = step;
        }
    }

    /// The model is loaded, or has not been for too long; it may have been deleted since the request.
    fn close_for_activation(&mut self, now: Now, is_loaded: bool) {
        let Some(activation) = self.keeping.activation.take() else {
            return;
        };
        let kind = self.model().clone();
        let mut set = self.set.take().unwrap_or_default();
        let outcome = set
            .models
            .change(&kind, &activation.name, &ModelChange::Activate);
        let too_late = || {
            let why = format!("{} is being loaded; try again", activation.name);
            SettingsOutcome::Conflict(why)
        };
        let outcome = outcome.or_else(|| (!is_loaded).then(too_late));
        let Some(outcome) = outcome else {
            self.set = Some(set);
            self.keeping.activation = Some(Activation {
                step: Step::Closing,
                ..activation
            });
            return;
        };
        set.answer(&activation.request, outcome);
        set.updated_at = now.date();
        self.set = Some(set);
        for tag in activation.tags {
            self.store_models(Some(tag));
        }
    }

    pub(super) fn activation_stored(&mut self, now: Now, ticket: Ticket) {
        let Some(activation) = self.keeping.activation.take() else {
            return;
        };
        match activation.step {
            Step::Preparing(sent) if sent == ticket => self.decide(now, activation),
            Step::Deciding(sent) if sent == ticket => self.decided(activation),
            _ => self.keeping.activation = Some(activation),
        }
    }

    /// Sends the deciding row.
    fn decide(&mut self, now: Now, activation: Activation) {
        let (was, kind) = (self.model_name().clone(), self.model().clone());
        let mut set = self.set.clone().unwrap_or_default();
        let habits = self.keeping.kept.get(&activation.name);
        let habits = habits.map(|report| (*report.habits).clone());
        let (Some(kind), Some(habits)) = (set.models.activate(&kind, &activation.name), habits)
        else {
            // This was checked before, and nothing was accepted since.
            let detail = "the model is not there any more; activate it again";
            return self
                .outbox
                .settle(activation.tags, &Outcome::Failed(Failure::passing(detail)));
        };
        let now_served = (&activation.name, &kind);
        let changed = Changed::served(&set.models, (&was, self.model()), now_served);
        set.log.append_all(now, &activation.by, vec![changed]);
        set.settings.model = Some(kind);
        set.habits = habits;
        set.answer(&activation.request, SettingsOutcome::Activated(was));
        set.updated_at = now.date();
        let ticket = self.commit_settings(CommitStep::Models, set);
        self.keeping.activation = Some(Activation {
            step: Step::Deciding(ticket),
            ..activation
        });
    }

    /// From now on another model is served, whatever happens.
    fn decided(&mut self, activation: Activation) {
        let was = self.model_name().clone();
        let mut others = self.models().followed();
        others.retain(|one| one.name != activation.name);
        self.outbox.push(Effect::Swap {
            now: activation.name,
            was,
        });
        self.outbox.settle(activation.tags, &Outcome::Stored(None));
        self.begin_anew();
        // The other machine's pending writes must be stored before this one reads the same rows.
        self.keep(others);
        self.phase = Phase::Reopening;
    }
}
