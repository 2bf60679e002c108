//! How large a history's cluster is, and what goes wrong in it: all of it follows from the seed.

use std::time::Duration;

use crate::simulated::dice::Dice;

/// Sizes of a history.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) machines: usize,
    pub(crate) partitions: u16,
    pub(crate) domains: u64,
    /// Items of a domain that are written about.
    pub(crate) ids: u64,
    /// How long things go wrong.
    pub(crate) trouble: Duration,
    /// Mean time between two events.
    pub(crate) pace: Duration,
    /// Stamps that an epoch has.
    pub(crate) stamps: u32,
    /// Of so many events one ends every process that takes it in; 0: none does.
    pub(crate) killers: u64,
    /// Of so many events one removes its domain; 0: none does.
    pub(crate) removals: u64,
    /// Whether texts share anything. Where they do, lists are made again so often that this hides other mistakes.
    pub(crate) have_habits: bool,
}

/// How often something goes wrong: once in so many, 0 never.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// A request to the database that is never done, or not in time.
    pub(crate) request: u64,
    /// A process that dies at an effect.
    pub(crate) effect: u64,
    /// Anything that takes up to three seconds instead of milliseconds.
    pub(crate) slow: u64,
    /// A job that is lost, or its reply.
    pub(crate) job: u64,
    /// A machine that panics at an input.
    pub(crate) panic: u64,
    /// A job that a worker cannot do.
    pub(crate) unable: u64,
    /// Seconds between two of: a process killed, frozen or stopped, connections cut, a clock set, broker,
    /// database or workers away.
    pub(crate) mischief: u64,
}

impl Shape {
    pub(crate) fn of(dice: &mut Dice) -> Self {
        // Now and then more items than a list keeps.
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
        }
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
}
