//! Rules that are omitted on purpose, to prove that the simulation would notice. Each is omitted by a driver or a fake;
//! the state machines are the released ones.

use kindred_domain::effect::CommitStep;
use kindred_domain::list::NEIGHBOURS;
use kindred_domain::store::Write;
use kindred_shared::DomainName;
use kindred_shared::job::CompareReply;

use crate::invariants::is_shown;
use crate::world::World;

/// An omitted rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Deliveries are settled as stored when they arrive.
    AcknowledgedBeforeStored,
    /// No commit is fenced.
    NoFence,
    /// One candidate that ranks above the bound is left out.
    BoundOffByOne,
    /// Nobody is told that candidates were cut off.
    BoundForgotten,
    /// A reply that nobody waits for any more is taken for another's, and an answer for a driver that has ended is
    /// delivered to the next one.
    StaleAnswerTaken,
    /// A domain is marked clean when its features are stored.
    CleanTooEarly,
    /// A domain that is registered is never marked dirty.
    NoDirtyMark,
    /// The dirty mark is written after the rows.
    MarkAfterRows,
    /// A live owner's lease is treated as expired.
    LeaseTakenWhileAlive,
    /// The lease is set without comparing.
    LeaseSetBlindly,
    /// An owner trusts its lease for ten seconds too long.
    TermTooLong,
    /// Owners use a clock that may be set.
    TermsByWallClock,
    /// Messages from one sender to one receiver overtake each other.
    MailOvertakes,
    /// A partition is handed over before it is released.
    HandedOverEarly,
    /// A new owner of a partition uses the previous epoch.
    EpochNotRaised,
    /// Readers are not told about items that are gone.
    DeparturesNotServed,
    /// Some deliveries are settled twice.
    SettledTwice,
    /// Some deliveries are never settled.
    NotSettled,
    /// What could not be stored is not delivered again.
    FailedNotReadAgain,
    /// An item that is gone leaves no tombstone.
    TombstoneForgotten,
    /// A host continues at the previous epoch when the epoch is raised.
    RaiseNotHeard,
    /// All writes of an ownership have the same stamp.
    StampsStandStill,
    /// Nothing of a removed domain is deleted.
    NothingSwept,
    /// Features claim to be made with the stored habits.
    HabitsMislabelled,
    /// Entries of the log that the row of the settings drops are nowhere else.
    LogNotCopied,
    /// Changes are not passed on to the machines of other models.
    NotPassedOn,
    /// What is left of a model that was deleted stays.
    ModelNotSwept,
    /// An activation is acknowledged when it arrives.
    ActivatedBeforeStored,
    /// A model is ready before its lists are stored.
    ReadyBeforeStored,
}

/// All of them.
pub(crate) const ALL: [Mutation; 29] = [
    Mutation::AcknowledgedBeforeStored,
    Mutation::NoFence,
    Mutation::BoundOffByOne,
    Mutation::BoundForgotten,
    Mutation::StaleAnswerTaken,
    Mutation::CleanTooEarly,
    Mutation::NoDirtyMark,
    Mutation::MarkAfterRows,
    Mutation::LeaseTakenWhileAlive,
    Mutation::LeaseSetBlindly,
    Mutation::TermTooLong,
    Mutation::TermsByWallClock,
    Mutation::MailOvertakes,
    Mutation::HandedOverEarly,
    Mutation::EpochNotRaised,
    Mutation::DeparturesNotServed,
    Mutation::SettledTwice,
    Mutation::NotSettled,
    Mutation::FailedNotReadAgain,
    Mutation::TombstoneForgotten,
    Mutation::RaiseNotHeard,
    Mutation::StampsStandStill,
    Mutation::NothingSwept,
    Mutation::HabitsMislabelled,
    Mutation::LogNotCopied,
    Mutation::NotPassedOn,
    Mutation::ModelNotSwept,
    Mutation::ActivatedBeforeStored,
    Mutation::ReadyBeforeStored,
];

impl World {
    /// Whether this rule is omitted.
    pub(crate) fn is_mutated(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Mutates the result of a comparison.
    pub(crate) fn mutate_reply(&self, mut reply: CompareReply) -> CompareReply {
        for found in reply
            .found
            .iter_mut()
            .filter(|found| found.dropped.is_some())
        {
            match self.mutation {
                Some(Mutation::BoundOffByOne) => drop(found.candidates.remove(NEIGHBOURS - 1)),
                Some(Mutation::BoundForgotten) => found.dropped = None,
                _ => {}
            }
        }
        reply
    }

    /// Mutates the rows of a commit.
    pub(crate) fn mutate_writes(
        &self,
        domain: &DomainName,
        step: CommitStep,
        mut writes: Vec<Write>,
    ) -> Vec<Write> {
        let row = self.database.tables.get(domain);
        let row = row.and_then(|tables| tables.domain.get(&()).cloned());
        match (self.mutation, row) {
            (Some(Mutation::NoDirtyMark), Some(_)) => {
                let is_mark =
                    |write: &Write| matches!(write, Write::Domain(row) if row.dirty.is_some());
                writes.retain(|write| !is_mark(write));
            }
            (Some(Mutation::CleanTooEarly), Some(mut row)) if step == CommitStep::Features => {
                row.dirty = None;
                writes.push(Write::Domain(row));
            }
            (Some(Mutation::LogNotCopied), _) => {
                for write in &mut writes {
                    if matches!(write, Write::Log(_)) {
                        // Deletes nothing.
                        *write = Write::TrimLog(0);
                    }
                }
            }
            (Some(Mutation::HabitsMislabelled), _) => {
                let settings = self.database.tables.get(domain);
                let settings = settings.and_then(|tables| tables.settings.get(&()));
                let habits = settings.map_or(0, |row| row.habits.fingerprint());
                for write in &mut writes {
                    if let Write::Feature(row) = write {
                        row.habits = habits;
                    }
                }
            }
            (Some(Mutation::TombstoneForgotten), _) => {
                for write in &mut writes {
                    if let Write::Item(row) = write
                        && !row.hidden
                        && !is_shown(row)
                    {
                        *write = Write::PurgeItem(row.id.clone());
                    }
                }
            }
            _ => {}
        }
        writes
    }
}
