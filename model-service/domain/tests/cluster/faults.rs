//! The size of a history's cluster, and its faults; all of it follows from the seed.

use std::time::Duration;

use crate::simulated::dice::Dice;

/// The size of a history.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) machines: usize,
    pub(crate) partitions: u16,
    pub(crate) domains: u64,
    /// Number of ids per domain.
    pub(crate) ids: u64,
    /// How long faults happen.
    pub(crate) trouble: Duration,
    /// Mean time between two events.
    pub(crate) pace: Duration,
    /// Number of stamps per epoch.
    pub(crate) stamps: u32,
    /// One event in this many kills every process that processes it; 0: none.
    pub(crate) killers: u64,
    /// One event in this many removes its domain; 0: none.
    pub(crate) removals: u64,
    /// Whether texts have anything in common. If so, lists are computed again so often that this hides other mistakes.
    pub(crate) have_habits: bool,
    /// One event in this many builds, activates or deletes a model; 0: none.
    pub(crate) models: u64,
}

/// The frequency of faults: one in this many, 0: never.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// A request to the database that is not carried out, or not in time.
    pub(crate) request: u64,
    /// A process that dies at an effect.
    pub(crate) effect: u64,
    /// Something that takes up to three seconds instead of milliseconds.
    pub(crate) slow: u64,
    /// A lost job or reply.
    pub(crate) job: u64,
    /// A machine that panics at an input.
    pub(crate) panic: u64,
    /// A job that a worker cannot do.
    pub(crate) unable: u64,
    /// Mean seconds between two major faults: a process is killed, frozen or stopped; connections are cut; a clock is
    /// set; broker, database or workers are away.
    pub(crate) mischief: u64,
}

impl Shape {
    pub(crate) fn of(dice: &mut Dice) -> Self {
        // Sometimes more items than a list keeps.
        let is_large = dice.one_in(12);
        Self {
            machines: 2 + dice.roll(2) as usize,
            partitions: 1 + dice.roll(3) as u16,
            domains: if is_large { 1 } else { 1 + dice.roll(3) },
            ids: if is_large {
                150 + dice.roll(30)
            } else {
                3 + dice.roll(10)
            },
            trouble: Duration::from_secs(20 + dice.roll(50)),
            pace: if is_large {
                Duration::from_millis(60)
            } else {
                Duration::from_millis(100 + dice.roll(500))
            },
            stamps: if dice.one_in(4) {
                40 + dice.roll(200) as u32
            } else {
                u32::MAX
            },
            killers: if dice.one_in(8) { 60 } else { 0 },
            removals: if dice.one_in(3) {
                15 + dice.roll(60)
            } else {
                0
            },
            have_habits: dice.one_in(if is_large { 4 } else { 2 }),
            models: if dice.one_in(if is_large { 8 } else { 3 }) {
                8 + dice.roll(20)
            } else {
                0
            },
        }
    }
}

impl Shape {
    /// Whether there are more items than a list keeps.
    pub(crate) fn is_large(&self) -> bool {
        self.ids > 70
    }
}

impl Faults {
    pub(crate) fn of(dice: &mut Dice) -> Self {
        let mut often = |most: u64, least: u64| match dice.roll(4) {
            0 => 0,
            _ => most + dice.roll(least - most),
        };
        Self {
            request: often(15, 400),
            effect: often(100, 2_000),
            slow: often(10, 300),
            job: often(4, 60),
            panic: often(300, 3_000),
            unable: often(6, 60),
            mischief: often(3, 20),
        }
    }

    /// Without those after which domains are read again: that makes all lists anew, which hides mistakes of lists that
    /// lose entries for a long time.
    pub(crate) fn without_reloads(self) -> Self {
        Self {
            request: 0,
            effect: 0,
            panic: 0,
            mischief: 0,
            ..self
        }
    }
}
