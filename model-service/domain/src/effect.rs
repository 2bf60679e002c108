//! The inputs of a domain's machine, and the effects that it asks its shell to carry out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kindred_shared::Block;
use kindred_shared::event::Event;
use kindred_shared::job::{CompareReply, CompareTask};
use kindred_shared::{Feature, ItemId, ModelName, Space};
use kindred_similarity::RowMask;

use crate::habits::{Habits, Survey};
use crate::intake::{DeliveryTag, Failure, Outcome};
use crate::loaded::{Loaded, Opened};
use crate::material::Material;
use crate::mix::Mix;
use crate::models::{Followed, ModelReport, Swept};
use crate::settings::DomainSettings;
use crate::slot::Slot;
use crate::store::{ItemRow, Write};
use crate::view_change::ViewChange;

/// Identifies an effect. An answer whose ticket is no longer awaited is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// An input: something that happened.
#[derive(Debug)]
pub enum Input {
    /// A valid event was delivered.
    Event {
        /// The delivery, to be settled later.
        tag: DeliveryTag,
        /// The event.
        event: Arc<Event>,
    },
    /// [`Effect::Open`] is done or has failed.
    Opened {
        /// The effect's ticket.
        ticket: Ticket,
        /// What the store has about the domain itself.
        result: Result<Box<Opened>, Failure>,
    },
    /// [`Effect::ReadItems`] is done or has failed.
    ItemsRead {
        /// The effect's ticket.
        ticket: Ticket,
        /// The items, in the order of the request; `None` for one that never existed.
        result: Result<Vec<Option<ItemRow>>, Failure>,
    },
    /// [`Effect::ReadWhole`] is done or has failed.
    WholeRead {
        /// The effect's ticket.
        ticket: Ticket,
        /// The items, in the order of the request; `None` for one that never existed.
        result: Result<Vec<Option<Material>>, Failure>,
    },
    /// [`Effect::Load`] is done or has failed.
    Loaded {
        /// The effect's ticket.
        ticket: Ticket,
        /// What the store has of the domain.
        result: Result<Box<Loaded>, Failure>,
    },
    /// [`Effect::Sweep`] or [`Effect::SweepModel`] is done or has failed.
    Swept {
        /// The effect's ticket.
        ticket: Ticket,
        /// Whether no row is left.
        result: Result<bool, Failure>,
    },
    /// For the machine of a model beside the served one: the state of these items has changed in the store.
    Follow {
        /// In the order in which the changes were accepted; the last one of an item counts.
        passed: Vec<Passed>,
    },
    /// [`Effect::Pass`] is done: the machines of all models have processed it, and their readers no longer see items
    /// that are gone.
    Passed {
        /// The effect's ticket.
        ticket: Ticket,
    },
    /// [`Effect::Keep`] is done: no other machine writes any more.
    Kept {
        /// The effect's ticket.
        ticket: Ticket,
    },
    /// What the machine of a model beside the served one reports.
    Told {
        /// The model's name.
        model: ModelName,
        /// Its news.
        report: ModelReport,
    },
    /// [`Effect::Commit`] is durable or has failed.
    Committed {
        /// The effect's ticket.
        ticket: Ticket,
        /// Whether it is durable.
        result: Result<(), CommitFailure>,
    },
    /// [`Effect::Extract`] is done or was given up.
    Extracted {
        /// The effect's ticket.
        ticket: Ticket,
        /// A feature for every requested item.
        result: Result<Vec<Made>, Failure>,
    },
    /// [`Effect::Survey`] is done or has failed.
    Surveyed {
        /// The effect's ticket.
        ticket: Ticket,
        /// What was found in the texts.
        result: Result<Survey, Failure>,
    },
    /// One task of [`Effect::Compare`] is done or was given up.
    Compared {
        /// The effect's ticket.
        ticket: Ticket,
        /// The task's number.
        task: usize,
        /// Candidates.
        result: Result<CompareReply, Failure>,
    },
    /// [`Effect::Notify`] is done.
    Notified {
        /// The effect's ticket.
        ticket: Ticket,
    },
    /// A request to compute what is stored of items again from their texts, because it may be wrong.
    MakeAnew {
        /// The items; empty: all.
        ids: Vec<ItemId>,
    },
    /// [`crate::machine::Domain::deadline`] has come.
    Tick,
}

/// Why a commit may not be durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitFailure {
    /// The partition has another owner.
    Superseded,
    /// It failed, perhaps only for now.
    Failed(Failure),
}

/// An effect: something to do. Effects are begun in the order in which they are returned.
#[derive(Debug)]
pub enum Effect {
    /// Read the domain's row and settings; answer [`Input::Opened`].
    Open {
        /// The ticket of the answer.
        ticket: Ticket,
    },
    /// Read these items, because events about them arrived before the domain is loaded; answer [`Input::ItemsRead`].
    ReadItems {
        /// The ticket of the answer.
        ticket: Ticket,
        /// The items.
        ids: Vec<ItemId>,
    },
    /// Read these items with their texts and vectors; answer [`Input::WholeRead`].
    ReadWhole {
        /// The ticket of the answer.
        ticket: Ticket,
        /// The items.
        ids: Vec<ItemId>,
    },
    /// Read the whole domain from the store; answer [`Input::Loaded`].
    Load {
        /// The ticket of the answer.
        ticket: Ticket,
        /// The kind of the model: only its features are read, and those of own vectors where they take precedence.
        model: ModelName,
        /// What it mixes, if it is a mix.
        mix: Option<Arc<Mix>>,
    },
    /// Make rows durable; answer [`Input::Committed`].
    Commit {
        /// The ticket of the answer.
        ticket: Ticket,
        /// Whether the epoch must be checked, because deliveries will be acknowledged.
        fence: bool,
        /// The rows.
        writes: Vec<Write>,
        /// What is committed, for logs and crash tests.
        step: CommitStep,
    },
    /// Delete some rows of the domain that were written before now; answer [`Input::Swept`].
    Sweep {
        /// The ticket of the answer.
        ticket: Ticket,
    },
    /// Delete some rows of a model that were written before now; answer [`Input::Swept`].
    SweepModel {
        /// The ticket of the answer.
        ticket: Ticket,
        /// What to delete.
        swept: Swept,
    },
    /// Keep machines of these models running beside this one, and no others. Machines that already run continue. They
    /// report with [`Input::Told`]. Once no other machine runs and the store has answered all of their requests, answer
    /// [`Input::Kept`]; no new machine starts before that.
    Keep {
        /// The ticket of the answer.
        ticket: Ticket,
        /// The models.
        models: Vec<Followed>,
    },
    /// Pass stored changes to all of them ([`Input::Follow`]); answer [`Input::Passed`].
    Pass {
        /// The ticket of the answer.
        ticket: Ticket,
        /// The changes.
        passed: Vec<Passed>,
    },
    /// Swap what the readers of two models see: readers of the domain see from now on what the first model showed while
    /// it ran beside the served one, and the other way round.
    Swap {
        /// The model that is served now.
        now: ModelName,
        /// The model that was served before.
        was: ModelName,
    },
    /// Make features; answer [`Input::Extracted`].
    Extract {
        /// The ticket of the answer.
        ticket: Ticket,
        /// The model for texts.
        model: ModelName,
        /// The items.
        rows: Vec<ToExtract>,
        /// How to read their texts.
        settings: Arc<DomainSettings>,
        /// The number of the domain's items with a feature in each space.
        spaces: Vec<(Space, usize)>,
        /// The length of dense parts in each space, where it is known.
        lengths: BTreeMap<Space, usize>,
        /// The habits of the domain's texts.
        habits: Arc<Habits>,
    },
    /// Look for habits in the texts of these items; answer [`Input::Surveyed`].
    Survey {
        /// The ticket of the answer.
        ticket: Ticket,
        /// The items.
        ids: Vec<ItemId>,
        /// The model whose terms count.
        model: ModelName,
        /// How to read their texts.
        settings: Arc<DomainSettings>,
    },
    /// Compare; answer [`Input::Compared`] once for each task.
    Compare {
        /// The ticket of the answers.
        ticket: Ticket,
        /// The tasks and their numbers.
        tasks: Vec<(usize, Comparing)>,
    },
    /// Settle these deliveries with the intake.
    Settle(Vec<(DeliveryTag, Outcome)>),
    /// Change what readers see, before any later effect takes place.
    Serve(ViewChange),
    /// Tell watchers that the lists of these items (which may be deleted by now) changed, retrying until that succeeds;
    /// answer [`Input::Notified`]. The domain is not marked clean before that.
    Notify {
        /// The ticket of the answer.
        ticket: Ticket,
        /// The domain's model.
        model: ModelName,
        /// The items whose lists changed.
        ids: Vec<ItemId>,
    },
    /// Count this.
    Observe(Observation),
    /// The partition has another owner; this machine has stopped for good.
    Superseded,
}

/// Rows to compare.
#[derive(Debug, Clone)]
pub enum Comparing {
    /// Some rows with some others: those of a window, or of lists that are too short. A job for a worker.
    Some(Arc<CompareTask>),
    /// All live rows of a space with each other, after loading. Done in this process, where the blocks are. In the
    /// reply, a row's side is the number of its block.
    All(Vec<(Arc<Block>, RowMask)>),
}

/// A stored change of an item.
#[derive(Debug, Clone)]
pub enum Passed {
    /// It is live.
    Live(Arc<Material>),
    /// It is gone.
    Gone(Box<ItemRow>),
}

impl Passed {
    /// Its row.
    pub fn row(&self) -> &ItemRow {
        match self {
            Self::Live(material) => &material.row,
            Self::Gone(row) => row,
        }
    }
}

/// What a commit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitStep {
    /// Accepted events, before they are acknowledged.
    Events,
    /// Features, before their rows are compared.
    Features,
    /// Settings, before they are acknowledged.
    Settings,
    /// Models of the domain, before the outcome of a change is acknowledged, and the steps on the way.
    Models,
    /// Entries of the log that are durable in the row of the settings, so that the row may drop them.
    Log,
    /// Habits of the domain's texts, before features are made with them.
    Habits,
    /// The domain's row, with the model that the durable settings name.
    Model,
    /// Changed lists.
    Lists,
    /// The removal of the dirty mark.
    Clean,
    /// The domain's row, which marks the domain as removed, before the removal is acknowledged.
    Removal,
    /// The domain's row, once nothing else is left of the domain, or its deletion.
    Removed,
}

/// Something to count.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// A window was closed, with this many items.
    WindowClosed(usize),
    /// Pairs of rows whose scores were computed.
    Pairs(u64),
    /// All lists were computed again.
    Rebuilt,
    /// Lists that were computed again because deletions had made them too short.
    Recomputed(usize),
    /// The item of an event is served, this long after the event arrived.
    Served(ItemId, Duration),
}

/// An item whose feature is requested.
#[derive(Debug, Clone)]
pub struct ToExtract {
    /// Its slot.
    pub slot: Slot,
    /// Its id.
    pub id: ItemId,
    /// Its version.
    pub version: u64,
    /// What the feature is made from; `None`: it must be read from the store.
    pub material: Option<Arc<Material>>,
}

/// A feature that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// The item.
    pub slot: Slot,
    /// The version it was made from.
    pub version: u64,
    /// What it is compared with.
    pub space: Space,
    /// Fingerprint of the habits with which it was made; 0 if no text took part.
    pub habits: u64,
    /// The feature; zero: there is nothing to compare.
    pub feature: Feature,
    /// The item's row, if it must be stored again because the reason why no feature could be made has appeared or
    /// disappeared.
    pub row: Option<Box<ItemRow>>,
}

impl Made {
    /// Why no feature could be made.
    pub fn rejected(&self) -> Option<&str> {
        self.row.as_ref()?.rejected.as_deref()
    }

    /// Fingerprint of the habits that the feature depends on; `None`: it depends on none.
    pub(crate) fn made_with(&self) -> Option<u64> {
        let depends = self.rejected().is_none() && self.space.language().is_some();
        depends.then_some(self.habits)
    }
}
