//! A hosted partition: its domains, active and asleep, and its intake.

use std::sync::Arc;
use std::time::Duration;

use kindred_domain::intake::DeliveryTag;
use kindred_domain::machine::Tenure as Ownership;
use kindred_domain::registry::{Registry, is_idle};
use kindred_domain::store::{DomainRow, Epoch, Partition, Stamp};
use kindred_query::{DomainView, Term};
use kindred_shared::event::Event;
use kindred_shared::{DomainName, ModelName};

use crate::actor::Actor;
use crate::invariants::{Invariant, violated};
use crate::mutations::Mutation;
use crate::process::{Address, Context, Message};
use crate::reader::QueueReader;
use crate::seat::Seat;

/// How often to look for idle domains.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a domain must have been idle before it sleeps.
const IDLE_AFTER: Duration = Duration::from_secs(3);
/// Number of dirty domains that are opened at a time.
const OPENED: usize = 2;

/// The state of a hosted partition.
pub(crate) struct Tenure {
    pub(crate) number: u64,
    pub(crate) partition: Partition,
    epoch: Epoch,
    seq: u32,
    term: Arc<Term>,
    pub(crate) reader: QueueReader,
    pub(crate) is_handing_over: bool,
    /// Whether events are processed.
    pub(crate) serves: bool,
    pub(crate) registry: Registry<Actor>,
}

impl Tenure {
    pub(crate) fn begin(
        context: &mut Context<'_>,
        partition: Partition,
        epoch: Epoch,
        term: Arc<Term>,
    ) -> Self {
        let number = context.world.number();
        let mut tenure = Self {
            number,
            partition,
            epoch,
            seq: 0,
            term,
            reader: QueueReader::new(),
            is_handing_over: false,
            serves: false,
            registry: Registry::new(OPENED),
        };
        tenure.connect(context);
        let look = Message::Look(partition, number);
        context.world.tell(context.me.id, LOOK_EVERY, look);
        tenure
    }

    pub(crate) fn view(&self, domain: &DomainName) -> Option<&DomainView> {
        Some(&self.registry.get(domain)?.view)
    }

    /// The views of models beside the served one that queries may use.
    pub(crate) fn views_beside(
        &self,
        domain: &DomainName,
    ) -> impl Iterator<Item = (&ModelName, &DomainView)> {
        let actor = self.registry.get(domain).into_iter();
        actor.flat_map(|actor| actor.kept.views())
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        let mut active = self.registry.active();
        let are_clean = active.all(|(_, actor)| actor.machine.may_sleep());
        self.serves && !self.registry.has_to_load() && are_clean
    }

    pub(crate) fn in_words(&self) -> String {
        let active = self.registry.active();
        let active: Vec<String> = active
            .map(|(name, actor)| format!("{name} {:?}", actor.machine.status()))
            .collect();
        format!("epoch {}, serves {}, {active:?}", self.epoch.0, self.serves)
    }

    /// Processes the domains that the store has: dirty ones are loaded now, others wake when their time comes.
    pub(crate) fn resume(&mut self, context: &mut Context<'_>, rows: Vec<DomainRow>) {
        self.registry.resume(rows);
        self.load_some(context);
    }

    /// Starts to process events.
    pub(crate) fn serve(&mut self, context: &mut Context<'_>) {
        self.serves = true;
        self.hand_over(context);
    }

    fn load_some(&mut self, context: &mut Context<'_>) {
        let is_loading = |actor: &Actor| !actor.machine.is_served();
        for domain in self.registry.load_some(is_loading) {
            self.wake(context, &domain);
        }
    }

    /// Wakes the driver of a domain if it sleeps.
    pub(crate) fn wake(&mut self, context: &mut Context<'_>, domain: &DomainName) {
        if self.registry.get(domain).is_some() {
            return;
        }
        let address = Address {
            process: context.me.id,
            partition: self.partition,
            domain: domain.clone(),
            actor: context.world.number(),
            beside: None,
        };
        let ownership = Ownership {
            domain: domain.clone(),
            partition: self.partition,
            epoch: self.epoch,
        };
        let now = context.me.clock(context.world.now);
        let (actor, effects) = Actor::start(address, ownership, Arc::clone(&self.term), now);
        self.registry.woke(domain.clone(), actor);
        self.with(context, domain, |actor, tenure, context| {
            actor.perform(tenure, context, effects);
        });
    }

    /// Takes the driver out while it does something, during which it may end.
    pub(crate) fn with(
        &mut self,
        context: &mut Context<'_>,
        domain: &DomainName,
        does: impl FnOnce(&mut Actor, &mut Self, &mut Context<'_>),
    ) {
        let Some(mut actor) = self.registry.ended(domain) else {
            return;
        };
        does(&mut actor, self, context);
        if actor.has_ended {
            actor.abandon(context);
        } else {
            actor.set_alarm(context);
            self.registry.woke(domain.clone(), actor);
        }
        context.dispatch();
    }

    /// Delivers an event to its domain.
    pub(crate) fn deliver(
        &mut self,
        context: &mut Context<'_>,
        tag: DeliveryTag,
        event: Arc<Event>,
    ) {
        let domain = event.domain().clone();
        self.wake(context, &domain);
        self.with(context, &domain, |actor, tenure, context| {
            actor.deliver(tenure, context, tag, event);
        });
    }

    /// Whether this process is certain that it owns the partition.
    pub(crate) fn is_certain(&self, context: &Context<'_>) -> bool {
        let clock = context.me.clock(context.world.now);
        self.term.lasts(context.me.of_terms(context.world, clock))
    }

    /// The next stamp, strictly above all previous ones.
    pub(crate) fn stamp(&mut self, context: &mut Context<'_>) -> Option<Stamp> {
        if self.seq >= context.world.shape.stamps {
            let exhausted = Message::Exhausted(self.partition);
            context
                .world
                .tell(context.me.id, Duration::from_micros(10), exhausted);
            return None;
        }
        let stamp = Stamp::new(self.epoch, self.seq);
        if !context.world.is_mutated(Mutation::StampsStandStill) {
            self.seq += 1;
        }
        let writer = context.me.name.clone();
        let is_certain = self.is_certain(context);
        if let Some(stamp) = stamp {
            let books = &mut context.world.books;
            if let Err(highest) = books.stamped(self.partition, stamp, is_certain) {
                let detail = format!(
                    "{writer} owns {:?} and writes with {stamp:?} after {highest:?}",
                    self.partition
                );
                context.world.check(violated(Invariant::OneWriter, detail));
            }
            let earlier = context
                .world
                .books
                .stamps
                .insert((self.partition, stamp), writer.clone());
            if let Some(earlier) = earlier.filter(|earlier| *earlier != writer) {
                let detail = format!("{earlier} and {writer} write with {stamp:?}");
                context.world.check(violated(Invariant::OneWriter, detail));
            }
        }
        stamp
    }

    /// Asks idle domains to sleep, and wakes those with an expired item.
    pub(crate) fn look(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        for domain in self.registry.expired(now.unix_ms) {
            self.wake(context, &domain);
        }
        self.load_some(context);
        // Sometimes memory is short.
        let idle_after = if context.world.dice.one_in(20) {
            Duration::ZERO
        } else {
            IDLE_AFTER
        };
        let is_idle = |actor: &Actor| {
            let unused_for = now.monotonic.saturating_sub(actor.used_at);
            is_idle(
                unused_for,
                idle_after,
                !actor.is_busy() && actor.machine.may_sleep(),
            )
        };
        let active = self.registry.active();
        let idle = active.filter(|(_, actor)| is_idle(actor));
        let idle: Vec<DomainName> = idle.map(|(domain, _)| domain.clone()).collect();
        for domain in idle {
            let actor = self.registry.get(&domain);
            let next_expiry = actor.and_then(|actor| actor.machine.next_expiry());
            if let Some(actor) = self.registry.asleep(domain, next_expiry) {
                actor.abandon(context);
            }
        }
        let look = Message::Look(self.partition, self.number);
        context.world.tell(context.me.id, LOOK_EVERY, look);
    }

    /// The epoch was raised: every domain starts again from the store.
    pub(crate) fn raise(&mut self, context: &mut Context<'_>, epoch: Epoch) {
        if epoch > self.epoch {
            (self.epoch, self.seq) = (epoch, 0);
        }
        self.halt(context);
    }

    fn halt(&mut self, context: &mut Context<'_>) {
        for (_, mut actor) in self.registry.drain() {
            actor.halt(self, context);
            actor.abandon(context);
        }
        context.dispatch();
    }

    pub(crate) fn end(mut self, context: &mut Context<'_>) {
        self.reader.end(context);
        self.halt(context);
    }
}

impl Seat {
    /// The tenure with this driver, if the driver is still the current one.
    pub(crate) fn tenure_of(&mut self, address: &Address) -> Option<&mut Tenure> {
        let tenure = self.tenure.as_mut()?;
        let actor = tenure.registry.get(&address.domain)?;
        let is_there = actor.address.actor == address.actor || actor.kept.knows(address);
        is_there.then_some(tenure)
    }
}
