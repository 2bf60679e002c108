//! The drivers of models beside the served one, which belong to the driver of the served one: changes are carried out
//! one after the other, and each waits for the drivers concerned.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kindred_domain::effect::{Effect, Input, Passed, Ticket};
use kindred_domain::machine::{Domain, Tenure as Ownership};
use kindred_domain::models::{Followed, ModelReport};
use kindred_query::{DomainView, Snapshot};
use kindred_shared::ModelName;

use crate::actor::Actor;
use crate::mutations::Mutation;
use crate::process::{Address, Context, Message};
use crate::seat::Seat;
use crate::simulated::reference::settings;
use crate::tenure::Tenure;

/// The drivers of the models beside the served one.
#[derive(Default)]
pub(crate) struct Kept {
    models: BTreeMap<ModelName, Child>,
    /// What readers saw of a model that was served, until its own driver runs; and whether it has yet to be asked for.
    parked: BTreeMap<ModelName, (Option<Arc<Snapshot>>, bool)>,
    chores: VecDeque<Chore>,
    underway: Option<Underway>,
    /// Drivers that have ended and have commits in flight.
    ending: BTreeSet<u64>,
}

/// One of the drivers.
struct Child {
    actor: Actor,
    /// Whether queries may use its view.
    is_ready: bool,
    /// How often it was sent changes.
    follows: u64,
    /// What it reported last, when it was sent and when it arrived.
    sent: Option<ModelReport>,
    told: Option<ModelReport>,
}

enum Chore {
    Keep(Ticket, Vec<Followed>),
    Pass(Ticket, Vec<Passed>),
}

/// The chore that is being carried out, and the drivers that it waits for.
struct Underway {
    then: Then,
    /// Each with the number of the changes that it must have taken in; the highest number: it must have ended.
    waits_for: BTreeMap<u64, u64>,
    is_over: bool,
}

enum Then {
    Start(Ticket, Vec<Followed>),
    Tell(Ticket),
}

impl Kept {
    /// The views of models that queries may use.
    pub(crate) fn views(&self) -> impl Iterator<Item = (&ModelName, &DomainView)> {
        let ready = self.models.iter().filter(|(_, child)| child.is_ready);
        ready.map(|(name, child)| (name, &child.actor.view))
    }

    /// Whether the driver with this address runs, or has commits in flight.
    pub(crate) fn knows(&self, address: &Address) -> bool {
        let mut actors = self.models.values().map(|child| &child.actor);
        actors.any(|actor| actor.address.actor == address.actor)
            || self.ending.contains(&address.actor)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.models.values().any(|child| child.actor.is_busy())
    }

    fn actors(&self) -> impl Iterator<Item = u64> {
        self.models.values().map(|child| child.actor.address.actor)
    }
}

impl Actor {
    /// Cancels the jobs that this driver and those of other models requested.
    pub(crate) fn abandon(&self, context: &mut Context<'_>) {
        context.jobs.abandon(self.address.actor);
        for actor in self.kept.actors() {
            context.jobs.abandon(actor);
        }
    }

    pub(crate) fn keep(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        models: Vec<Followed>,
    ) {
        self.kept.chores.push_back(Chore::Keep(ticket, models));
        self.next_chore(context);
    }

    pub(crate) fn pass(&mut self, context: &mut Context<'_>, ticket: Ticket, passed: Vec<Passed>) {
        self.kept.chores.push_back(Chore::Pass(ticket, passed));
        self.next_chore(context);
    }

    /// The views of two models change places.
    pub(crate) fn swap(&mut self, context: &mut Context<'_>, now: &ModelName, was: ModelName) {
        let snapshot = |view: &DomainView| view.snapshot().as_ref().map(Arc::clone);
        let before = snapshot(&self.view);
        let theirs = self.kept.models.get_mut(now).and_then(|child| {
            child.is_ready = false;
            snapshot(&child.actor.view)
        });
        self.view.take_over(theirs);
        self.kept.parked.insert(was, (before, true));
        context.world.swaps += 1;
    }

    fn next_chore(&mut self, context: &mut Context<'_>) {
        if self.kept.underway.is_some() {
            return;
        }
        let underway = match self.kept.chores.pop_front() {
            None => return,
            Some(Chore::Keep(ticket, models)) => self.end_others(context, ticket, models),
            Some(Chore::Pass(ticket, passed)) => self.pass_on(context, ticket, &passed),
        };
        self.kept.underway = Some(underway);
        self.is_chore_over(context);
    }

    fn end_others(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        models: Vec<Followed>,
    ) -> Underway {
        let is_kept = |name: &ModelName| models.iter().any(|one| one.name == *name);
        let parked = &mut self.kept.parked;
        parked.retain(|name, (_, is_expected)| is_kept(name) || std::mem::take(is_expected));
        let ended = self.kept.models.extract_if(.., |name, _| !is_kept(name));
        for (_, child) in ended.collect::<Vec<_>>() {
            let actor = child.actor.address.actor;
            context.jobs.abandon(actor);
            if context.world.has_commits(actor) {
                self.kept.ending.insert(actor);
            }
        }
        let ending = self.kept.ending.iter();
        let mut waits_for: BTreeMap<u64, u64> = ending.map(|actor| (*actor, u64::MAX)).collect();
        // A model that queries can reach from now on has taken in everything passed on.
        for one in models.iter().filter(|one| one.is_ready) {
            let child = self.kept.models.get_mut(&one.name);
            if let Some(child) = child.filter(|child| !child.is_ready) {
                let number = child.follow(context, Vec::new());
                waits_for.insert(child.actor.address.actor, number);
            }
        }
        Underway {
            then: Then::Start(ticket, models),
            waits_for,
            is_over: false,
        }
    }

    fn pass_on(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        passed: &[Passed],
    ) -> Underway {
        let mut waits_for = BTreeMap::new();
        for child in self.kept.models.values_mut() {
            let is_lost = context.world.is_mutated(Mutation::NotPassedOn);
            let passed = if is_lost { Vec::new() } else { passed.to_vec() };
            let number = child.follow(context, passed);
            // A model that does not answer queries yet is not waited for.
            if child.is_ready {
                waits_for.insert(child.actor.address.actor, number);
            }
        }
        Underway {
            then: Then::Tell(ticket),
            waits_for,
            is_over: false,
        }
    }

    /// If nothing is waited for any more, the chore ends soon.
    fn is_chore_over(&mut self, context: &mut Context<'_>) {
        if let Some(underway) = &mut self.kept.underway
            && underway.waits_for.is_empty()
            && !std::mem::replace(&mut underway.is_over, true)
        {
            let over = Message::Chore(self.address.clone());
            let delay = Duration::from_micros(10);
            context.world.tell(context.me.id, delay, over);
        }
    }

    fn chore_done(&mut self, tenure: &mut Tenure, context: &mut Context<'_>) {
        let Some(underway) = self.kept.underway.take_if(|underway| underway.is_over) else {
            return;
        };
        match underway.then {
            Then::Tell(ticket) => self.input(tenure, context, Input::Passed { ticket }),
            Then::Start(ticket, models) => {
                self.start_others(tenure, context, models);
                self.input(tenure, context, Input::Kept { ticket });
            }
        }
        self.next_chore(context);
    }

    fn start_others(
        &mut self,
        tenure: &mut Tenure,
        context: &mut Context<'_>,
        models: Vec<Followed>,
    ) {
        for followed in models {
            let name = followed.name.clone();
            if let Some(child) = self.kept.models.get_mut(&name) {
                child.is_ready = followed.is_ready;
                if let Some(report) = child.told.clone() {
                    let model = name;
                    self.input(tenure, context, Input::Told { model, report });
                }
                continue;
            }
            let parked = self.kept.parked.remove(&name);
            let parked = parked.and_then(|(snapshot, _)| snapshot);
            let (actor, effects) = self.start_beside(tenure, context, followed.kind, &name);
            actor.view.take_over(parked);
            let child = Child {
                actor,
                is_ready: followed.is_ready,
                follows: 0,
                sent: None,
                told: None,
            };
            let address = child.actor.address.clone();
            self.kept.models.insert(name, child);
            self.with_beside(tenure, context, &address, |actor, tenure, context| {
                actor.perform(tenure, context, effects);
            });
        }
    }

    fn start_beside(
        &self,
        tenure: &Tenure,
        context: &mut Context<'_>,
        kind: ModelName,
        name: &ModelName,
    ) -> (Self, Vec<Effect>) {
        let of = &self.address;
        let address = Address {
            actor: context.world.number(),
            beside: Some((name.clone(), kind.clone())),
            ..of.clone()
        };
        let ownership = Ownership {
            domain: of.domain.clone(),
            partition: of.partition,
            epoch: tenure.epoch(),
        };
        let (machine, effects) = Domain::start_beside(ownership, settings(), name.clone(), kind);
        let term = Arc::clone(self.view.term());
        let actor = Self::with_machine(address, machine, DomainView::new(term));
        (actor, effects)
    }

    /// Takes a driver of another model out while it does something; then whoever waits for it is told.
    pub(crate) fn with_beside(
        &mut self,
        tenure: &mut Tenure,
        context: &mut Context<'_>,
        address: &Address,
        does: impl FnOnce(&mut Self, &mut Tenure, &mut Context<'_>),
    ) {
        if self.kept.ending.contains(&address.actor) {
            if !context.world.has_commits(address.actor) {
                self.kept.ending.remove(&address.actor);
                self.waited_for(context, address.actor, u64::MAX);
            }
            return;
        }
        let Some((name, _)) = &address.beside else {
            return;
        };
        let is_it = |child: &Child| child.actor.address.actor == address.actor;
        if !self.kept.models.get(name).is_some_and(is_it) {
            return;
        }
        let Some(mut child) = self.kept.models.remove(name) else {
            return;
        };
        does(&mut child.actor, tenure, context);
        child.actor.set_alarm(context);
        // Another process owns the partition.
        self.has_ended |= child.actor.has_ended;
        let taken_in = child.actor.taken_in();
        let mut report = child.actor.machine.report();
        report.is_whole |= context.world.is_mutated(Mutation::ReadyBeforeStored);
        if !child.actor.is_busy() && child.sent.as_ref() != Some(&report) {
            child.sent = Some(report.clone());
            let told = Message::Told(self.address.clone(), address.clone(), report);
            let delay = context.world.latency();
            context.world.tell(context.me.id, delay, told);
        }
        self.kept.models.insert(name.clone(), child);
        if let Some(number) = taken_in {
            self.waited_for(context, address.actor, number);
        }
    }

    /// A driver has taken in changes up to this number.
    fn waited_for(&mut self, context: &mut Context<'_>, actor: u64, number: u64) {
        if let Some(underway) = &mut self.kept.underway {
            let waits_for = &mut underway.waits_for;
            waits_for.retain(|other, awaited| *other != actor || *awaited > number);
        }
        self.is_chore_over(context);
    }
}

impl Child {
    /// Sends it changes; returns their number.
    fn follow(&mut self, context: &mut Context<'_>, passed: Vec<Passed>) -> u64 {
        self.follows += 1;
        let follow = Message::Follow(self.actor.address.clone(), self.follows, passed);
        let delay = context.world.latency();
        context.world.tell(context.me.id, delay, follow);
        self.follows
    }
}

impl Seat {
    /// Changes reach the driver of a model beside the served one.
    pub(crate) fn follow(
        &mut self,
        context: &mut Context<'_>,
        address: &Address,
        number: u64,
        passed: Vec<Passed>,
    ) {
        self.with_actor(context, address, |actor, tenure, context| {
            actor.must_take_in(number);
            actor.input(tenure, context, Input::Follow { passed });
        });
    }

    /// The driver of a model beside the served one has reported.
    pub(crate) fn told(
        &mut self,
        context: &mut Context<'_>,
        address: &Address,
        by: &Address,
        report: ModelReport,
    ) {
        self.with_actor(context, address, |actor, tenure, context| {
            let Some((model, _)) = by.beside.clone() else {
                return;
            };
            let child = actor.kept.models.get_mut(&model);
            if let Some(child) = child.filter(|child| child.actor.address.actor == by.actor) {
                child.told = Some(report.clone());
                actor.input(tenure, context, Input::Told { model, report });
            }
        });
    }

    /// A chore of a driver has ended.
    pub(crate) fn chore(&mut self, context: &mut Context<'_>, address: &Address) {
        self.with_actor(context, address, Actor::chore_done);
    }
}
