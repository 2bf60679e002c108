//! One partition in one process: its lease, and whether it is hosted.

use std::sync::Arc;
use std::time::Duration;

use kindred_domain::hosting::Hosting;
use kindred_domain::lease::{LeaseEffect, LeaseInput, LeaseMachine, LeaseTimes, Wish};
use kindred_domain::store::{Epoch, Partition};
use kindred_query::{DomainView, Term};
use kindred_shared::{DomainName, ModelName};

use crate::database::Question;
use crate::invariants::{Invariant, violated};
use crate::mutations::Mutation;
use crate::process::{Alarm, Context, Message};
use crate::tenure::Tenure;

/// Whether this process owns a partition.
#[derive(Debug, Clone)]
pub(crate) enum Ownership {
    Owned(Epoch, Arc<Term>),
    Lost,
    HandedOver,
}

/// One partition in one process.
pub(crate) struct Seat {
    pub(crate) partition: Partition,
    pub(crate) lease: LeaseMachine,
    /// The latest request, until it is answered.
    asked: Option<u64>,
    questions: u64,
    pub(crate) term: Arc<Term>,
    alarm: Alarm,
    /// When the latest message to the host arrives; later ones do not overtake it.
    told_at: Duration,
    /// How often the host was sent the ownership, and how often it received it.
    told: u64,
    pub(crate) heard: u64,
    pub(crate) hosting: Hosting,
    pub(crate) host_alarm: Alarm,
    /// The term of the latest ownership that the host received.
    pub(crate) hosted_for: Arc<Term>,
    /// The host's latest request, until it is answered.
    pub(crate) opening: Option<u64>,
    pub(crate) reading: Option<u64>,
    pub(crate) tenure: Option<Tenure>,
}

impl Seat {
    pub(crate) fn start(context: &mut Context<'_>, partition: Partition, wish: Wish) -> Self {
        let name = context.me.name.clone();
        let (lease, todo) =
            LeaseMachine::start(name.clone(), name, false, LeaseTimes::default(), wish);
        let mut seat = Self {
            partition,
            lease,
            asked: None,
            questions: 0,
            term: Arc::default(),
            alarm: Alarm::default(),
            told_at: Duration::ZERO,
            told: 0,
            heard: 0,
            hosting: Hosting::new(partition),
            host_alarm: Alarm::default(),
            hosted_for: Arc::default(),
            opening: None,
            reading: None,
            tenure: None,
        };
        seat.carry_out(context, todo);
        seat
    }

    /// The view of an active domain.
    pub(crate) fn view(&self, domain: &DomainName) -> Option<&DomainView> {
        self.tenure.as_ref()?.view(domain)
    }

    /// The views of an active domain's models beside the served one.
    pub(crate) fn views_beside(
        &self,
        domain: &DomainName,
    ) -> impl Iterator<Item = (&ModelName, &DomainView)> {
        let tenure = self.tenure.iter();
        tenure.flat_map(|tenure| tenure.views_beside(domain))
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.hosting.is_idle() || self.tenure.as_ref().is_some_and(Tenure::is_at_rest)
    }

    pub(crate) fn in_words(&self) -> String {
        let tenure = self.tenure.as_ref().map(Tenure::in_words);
        let owner = self.lease.owner();
        format!(
            "{:?} of {owner:?}, {}",
            self.partition,
            tenure.unwrap_or_default()
        )
    }

    pub(crate) fn wish(&mut self, context: &mut Context<'_>, wish: Wish) {
        self.lease_input(context, LeaseInput::Wished(wish));
    }

    pub(crate) fn lease_answered(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        input: LeaseInput,
    ) {
        // Only the answer to the latest request still matters.
        if self.asked != Some(number) {
            return;
        }
        self.asked = None;
        let input = match input {
            LeaseInput::Read(Some(mut row))
                if context.world.is_mutated(Mutation::LeaseTakenWhileAlive)
                    && row.owner != context.me.name =>
            {
                row.owner.clear();
                LeaseInput::Read(Some(row))
            }
            input => input,
        };
        self.lease_input(context, input);
    }

    pub(crate) fn lease_alarm(&mut self, context: &mut Context<'_>, number: u64) {
        if !self.alarm.rings(number) {
            return;
        }
        let now = context.me.clock(context.world.now);
        if self.lease.deadline().is_some_and(|at| at <= now) {
            self.lease_input(context, LeaseInput::Tick);
        } else {
            self.set_alarm(context);
        }
    }

    pub(crate) fn lease_input(&mut self, context: &mut Context<'_>, input: LeaseInput) {
        let now = context.me.clock(context.world.now);
        let todo = self.lease.handle(now, input);
        match self.lease.lasts_until() {
            Some(until) => {
                let more = if context.world.is_mutated(Mutation::TermTooLong) {
                    Duration::from_secs(10)
                } else {
                    Duration::ZERO
                };
                let until = context.me.of_terms(context.world, until + more);
                self.term.extend(until);
            }
            None => {
                self.term.end();
                // Views of this ownership are not valid any more, even if there is a next one.
                self.term = Arc::default();
            }
        }
        self.carry_out(context, todo);
    }

    fn carry_out(&mut self, context: &mut Context<'_>, todo: Vec<LeaseEffect>) {
        for effect in todo {
            match effect {
                LeaseEffect::Read | LeaseEffect::Look => self.ask(context, Question::Read),
                LeaseEffect::Set { expected, wanted } => self.set(context, expected, wanted),
                LeaseEffect::Own(epoch) => {
                    let term = Arc::clone(&self.term);
                    self.tell_host(context, Ownership::Owned(epoch, term));
                }
                LeaseEffect::Disown => self.tell_host(context, Ownership::Lost),
                LeaseEffect::HandOver => {
                    if context.world.is_mutated(Mutation::HandedOverEarly) {
                        let delay = Duration::from_millis(1);
                        let let_go = Message::LetGo(self.partition);
                        context.world.tell(context.me.id, delay, let_go);
                        self.told_at = context.world.now + Duration::from_secs(3);
                    }
                    self.tell_host(context, Ownership::HandedOver);
                }
            }
        }
        self.set_alarm(context);
    }

    fn set(
        &mut self,
        context: &mut Context<'_>,
        mut expected: Option<kindred_domain::store::Lease>,
        mut wanted: kindred_domain::store::Lease,
    ) {
        let current = || context.world.database.leases.get(&self.partition).cloned();
        if context.world.is_mutated(Mutation::LeaseTakenWhileAlive) {
            expected = current();
        }
        let takes = expected
            .as_ref()
            .is_some_and(|old| old.owner != wanted.owner);
        if context.world.is_mutated(Mutation::EpochNotRaised)
            && takes
            && let Some(expected) = &expected
        {
            wanted.epoch = expected.epoch;
        }
        if wanted.is_vacant() && self.tenure.is_some() {
            let detail = format!(
                "{} hands {:?} over and still hosts it",
                context.me.name, self.partition
            );
            context.world.check(violated(Invariant::OneWriter, detail));
        }
        self.ask(context, Question::Set { expected, wanted });
    }

    fn ask(&mut self, context: &mut Context<'_>, question: Question) {
        self.questions += 1;
        self.asked = Some(self.questions);
        let (id, partition, number) = (context.me.id, self.partition, self.questions);
        context.world.ask_lease(id, partition, number, question);
    }

    fn set_alarm(&mut self, context: &mut Context<'_>) {
        if let Some(at) = self.lease.deadline()
            && let Some(number) = self.alarm.set(at, context.world)
        {
            let at = context.me.at(at);
            let alarm = Message::LeaseAlarm(self.partition, number);
            context.world.tell_at(context.me.id, at, alarm);
        }
    }

    /// Sends a message to the host, which may be busy.
    fn tell_host(&mut self, context: &mut Context<'_>, ownership: Ownership) {
        if let Ownership::Owned(epoch, _) = &ownership {
            let (partition, name) = (self.partition, context.me.name.clone());
            let earlier = context
                .world
                .books
                .owners
                .insert((partition, *epoch), name.clone());
            if let Some(earlier) = earlier {
                let detail = format!("{earlier} and {name} own {partition:?} at {epoch:?}");
                context.world.check(violated(Invariant::OneWriter, detail));
            }
        }
        let mut delay = context.world.latency();
        if context.world.goes_wrong(4) {
            delay += Duration::from_millis(context.world.dice.roll(1_500));
        }
        let at = (context.world.now + delay).max(self.told_at + Duration::from_micros(1));
        self.told_at = at;
        self.told += 1;
        let message = Message::Ownership(self.partition, self.told, ownership);
        context.world.tell_at(context.me.id, at, message);
    }

    fn tenure(&mut self, number: u64) -> Option<&mut Tenure> {
        self.tenure
            .as_mut()
            .filter(|tenure| tenure.number == number)
    }

    pub(crate) fn look(&mut self, context: &mut Context<'_>, number: u64) {
        if let Some(tenure) = self.tenure(number) {
            tenure.look(context);
        }
    }

    pub(crate) fn connect(&mut self, context: &mut Context<'_>, number: u64) {
        if let Some(tenure) = self.tenure(number) {
            tenure.connect(context);
        }
    }
}
