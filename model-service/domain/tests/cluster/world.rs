//! The world: virtual time, the order of events, and faults. One seed is one history.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kindred_domain::intake::unacked::Ack;
use kindred_domain::store::Partition;
use kindred_shared::DomainName;

use crate::broker::{Broker, Letter, LinkId};
use crate::clients::Books;
use crate::clocks::{self, Clocks};
use crate::database::{Database, LeaseRequest, Reading, Row};
use crate::faults::{Faults, Shape};
use crate::invariants::{
    Checked, Invariant, Violation, after_step, at_the_end, clean_is_exact, gone_means_gone,
    violated,
};
use crate::mail::{Arrival, Mail};
use crate::mutations::Mutation;
use crate::process::{Message, Process, ProcessId};
use crate::simulated::dice::Dice;
use crate::workers::Work;

/// How long it takes until the broker considers the connection of a frozen process dead.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Time within which everything must be exact and clean once faults have ended: an event that kills processes may do so
/// ten times until then.
const CONVERGED: Duration = Duration::from_secs(600);
/// Time until everything late has arrived, and every item that expires has expired.
const LATE: Duration = Duration::from_secs(25);
/// Most deaths of processes in a history: an event that was in hand at ten deaths is dead-lettered.
/// dead-lettered.
const DEATHS: u32 = 9;

/// Something that happens at a certain time.
#[derive(Debug)]
#[expect(clippy::large_enum_variant)] // there are few at a time
pub(crate) enum Happening {
    Arrival(ProcessId, Arrival),
    Boot(usize),
    Thaw(usize, ProcessId),
    Mischief,
    Publish,
    Enqueue(Letter),
    Lease(LeaseRequest),
    Row(Row),
    Fence(u64),
    Read(Reading),
    Consume {
        link: LinkId,
        process: ProcessId,
        partition: Partition,
        prefetch: usize,
    },
    Acknowledge(LinkId, Ack),
    Close(LinkId),
    Heartbeat(LinkId, ProcessId),
    Work(Work),
}

/// A machine, and the process that runs on it.
struct Machine {
    process: Option<Process>,
    /// The running process, even while it is being driven.
    runs: Option<ProcessId>,
    clocks: Clocks,
}

impl Machine {
    fn new(dice: &mut Dice) -> Self {
        Self {
            process: None,
            runs: None,
            clocks: Clocks::of(dice),
        }
    }

    /// Sets the wall clock, also for a frozen process.
    fn set_clock(&mut self, ahead_ms: i64) {
        self.clocks.ahead_ms = ahead_ms;
        if let Some(process) = &mut self.process {
            process.set_clock(ahead_ms);
        }
    }
}

/// The outcome of a history.
#[derive(Debug, Clone)]
pub(crate) struct HistorySummary {
    pub(crate) steps: u64,
    /// Equal for equal histories.
    pub(crate) trace: u64,
    pub(crate) deaths: u32,
    /// How often another model came to be served.
    pub(crate) swaps: u64,
    pub(crate) epochs: usize,
    pub(crate) dead_letters: usize,
}

/// The state of the whole simulation.
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) now: Duration,
    agenda: BTreeMap<(Duration, u64), Happening>,
    mail: Mail,
    numbers: u64,
    pub(crate) shape: Shape,
    pub(crate) faults: Faults,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) database: Database,
    pub(crate) broker: Broker,
    pub(crate) workers_away_until: Duration,
    machines: Vec<Machine>,
    pub(crate) books: Books,
    /// The process that is being driven ends.
    pub(crate) exits: bool,
    is_calm: bool,
    deaths: u32,
    /// How often another model came to be served.
    pub(crate) swaps: u64,
    rows_on_their_way: usize,
    /// Domains whose views changed, or of which a delivery was settled, in this step.
    pub(crate) served: BTreeSet<DomainName>,
    touched: BTreeSet<DomainName>,
    violation: Option<Violation>,
    trace: u64,
    steps: u64,
    tells: bool,
}

impl World {
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>, tells: bool) -> Self {
        let mut dice = Dice::new(seed);
        let shape = Shape::of(&mut dice);
        let mut faults = Faults::of(&mut dice);
        if shape.is_large() && dice.one_in(2) {
            faults = faults.without_reloads();
        }
        if shape.models > 0 {
            // That an item could not be processed is only known of the served model.
            faults.unable = 0;
        }
        let machines = (0..shape.machines).map(|_| Machine::new(&mut dice));
        let machines = machines.collect();
        let mut world = Self {
            dice,
            now: Duration::from_secs(1_000),
            agenda: BTreeMap::new(),
            mail: Mail::default(),
            numbers: 0,
            shape,
            faults,
            mutation,
            database: Database::default(),
            broker: Broker::default(),
            workers_away_until: Duration::ZERO,
            machines,
            books: Books::default(),
            exits: false,
            is_calm: false,
            deaths: 0,
            swaps: 0,
            rows_on_their_way: 0,
            served: BTreeSet::new(),
            touched: BTreeSet::new(),
            violation: None,
            trace: 0xcbf2_9ce4_8422_2325,
            steps: 0,
            tells,
        };
        if tells {
            println!("{:?} {:?}", world.shape, world.faults);
        }
        for machine in 0..world.shape.machines {
            let delay = Duration::from_millis(world.dice.roll(3_000));
            world.after(delay, Happening::Boot(machine));
        }
        world.after(Duration::ZERO, Happening::Publish);
        world.plan_mischief();
        world
    }

    /// Runs a history: first with faults, then without, until everything converges.
    pub(crate) fn run(mut self) -> Result<HistorySummary, Violation> {
        let begun = self.now;
        while self.now < begun + self.shape.trouble {
            self.step()?;
        }
        self.calm();
        let calm = self.now;
        while !(self.now > calm + LATE && self.is_settled()) {
            self.step()?;
            if self.now > calm + CONVERGED {
                let processes: Vec<String> = self.processes().map(Process::in_words).collect();
                let detail = format!(
                    "after {CONVERGED:?} of calm; queues done {}, {} rows and {} events on their way, {processes:#?}",
                    self.broker.is_empty(),
                    self.rows_on_their_way,
                    self.books.on_their_way
                );
                violated(Invariant::ConvergesUnaided, detail)?;
            }
        }
        at_the_end(&self)?;
        Ok(HistorySummary {
            steps: self.steps,
            trace: self.trace,
            deaths: self.deaths,
            swaps: self.swaps,
            epochs: self.books.owners.len(),
            dead_letters: self.books.dead_letters,
        })
    }

    /// Lets the next thing happen.
    fn step(&mut self) -> Checked {
        let Some(((at, _), happening)) = self.agenda.pop_first() else {
            return violated(
                Invariant::NeverBlocked,
                "nothing is to happen any more".to_owned(),
            );
        };
        self.now = at;
        self.steps += 1;
        self.note(&happening);
        match happening {
            Happening::Arrival(process, arrival) => self.arrive(process, arrival),
            Happening::Boot(machine) => self.boot(machine),
            Happening::Thaw(machine, process) => self.thaw(machine, process),
            Happening::Mischief => self.mischief(),
            Happening::Publish if self.is_calm => {}
            Happening::Publish => self.publish(),
            Happening::Enqueue(letter) => self.enqueued(letter),
            Happening::Lease(asked) => self.lease(asked),
            Happening::Row(row) => {
                self.rows_on_their_way -= 1;
                self.row(row);
            }
            Happening::Fence(commit) => self.fence(commit),
            Happening::Read(reading) => self.reads(reading),
            Happening::Consume {
                link,
                process,
                partition,
                prefetch,
            } => self.consume(link, process, partition, prefetch),
            Happening::Acknowledge(link, ack) => self.acknowledged(link, ack),
            Happening::Close(link) => self.close(link),
            Happening::Heartbeat(link, process) => {
                if self.frozen_until(process).is_some() {
                    self.close(link);
                }
            }
            Happening::Work(work) => self.work(work),
        }
        self.check_step()
    }

    fn check_step(&mut self) -> Checked {
        let checked = after_step(self);
        self.check(checked);
        for domain in std::mem::take(&mut self.served) {
            for process in self
                .machines
                .iter()
                .filter_map(|machine| machine.process.as_ref())
            {
                let checked = gone_means_gone(self, process, &domain);
                if checked.is_err() {
                    self.check(checked);
                    break;
                }
            }
        }
        for domain in std::mem::take(&mut self.touched) {
            let tables = self.database.tables.get(&domain);
            let clean = tables.filter(|tables| {
                let row = tables.domain.get(&());
                row.is_some_and(|row| row.dirty.is_none()) && self.broker.is_done_with(&domain)
            });
            if let Some(tables) = clean {
                let checked = clean_is_exact(tables, &domain, self.shape.have_habits);
                self.check(checked);
            }
        }
        match self.violation.take() {
            Some(violation) => Err(violation),
            None => Ok(()),
        }
    }

    /// Records the first violation of a step.
    pub(crate) fn check(&mut self, checked: Checked) {
        if let (None, Err(violation)) = (&self.violation, checked) {
            self.violation = Some(violation);
        }
    }

    /// Rows of a domain changed.
    pub(crate) fn touched(&mut self, domain: &DomainName) {
        self.touched.insert(domain.clone());
    }

    /// Mixes what happens into the trace, and prints it if requested.
    fn note(&mut self, happening: &Happening) {
        let micros = u64::try_from(self.now.as_micros()).unwrap_or(u64::MAX);
        let (of_message, message) = match happening {
            Happening::Arrival(process, arrival) => {
                (process.0 + 16, self.mail.next(*process, arrival))
            }
            _ => (0, None),
        };
        let kind = message.map_or_else(|| discriminant(happening), discriminant);
        if self.tells {
            let at = self.now.as_secs_f64();
            match message {
                Some(message) => println!("{at:>12.6} {} {message:?}", of_message - 16),
                None => println!("{at:>12.6} {happening:?}"),
            }
        }
        for word in [
            micros,
            of_message,
            kind,
            self.dice.roll(u64::from(u32::MAX)),
        ] {
            self.trace = (self.trace ^ word).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(crate) fn at(&mut self, at: Duration, happening: Happening) {
        self.rows_on_their_way += usize::from(matches!(happening, Happening::Row(_)));
        let number = self.number();
        self.agenda.insert((at.max(self.now), number), happening);
    }

    pub(crate) fn after(&mut self, delay: Duration, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    pub(crate) fn tell(&mut self, process: ProcessId, delay: Duration, message: Message) {
        self.tell_at(process, self.now + delay, message);
    }

    pub(crate) fn tell_at(&mut self, process: ProcessId, at: Duration, message: Message) {
        let arrival = match self.is_mutated(Mutation::MailOvertakes) {
            true => Arrival::Alone(message),
            false => self.mail.post(process, message),
        };
        self.at(at, Happening::Arrival(process, arrival));
    }

    /// Whether a fault happens that has a chance of one in this many.
    pub(crate) fn goes_wrong(&mut self, once_in: u64) -> bool {
        once_in > 0 && !self.is_calm && self.dice.one_in(once_in)
    }

    pub(crate) fn latency(&mut self) -> Duration {
        if self.goes_wrong(self.faults.slow) {
            Duration::from_millis(self.dice.roll(3_000))
        } else {
            Duration::from_micros(300 + self.dice.roll(12_000))
        }
    }

    /// The true time, in ms since 1970.
    pub(crate) fn wall(&self) -> i64 {
        1_800_000_000_000 + i64::try_from(self.now.as_millis()).unwrap_or(i64::MAX)
    }

    pub(crate) fn domain_name(&self, number: u64) -> DomainName {
        DomainName::new(&format!("domain-{number}")).expect("a plain name")
    }

    pub(crate) fn domain_names(&self) -> Vec<DomainName> {
        (0..self.shape.domains)
            .map(|number| self.domain_name(number))
            .collect()
    }

    pub(crate) fn partition_of(&self, domain: &DomainName) -> Partition {
        let number = domain.as_str().bytes().last().unwrap_or_default();
        Partition(u16::from(number) % self.shape.partitions)
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.machines
            .iter()
            .filter_map(|machine| machine.process.as_ref())
    }

    /// Whether the process is running or frozen.
    pub(crate) fn is_there(&self, process: ProcessId) -> bool {
        self.machines
            .iter()
            .any(|machine| machine.runs == Some(process))
    }

    pub(crate) fn frozen_until(&self, process: ProcessId) -> Option<Duration> {
        let mut all = self.processes();
        all.find(|one| one.me.id == process)?.frozen_until
    }

    fn arrive(&mut self, id: ProcessId, arrival: Arrival) {
        let mut machines = self.machines.iter();
        let Some(machine) = machines.position(|machine| machine.runs == Some(id)) else {
            return;
        };
        let Some(mut process) = self.machines[machine].process.take() else {
            return;
        };
        if process.frozen_until.is_some() {
            process.deferred.push(arrival);
        } else if let Some(message) = self.mail.take(id, arrival) {
            process.handle(self, message);
        }
        self.machines[machine].process = Some(process);
        if std::mem::take(&mut self.exits) {
            self.end(machine);
        }
    }

    fn boot(&mut self, machine: usize) {
        if self.machines[machine].runs.is_some() {
            return;
        }
        let id = ProcessId(self.number());
        self.machines[machine].runs = Some(id);
        let process = Process::start(self, id, self.machines[machine].clocks);
        self.machines[machine].process = Some(process);
    }

    /// The process ends; another one is started later.
    fn end(&mut self, machine: usize) {
        let machine_ = &mut self.machines[machine];
        machine_.process = None;
        let Some(id) = machine_.runs.take() else {
            return;
        };
        self.mail.forget(id);
        for link in self.broker.links_of(id) {
            // The machine reports it, or its silence does.
            let delay = match self.dice.roll(4) {
                0 if !self.is_calm => HEARTBEAT,
                _ => self.latency(),
            };
            self.after(delay, Happening::Close(link));
        }
        let delay = Duration::from_millis(200 + self.dice.roll(6_000));
        self.after(delay, Happening::Boot(machine));
    }

    /// Whether the process that is being driven dies at this effect.
    pub(crate) fn dies_at_effect(&mut self) -> bool {
        if self.deaths < DEATHS && self.goes_wrong(self.faults.effect) {
            self.deaths += 1;
            self.exits = true;
        }
        self.exits
    }

    pub(crate) fn hang_up(&mut self, link: LinkId) {
        let delay = self.latency();
        self.after(delay, Happening::Close(link));
    }

    fn thaw(&mut self, machine: usize, id: ProcessId) {
        let Some(mut process) = self.machines[machine]
            .process
            .take_if(|one| one.me.id == id)
        else {
            return;
        };
        process.frozen_until = None;
        // Everything that came is there at once, and is processed in any order that mail allows.
        for arrival in process.deferred.drain(..) {
            let delay = Duration::from_micros(self.dice.roll(10_000));
            self.after(delay, Happening::Arrival(id, arrival));
        }
        self.machines[machine].process = Some(process);
    }

    fn plan_mischief(&mut self) {
        if self.faults.mischief > 0 {
            let delay = Duration::from_millis(self.dice.roll(2_000 * self.faults.mischief));
            self.after(delay, Happening::Mischief);
        }
    }

    fn mischief(&mut self) {
        if self.is_calm {
            return;
        }
        self.plan_mischief();
        let machine = self.dice.roll(self.shape.machines as u64) as usize;
        let seconds =
            |world: &mut Self, most: u64| Duration::from_millis(world.dice.roll(1_000 * most));
        match self.dice.roll(9) {
            0 if self.deaths < DEATHS => {
                self.deaths += 1;
                self.end(machine);
            }
            1 | 2 => self.freeze(machine),
            3 => {
                let Some(mut process) = self.machines[machine].process.take() else {
                    return;
                };
                if process.frozen_until.is_none() && !process.is_stopping() {
                    process.stop(self);
                }
                self.machines[machine].process = Some(process);
            }
            4 => {
                let links = self.broker.links();
                if !links.is_empty() {
                    let nth = self.dice.roll(links.len() as u64) as usize;
                    self.close(links[nth]);
                }
            }
            5 => {
                self.broker.away_until = self.now + seconds(self, 8);
                for link in self.broker.links() {
                    self.close(link);
                }
            }
            6 => self.database.away_until = self.now + seconds(self, 10),
            7 => self.machines[machine].set_clock(clocks::set(&mut self.dice)),
            _ => self.workers_away_until = self.now + seconds(self, 15),
        }
    }

    /// The process is frozen, and notices when it continues.
    fn freeze(&mut self, machine: usize) {
        let longest = if self.dice.one_in(2) { 3_000 } else { 20_000 };
        let until = self.now + Duration::from_millis(200 + self.dice.roll(longest));
        let now = self.now;
        let Some(process) = &mut self.machines[machine].process else {
            return;
        };
        if process.frozen_until.is_some() {
            return;
        }
        process.frozen_until = Some(until);
        let id = process.me.id;
        self.at(until, Happening::Thaw(machine, id));
        if until > now + HEARTBEAT {
            for link in self.broker.links_of(id) {
                self.at(now + HEARTBEAT, Happening::Heartbeat(link, id));
            }
        }
    }

    /// Ends all faults.
    fn calm(&mut self) {
        self.is_calm = true;
        self.broker.away_until = Duration::ZERO;
        self.database.away_until = Duration::ZERO;
        self.workers_away_until = Duration::ZERO;
        for machine in &mut self.machines {
            machine.set_clock(clocks::skew(&mut self.dice));
        }
    }

    /// Whether everything published is stored, listed and marked clean, and all partitions are hosted.
    fn is_settled(&self) -> bool {
        let is_clean = |tables: &crate::simulated::tables::Tables| {
            let row = tables.domain.get(&());
            row.is_none_or(|row| row.dirty.is_none())
        };
        self.broker.is_empty()
            && self.books.on_their_way == 0
            && self.rows_on_their_way == 0
            && self.database.tables.values().all(is_clean)
            && self
                .machines
                .iter()
                .all(|machine| machine.process.is_some())
            && self
                .processes()
                .all(|process| process.frozen_until.is_none() && process.is_at_rest())
            && (0..self.shape.partitions).map(Partition).all(|partition| {
                self.processes()
                    .any(|process| process.hosts(self, partition))
            })
    }
}

/// The variant of an enum value, as a number that is the same on all platforms.
fn discriminant(value: &impl std::fmt::Debug) -> u64 {
    struct Name(u64);
    impl std::fmt::Write for Name {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            for byte in text.bytes() {
                if byte == b'(' || byte == b' ' {
                    return Err(std::fmt::Error);
                }
                self.0 = self.0.wrapping_mul(31).wrapping_add(u64::from(byte));
            }
            Ok(())
        }
    }
    let mut name = Name(7);
    // It stops with an error after the name.
    let _ = std::fmt::Write::write_fmt(&mut name, format_args!("{value:?}"));
    name.0
}
