//! The outbox: requested effects, unanswered commits, and the dirty mark in the store.

use std::collections::{BTreeMap, BTreeSet};

use kindred_shared::ModelName;

use crate::effect::{CommitStep, Effect, Observation, Ticket};
use crate::intake::{DeliveryTag, Outcome};
use crate::store::{BesideRow, DomainRow, ListRow, Write};

/// The dirty mark: whether the store says that lists may differ from items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The store says that they match.
    Clean,
    /// The store has said "dirty" since before the domain was loaded: either at a former owner's epoch, which does not
    /// allow this owner to write lists, or at this epoch, while a commit that says "clean" may still be in flight.
    Inherited,
    /// A commit that says "dirty" is in flight. Other commits carry the mark too, because any of them may become
    /// durable first.
    Marking(Ticket),
    /// The store says "dirty" at this epoch.
    Dirty,
    /// A commit that says "clean" is in flight.
    Cleaning(Ticket),
}

/// Requested effects, and commits that are not answered.
#[derive(Debug)]
pub(crate) struct Outbox {
    effects: Vec<Effect>,
    next_ticket: Ticket,
    mark: Mark,
    commits: BTreeMap<Ticket, CommitStep>,
    /// Unanswered commits from before everything was forgotten. The store is not read while there are any, because
    /// their later writes would be missed.
    orphans: BTreeSet<Ticket>,
    /// The name and kind of this machine's model if it runs beside the served one; `None`: it is the served one, whose
    /// machine writes what all models share.
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
    /// The outbox of a machine of a model beside the served one, with this name and kind.
    pub(crate) fn beside(model: ModelName, kind: ModelName) -> Self {
        Self {
            beside: Some((model, kind)),
            ..Self::default()
        }
    }

    /// The name of this machine's model, if it runs beside the served one.
    pub(crate) fn model_beside(&self) -> Option<&ModelName> {
        self.beside.as_ref().map(|(model, _)| model)
    }

    /// A new ticket.
    pub(crate) fn ticket(&mut self) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket = Ticket(ticket.0 + 1);
        ticket
    }

    /// Requests an effect.
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Requests that something be counted.
    pub(crate) fn observe(&mut self, observation: Observation) {
        self.push(Effect::Observe(observation));
    }

    /// Settles deliveries with the same outcome.
    pub(crate) fn settle(&mut self, tags: Vec<DeliveryTag>, outcome: &Outcome) {
        let settled = tags.into_iter().map(|tag| (tag, outcome.clone()));
        self.settle_each(settled.collect());
    }

    /// Settles each delivery with its own outcome.
    pub(crate) fn settle_each(&mut self, settled: Vec<(DeliveryTag, Outcome)>) {
        if !settled.is_empty() {
            self.push(Effect::Settle(settled));
        }
    }

    /// Everything requested since the last call, in order.
    pub(crate) fn drain(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Requests a commit. Unless the store says "dirty" already, or this is the commit that ends that, it includes
    /// `dirty`: the domain's row with the mark.
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
            // No delivery is acknowledged because of it.
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

    /// A commit is answered; `None`: it is from before everything was forgotten.
    pub(crate) fn answered(&mut self, ticket: Ticket) -> Option<CommitStep> {
        let step = self.commits.remove(&ticket);
        if step.is_none() {
            self.orphans.remove(&ticket);
        }
        step
    }

    /// A commit is durable, and so is the mark that it carried.
    pub(crate) fn stored(&mut self, ticket: Ticket) {
        match self.mark {
            Mark::Marking(sent) if sent == ticket => self.mark = Mark::Dirty,
            Mark::Cleaning(sent) if sent == ticket => self.mark = Mark::Clean,
            Mark::Clean | Mark::Inherited | Mark::Marking(_) | Mark::Dirty | Mark::Cleaning(_) => {}
        }
    }

    /// What the store says about the domain.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// The store was read; `dirty`: what its mark says.
    pub(crate) fn inherit(&mut self, dirty: bool) {
        self.mark = if dirty { Mark::Inherited } else { Mark::Clean };
    }

    /// Whether all commits are answered, except those from before everything was forgotten.
    pub(crate) fn is_answered(&self) -> bool {
        self.commits.is_empty()
    }

    /// Whether all commits are answered, except one that marks the domain clean.
    pub(crate) fn has_stored_all(&self) -> bool {
        self.commits.values().all(|step| *step == CommitStep::Clean)
    }

    /// Whether no commit from before everything was forgotten can become durable any more.
    pub(crate) fn may_read_store(&self) -> bool {
        self.orphans.is_empty()
    }

    /// Forgets everything except the requested effects. Ticket numbers continue, so that no late answer is mistaken for
    /// another's.
    pub(crate) fn forget(&mut self) {
        self.orphans
            .extend(std::mem::take(&mut self.commits).into_keys());
        self.mark = Mark::Clean;
    }
}

/// Reduces the writes of a machine to those that the machine of a model beside the served one makes: what all models
/// share is stored already.
fn of_model(model: &ModelName, kind: &ModelName, writes: Vec<Write>) -> Vec<Write> {
    let own = |write| match write {
        Write::Domain(row) => vec![Write::Beside(model.clone(), BesideRow::of(&row))],
        Write::Settings(row) => vec![Write::BesideHabits(model.clone(), row.habits)],
        // The served model may be of a kind that makes no features of own vectors.
        write @ Write::Feature(_) => vec![write],
        Write::List(row) => {
            let model = model.clone();
            vec![Write::BesideList(model.clone(), ListRow { model, ..row })]
        }
        Write::DeleteFeatures(id) => {
            let own = kind.prefers_own().then(ModelName::own).into_iter();
            let kinds = own.chain([kind.clone()]);
            kinds
                .map(|kind| Write::DeleteFeature(kind, id.clone()))
                .collect()
        }
        Write::DeleteList(id) => vec![Write::DeleteBesideList(model.clone(), id)],
        Write::PurgeDomain
        | Write::Item(_)
        | Write::PurgeItem(_)
        | Write::Content(..)
        | Write::DeleteContent(_)
        | Write::Log(_)
        | Write::TrimLog(_) => Vec::new(),
        write @ (Write::DeleteFeature(..)
        | Write::Beside(..)
        | Write::BesideHabits(..)
        | Write::BesideList(..)
        | Write::DeleteBesideList(..)) => vec![write],
    };
    writes.into_iter().flat_map(own).collect()
}
