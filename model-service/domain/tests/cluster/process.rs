//! A process: one start of a model service, on one machine, with its own clock. Like the actors, it drives the state
//! machines of the domain crate.

use std::time::Duration;

use kindred_domain::dispatch::{JobId, Returned, Undone};
use kindred_domain::effect::{Input, Passed, Ticket};
use kindred_domain::extraction::PieceId;
use kindred_domain::intake::Failure;
use kindred_domain::lease::{LeaseInput, LeaseTimes, Wish};
use kindred_domain::material::Material;
use kindred_domain::models::ModelReport;
use kindred_domain::sharing::share;
use kindred_domain::store::{DomainRow, Partition};
use kindred_domain::time::Now;
use kindred_query::DomainView;
use kindred_shared::{DomainName, Feature, ModelName};

use crate::broker::{Letter, LinkId};
use crate::clocks::Clocks;
use crate::database::{Reading, Staged};
use crate::mail::Arrival;
use crate::mutations::Mutation;
use crate::seat::{Ownership, Seat};
use crate::workers::Dispatcher;
use crate::world::World;

/// One start of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcessId(pub(crate) u64);

/// The driver of one domain's machine in one process; answers are sent only to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) process: ProcessId,
    pub(crate) partition: Partition,
    pub(crate) domain: DomainName,
    /// Distinguishes the drivers of a domain.
    pub(crate) actor: u64,
    /// The name and kind of its model, if it is beside the served one.
    pub(crate) beside: Option<(ModelName, ModelName)>,
}

/// A message to a process.
#[derive(Debug)]
pub(crate) enum Message {
    LeaseAnswered(Partition, u64, LeaseInput),
    LeaseAlarm(Partition, u64),
    LetGo(Partition),
    Exhausted(Partition),
    Ownership(Partition, u64, Ownership),
    IntakeOpened(Partition, u64, bool),
    DomainsRead(Partition, u64, Option<Vec<DomainRow>>),
    HostAlarm(Partition, u64),
    Look(Partition, u64),
    Connect(Partition, u64),
    Delivered(Partition, LinkId, u64, Letter),
    LinkLost(Partition, LinkId),
    Rewind(Partition, LinkId),
    Died(Partition, LinkId, u64),
    Share,
    Instances(Option<Vec<String>>),
    Input(Address, Input),
    Alarm(Address, u64),
    Handled(Address),
    /// Changes for the driver of a model beside the served one.
    Follow(Address, u64, Vec<Passed>),
    /// To the driver of the served model, from another one.
    Told(Address, Address, ModelReport),
    /// The drivers that a chore waited for are ready.
    Chore(Address),
    Staged(u64, Staged),
    Material(Address, Ticket, Result<Vec<Material>, Failure>),
    Features(Address, Ticket, PieceId, Result<Vec<Feature>, Undone>),
    Replied(Returned),
    NotSent(JobId),
    DispatchAlarm(u64),
    Exit,
}

/// The identity and clocks of a process.
#[derive(Debug, Clone)]
pub(crate) struct Me {
    pub(crate) id: ProcessId,
    pub(crate) name: String,
    started: Duration,
    clocks: Clocks,
}

impl Me {
    /// Its monotonic clock, at a moment of the world.
    pub(crate) fn clock(&self, now: Duration) -> Duration {
        self.clocks.shown(now - self.started) + Duration::from_secs(1)
    }

    /// The first moment of the world at which its monotonic clock shows this time.
    pub(crate) fn at(&self, clock: Duration) -> Duration {
        let shown = clock.saturating_sub(Duration::from_secs(1));
        self.clocks.passed(shown).saturating_add(self.started)
    }

    /// The same, for the clock by which it knows how long its ownership lasts.
    pub(crate) fn of_terms(&self, world: &World, clock: Duration) -> Duration {
        if world.is_mutated(Mutation::TermsByWallClock) {
            let ahead = Duration::from_millis(self.clocks.ahead_ms.unsigned_abs());
            let clock = clock + Duration::from_secs(3_600);
            return match self.clocks.ahead_ms {
                ..0 => clock - ahead,
                0.. => clock + ahead,
            };
        }
        clock
    }
}

/// An alarm. Setting it to an earlier time cancels the previous setting.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<(Duration, u64)>);

impl Alarm {
    /// Sets the alarm; returns its number, or `None` if it is already set to the same time or earlier.
    pub(crate) fn set(&mut self, at: Duration, world: &mut World) -> Option<u64> {
        if self.0.is_some_and(|(set, _)| set <= at) {
            return None;
        }
        let number = world.number();
        self.0 = Some((at, number));
        Some(number)
    }

    /// Whether this is the current alarm, which is then no longer set.
    pub(crate) fn rings(&mut self, number: u64) -> bool {
        self.0.take_if(|(_, set)| *set == number).is_some()
    }
}

/// The state with which a driver works.
pub(crate) struct Context<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) me: &'a Me,
    pub(crate) jobs: &'a mut Dispatcher,
}

impl Context<'_> {
    /// Both its clocks.
    pub(crate) fn now(&self) -> Now {
        Now {
            monotonic: self.me.clock(self.world.now),
            unix_ms: self.world.wall() + self.me.clocks.ahead_ms,
        }
    }
}

/// One start of a model service.
pub(crate) struct Process {
    pub(crate) me: Me,
    jobs: Dispatcher,
    seats: Vec<Seat>,
    /// Messages that arrived while it was frozen.
    pub(crate) deferred: Vec<Arrival>,
    pub(crate) frozen_until: Option<Duration>,
    is_stopping: bool,
}

impl Process {
    /// Starts a process.
    pub(crate) fn start(world: &mut World, id: ProcessId, clocks: Clocks) -> Self {
        let me = Me {
            id,
            name: format!("process-{:03}", id.0),
            started: world.now,
            clocks,
        };
        let wish = if world.shape.partitions > 1 {
            Wish::Wait
        } else {
            Wish::Have
        };
        let mut jobs = Dispatcher::new();
        let mut seats = Vec::new();
        let mut context = Context {
            world,
            me: &me,
            jobs: &mut jobs,
        };
        for partition in (0..context.world.shape.partitions).map(Partition) {
            seats.push(Seat::start(&mut context, partition, wish));
        }
        if world.shape.partitions > 1 {
            world.tell(id, Duration::from_millis(1), Message::Share);
        }
        Self {
            me,
            jobs,
            seats,
            deferred: Vec::new(),
            frozen_until: None,
            is_stopping: false,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.me.name
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Its wall clock.
    pub(crate) fn wall(&self, world: &World) -> i64 {
        world.wall() + self.me.clocks.ahead_ms
    }

    /// Sets its wall clock.
    pub(crate) fn set_clock(&mut self, ahead_ms: i64) {
        self.me.clocks.ahead_ms = ahead_ms;
    }

    fn clock_of_terms(&self, world: &World) -> Duration {
        self.me.of_terms(world, self.me.clock(world.now))
    }

    /// Whether it is certain that no other process can own the partition.
    pub(crate) fn is_certain_of(&self, world: &World, partition: Partition) -> bool {
        let seat = &self.seats[usize::from(partition.0)];
        seat.term.lasts(self.clock_of_terms(world))
    }

    /// The view of a domain, if the process is certain that it may use it.
    pub(crate) fn view(&self, world: &World, domain: &DomainName) -> Option<&DomainView> {
        let seat = &self.seats[usize::from(world.partition_of(domain).0)];
        let view = seat.view(domain)?;
        let lasts = view.term().lasts(self.clock_of_terms(world));
        lasts.then_some(view)
    }

    /// The views of other models that queries may use, under the same condition.
    pub(crate) fn views_beside<'a>(
        &'a self,
        world: &World,
        domain: &'a DomainName,
    ) -> impl Iterator<Item = (&'a ModelName, &'a DomainView)> {
        let seat = &self.seats[usize::from(world.partition_of(domain).0)];
        let clock = self.clock_of_terms(world);
        let views = seat.views_beside(domain);
        views.filter(move |(_, view)| view.term().lasts(clock))
    }

    /// Whether all its domains are idle, and nothing is in progress.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.seats.iter().all(Seat::is_at_rest)
    }

    /// Whether it hosts the partition.
    pub(crate) fn hosts(&self, world: &World, partition: Partition) -> bool {
        let seat = &self.seats[usize::from(partition.0)];
        self.is_certain_of(world, partition) && seat.tenure.is_some()
    }

    /// The state of its partitions, for debugging histories that do not end.
    pub(crate) fn in_words(&self) -> String {
        let seats: Vec<String> = self.seats.iter().map(Seat::in_words).collect();
        format!("{}: {}", self.me.name, seats.join("; "))
    }

    /// Hands its partitions over, and ends.
    pub(crate) fn stop(&mut self, world: &mut World) {
        self.is_stopping = true;
        let (me, jobs) = (&self.me, &mut self.jobs);
        let mut context = Context { world, me, jobs };
        for seat in &mut self.seats {
            seat.wish(&mut context, Wish::Leave);
        }
        world.tell(self.me.id, Duration::from_secs(3), Message::Exit);
    }

    /// Processes a message.
    pub(crate) fn handle(&mut self, world: &mut World, message: Message) {
        let (me, jobs) = (&self.me, &mut self.jobs);
        let mut context = Context { world, me, jobs };
        let context = &mut context;
        let seats = &mut self.seats;
        match message {
            Message::LeaseAnswered(partition, number, input) => {
                seat(seats, partition).lease_answered(context, number, input);
            }
            Message::LeaseAlarm(partition, number) => {
                seat(seats, partition).lease_alarm(context, number);
            }
            Message::LetGo(partition) => {
                seat(seats, partition).lease_input(context, LeaseInput::LetGo);
            }
            Message::Exhausted(partition) => {
                seat(seats, partition).lease_input(context, LeaseInput::Exhausted);
            }
            Message::Ownership(partition, number, ownership) => {
                seat(seats, partition).owned(context, number, ownership);
            }
            Message::IntakeOpened(partition, number, is_open) => {
                seat(seats, partition).intake_opened(context, number, is_open);
            }
            Message::DomainsRead(partition, number, rows) => {
                seat(seats, partition).domains_read(context, number, rows);
            }
            Message::HostAlarm(partition, number) => {
                seat(seats, partition).host_alarm(context, number);
            }
            Message::Look(partition, number) => seat(seats, partition).look(context, number),
            Message::Connect(partition, number) => seat(seats, partition).connect(context, number),
            Message::Delivered(partition, link, tag, letter) => {
                seat(seats, partition).delivered(context, link, tag, letter);
            }
            Message::LinkLost(partition, link) => seat(seats, partition).link_lost(context, link),
            Message::Rewind(partition, link) => seat(seats, partition).rewind(context, link),
            Message::Died(partition, link, tag) => seat(seats, partition).died(context, link, tag),
            Message::Share if self.is_stopping => {}
            Message::Share => {
                let times = LeaseTimes::default();
                let until = context.world.now + times.take;
                let names = &mut context.world.database.instances;
                names.insert(context.me.name.clone(), until);
                context.world.read(Reading::Instances(context.me.id));
                context
                    .world
                    .tell(context.me.id, times.look(), Message::Share);
            }
            Message::Instances(Some(instances)) if !self.is_stopping => {
                let owners: Vec<Option<String>> = seats
                    .iter()
                    .map(|seat| seat.lease.owner().map(str::to_owned))
                    .collect();
                let share = share(&context.me.name, &instances, &owners);
                for ((partition, owner), seat) in (0..).map(Partition).zip(&owners).zip(seats) {
                    let wish = share.wish(&context.me.name, partition, owner.as_deref());
                    seat.wish(context, wish);
                }
            }
            Message::Instances(_) => {}
            Message::Input(address, input) => {
                seat(seats, address.partition).input(context, &address, input);
            }
            Message::Alarm(address, number) => {
                seat(seats, address.partition).alarm(context, &address, number);
            }
            Message::Handled(address) => seat(seats, address.partition).handled(context, &address),
            Message::Follow(address, number, passed) => {
                seat(seats, address.partition).follow(context, &address, number, passed);
            }
            Message::Told(address, by, report) => {
                seat(seats, address.partition).told(context, &address, &by, report);
            }
            Message::Chore(address) => seat(seats, address.partition).chore(context, &address),
            Message::Staged(number, staged) => {
                let Some(address) = context.world.committer(number).cloned() else {
                    return;
                };
                seat(seats, address.partition).staged(context, &address, number, staged);
            }
            Message::Material(address, ticket, found) => {
                seat(seats, address.partition).material(context, &address, ticket, found);
            }
            Message::Features(address, ticket, piece, result) => {
                seat(seats, address.partition).features(context, &address, ticket, piece, result);
            }
            Message::Replied(returned) => context.replied(returned),
            Message::NotSent(id) => context.not_sent(id),
            Message::DispatchAlarm(number) => context.dispatch_alarm(number),
            Message::Exit => {
                let name = context.me.name.clone();
                context.world.database.instances.remove(&name);
                context.world.exits = true;
            }
        }
        if self.is_stopping && self.seats.iter().all(|seat| seat.lease.is_away()) {
            let at = world.now + Duration::from_millis(1);
            world.tell_at(self.me.id, at, Message::Exit);
        }
    }
}

fn seat(seats: &mut [Seat], partition: Partition) -> &mut Seat {
    &mut seats[usize::from(partition.0)]
}
