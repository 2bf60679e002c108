//! The outbox: what a machine asks for, which commits are out, and what the store says of it.

use std::collections::{BTreeMap, BTreeSet};

use kindred_shared::ModelName;

use crate::effect::{CommitStep, Effect, Observation, Ticket};
use crate::intake::{DeliveryTag, Outcome};
use crate::store::{BesideRow, DomainRow, ListRow, Write};

/// Whether the store says that lists may differ from items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It says they agree.
    Clean,
    /// It says so since before it was loaded: at a former owner's epoch, which gives us no right
    /// to write lists, or at ours, with a commit that says otherwise perhaps still on its way.
    Inherited,
    /// A commit that says so is on its way. Other commits carry the mark too: either may be
    /// durable first.
    Marking(Ticket),
    /// It says so at our epoch.
    Dirty,
    /// A commit that says they agree is on its way.
    Cleaning(Ticket),
}

/// Effects on their way out, and commits that are not answered.
#[derive(Debug)]
pub(crate) struct Outbox {
    effects: Vec<Effect>,
    next_ticket: Ticket,
    mark: Mark,
    commits: BTreeMap<Ticket, CommitStep>,
    /// Commits of before everything was forgotten that are not answered yet. The store is not
    /// read while there are any: what they write later would be missed.
    orphans: BTreeSet<Ticket>,
    /// The model beside the served one that all this is about; `None`: it is the served one, whose machine writes what
    /// all models share.
    beside: Option<(ModelName, ModelName)>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            effects: Vec::new(),
            next_ticket: Ticket(1),
            mark: Mark::Clean,
            commits: BTreeMap::new(),
            orphans: BTreeSet::new(),
            beside: None,
        }
    }
}

impl Outbox {
    /// One of a machine of a model beside the served one: its name and kind.
    pub(crate) fn beside(model: ModelName, kind: ModelName) -> Self {
        Self {
            beside: Some((model, kind)),
            ..Self::default()
        }
    }

    /// The model beside the served one that the machine is of, if it is not that of the served one.
    pub(crate) fn model_beside(&self) -> Option<&ModelName> {
        self.beside.as_ref().map(|(model, _)| model)
    }

    /// Names one thing that is asked for.
    pub(crate) fn ticket(&mut self) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket = Ticket(ticket.0 + 1);
        ticket
    }

    /// Asks for something.
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Has something counted.
    pub(crate) fn observe(&mut self, observation: Observation) {
        self.push(Effect::Observe(observation));
    }

    /// Says what became of deliveries.
    pub(crate) fn settle(&mut self, tags: Vec<DeliveryTag>, outcome: &Outcome) {
        let settled = tags.into_iter().map(|tag| (tag, outcome.clone()));
        self.settle_each(settled.collect());
    }

    /// Says what became of each delivery.
    pub(crate) fn settle_each(&mut self, settled: Vec<(DeliveryTag, Outcome)>) {
        if !settled.is_empty() {
            self.push(Effect::Settle(settled));
        }
    }

    /// Everything asked for since the last call, in order.
    pub(crate) fn drain(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Asks for a commit. Unless the store says "dirty" already, or it is the commit that ends that,
    /// `dirty` goes with it: the domain's row with the mark.
    pub(crate) fn commit(
        &mut self,
        step: CommitStep,
        fence: bool,
        rows: Vec<Write>,
        dirty: impl FnOnce() -> DomainRow,
    ) -> Ticket {
        let ticket = self.ticket();
        let mut writes = Vec::with_capacity(rows.len() + 1);
        if matches!(step, CommitStep::Clean | CommitStep::Removed) {
            self.mark = Mark::Cleaning(ticket);
        } else if self.mark != Mark::Dirty {
            writes.push(Write::Domain(dirty()));
            self.mark = Mark::Marking(ticket);
        }
        writes.extend(rows);
        self.commits.insert(ticket, step);
        let (fence, writes) = match &self.beside {
            None => (fence, writes),
            // Nothing is acknowledged on the strength of it.
            Some((model, kind)) => (false, of_model(model, kind, writes)),
        };
        self.push(Effect::Commit {
            ticket,
            fence,
            writes,
            step,
        });
        ticket
    }

    /// A commit is answered; `None`: it is one of before everything was forgotten.
    pub(crate) fn answered(&mut self, ticket: Ticket) -> Option<CommitStep> {
        let step = self.commits.remove(&ticket);
        if step.is_none() {
            self.orphans.remove(&ticket);
        }
        step
    }

    /// A commit is durable, and so is the mark it carried.
    pub(crate) fn stored(&mut self, ticket: Ticket) {
        match self.mark {
            Mark::Marking(sent) if sent == ticket => self.mark = Mark::Dirty,
            Mark::Cleaning(sent) if sent == ticket => self.mark = Mark::Clean,
            Mark::Clean | Mark::Inherited | Mark::Marking(_) | Mark::Dirty | Mark::Cleaning(_) => {}
        }
    }

    /// What the store says of the domain.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// The store was read; whether it says "dirty".
    pub(crate) fn inherit(&mut self, dirty: bool) {
        self.mark = if dirty { Mark::Inherited } else { Mark::Clean };
    }

    /// Whether all commits are answered, but for those of before everything was forgotten.
    pub(crate) fn is_answered(&self) -> bool {
        self.commits.is_empty()
    }

    /// Whether all commits are answered but for one that says what is so already: that the domain is
    /// clean.
    pub(crate) fn has_stored_all(&self) -> bool {
        self.commits.values().all(|step| *step == CommitStep::Clean)
    }

    /// Whether no commit of before everything was forgotten can become durable any more.
    pub(crate) fn may_read_store(&self) -> bool {
        self.orphans.is_empty()
    }

    /// Everything is forgotten but what was asked for. Tickets go on, so that no answer still on its
    /// way is taken for another's.
    pub(crate) fn forget(&mut self) {
        self.orphans
            .extend(std::mem::take(&mut self.commits).into_keys());
        self.mark = Mark::Clean;
    }
}

/// What the machine of a model beside the served one writes of what it would write as that of the served one: what all
/// models share is there already.
fn of_model(model: &ModelName, kind: &ModelName, writes: Vec<Write>) -> Vec<Write> {
    let own = |write| match write {
        Write::Domain(row) => Some(Write::Beside(model.clone(), BesideRow::of(&row))),
        Write::Settings(row) => Some(Write::BesideHabits(model.clone(), row.habits)),
        Write::Feature(row) => (!row.space.is_own()).then_some(Write::Feature(row)),
        Write::List(row) => {
            let model = model.clone();
            Some(Write::BesideList(model.clone(), ListRow { model, ..row }))
        }
        Write::DeleteFeatures(id) => Some(Write::DeleteFeature(kind.clone(), id)),
        Write::DeleteList(id) => Some(Write::DeleteBesideList(model.clone(), id)),
        Write::PurgeDomain
        | Write::Item(_)
        | Write::PurgeItem(_)
        | Write::Content(..)
        | Write::DeleteContent(_) => None,
        write @ (Write::DeleteFeature(..)
        | Write::Beside(..)
        | Write::BesideHabits(..)
        | Write::BesideList(..)
        | Write::DeleteBesideList(..)) => Some(write),
    };
    writes.into_iter().filter_map(own).collect()
}
