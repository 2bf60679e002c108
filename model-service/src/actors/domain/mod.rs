//! The actor of one active domain: carries out its machine's effects and feeds the results back.

mod beside;
mod effects;
mod keeping;
mod unsettled;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use kindred_shared::event::Event;
use kindred_shared::{DomainName, ItemId};
use tracing::{debug, error, info};

use super::memory::Share;
use super::services::{Services, Waiting};
use crate::crash;
use beside::Role;
use keeping::Kept;
use kindred_domain::effect::{Effect, Input, Passed};
use kindred_domain::intake::pacing::Pacing;
use kindred_domain::intake::{DeliveryTag, Failure, Outcome};
use kindred_domain::machine::{Domain, Tenure};
use kindred_domain::status::LoadedState;
use kindred_domain::time::Now;
use kindred_query::DomainView;
use unsettled::Unsettled;

/// Messages that may wait for one domain; each carries a few deliveries.
const MAILBOX: usize = 64;

/// One active domain.
pub struct DomainActor {
    name: DomainName,
    /// `None`: it is handling something large on another thread.
    machine: Option<Domain>,
    /// Inputs that arrived meanwhile, in order.
    inputs: VecDeque<Input>,
    /// Events not yet taken in.
    pacing: Pacing<Waiting>,
    services: Arc<Services>,
    view: Arc<DomainView>,
    unsettled: Unsettled,
    /// Its share of the memory account.
    share: Share,
    timer: Option<SpawnHandle>,
    /// The actors of models next to the served one.
    kept: Kept,
    /// Set for the actor of a model next to the served one; `None`: the served one's.
    beside: Option<Role>,
    /// Commits in flight.
    commits: usize,
    /// Whether the machine is on another thread.
    is_away: bool,
}

/// Deliveries of this domain, in order. Answered once the machine has them.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deliver(pub Vec<(DeliveryTag, Arc<Event>)>);

/// Go to sleep if there is nothing to do and no event or query has come for `idle`. Answers `Some`
/// if the domain now sleeps, with the time its next item expires (ms since 1970).
#[derive(Message)]
#[rtype(result = "Option<Slept>")]
pub struct Sleep {
    /// How long the domain must have been idle.
    pub idle: Duration,
}

/// Stop at once: the domain belongs to another owner, or restarts. Unsettled deliveries are settled
/// as failed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Halt;

/// Recompute what is stored of these items, or of all items if there are none.
#[derive(Message)]
#[rtype(result = "()")]
pub struct MakeAnew(pub Vec<ItemId>);

/// The domain is now asleep.
#[derive(Debug, Clone, Copy)]
pub struct Slept {
    /// When its next item expires, in ms since 1970.
    pub next_expiry: Option<i64>,
}

impl DomainActor {
    /// Starts the actor of a domain on an arbiter; it begins by loading. Readers use the view.
    pub fn start_domain(
        name: DomainName,
        services: Arc<Services>,
        view: Arc<DomainView>,
        arbiter: &ArbiterHandle,
    ) -> Addr<Self> {
        view.used(services.clock.now().monotonic);
        Self::start_in_arbiter(arbiter, move |context| {
            context.set_mailbox_capacity(MAILBOX);
            let tenure = Tenure {
                domain: name.clone(),
                partition: services.owner.partition(),
                epoch: services.owner.epoch(),
            };
            let (machine, effects) = Domain::start(tenure, Arc::clone(&services.settings));
            let mut this = Self::new(name, machine, services, view);
            this.perform(effects, context);
            this.tell_status();
            this
        })
    }

    fn new(
        name: DomainName,
        machine: Domain,
        services: Arc<Services>,
        view: Arc<DomainView>,
    ) -> Self {
        Self {
            share: Share::new(Arc::clone(&services.memory), name.clone()),
            name,
            machine: Some(machine),
            inputs: VecDeque::new(),
            pacing: Pacing::default(),
            services,
            view,
            unsettled: Unsettled::default(),
            timer: None,
            kept: Kept::default(),
            beside: None,
            commits: 0,
            is_away: false,
        }
    }

    /// Feeds the machine one input, after those that came before.
    fn step(&mut self, input: Input, context: &mut Context<Self>) {
        if matches!(input, Input::Committed { .. }) {
            self.commits = self.commits.saturating_sub(1);
        }
        if self.has_ended(context) {
            return;
        }
        self.inputs.push_back(input);
        self.take_in(context);
    }

    /// Lets the machine handle waiting inputs. Slow inputs are handled on a thread of their own,
    /// because other domains' machines share this one.
    fn take_in(&mut self, context: &mut Context<Self>) {
        while let Some(machine) = self.machine.take() {
            let Some(input) = self.next_input(&machine) else {
                self.machine = Some(machine);
                if !self.pacing.is_empty() {
                    self.set_alarm(context);
                    self.tell_status();
                }
                break;
            };
            let now = self.services.clock.now();
            if machine.takes_long(&input) {
                let handled = tokio::task::spawn_blocking(move || handle(machine, now, input));
                self.is_away = true;
                context.spawn(handled.into_actor(self).map(|handled, this, context| {
                    this.is_away = false;
                    if this.has_ended(context) {
                        return;
                    }
                    // `Err`: the process is ending.
                    if let Ok((machine, effects)) = handled {
                        this.handled(machine, effects, context);
                        this.take_in(context);
                    }
                }));
                return;
            }
            let (machine, effects) = handle(machine, now, input);
            self.handled(machine, effects, context);
        }
    }

    /// The machine's next input: results of effects first, then events whose turn it is.
    fn next_input(&mut self, machine: &Domain) -> Option<Input> {
        if let Some(input) = self.inputs.pop_front() {
            return Some(input);
        }
        let now = self.services.clock.now();
        loop {
            if let Some((tag, event)) = self.pacing.pop() {
                let item = event.id().map(tracing::field::display);
                let (kind, version) = (event.type_name(), event.version());
                debug!(domain = %self.name, kind, item, version, "event accepted");
                crash::taken_in(&event);
                self.unsettled.took(tag, &event);
                return Some(Input::Event { tag, event });
            }
            if !(machine.knows_settings() && self.pacing.is_due(now)) {
                return None;
            }
            let services = Arc::clone(&self.services);
            let refused = self.pacing.judge(
                now,
                machine.set().max_events_per_second,
                |tag| services.settle.may_wait(tag),
                |bytes| services.backlog.take(bytes),
            );
            for ((tag, event), refusal) in refused {
                self.unsettled.took(tag, &event);
                self.settle(vec![(tag, Outcome::Refused(refusal))]);
            }
        }
    }

    /// The machine has returned, with its effects; `Err`: it panicked.
    fn handled(
        &mut self,
        machine: Domain,
        effects: Result<Vec<Effect>, Vec<Passed>>,
        context: &mut Context<Self>,
    ) {
        self.machine = Some(machine);
        match effects {
            Ok(effects) => self.perform(effects, context),
            Err(passed) => self.rebuild(&passed, context),
        }
        self.set_alarm(context);
        self.tell_status();
        self.tell_served();
    }

    fn tell_status(&mut self) {
        if let Some(machine) = &self.machine {
            let mut status = machine.status();
            // Events that wait for their turn are still to come.
            status.quiet &= self.pacing.is_empty();
            status.clean &= self.pacing.is_empty();
            // A domain that waits before it retries no longer needs what its load was given.
            let is_at_rest = matches!(status.state, LoadedState::BackingOff | LoadedState::Lost);
            let is_loading = !machine.is_served() && !is_at_rest;
            let bytes = self.view.set_status(status);
            self.share.hold(bytes, is_loading);
        }
    }

    /// The machine's state cannot be trusted any more: restart from the store. `passed`: what was
    /// passed on with the input at which it panicked.
    fn rebuild(&mut self, passed: &[Passed], context: &mut Context<Self>) {
        error!(domain = %self.name, "the domain's machine failed; the domain is reloaded");
        let now = self.services.clock.now();
        if let Some(machine) = &mut self.machine {
            let effects = catch_unwind(AssertUnwindSafe(|| machine.restart(now, passed)));
            // What was passed on may be what it panics at.
            let effects = effects.unwrap_or_else(|_| machine.restart(now, &[]));
            self.perform(effects, context);
        }
        // Deliveries the machine lost, and those that wait for it, will be sent again.
        self.fail_unsettled("the domain failed and is being reloaded; send the event again");
    }

    fn settle(&mut self, settled: Vec<(DeliveryTag, Outcome)>) {
        if self.beside.is_none() {
            let now = self.services.clock.now().monotonic;
            settled.iter().for_each(|_| self.view.decided(now));
        }
        self.unsettled
            .settled(&self.name, &settled, &self.services.metrics);
        self.services.settle.settle(settled);
        crash::point("after-ack");
    }

    fn fail_unsettled(&mut self, detail: &str) {
        let mut failed = self.unsettled.failed(detail);
        let failure = Failure::passing(detail);
        let untaken = self.pacing.abandon().into_iter();
        failed.extend(untaken.map(|tag| (tag, Outcome::Failed(failure.clone()))));
        if !failed.is_empty() {
            self.settle(failed);
        }
    }

    fn set_alarm(&mut self, context: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            context.cancel_future(timer);
        }
        let now = self.services.clock.now();
        let machine = self.machine.as_ref();
        let deadline = machine.and_then(|machine| machine.deadline(now));
        let first = deadline.into_iter().chain(self.pacing.turn()).min();
        if let Some(at) = first {
            let delay = at.saturating_sub(now.monotonic);
            self.timer = Some(context.run_later(delay, |this, context| {
                this.timer = None;
                this.step(Input::Tick, context);
            }));
        }
    }
}

/// One step of a machine. A panic in it is a bug, and costs the domain a reload. `Err`: it
/// panicked, at an input with which this was passed on.
fn handle(
    mut machine: Domain,
    now: Now,
    input: Input,
) -> (Domain, Result<Vec<Effect>, Vec<Passed>>) {
    let passed = match &input {
        Input::Follow { passed } => passed.clone(),
        _ => Vec::new(),
    };
    let effects = catch_unwind(AssertUnwindSafe(|| machine.handle(now, input)));
    (machine, effects.map_err(|_| passed))
}

impl Actor for DomainActor {
    type Context = Context<Self>;
}

impl Handler<Deliver> for DomainActor {
    type Result = ();

    fn handle(&mut self, Deliver(events): Deliver, context: &mut Context<Self>) {
        self.view.used(self.services.clock.now().monotonic);
        for (tag, event) in events {
            crash::point("received");
            self.pacing.arrive(tag, event);
        }
        self.take_in(context);
    }
}

impl Handler<Sleep> for DomainActor {
    type Result = MessageResult<Sleep>;

    fn handle(&mut self, Sleep { idle }: Sleep, context: &mut Context<Self>) -> Self::Result {
        let unused_for = self.view.unused_for(self.services.clock.now().monotonic);
        let is_idle = unused_for >= idle;
        let machine = self
            .machine
            .as_ref()
            .filter(|machine| is_idle && machine.may_sleep() && self.pacing.is_empty());
        MessageResult(machine.map(|machine| {
            info!(domain = %self.name, items = machine.status().live, "domain sleeps");
            for actor in self.kept.actors() {
                actor.do_send(Halt);
            }
            context.stop();
            Slept {
                next_expiry: machine.next_expiry(),
            }
        }))
    }
}

impl Handler<MakeAnew> for DomainActor {
    type Result = ();

    fn handle(&mut self, MakeAnew(ids): MakeAnew, context: &mut Context<Self>) {
        info!(domain = %self.name, items = ids.len(), "stored data is recomputed");
        for actor in self.kept.actors() {
            actor.do_send(MakeAnew(ids.clone()));
        }
        self.view.used(self.services.clock.now().monotonic);
        self.step(Input::MakeAnew { ids }, context);
    }
}

impl Handler<Halt> for DomainActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Halt: Halt, context: &mut Context<Self>) -> Self::Result {
        self.fail_unsettled("the partition is being taken over; send the event again");
        context.stop();
        let halts = self.kept.actors().into_iter().map(|actor| actor.send(Halt));
        let halts = futures_util::future::join_all(halts.collect::<Vec<_>>());
        Box::pin(async move {
            halts.await;
        })
    }
}
