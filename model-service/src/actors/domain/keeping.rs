//! Runs the actors of models next to the served one.
//!
//! Changes happen one after the other: no actor starts before those that are ending have no writes
//! in flight, and what is passed on reaches all of them in the same order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use actix::prelude::*;
use futures_util::future::join_all;
use kindred_shared::ModelName;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::DomainActor;
use super::beside::{End, Follow, Told};
use crate::actors::loading::LOST_MIX;
use kindred_domain::effect::{Input, Passed, Ticket};
use kindred_domain::models::{Followed, ModelReport};
use kindred_query::{BesideView, DomainView};

/// Most changes in flight to a model that is being built; beyond it the domain waits for that
/// model, too.
const BEHIND: usize = 64;

/// The running actors.
#[derive(Default)]
pub(super) struct Kept {
    models: BTreeMap<ModelName, Child>,
    /// Views of models that were served until now, kept until their actors run.
    parked: BTreeMap<ModelName, Parked>,
    chores: VecDeque<Chore>,
    is_busy: bool,
    runs: u64,
}

/// The view of a model that was served until now. Its actor is started once the domain has been
/// read again; by then other actors have been started once.
struct Parked {
    view: Arc<DomainView>,
    is_expected: bool,
}

/// One of the actors.
struct Child {
    run: u64,
    actor: Addr<DomainActor>,
    view: Arc<DomainView>,
    is_ready: bool,
    /// Its latest state.
    told: Option<ModelReport>,
    /// Room for changes it has not taken in yet, while it does not answer queries.
    behind: Arc<Semaphore>,
}

enum Chore {
    Keep(Ticket, Vec<Followed>),
    Pass(Ticket, Vec<Passed>),
}

impl Kept {
    /// The actors of all models.
    pub(super) fn actors(&self) -> Vec<Addr<DomainActor>> {
        let models = self.models.values();
        models.map(|child| child.actor.clone()).collect()
    }
}

impl DomainActor {
    pub(super) fn keep(
        &mut self,
        ticket: Ticket,
        models: Vec<Followed>,
        context: &mut Context<Self>,
    ) {
        self.kept.chores.push_back(Chore::Keep(ticket, models));
        self.next_chore(context);
    }

    pub(super) fn pass(
        &mut self,
        ticket: Ticket,
        passed: Vec<Passed>,
        context: &mut Context<Self>,
    ) {
        self.kept.chores.push_back(Chore::Pass(ticket, passed));
        self.next_chore(context);
    }

    /// Swaps the views of two models for readers.
    pub(super) fn swap(&mut self, now: &ModelName, was: ModelName) {
        let before = self.view.snapshot().as_ref().map(Arc::clone);
        let theirs = self.kept.models.get(now).map(|child| &child.view);
        let theirs = theirs.and_then(|view| view.snapshot().as_ref().map(Arc::clone));
        self.view.take_over(theirs);
        let view = Arc::new(DomainView::new(Arc::clone(self.view.term())));
        view.take_over(before);
        let shown = BesideView {
            view: Arc::clone(&view),
            is_ready: true,
        };
        let views = &self.services.views;
        views.hide(&self.name, now);
        views.show(&self.name, &was, shown);
        info!(domain = %self.name, model = %now, %was, "another model is served");
        let is_expected = true;
        self.kept.parked.insert(was, Parked { view, is_expected });
    }

    fn next_chore(&mut self, context: &mut Context<Self>) {
        if self.kept.is_busy {
            return;
        }
        let Some(chore) = self.kept.chores.pop_front() else {
            return;
        };
        self.kept.is_busy = true;
        match chore {
            Chore::Keep(ticket, models) => self.end_others(ticket, models, context),
            Chore::Pass(ticket, passed) => self.pass_on(ticket, &passed, context),
        }
    }

    fn chore_done(&mut self, input: Input, context: &mut Context<Self>) {
        self.kept.is_busy = false;
        self.step(input, context);
        self.next_chore(context);
    }

    fn end_others(&mut self, ticket: Ticket, models: Vec<Followed>, context: &mut Context<Self>) {
        let is_kept = |name: &ModelName| models.iter().any(|one| one.name == *name);
        let views = &self.services.views;
        self.kept.parked.retain(|name, parked| {
            let stays = is_kept(name) || std::mem::take(&mut parked.is_expected);
            if !stays {
                views.hide(&self.name, name);
            }
            stays
        });
        let leaving = self.kept.models.extract_if(.., |name, _| !is_kept(name));
        let leaving: Vec<_> = leaving.collect();
        let ends = leaving.into_iter().map(|(name, child)| {
            self.services.views.hide(&self.name, &name);
            child.actor.send(End)
        });
        // A model that queries can already reach has taken in everything passed on.
        let news = models.iter().filter(|one| one.is_ready);
        let barriers = news.filter_map(|one| {
            let child = self.kept.models.get(&one.name);
            let child = child.filter(|child| !child.is_ready)?;
            Some(child.actor.send(Follow(Vec::new())))
        });
        let all = (join_all(ends), join_all(barriers));
        let all = async move { (all.0.await, all.1.await) };
        let ended = all.into_actor(self).map(move |_, this, context| {
            this.start_others(models, context);
            this.chore_done(Input::Kept { ticket }, context);
        });
        context.spawn(ended);
    }

    fn start_others(&mut self, models: Vec<Followed>, context: &mut Context<Self>) {
        for Followed {
            name,
            kind,
            is_ready,
            lacks_mix,
        } in models
        {
            if let Some(child) = self.kept.models.get_mut(&name) {
                child.is_ready = is_ready;
                let view = Arc::clone(&child.view);
                let told = child.told.clone();
                let shown = BesideView { view, is_ready };
                self.services.views.show(&self.name, &name, shown);
                if let Some(report) = told {
                    let model = name.clone();
                    self.step(Input::Told { model, report }, context);
                }
                continue;
            }
            if lacks_mix || !self.services.store.knows(&kind) {
                let why = match lacks_mix {
                    true => LOST_MIX.to_owned(),
                    false => format!("unknown kind of model {kind}"),
                };
                warn!(domain = %self.name, model = %name, %kind, "unknown model");
                let report = ModelReport {
                    failed: Some(why),
                    ..ModelReport::default()
                };
                self.step(
                    Input::Told {
                        model: name,
                        report,
                    },
                    context,
                );
                continue;
            }
            self.kept.runs += 1;
            let run = self.kept.runs;
            let new = || Arc::new(DomainView::new(Arc::clone(self.view.term())));
            let parked = self.kept.parked.remove(&name);
            let view = parked.map_or_else(new, |parked| parked.view);
            let shown = BesideView {
                view: Arc::clone(&view),
                is_ready,
            };
            self.services.views.show(&self.name, &name, shown);
            let actor = Self::start_beside(
                self.name.clone(),
                (name.clone(), kind),
                run,
                context.address(),
                Arc::clone(&self.services),
                Arc::clone(&view),
            );
            let child = Child {
                run,
                actor,
                view,
                is_ready,
                told: None,
                behind: Arc::new(Semaphore::new(BEHIND)),
            };
            self.kept.models.insert(name, child);
        }
    }

    fn pass_on(&mut self, ticket: Ticket, passed: &[Passed], context: &mut Context<Self>) {
        let taken = self.kept.models.values().map(|child| {
            let taken = child.actor.send(Follow(passed.to_vec()));
            let (is_ready, behind) = (child.is_ready, Arc::clone(&child.behind));
            async move {
                if is_ready {
                    let _ = taken.await;
                } else if let Ok(room) = behind.acquire_owned().await {
                    // It does not answer queries yet, so nobody waits for it.
                    actix::spawn(async move {
                        let _ = taken.await;
                        drop(room);
                    });
                }
            }
        });
        let taken = join_all(taken.collect::<Vec<_>>()).into_actor(self);
        context.spawn(taken.map(move |_, this, context| {
            this.chore_done(Input::Passed { ticket }, context);
        }));
    }
}

impl Handler<Told> for DomainActor {
    type Result = ();

    fn handle(&mut self, told: Told, context: &mut Context<Self>) {
        let Told { model, run, report } = told;
        let child = self.kept.models.get_mut(&model);
        if let Some(child) = child.filter(|child| child.run == run) {
            child.told = Some(report.clone());
            self.step(Input::Told { model, report }, context);
        }
    }
}
