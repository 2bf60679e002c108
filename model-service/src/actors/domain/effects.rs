//! Carries out the effects of a domain's machine; each result is the machine's next input.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use kindred_shared::job::{Job, Reply, Task};
use kindred_shared::{Block, ItemId, ModelName};
use kindred_similarity::RowMask;
use tracing::{debug, info, warn};

use super::{DomainActor, Halt};
use crate::actors::extraction::Known;
use crate::actors::services::Services;
use crate::actors::supervisor::Perform;
use crate::actors::{extraction, loading};
use crate::crash;
use kindred_domain::dispatch::Undone;
use kindred_domain::effect::{
    CommitFailure, CommitStep, Comparing, Effect, Input, Observation, Ticket, ToExtract,
};
use kindred_domain::intake::Failure;
use kindred_domain::mix::Mix;
use kindred_domain::models::Swept;
use kindred_domain::settings::DomainSettings;
use kindred_domain::store::{Epoch, Stamp, StoreError, Write, WriteBatch};
use kindred_domain::time::RETRY;

impl DomainActor {
    /// Carries out effects, in order.
    pub(super) fn perform(&mut self, effects: Vec<Effect>, context: &mut Context<Self>) {
        for effect in effects {
            match effect {
                Effect::Open { ticket } => self.open(ticket, context),
                Effect::ReadItems { ticket, ids } => self.read_items(ticket, ids, context),
                Effect::ReadWhole { ticket, ids } => self.read_whole(ticket, ids, context),
                Effect::Load { ticket, model, mix } => self.load(ticket, model, mix, context),
                Effect::Commit {
                    ticket,
                    fence,
                    writes,
                    step,
                } => self.commit(ticket, fence, writes, step, context),
                Effect::Extract {
                    ticket,
                    model,
                    rows,
                    settings,
                    spaces,
                    lengths,
                    habits,
                } => {
                    let known = Known {
                        spaces,
                        lengths,
                        habits,
                        is_beside: self.beside.is_some(),
                    };
                    self.extract(ticket, model, rows, settings, known, context);
                }
                Effect::Survey {
                    ticket,
                    ids,
                    model,
                    settings,
                } => self.survey(ticket, ids, model, settings, context),
                Effect::Sweep { ticket } => self.sweep(ticket, context),
                Effect::SweepModel { ticket, swept } => self.sweep_model(ticket, swept, context),
                Effect::Keep { ticket, models } => self.keep(ticket, models, context),
                Effect::Pass { ticket, passed } => self.pass(ticket, passed, context),
                Effect::Swap { now, was } => self.swap(&now, was),
                Effect::Compare { ticket, tasks } => {
                    for (task, compare) in tasks {
                        self.compare(ticket, task, compare, context);
                    }
                }
                Effect::Settle(settled) => self.settle(settled),
                Effect::Serve(change) => self.view.apply(change, self.services.clock.now().unix_ms),
                Effect::Notify { ticket, model, ids } => {
                    self.notify(ticket, model, ids, context);
                }
                Effect::Observe(observation) => self.observe(observation),
                Effect::Superseded => {
                    warn!(domain = %self.name, "another instance has taken over");
                    if self.beside.is_none() {
                        self.services.views.close(&self.name);
                    }
                    for actor in self.kept.actors() {
                        actor.do_send(Halt);
                    }
                    context.stop();
                }
            }
        }
    }

    /// Awaits a result without blocking the actor; it becomes the machine's next input.
    fn step_after(
        &mut self,
        context: &mut Context<Self>,
        answer: impl Future<Output = Input> + 'static,
    ) {
        let step = |input, this: &mut Self, context: &mut _| this.step(input, context);
        context.spawn(answer.into_actor(self).map(step));
    }

    fn open(&mut self, ticket: Ticket, context: &mut Context<Self>) {
        let (services, name) = (Arc::clone(&self.services), self.name.clone());
        let of = self.of();
        self.step_after(context, async move {
            let of = of.as_ref().map(|(model, kind)| (model, kind));
            let result = loading::open(&*services.store, &name, of).await;
            crash::point("after-open");
            if let Err(failure) = &result {
                warn!(domain = %name, reason = failure.detail, "not opened");
            }
            Input::Opened { ticket, result }
        });
    }

    fn read_items(&mut self, ticket: Ticket, ids: Vec<ItemId>, context: &mut Context<Self>) {
        let (services, name) = (Arc::clone(&self.services), self.name.clone());
        self.step_after(context, async move {
            let result = loading::items(&*services.store, &name, &ids).await;
            crash::point("after-items-read");
            if let Err(failure) = &result {
                warn!(domain = %name, reason = failure.detail, "items not read");
            }
            Input::ItemsRead { ticket, result }
        });
    }

    fn read_whole(&mut self, ticket: Ticket, ids: Vec<ItemId>, context: &mut Context<Self>) {
        let (services, name) = (Arc::clone(&self.services), self.name.clone());
        self.step_after(context, async move {
            let result = loading::whole(&*services.store, &name, &ids).await;
            crash::point("after-items-read");
            if let Err(failure) = &result {
                warn!(domain = %name, reason = failure.detail, "items not read");
            }
            Input::WholeRead { ticket, result }
        });
    }

    fn load(
        &mut self,
        ticket: Ticket,
        model: ModelName,
        mix: Option<Arc<Mix>>,
        context: &mut Context<Self>,
    ) {
        let (services, name) = (Arc::clone(&self.services), self.name.clone());
        let machine = self.machine.as_ref();
        let items = machine.map_or(0, |machine| machine.status().live);
        let load = self.share.load(items);
        let of = self.of();
        self.step_after(context, async move {
            let begun = Instant::now();
            let of = of.as_ref().map(|(model, kind)| (model, kind));
            let result = loading::load(&*services.store, &name, (&model, mix), of, &load).await;
            let after = begun.elapsed();
            // The load stays charged until the lists are made.
            drop(load);
            crash::point("after-load");
            if let Err(failure) = &result {
                warn!(domain = %name, reason = failure.detail, ?after, "not loaded");
            }
            if let Ok(loaded) = &result {
                services.metrics.load.observe(after.as_secs_f64());
                info!(domain = %name, items = loaded.items(), ?after, "domain loaded");
            }
            Input::Loaded { ticket, result }
        });
    }

    fn commit(
        &mut self,
        ticket: Ticket,
        fence: bool,
        writes: Vec<Write>,
        step: CommitStep,
        context: &mut Context<Self>,
    ) {
        let (before, after) = crash_points(step);
        crash::point(before);
        self.commits += 1;
        let rows = writes.len();
        let batch = WriteBatch {
            domain: self.name.clone(),
            fence,
            writes,
        };
        // Stamps follow the order of the effects.
        let stamp = self.services.owner.stamp();
        let (services, name) = (Arc::clone(&self.services), self.name.clone());
        self.step_after(context, async move {
            let begun = Instant::now();
            let result = store(&services, stamp, batch).await;
            crash::point(after);
            let after = begun.elapsed();
            match &result {
                Ok(()) => debug!(domain = %name, ?step, rows, ?after, "stored"),
                Err(CommitFailure::Failed(failure)) => {
                    let reason = &failure.detail;
                    warn!(domain = %name, ?step, rows, ?after, reason, "not stored");
                }
                Err(CommitFailure::Superseded) => {}
            }
            Input::Committed { ticket, result }
        });
    }

    fn sweep(&mut self, ticket: Ticket, context: &mut Context<Self>) {
        crash::point("before-sweep");
        // Stamps follow the order of the effects.
        let stamp = self.services.owner.stamp();
        let (services, name) = (Arc::clone(&self.services), self.name.clone());
        self.step_after(context, async move {
            let result = match stamp {
                Some((_, stamp)) => {
                    let swept = services.store.sweep(&name, stamp, SWEPT).await;
                    swept.map_err(|error| loading::failure(&error))
                }
                None => Err(Failure::passing(NO_STAMP)),
            };
            crash::point("after-sweep");
            match &result {
                Ok(all) => debug!(domain = %name, all, "rows deleted"),
                Err(failure) => warn!(domain = %name, reason = failure.detail, "rows not deleted"),
            }
            Input::Swept { ticket, result }
        });
    }

    fn sweep_model(&mut self, ticket: Ticket, swept: Swept, context: &mut Context<Self>) {
        // Stamps follow the order of the effects.
        let stamp = self.services.owner.stamp();
        let (services, name) = (Arc::clone(&self.services), self.name.clone());
        self.step_after(context, async move {
            let result = match stamp {
                Some((_, stamp)) => {
                    let of = services.store.sweep_model(&name, &swept, stamp, SWEPT);
                    of.await.map_err(|error| loading::failure(&error))
                }
                None => Err(Failure::passing(NO_STAMP)),
            };
            match &result {
                Ok(all) => debug!(domain = %name, model = %swept.name, all, "rows deleted"),
                Err(failure) => warn!(domain = %name, reason = failure.detail, "rows not deleted"),
            }
            Input::Swept { ticket, result }
        });
    }

    /// Name and kind of this actor's model, if it is next to the served one.
    fn of(&self) -> Option<(ModelName, ModelName)> {
        let role = self.beside.as_ref();
        role.map(|role| (role.model.clone(), role.kind.clone()))
    }

    fn extract(
        &mut self,
        ticket: Ticket,
        model: ModelName,
        rows: Vec<ToExtract>,
        settings: Arc<DomainSettings>,
        known: Known,
        context: &mut Context<Self>,
    ) {
        let (services, name) = (Arc::clone(&self.services), self.name.clone());
        self.step_after(context, async move {
            let (begun, items) = (Instant::now(), rows.len());
            let result =
                extraction::extract(&services, &name, &model, rows, &settings, known).await;
            crash::point("after-extract");
            let is_made = result.is_ok();
            debug!(domain = %name, items, is_made, after = ?begun.elapsed(), "extraction requested");
            Input::Extracted { ticket, result }
        });
    }

    fn survey(
        &mut self,
        ticket: Ticket,
        ids: Vec<ItemId>,
        model: ModelName,
        settings: Arc<DomainSettings>,
        context: &mut Context<Self>,
    ) {
        let (services, name) = (Arc::clone(&self.services), self.name.clone());
        self.step_after(context, async move {
            let result = extraction::survey(&services, &name, &ids, &model, &settings).await;
            match &result {
                Ok(survey) => debug!(domain = %name, texts = survey.texts, "habits surveyed"),
                Err(failure) => {
                    warn!(domain = %name, reason = failure.detail, "habits not surveyed");
                }
            }
            Input::Surveyed { ticket, result }
        });
    }

    fn compare_all(
        &mut self,
        ticket: Ticket,
        task: usize,
        blocks: Vec<(Arc<Block>, RowMask)>,
        context: &mut Context<Self>,
    ) {
        let comparer = self.services.comparer.clone();
        self.step_after(context, async move {
            let result = comparer.compare_all(blocks).await;
            crash::point("after-compare");
            Input::Compared {
                ticket,
                task,
                result,
            }
        });
    }

    fn compare(
        &mut self,
        ticket: Ticket,
        task: usize,
        compare: Comparing,
        context: &mut Context<Self>,
    ) {
        let compare = match compare {
            Comparing::Some(compare) => compare,
            Comparing::All(blocks) => return self.compare_all(ticket, task, blocks, context),
        };
        let job = Job {
            domain: self.name.clone(),
            task: Task::Compare(compare),
        };
        let reply = self.services.supervisor.send(Perform {
            job,
            dense: None,
            is_beside: self.beside.is_some(),
        });
        self.step_after(context, async move {
            let result = match reply.await {
                Ok(Ok(Reply::Compared(reply))) => Ok(reply),
                Ok(Ok(
                    Reply::Extracted(_)
                    | Reply::Failed(_)
                    | Reply::UnknownModel(_)
                    | Reply::Refused(_),
                )) => Err(Failure::passing("unexpected kind of reply from a worker")),
                Ok(Err(undone)) => Err(undone.into()),
                Err(_) => Err(Undone::Stopping.into()),
            };
            crash::point("after-compare");
            Input::Compared {
                ticket,
                task,
                result,
            }
        });
    }

    /// Notifies watchers, retrying for as long as it takes.
    fn notify(
        &mut self,
        ticket: Ticket,
        model: ModelName,
        ids: Vec<ItemId>,
        context: &mut Context<Self>,
    ) {
        self.services.metrics.lists_written.inc_by(ids.len() as u64);
        if self.beside.is_some() {
            // Watchers are told only about the served model.
            return self.step_after(context, async move { Input::Notified { ticket } });
        }
        debug!(domain = %self.name, lists = ids.len(), "lists stored");
        let (services, name) = (Arc::clone(&self.services), self.name.clone());
        self.step_after(context, async move {
            let mut retry = RETRY;
            while let Err(failure) = services.watchers.notify(&name, &model, &ids).await {
                warn!(domain = %name, reason = failure.detail, "watchers not notified");
                tokio::time::sleep(retry.failed()).await;
            }
            Input::Notified { ticket }
        });
    }

    fn observe(&self, observation: Observation) {
        let metrics = &self.services.metrics;
        if self.beside.is_some() && !matches!(observation, Observation::Pairs(_)) {
            // Only the served model counts events.
            return;
        }
        match observation {
            Observation::WindowClosed(items) => {
                metrics.windows_closed.inc();
                debug!(domain = %self.name, items, "window closed");
            }
            Observation::Pairs(pairs) => metrics.pairs_compared.inc_by(pairs),
            Observation::Rebuilt => {
                metrics.rebuilds.inc();
                info!(domain = %self.name, "all lists made");
            }
            Observation::Recomputed(lists) => metrics.lists_recomputed.inc_by(lists as u64),
            Observation::Served(item, after) => {
                metrics.event_to_served.observe(after.as_secs_f64());
                let now = self.services.clock.now().monotonic;
                self.view.served_after(now, after);
                debug!(domain = %self.name, %item, ?after, "item served");
            }
        }
    }
}

/// Rows of a removed domain deleted per step.
const SWEPT: usize = 1_000;

/// Why a write did not happen.
const NO_STAMP: &str = "the epoch's sequence numbers are used up; a new one is being taken";

/// Writes a batch with its stamp; `None`: the epoch has no more stamps.
async fn store(
    services: &Services,
    stamp: Option<(Epoch, Stamp)>,
    batch: WriteBatch,
) -> Result<(), CommitFailure> {
    let begun = Instant::now();
    let (epoch, stamp) = stamp.ok_or_else(|| CommitFailure::Failed(Failure::passing(NO_STAMP)))?;
    let partition = services.owner.partition();
    let result = services.store.commit(partition, epoch, stamp, batch).await;
    let took = begun.elapsed().as_secs_f64();
    services.metrics.store_commit.observe(took);
    result.map_err(|error| match error {
        StoreError::Superseded { .. } => CommitFailure::Superseded,
        error => CommitFailure::Failed(loading::failure(&error)),
    })
}

/// Crash points before and after a step is stored.
fn crash_points(step: CommitStep) -> (&'static str, &'static str) {
    match step {
        CommitStep::Events
        | CommitStep::Settings
        | CommitStep::Models
        | CommitStep::Model
        | CommitStep::Habits => ("before-store", "after-store"),
        CommitStep::Log => ("before-log", "after-log"),
        CommitStep::Features => ("before-features", "after-features"),
        CommitStep::Lists => ("before-flush", "after-flush"),
        CommitStep::Clean => ("before-clean", "after-clean"),
        CommitStep::Removal => ("before-removal", "after-removal"),
        CommitStep::Removed => ("before-removed", "after-removed"),
    }
}
