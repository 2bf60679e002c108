//! The database: rows by stamp, leases by compare-and-set, and requests that are lost, delayed, or carried out without
//! an answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kindred_domain::effect::{CommitFailure, Input, Ticket};
use kindred_domain::habits::Survey;
use kindred_domain::intake::Failure;
use kindred_domain::lease::LeaseInput;
use kindred_domain::material::Material;
use kindred_domain::mix::Mix;
use kindred_domain::models::Swept;
use kindred_domain::store::{
    Cas, DomainRow, Epoch, FeatureRow, ItemRow, Lease, Partition, Stamp, Write,
};
use kindred_shared::event::Event;
use kindred_shared::{DomainName, ItemId, ModelName};

use crate::invariants::{Invariant, list_written, log_is_whole, violated};
use crate::mutations::Mutation;
use crate::process::{Address, Message, ProcessId};
use crate::removals::removes;
use crate::simulated::reference::look;
use crate::simulated::tables::Tables;
use crate::world::{Happening, World};

/// When a request that is not answered counts as failed.
const DEADLINE: Duration = Duration::from_secs(4);
/// Rows per page.
const PAGE: usize = 5;

/// Everything that is stored.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) tables: BTreeMap<DomainName, Tables>,
    pub(crate) leases: BTreeMap<Partition, Lease>,
    /// Announced instances, and until when.
    pub(crate) instances: BTreeMap<String, Duration>,
    commits: BTreeMap<u64, Commit>,
    next_commit: u64,
    /// Until then, most requests fail.
    pub(crate) away_until: Duration,
}

/// A commit in flight, from the view of its sender.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) by: Address,
    pub(crate) ticket: Ticket,
    pub(crate) process: ProcessId,
    pub(crate) epoch: Epoch,
    pub(crate) stamp: Stamp,
    /// What remains to be done, in order.
    stages: VecDeque<Stage>,
    unanswered: usize,
}

#[derive(Debug)]
enum Stage {
    Rows(Vec<Write>),
    Fence,
}

/// The outcome of a part of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Staged {
    Done,
    Failed,
    Superseded,
}

/// A row in flight.
#[derive(Debug)]
pub(crate) struct Row {
    commit: u64,
    domain: DomainName,
    stamp: Stamp,
    write: Write,
    is_answered: bool,
}

/// A request about a lease.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    Read,
    Set {
        expected: Option<Lease>,
        wanted: Lease,
    },
}

/// A request about a lease that is in flight.
#[derive(Debug)]
pub(crate) struct LeaseRequest {
    pub(crate) process: ProcessId,
    pub(crate) partition: Partition,
    pub(crate) number: u64,
    pub(crate) question: Question,
    is_answered: bool,
}

/// A read, one page or row at a time.
#[derive(Debug)]
pub(crate) enum Reading {
    Open(Address, Ticket),
    Items(Address, Ticket, Vec<ItemId>),
    Whole(Address, Ticket, Vec<ItemId>),
    Survey(Address, Ticket, Vec<ItemId>),
    /// Deletes rows. `None`: no stamp is left for it.
    Sweep(Address, Ticket, Option<Stamp>),
    /// Deletes rows of a model.
    SweepModel(Address, Ticket, Option<Stamp>, Swept),
    Load(Box<Load>),
    Material(Address, Ticket, Vec<ItemId>),
    /// All domains, for the host of a partition, which numbers its requests.
    Domains(ProcessId, Partition, u64),
    Instances(ProcessId),
}

/// The progress of reading a whole domain.
#[derive(Debug)]
pub(crate) struct Load {
    address: Address,
    ticket: Ticket,
    model: ModelName,
    mix: Option<Arc<Mix>>,
    items: Vec<ItemRow>,
    features: Vec<FeatureRow>,
    items_done: bool,
    features_done: bool,
}

impl Load {
    pub(crate) fn new(
        address: Address,
        ticket: Ticket,
        model: ModelName,
        mix: Option<Arc<Mix>>,
    ) -> Box<Self> {
        Box::new(Self {
            address,
            ticket,
            model,
            mix,
            items: Vec::new(),
            features: Vec::new(),
            items_done: false,
            features_done: false,
        })
    }
}

impl Reading {
    pub(crate) fn process(&self) -> ProcessId {
        match self {
            Self::Open(address, ..)
            | Self::Items(address, ..)
            | Self::Whole(address, ..)
            | Self::Survey(address, ..)
            | Self::Sweep(address, ..)
            | Self::SweepModel(address, ..)
            | Self::Material(address, ..) => address.process,
            Self::Load(load) => load.address.process,
            Self::Domains(process, ..) | Self::Instances(process) => *process,
        }
    }
}

/// A transient failure.
pub(crate) fn failure() -> Failure {
    Failure::passing("simulated")
}

impl World {
    /// Whether a request fails.
    fn fails(&mut self) -> bool {
        let is_away = self.now < self.database.away_until;
        (is_away && !self.dice.one_in(4)) || self.goes_wrong(self.faults.request)
    }

    /// How long it takes until a sender without an answer gives up.
    fn until_given_up(&mut self) -> Duration {
        if self.dice.one_in(2) {
            self.latency()
        } else {
            DEADLINE
        }
    }

    /// Starts a commit: the dirty mark, then the other rows in any order, then the fence, then the clean mark.
    pub(crate) fn commit(
        &mut self,
        by: Address,
        ticket: Ticket,
        stamp: Stamp,
        fence: bool,
        writes: Vec<Write>,
    ) {
        let (mut first, mut rows, mut last) = (vec![], vec![], vec![]);
        for write in writes {
            match &write {
                Write::Domain(row) if row.dirty.is_some() => first.push(write),
                Write::Beside(_, row) if row.dirty.is_some() => first.push(write),
                Write::Domain(_) | Write::Beside(..) => last.push(write),
                _ => rows.push(write),
            }
        }
        let mut stages = VecDeque::from([Stage::Rows(first), Stage::Rows(rows)]);
        if self.is_mutated(Mutation::MarkAfterRows) {
            stages.swap(0, 1);
        }
        if fence && !self.is_mutated(Mutation::NoFence) {
            stages.push_back(Stage::Fence);
        }
        stages.push_back(Stage::Rows(last));
        self.database.next_commit += 1;
        let number = self.database.next_commit;
        let commit = Commit {
            process: by.process,
            epoch: stamp.epoch(),
            by,
            ticket,
            stamp,
            stages,
            unanswered: 0,
        };
        self.database.commits.insert(number, commit);
        self.next_stage(number);
    }

    /// Whether this driver has commits in flight.
    pub(crate) fn has_commits(&self, actor: u64) -> bool {
        let mut commits = self.database.commits.values();
        commits.any(|commit| commit.by.actor == actor)
    }

    /// The sender of a commit, if it is still in flight.
    pub(crate) fn committer(&self, number: u64) -> Option<&Address> {
        self.database.commits.get(&number).map(|commit| &commit.by)
    }

    /// Nobody waits for the commit any more, but what was sent may still arrive.
    pub(crate) fn forget_commit(&mut self, number: u64) -> Option<Commit> {
        self.database.commits.remove(&number)
    }

    /// Sends the next part of a commit. `true`: everything is done.
    pub(crate) fn next_stage(&mut self, number: u64) -> bool {
        loop {
            let Some(commit) = self.database.commits.get_mut(&number) else {
                return false;
            };
            let stage = commit.stages.pop_front();
            match stage {
                None => return true,
                Some(Stage::Rows(rows)) if rows.is_empty() => {
                    // A commit without rows is answered, too.
                    if commit.stages.is_empty() {
                        let (process, delay) = (commit.process, self.latency());
                        let done = Message::Staged(number, Staged::Done);
                        self.tell(process, delay, done);
                        return false;
                    }
                }
                Some(Stage::Rows(rows)) => {
                    self.send_rows(number, rows);
                    return false;
                }
                Some(Stage::Fence) => {
                    self.send_fence(number);
                    return false;
                }
            }
        }
    }

    fn send_rows(&mut self, number: u64, rows: Vec<Write>) {
        let Some(commit) = self.database.commits.get_mut(&number) else {
            return;
        };
        commit.unanswered = rows.len();
        let (process, stamp, domain) = (commit.process, commit.stamp, commit.by.domain.clone());
        let mut fails = false;
        for write in rows {
            let is_lost = self.fails();
            fails |= is_lost;
            let delay = match is_lost {
                false => self.latency(),
                // Not carried out, carried out, or carried out much later.
                true if self.dice.one_in(3) => continue,
                true if self.dice.one_in(2) => self.latency(),
                true => Duration::from_millis(self.dice.roll(20_000)),
            };
            let row = Row {
                commit: number,
                domain: domain.clone(),
                stamp,
                write,
                is_answered: !is_lost,
            };
            self.after(delay, Happening::Row(row));
        }
        if fails {
            let delay = self.until_given_up();
            self.tell(process, delay, Message::Staged(number, Staged::Failed));
        }
    }

    fn send_fence(&mut self, number: u64) {
        let Some(commit) = self.database.commits.get_mut(&number) else {
            return;
        };
        let process = commit.process;
        if self.fails() {
            let delay = self.until_given_up();
            return self.tell(process, delay, Message::Staged(number, Staged::Failed));
        }
        let delay = self.latency();
        self.after(delay, Happening::Fence(number));
    }

    /// Decides a fence.
    pub(crate) fn fence(&mut self, number: u64) {
        let Some(commit) = self.database.commits.get(&number) else {
            return;
        };
        let (process, ours) = (commit.process, commit.epoch);
        let current = self.database.leases.get(&commit.by.partition);
        let staged = match current {
            Some(lease) if lease.epoch() > ours => Staged::Superseded,
            _ => Staged::Done,
        };
        let delay = self.latency();
        self.tell(process, delay, Message::Staged(number, staged));
    }

    /// A row arrives.
    pub(crate) fn row(&mut self, row: Row) {
        let is_list = matches!(row.write, Write::List(_) | Write::BesideList(..));
        let of_model = match &row.write {
            Write::BesideList(model, _) => Some(model.clone()),
            _ => None,
        };
        let is_logged = matches!(row.write, Write::Settings(_) | Write::Log(_));
        let is_of_models = matches!(row.write, Write::Settings(_));
        let removes = removes(&row.write);
        let tables = self.database.tables.entry(row.domain.clone()).or_default();
        let before = tables.settings.get(&());
        let before = before.filter(|_| is_of_models);
        let before = before
            .map(|set| set.models.beside().clone())
            .unwrap_or_default();
        let wins = tables.apply(row.stamp, row.write);
        if wins && is_list {
            let epoch = row.stamp.epoch().0;
            let checked = list_written(tables, &row.domain, of_model.as_ref(), epoch);
            self.check(checked);
        } else if wins && is_logged {
            let mut checked = log_is_whole(tables, &row.domain);
            if is_of_models {
                let building = &mut self.books.building;
                checked = checked.and(building.written(&row.domain, &before, tables));
            }
            self.check(checked);
        }
        if wins && removes {
            self.removed(&row.domain);
        }
        if wins {
            self.touched(&row.domain);
        }
        if !row.is_answered {
            return;
        }
        let Some(commit) = self.database.commits.get_mut(&row.commit) else {
            return;
        };
        commit.unanswered -= 1;
        if commit.unanswered == 0 {
            let (process, delay) = (commit.process, self.latency());
            self.tell(process, delay, Message::Staged(row.commit, Staged::Done));
        }
    }

    /// Sends a request about a lease. An answer comes, or the failure to get one.
    pub(crate) fn ask_lease(
        &mut self,
        process: ProcessId,
        partition: Partition,
        number: u64,
        question: Question,
    ) {
        let unknown = match question {
            Question::Read => LeaseInput::ReadFailed,
            Question::Set { .. } => LeaseInput::Unknown,
        };
        let gives_up = Message::LeaseAnswered(partition, number, unknown);
        let fails = self.fails();
        let delay = if fails {
            self.until_given_up()
        } else {
            DEADLINE
        };
        self.tell(process, delay, gives_up);
        let delay = match fails {
            true if self.dice.one_in(2) => return,
            true if self.dice.one_in(2) => Duration::from_millis(self.dice.roll(8_000)),
            _ => self.latency(),
        };
        let asked = LeaseRequest {
            process,
            partition,
            number,
            question,
            is_answered: !fails,
        };
        self.after(delay, Happening::Lease(asked));
    }

    /// A request about a lease arrives.
    pub(crate) fn lease(&mut self, asked: LeaseRequest) {
        let LeaseRequest {
            process,
            partition,
            number,
            question,
            is_answered,
        } = asked;
        let current = self.database.leases.get(&partition).cloned();
        let blind = self.is_mutated(Mutation::LeaseSetBlindly);
        let input = match question {
            Question::Read => LeaseInput::Read(current),
            Question::Set { expected, wanted } => {
                if current == expected || blind {
                    self.database.leases.insert(partition, wanted);
                    LeaseInput::Decided(Cas::Applied)
                } else {
                    LeaseInput::Decided(Cas::Refused(current))
                }
            }
        };
        if is_answered {
            let delay = self.latency();
            self.tell(
                process,
                delay,
                Message::LeaseAnswered(partition, number, input),
            );
        }
    }

    /// Starts a read.
    pub(crate) fn read(&mut self, reading: Reading) {
        let delay = self.latency();
        self.after(delay, Happening::Read(reading));
    }

    /// Continues a read.
    pub(crate) fn reads(&mut self, reading: Reading) {
        let process = reading.process();
        if let Some(until) = self.frozen_until(process) {
            let at = until.max(self.now) + Duration::from_millis(1);
            return self.at(at, Happening::Read(reading));
        }
        if !self.is_there(process) {
            return;
        }
        let fails = self.fails();
        let nothing = Tables::default();
        let message = match reading {
            Reading::Open(address, ticket) => {
                let tables = self
                    .database
                    .tables
                    .get(&address.domain)
                    .unwrap_or(&nothing);
                let result = if fails {
                    Err(failure())
                } else {
                    let opened = tables.open();
                    Ok(Box::new(match &address.beside {
                        None => opened,
                        Some((name, kind)) => opened.of_model(kind, tables.beside(name)),
                    }))
                };
                Message::Input(address, Input::Opened { ticket, result })
            }
            Reading::Items(address, ticket, ids) => {
                let tables = self
                    .database
                    .tables
                    .get(&address.domain)
                    .unwrap_or(&nothing);
                let rows = ids.iter().map(|id| tables.items.get(id).cloned());
                let result = if fails {
                    Err(failure())
                } else {
                    Ok(rows.collect())
                };
                Message::Input(address, Input::ItemsRead { ticket, result })
            }
            Reading::Survey(address, ticket, ids) => {
                let tables = self.database.tables.get(&address.domain);
                let tables = tables.unwrap_or(&nothing);
                let result = if fails {
                    Err(failure())
                } else if !self.shape.have_habits {
                    Ok(Survey::default())
                } else {
                    Ok(look(tables, &ids))
                };
                Message::Input(address, Input::Surveyed { ticket, result })
            }
            Reading::Whole(address, ticket, ids) => {
                let tables = self
                    .database
                    .tables
                    .get(&address.domain)
                    .unwrap_or(&nothing);
                let whole = ids.iter().map(|id| {
                    let row = tables.items.get(id)?.clone();
                    let content = tables.contents.get(id).cloned().unwrap_or_default();
                    Some(Material { row, content })
                });
                let result = if fails {
                    Err(failure())
                } else {
                    Ok(whole.collect())
                };
                Message::Input(address, Input::WholeRead { ticket, result })
            }
            Reading::Sweep(address, ticket, stamp) => {
                let tables = self
                    .database
                    .tables
                    .entry(address.domain.clone())
                    .or_default();
                let forgets = self.mutation == Some(Mutation::NothingSwept);
                let result = match stamp {
                    Some(_) if forgets => Ok(true),
                    Some(stamp) if !fails => Ok(tables.sweep(stamp, PAGE)),
                    _ => Err(failure()),
                };
                Message::Input(address, Input::Swept { ticket, result })
            }
            Reading::SweepModel(address, ticket, stamp, swept) => {
                let forgets = self.mutation == Some(Mutation::ModelNotSwept);
                let tables = self
                    .database
                    .tables
                    .entry(address.domain.clone())
                    .or_default();
                let result = match stamp {
                    Some(_) if forgets => Ok(true),
                    Some(stamp) if !fails => Ok(tables.sweep_model(&swept, stamp, PAGE)),
                    _ => Err(failure()),
                };
                Message::Input(address, Input::Swept { ticket, result })
            }
            Reading::Load(load) if fails => {
                let ticket = load.ticket;
                let result = Err(failure());
                Message::Input(load.address, Input::Loaded { ticket, result })
            }
            Reading::Load(load) => match self.load_on(load) {
                Ok(message) => message,
                Err(load) => return self.read(Reading::Load(load)),
            },
            Reading::Material(address, ticket, ids) => {
                let tables = self
                    .database
                    .tables
                    .get(&address.domain)
                    .unwrap_or(&nothing);
                let rows = ids.iter().filter_map(|id| {
                    let row = tables.items.get(id)?.clone();
                    let content = tables.contents.get(id).cloned().unwrap_or_default();
                    Some(Material { row, content })
                });
                let result = if fails {
                    Err(failure())
                } else {
                    Ok(rows.collect())
                };
                Message::Material(address, ticket, result)
            }
            Reading::Domains(_, partition, number) => {
                let rows = self.database.tables.values();
                let rows = rows.filter_map(|tables| tables.domain.get(&()).cloned());
                let rows: Vec<DomainRow> = rows.collect();
                Message::DomainsRead(partition, number, (!fails).then_some(rows))
            }
            Reading::Instances(_) => {
                let there = self.database.instances.iter();
                let there = there.filter(|(_, until)| **until > self.now);
                let names: Vec<String> = there.map(|(name, _)| name.clone()).collect();
                Message::Instances((!fails).then_some(names))
            }
        };
        let delay = self.latency();
        self.tell(process, delay, message);
    }

    /// Reads a page of items or of features, and after the last page the domain's row. `Err`: there is more.
    fn load_on(&mut self, mut load: Box<Load>) -> Result<Message, Box<Load>> {
        let of_items = self.dice.one_in(2);
        let nothing = Tables::default();
        let tables = self.database.tables.get(&load.address.domain);
        let tables = tables.unwrap_or(&nothing);
        if of_items && !load.items_done {
            let last = load.items.last().map(|row| row.id.clone());
            let all = tables.scan_items();
            let rest = all
                .into_iter()
                .filter(|row| last.as_ref().is_none_or(|last| row.id > *last));
            let page: Vec<ItemRow> = rest.take(PAGE).collect();
            load.items_done = page.len() < PAGE;
            load.items.extend(page);
        } else if !load.features_done {
            let last = load
                .features
                .last()
                .map(|row| (row.id.clone(), row.space.model()));
            let all = tables.scan_features();
            let rest = all.into_iter().filter(|row| {
                last.as_ref()
                    .is_none_or(|last| (row.id.clone(), row.space.model()) > *last)
            });
            let page: Vec<FeatureRow> = rest.take(PAGE).collect();
            load.features_done = page.len() < PAGE;
            load.features.extend(page);
        }
        if !(load.items_done && load.features_done) {
            return Err(load);
        }
        let Load {
            address,
            ticket,
            model,
            mix,
            items,
            features,
            ..
        } = *load;
        let of = (&model, mix);
        let result = Ok(match &address.beside {
            None => tables.load(&items, &features, of),
            Some((name, _)) => tables.load_beside(&items, &features, name, of),
        });
        Ok(Message::Input(address, Input::Loaded { ticket, result }))
    }

    /// Checks that an acknowledged event, or a later one, is durable.
    pub(crate) fn assert_durable(&mut self, event: &Event) {
        let removals = &self.books.removals;
        if removals.may_be_gone(event) || removals.is_refused(event) {
            return;
        }
        let tables = self.database.tables.get(event.domain());
        let request = match event {
            Event::Configure(configure) => Some(&configure.request),
            Event::Model(modelled) => Some(&modelled.request),
            _ => None,
        };
        if let Some(request) = request {
            let row = tables.and_then(|tables| tables.settings.get(&()));
            let mut answered = row.iter().flat_map(|row| &row.answered);
            if !answered.any(|answered| answered.request == *request) {
                let detail = format!("{event:?} is acknowledged, and not stored");
                let checked = violated(Invariant::DurableBeforeAcknowledged, detail);
                return self.check(checked);
            }
        }
        let Some(id) = event.id() else { return };
        let stored = tables.and_then(|tables| tables.items.get(id));
        if stored.map(|row| row.version) < event.version() {
            let detail = format!(
                "{id} of {} at version {:?} is acknowledged, and stored is {:?}",
                event.domain(),
                event.version(),
                stored.map(|row| row.version)
            );
            let checked = violated(Invariant::DurableBeforeAcknowledged, detail);
            self.check(checked);
        }
    }
}

/// The outcome of a commit, as its machine is told.
pub(crate) fn outcome(staged: Staged) -> Result<(), CommitFailure> {
    match staged {
        Staged::Done => Ok(()),
        Staged::Failed => Err(CommitFailure::Failed(failure())),
        Staged::Superseded => Err(CommitFailure::Superseded),
    }
}
