//! The driver of one domain's machine: carries out its effects, and passes it the answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kindred_domain::effect::{Comparing, Effect, Input, Ticket};
use kindred_domain::intake::{DeliveryTag, Failure, Outcome};
use kindred_domain::machine::{Domain, Tenure as Ownership};
use kindred_query::{DomainView, Term};
use kindred_shared::event::{Event, ModelChange};
use kindred_shared::job::{Job, Task};

use crate::beside::Kept;
use crate::database::{Load, Reading, Staged, failure, outcome};
use crate::extraction::Extracting;
use crate::invariants::{Invariant, violated};
use crate::mutations::Mutation;
use crate::process::{Address, Alarm, Context, Message};
use crate::seat::Seat;
use crate::simulated::reference::{compare, settings};
use crate::tenure::Tenure;
use crate::workers::Asker;

/// One active domain, or a model beside the one that it serves.
pub(crate) struct Actor {
    pub(crate) address: Address,
    pub(crate) machine: Domain,
    pub(crate) view: DomainView,
    /// Events that are processed but not settled.
    unsettled: BTreeMap<DeliveryTag, Arc<Event>>,
    pub(crate) extractions: BTreeMap<Ticket, Extracting>,
    pub(crate) kept: Kept,
    /// The number of the newest changes that were passed on, until they are taken in.
    takes_in: Option<u64>,
    /// Set while another thread processes a large input: its effects, and the inputs that came meanwhile.
    busy: Option<Vec<Effect>>,
    inputs: VecDeque<Input>,
    alarm: Alarm,
    pub(crate) used_at: Duration,
    pub(crate) has_ended: bool,
}

impl Actor {
    pub(crate) fn start(
        address: Address,
        ownership: Ownership,
        term: Arc<Term>,
        now: Duration,
    ) -> (Self, Vec<Effect>) {
        let (machine, effects) = Domain::start(ownership, settings());
        let mut actor = Self::with_machine(address, machine, DomainView::new(term));
        actor.used_at = now;
        (actor, effects)
    }

    pub(crate) fn with_machine(address: Address, machine: Domain, view: DomainView) -> Self {
        Self {
            address,
            machine,
            view,
            unsettled: BTreeMap::new(),
            extractions: BTreeMap::new(),
            kept: Kept::default(),
            takes_in: None,
            busy: None,
            inputs: VecDeque::new(),
            alarm: Alarm::default(),
            used_at: Duration::ZERO,
            has_ended: false,
        }
    }

    /// Changes with this number come next.
    pub(crate) fn must_take_in(&mut self, number: u64) {
        self.takes_in = Some(number);
    }

    /// The number of the newest changes, once they are taken in.
    pub(crate) fn taken_in(&mut self) -> Option<u64> {
        let has_all = self.inputs.is_empty() && self.busy.is_none();
        self.takes_in.take_if(|_| has_all)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.is_some() || self.kept.is_busy()
    }

    pub(crate) fn deliver(
        &mut self,
        tenure: &mut Tenure,
        context: &mut Context<'_>,
        tag: DeliveryTag,
        event: Arc<Event>,
    ) {
        self.used_at = context.me.clock(context.world.now);
        if context.world.books.kills(&event) {
            context.world.exits = true;
            return;
        }
        self.unsettled.insert(tag, Arc::clone(&event));
        let is_activation = matches!(
            &*event,
            Event::Model(modelled) if modelled.change == ModelChange::Activate
        );
        let mutation = match is_activation {
            true => Mutation::ActivatedBeforeStored,
            false => Mutation::AcknowledgedBeforeStored,
        };
        if context.world.is_mutated(mutation) {
            let settled = vec![(tag, Outcome::Stored(None))];
            tenure.settle(context, settled);
        }
        self.input(tenure, context, Input::Event { tag, event });
    }

    /// One step of the machine, once it has processed earlier inputs.
    pub(crate) fn input(&mut self, tenure: &mut Tenure, context: &mut Context<'_>, input: Input) {
        self.inputs.push_back(input);
        self.take_in(tenure, context);
    }

    fn take_in(&mut self, tenure: &mut Tenure, context: &mut Context<'_>) {
        while self.busy.is_none()
            && !self.has_ended
            && let Some(input) = self.inputs.pop_front()
        {
            let takes_long = self.machine.takes_long(&input);
            if context.world.goes_wrong(context.world.faults.panic) {
                let passed = match &input {
                    Input::Follow { passed } => &**passed,
                    _ => &[],
                };
                let effects = self.machine.restart(context.now(), passed);
                self.perform(tenure, context, effects);
                self.inputs
                    .retain(|input| !matches!(input, Input::Event { .. }));
                self.fail_unsettled(tenure, context);
                // A commit's answer is recorded before anything can fail.
                if !matches!(input, Input::Committed { .. }) {
                    continue;
                }
            }
            let effects = self.machine.handle(context.now(), input);
            if takes_long && context.world.dice.one_in(2) {
                self.busy = Some(effects);
                let delay = context.world.latency();
                let handled = Message::Handled(self.address.clone());
                context.world.tell(context.me.id, delay, handled);
            } else {
                self.perform(tenure, context, effects);
            }
        }
    }

    /// A large input has been processed.
    fn handled(&mut self, tenure: &mut Tenure, context: &mut Context<'_>) {
        if let Some(effects) = self.busy.take() {
            self.perform(tenure, context, effects);
        }
        self.take_in(tenure, context);
    }

    /// Carries out effects, in order. The process may die before each.
    pub(crate) fn perform(
        &mut self,
        tenure: &mut Tenure,
        context: &mut Context<'_>,
        effects: Vec<Effect>,
    ) {
        for effect in effects {
            if context.world.exits || context.world.dies_at_effect() {
                return;
            }
            let address = self.address.clone();
            match effect {
                Effect::Open { ticket } => context.world.read(Reading::Open(address, ticket)),
                Effect::ReadItems { ticket, ids } => {
                    context.world.read(Reading::Items(address, ticket, ids));
                }
                Effect::ReadWhole { ticket, ids } => {
                    context.world.read(Reading::Whole(address, ticket, ids));
                }
                Effect::Survey { ticket, ids, .. } => {
                    context.world.read(Reading::Survey(address, ticket, ids));
                }
                Effect::Sweep { ticket } => {
                    let stamp = tenure.stamp(context);
                    context.world.read(Reading::Sweep(address, ticket, stamp));
                }
                Effect::Load { ticket, model, mix } => {
                    let load = Load::new(address, ticket, model, mix);
                    context.world.read(Reading::Load(load));
                }
                Effect::Commit {
                    ticket,
                    fence,
                    writes,
                    step,
                } => {
                    let domain = &self.address.domain;
                    let writes = context.world.mutate_writes(domain, step, writes);
                    match tenure.stamp(context) {
                        Some(stamp) => context.world.commit(address, ticket, stamp, fence, writes),
                        None => {
                            let result = outcome(Staged::Failed);
                            let input = Input::Committed { ticket, result };
                            let failed = Message::Input(address, input);
                            let delay = Duration::from_micros(10);
                            context.world.tell(context.me.id, delay, failed);
                        }
                    }
                }
                Effect::Extract {
                    ticket,
                    model,
                    rows,
                    settings,
                    spaces,
                    lengths,
                    habits,
                } => {
                    let extracting = Extracting::new(model, rows, &settings, spaces, habits);
                    self.extract(context, ticket, extracting, lengths);
                }
                Effect::Compare { ticket, tasks } => {
                    for (task, comparing) in tasks {
                        self.compare(context, ticket, task, comparing);
                    }
                }
                Effect::Settle(settled) => self.settle(tenure, context, settled),
                Effect::Serve(mut change) => {
                    if context.world.is_mutated(Mutation::DeparturesNotServed) {
                        change.gone.clear();
                    }
                    self.view.apply(change, context.now().unix_ms);
                    context.world.served.insert(self.address.domain.clone());
                }
                Effect::Notify { ticket, .. } => {
                    let delay = context.world.latency();
                    let told = Message::Input(address, Input::Notified { ticket });
                    context.world.tell(context.me.id, delay, told);
                }
                Effect::SweepModel { ticket, swept } => {
                    let stamp = tenure.stamp(context);
                    let sweep = Reading::SweepModel(address, ticket, stamp, swept);
                    context.world.read(sweep);
                }
                Effect::Keep { ticket, models } => self.keep(context, ticket, models),
                Effect::Pass { ticket, passed } => self.pass(context, ticket, passed),
                Effect::Swap { now, was } => self.swap(context, &now, was),
                Effect::Observe(_) => {}
                Effect::Superseded => self.has_ended = true,
            }
        }
    }

    fn compare(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        task: usize,
        comparing: Comparing,
    ) {
        let address = self.address.clone();
        match comparing {
            Comparing::Some(compare) => {
                let job = Job {
                    domain: address.domain.clone(),
                    task: Task::Compare(compare),
                };
                context
                    .jobs
                    .submit(job, None, Asker::Compare(address, ticket, task));
            }
            // In this process, concurrently with everything else.
            all @ Comparing::All(_) => {
                let result = match context.world.goes_wrong(context.world.faults.job) {
                    true => Err(failure()),
                    false => Ok(context.world.mutate_reply(compare(&all))),
                };
                let input = Input::Compared {
                    ticket,
                    task,
                    result,
                };
                let delay = context.world.latency();
                context
                    .world
                    .tell(context.me.id, delay, Message::Input(address, input));
            }
        }
    }

    /// Gone means gone: once told that an item is gone, a client must not find it any more.
    fn settle(
        &mut self,
        tenure: &mut Tenure,
        context: &mut Context<'_>,
        settled: Vec<(DeliveryTag, Outcome)>,
    ) {
        for (tag, outcome) in &settled {
            let Some(event) = self.unsettled.remove(tag) else {
                let detail = format!("{tag:?} of {} is settled twice", self.address.domain);
                let checked = violated(Invariant::SettledOnce, detail);
                context.world.check(checked);
                continue;
            };
            match (outcome, &*event) {
                (Outcome::Stored(_), Event::Remove(removal)) => {
                    let beside = self.kept.views().map(|(_, view)| view);
                    let views = [&self.view].into_iter().chain(beside);
                    context.world.assert_removed(removal, views);
                }
                (Outcome::Stored(_), _) => {
                    let now = context.world.now;
                    context.world.books.removals.stored(now, &event);
                    context.world.assert_durable(&event);
                    context.world.books.acknowledge(&event);
                }
                (Outcome::Refused(refusal), _) => {
                    let is_certain = tenure.is_certain(context);
                    let why = refusal.to_string();
                    context.world.refuse(&event, &why, is_certain);
                }
                (Outcome::Failed(_), _) => {}
            }
        }
        context.world.served.insert(self.address.domain.clone());
        let settled = if context.world.is_mutated(Mutation::NotSettled) {
            settled
                .into_iter()
                .filter(|(tag, _)| tag.0 % 7 != 0)
                .collect()
        } else {
            settled
        };
        if context.world.is_mutated(Mutation::SettledTwice) {
            for (tag, _) in settled.iter().filter(|(tag, _)| tag.0 % 7 == 0) {
                if self.unsettled.remove(tag).is_none() {
                    let detail = format!("{tag:?} is settled twice");
                    context
                        .world
                        .check(violated(Invariant::SettledOnce, detail));
                }
            }
        }
        tenure.settle(context, settled);
    }

    /// Stops at once. Unsettled deliveries are settled as failed.
    pub(crate) fn halt(&mut self, tenure: &mut Tenure, context: &mut Context<'_>) {
        self.fail_unsettled(tenure, context);
        self.has_ended = true;
    }

    fn fail_unsettled(&mut self, tenure: &mut Tenure, context: &mut Context<'_>) {
        let failure = Failure::passing("the domain begins again");
        let tags = std::mem::take(&mut self.unsettled).into_keys();
        let failed = tags.map(|tag| (tag, Outcome::Failed(failure.clone())));
        tenure.settle(context, failed.collect());
    }

    pub(crate) fn set_alarm(&mut self, context: &mut Context<'_>) {
        if self.busy.is_some() {
            return;
        }
        let at = self.machine.deadline(context.now());
        if let Some(at) = at
            && let Some(number) = self.alarm.set(at, context.world)
        {
            let at = context.me.at(at).max(context.world.now);
            let at = at + Duration::from_micros(100 + context.world.dice.roll(5_000));
            let alarm = Message::Alarm(self.address.clone(), number);
            context.world.tell_at(context.me.id, at, alarm);
        }
    }
}

impl Tenure {
    pub(crate) fn settle(
        &mut self,
        context: &mut Context<'_>,
        settled: Vec<(DeliveryTag, Outcome)>,
    ) {
        let partition = self.partition;
        self.reader.settle(context, partition, settled);
    }
}

impl Seat {
    /// Calls the driver, if it is still the current one.
    pub(crate) fn with_actor(
        &mut self,
        context: &mut Context<'_>,
        address: &Address,
        does: impl FnOnce(&mut Actor, &mut Tenure, &mut Context<'_>),
    ) {
        let takes_any = context.world.is_mutated(Mutation::StaleAnswerTaken);
        let tenure = match self.tenure_of(address) {
            Some(_) => self.tenure.as_mut(),
            None if takes_any => self.tenure.as_mut(),
            None => None,
        };
        if let Some(tenure) = tenure {
            tenure.with(
                context,
                &address.domain,
                |actor, tenure, context| match &address.beside {
                    None => does(actor, tenure, context),
                    Some(_) => actor.with_beside(tenure, context, address, does),
                },
            );
            // Settled deliveries make room.
            tenure.hand_over(context);
        }
    }

    pub(crate) fn input(&mut self, context: &mut Context<'_>, address: &Address, input: Input) {
        self.with_actor(context, address, |actor, tenure, context| {
            actor.input(tenure, context, input);
        });
    }

    pub(crate) fn alarm(&mut self, context: &mut Context<'_>, address: &Address, number: u64) {
        self.with_actor(context, address, |actor, tenure, context| {
            let now = context.now();
            if actor.alarm.rings(number)
                && actor
                    .machine
                    .deadline(now)
                    .is_some_and(|at| at <= now.monotonic)
            {
                actor.input(tenure, context, Input::Tick);
            }
        });
    }

    pub(crate) fn handled(&mut self, context: &mut Context<'_>, address: &Address) {
        self.with_actor(context, address, Actor::handled);
    }

    /// A part of a commit is done or has failed: sends the next part, or tells the machine.
    pub(crate) fn staged(
        &mut self,
        context: &mut Context<'_>,
        address: &Address,
        number: u64,
        staged: Staged,
    ) {
        let is_over = staged != Staged::Done || self.tenure_of(address).is_none();
        if !is_over && !context.world.next_stage(number) {
            return;
        }
        let Some(commit) = context.world.forget_commit(number) else {
            return;
        };
        let input = Input::Committed {
            ticket: commit.ticket,
            result: outcome(staged),
        };
        self.input(context, address, input);
    }
}
