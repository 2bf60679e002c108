//! What goes into a domain's machine, and what it asks its shell to do.

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
use crate::models::{Followed, Swept, Tidings};
use crate::settings::DomainSettings;
use crate::slot::Slot;
use crate::store::{ItemRow, Write};
use crate::view_change::ViewChange;

/// Names one thing asked for; an answer with a ticket no longer awaited is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A valid event was delivered.
    Event {
        /// For settling it.
        tag: DeliveryTag,
        /// The event.
        event: Arc<Event>,
    },
    /// [`Effect::Open`] is done, or could not be.
    Opened {
        /// Of the effect.
        ticket: Ticket,
        /// What the store says of the domain.
        result: Result<Box<Opened>, Failure>,
    },
    /// [`Effect::ReadItems`] is done, or could not be.
    ItemsRead {
        /// Of the effect.
        ticket: Ticket,
        /// The items in the order asked for; `None` where there never was one.
        result: Result<Vec<Option<ItemRow>>, Failure>,
    },
    /// [`Effect::ReadWhole`] is done, or could not be.
    WholeRead {
        /// Of the effect.
        ticket: Ticket,
        /// The items in the order asked for; `None` where there never was one.
        result: Result<Vec<Option<Material>>, Failure>,
    },
    /// [`Effect::Load`] is done, or could not be.
    Loaded {
        /// Of the effect.
        ticket: Ticket,
        /// What the store has.
        result: Result<Box<Loaded>, Failure>,
    },
    /// [`Effect::Sweep`] is done, or may not be.
    Swept {
        /// Of the effect.
        ticket: Ticket,
        /// Whether no row is left.
        result: Result<bool, Failure>,
    },
    /// Of the machine of a model beside the served one: these items are stored like this.
    Follow {
        /// In the order they were accepted in; of one item the last counts.
        passed: Vec<Passed>,
    },
    /// [`Effect::Pass`] is done: the machines of all models have taken it in, and their readers have lost what is gone.
    Passed {
        /// Of the effect.
        ticket: Ticket,
    },
    /// [`Effect::Keep`] is done: no other machine writes any more.
    Kept {
        /// Of the effect.
        ticket: Ticket,
    },
    /// What the machine of a model beside the served one tells.
    Told {
        /// The model's name.
        model: ModelName,
        /// How it fares.
        tidings: Tidings,
    },
    /// [`Effect::Commit`] is durable, or may not be.
    Committed {
        /// Of the effect.
        ticket: Ticket,
        /// Whether it is.
        result: Result<(), CommitFailure>,
    },
    /// [`Effect::Extract`] is done, or was given up.
    Extracted {
        /// Of the effect.
        ticket: Ticket,
        /// A feature for every row asked for.
        result: Result<Vec<Made>, Failure>,
    },
    /// [`Effect::Survey`] is done, or could not be.
    Surveyed {
        /// Of the effect.
        ticket: Ticket,
        /// What the texts have.
        result: Result<Survey, Failure>,
    },
    /// One task of [`Effect::Compare`] is done, or was given up.
    Compared {
        /// Of the effect.
        ticket: Ticket,
        /// The task's number.
        task: usize,
        /// Candidates.
        result: Result<CompareReply, Failure>,
    },
    /// [`Effect::Notify`] is done.
    Notified {
        /// Of the effect.
        ticket: Ticket,
    },
    /// What is stored of items is to be made anew of their texts: somebody doubts it.
    MakeAnew {
        /// Which ones; none: all.
        ids: Vec<ItemId>,
    },
    /// [`crate::machine::Domain::deadline`] has come.
    Tick,
}

/// Why a commit may not be durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitFailure {
    /// Another owner has the partition.
    Superseded,
    /// It failed; perhaps later it would not.
    Failed(Failure),
}

/// Something to do. The order of effects is the order to begin them in.
#[derive(Debug)]
pub enum Effect {
    /// Read the domain's row and settings; answer [`Input::Opened`].
    Open {
        /// For the answer.
        ticket: Ticket,
    },
    /// Read these items, about which events came before the domain is loaded; answer
    /// [`Input::ItemsRead`].
    ReadItems {
        /// For the answer.
        ticket: Ticket,
        /// Whose rows.
        ids: Vec<ItemId>,
    },
    /// Read these items with their texts and vectors; answer [`Input::WholeRead`].
    ReadWhole {
        /// For the answer.
        ticket: Ticket,
        /// Which items.
        ids: Vec<ItemId>,
    },
    /// Read all of the domain from the store; answer [`Input::Loaded`].
    Load {
        /// For the answer.
        ticket: Ticket,
        /// The model of its texts: features of this one and of own vectors count.
        model: ModelName,
    },
    /// Make rows durable; answer [`Input::Committed`].
    Commit {
        /// For the answer.
        ticket: Ticket,
        /// Whether deliveries are acknowledged on the strength of it.
        fence: bool,
        /// The rows.
        writes: Vec<Write>,
        /// What it is, for logs and crash tests.
        step: CommitStep,
    },
    /// Delete rows of the domain that were written before this, some of them at a time; answer
    /// [`Input::Swept`].
    Sweep {
        /// For the answer.
        ticket: Ticket,
    },
    /// Delete rows of a model that were written before this, some of them at a time; answer [`Input::Swept`].
    SweepModel {
        /// For the answer.
        ticket: Ticket,
        /// What goes.
        swept: Swept,
    },
    /// Have machines of these models run beside this one, and of no others. Those that run go on. What they tell is
    /// [`Input::Told`]; when no other runs any more, and what others had on its way to the store is answered, answer
    /// [`Input::Kept`]. None begins before that.
    Keep {
        /// For the answer.
        ticket: Ticket,
        /// The models.
        models: Vec<Followed>,
    },
    /// Have all of them take in what is stored ([`Input::Follow`]); answer [`Input::Passed`].
    Pass {
        /// For the answer.
        ticket: Ticket,
        /// What is stored.
        passed: Vec<Passed>,
    },
    /// Readers of the domain see from now on what those of the first model saw, which ran beside, and what they saw
    /// those of the second one see.
    Swap {
        /// The model that is served now.
        now: ModelName,
        /// The one that was.
        was: ModelName,
    },
    /// Make features; answer [`Input::Extracted`].
    Extract {
        /// For the answer.
        ticket: Ticket,
        /// The model of texts.
        model: ModelName,
        /// The items.
        rows: Vec<ToExtract>,
        /// How their texts are to be read.
        settings: Arc<DomainSettings>,
        /// How many items of the domain have a feature in each space.
        spaces: Vec<(Space, usize)>,
        /// How long dense parts are in each space, where it is known.
        lengths: BTreeMap<Space, usize>,
        /// What is usual in the domain's texts.
        habits: Arc<Habits>,
    },
    /// Look at the texts of these items for what is usual in them; answer [`Input::Surveyed`].
    Survey {
        /// For the answer.
        ticket: Ticket,
        /// Which items.
        ids: Vec<ItemId>,
        /// By whose terms.
        model: ModelName,
        /// How their texts are to be read.
        settings: Arc<DomainSettings>,
    },
    /// Compare; answer [`Input::Compared`] once a task.
    Compare {
        /// For the answers.
        ticket: Ticket,
        /// The tasks and their numbers.
        tasks: Vec<(usize, Comparing)>,
    },
    /// Tell the intake.
    Settle(Vec<(DeliveryTag, Outcome)>),
    /// Change what readers see, before any later effect.
    Serve(ViewChange),
    /// Tell watchers that these items' lists changed (deleted ones too), as often as it takes;
    /// answer [`Input::Notified`]. The domain is not clean before that.
    Notify {
        /// For the answer.
        ticket: Ticket,
        /// The domain's model.
        model: ModelName,
        /// Whose lists changed.
        ids: Vec<ItemId>,
    },
    /// Count.
    Observe(Observation),
    /// The partition belongs to another; this machine has stopped for good.
    Superseded,
}

/// Rows to compare.
#[derive(Debug, Clone)]
pub enum Comparing {
    /// Some rows with some others: of a window, or whose lists are too short. A job for a worker.
    Some(Arc<CompareTask>),
    /// All live rows of a space with all, after loading: done here, where its blocks are. In the reply a
    /// row's side is the number of its block.
    All(Vec<(Arc<Block>, RowMask)>),
}

/// An item as it is stored.
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

/// Which commit of an event's way this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitStep {
    /// Accepted events, before they are acknowledged.
    Events,
    /// Features, before they are compared.
    Features,
    /// Settings, before they are acknowledged.
    Settings,
    /// Models of the domain, before what became of a change is acknowledged, and steps before that.
    Models,
    /// What is usual in the domain's texts, before features are made with it.
    Habits,
    /// The domain's row with the model that settings name, which are durable.
    Model,
    /// Changed lists.
    Lists,
    /// The end of being dirty.
    Clean,
    /// The domain's row, which says that the domain is removed, before that is acknowledged.
    Removal,
    /// The domain's row, which says that nothing else is left of it, or its end once it was kept long enough.
    Removed,
}

/// Something worth counting.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// A window closed, with this many items.
    WindowClosed(usize),
    /// Pairs of rows whose score was computed.
    Pairs(u64),
    /// All lists were made anew.
    Rebuilt,
    /// Lists recomputed because deletions had made them too short.
    Recomputed(usize),
    /// An event's item is served, so long after the event's arrival.
    Served(ItemId, Duration),
}

/// An item whose feature is asked for.
#[derive(Debug, Clone)]
pub struct ToExtract {
    /// Its slot.
    pub slot: Slot,
    /// Its id.
    pub id: ItemId,
    /// Its version.
    pub version: u64,
    /// What the feature is made of; `None`: read it from the store.
    pub material: Option<Arc<Material>>,
}

/// A feature as made.
#[derive(Debug, Clone)]
pub struct Made {
    /// The item.
    pub slot: Slot,
    /// The version it was made from.
    pub version: u64,
    /// What it is compared with.
    pub space: Space,
    /// Fingerprint of the habits that it was made with; 0 for an own vector.
    pub habits: u64,
    /// The feature; zero: nothing to compare.
    pub feature: Feature,
    /// The item's row, where it is to be stored anew: it says why no feature could be made, or says that no more.
    pub row: Option<Box<ItemRow>>,
}

impl Made {
    /// Why no feature could be made.
    pub fn rejected(&self) -> Option<&str> {
        self.row.as_ref()?.rejected.as_deref()
    }

    /// Fingerprint of the habits that the feature depends on; `None`: it depends on none.
    pub(crate) fn made_with(&self) -> Option<u64> {
        let depends = self.rejected().is_none() && !self.space.is_own();
        depends.then_some(self.habits)
    }
}
