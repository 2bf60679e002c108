//! The lease: who owns a partition, and when an owner must stop. Pure.
//!
//! An owner raises `beat` every [`BEAT`]. Who sees it unchanged for [`TAKE_AFTER`] on its own
//! clock takes the partition by compare-and-set, at the next epoch. An owner whose last confirmed
//! beat was *sent* [`STOP_AFTER`] ago stops, before anybody can have taken over.

use std::time::Duration;

use crate::store::{Cas, Epoch, Lease};

/// How often an owner beats, and a watcher looks.
pub const BEAT: Duration = Duration::from_secs(2);
/// How long a beat must stand still before it is taken for dead.
pub const TAKE_AFTER: Duration = Duration::from_secs(6);
/// How old the last confirmed beat may be.
pub const STOP_AFTER: Duration = Duration::from_secs(5);

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseInput {
    /// The row was read (not from a stale replica).
    Read(Option<Lease>),
    /// The row could not be read.
    ReadFailed,
    /// The compare-and-set was decided.
    Decided(Cas),
    /// Nobody knows whether the compare-and-set was done.
    Unknown,
    /// The epoch's sequence numbers run out: a new epoch is wanted.
    Exhausted,
    /// [`LeaseMachine::deadline`] has come.
    Tick,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseEffect {
    /// Read the row.
    Read,
    /// Compare-and-set the row.
    Set {
        /// What it must be.
        expected: Option<Lease>,
        /// What it is to become.
        wanted: Lease,
    },
    /// The partition is ours, at this epoch: load, consume, answer.
    Own(Epoch),
    /// It is not ours any more: stop acknowledging, writing and answering from memory.
    Disown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// The row is being read for the first time, or again after a loss.
    Unknown { retry_at: Duration },
    /// Another owns it.
    Watching {
        seen: Lease,
        since: Duration,
        look_at: Duration,
    },
    /// Being taken.
    Taking {
        expected: Option<Lease>,
        wanted: Lease,
        sent: Duration,
    },
    /// Ours.
    Held {
        lease: Lease,
        confirmed: Duration,
        next_beat: Duration,
        setting: Option<Setting>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    wanted: Lease,
    sent: Duration,
}

/// One partition's lease, as one process sees it.
#[derive(Debug)]
pub struct LeaseMachine {
    owner: String,
    address: String,
    /// Whether the store itself keeps others out: no beats are needed.
    exclusive: bool,
    state: State,
}

impl LeaseMachine {
    /// A machine that begins by reading the row.
    pub fn start(owner: String, address: String, exclusive: bool) -> (Self, Vec<LeaseEffect>) {
        let state = State::Unknown {
            retry_at: Duration::MAX,
        };
        (
            Self {
                owner,
                address,
                exclusive,
                state,
            },
            vec![LeaseEffect::Read],
        )
    }

    /// The epoch owned, if the partition is ours.
    pub fn epoch(&self) -> Option<Epoch> {
        match &self.state {
            State::Held { lease, .. } => Some(lease.epoch()),
            State::Unknown { .. } | State::Watching { .. } | State::Taking { .. } => None,
        }
    }

    /// When to hand in [`LeaseInput::Tick`].
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Unknown { retry_at } => Some(*retry_at).filter(|at| *at != Duration::MAX),
            State::Watching { look_at, .. } => Some(*look_at),
            State::Taking { .. } => None,
            State::Held { .. } if self.exclusive => None,
            State::Held {
                confirmed,
                next_beat,
                setting,
                ..
            } => {
                let stop = *confirmed + STOP_AFTER;
                Some(if setting.is_some() {
                    stop
                } else {
                    stop.min(*next_beat)
                })
            }
        }
    }

    /// Takes one input in; what is to be done about it, in order.
    pub fn handle(&mut self, now: Duration, input: LeaseInput) -> Vec<LeaseEffect> {
        if let State::Held { confirmed, .. } = &self.state
            && !self.exclusive
            && now >= *confirmed + STOP_AFTER
        {
            // Whatever the input says: too late to be sure that it still holds.
            self.state = State::Unknown {
                retry_at: Duration::MAX,
            };
            return vec![LeaseEffect::Disown, LeaseEffect::Read];
        }
        match input {
            LeaseInput::Read(row) => self.read(now, row),
            LeaseInput::ReadFailed => self.read_failed(now),
            LeaseInput::Decided(Cas::Applied) => self.applied(),
            LeaseInput::Decided(Cas::Refused(row)) => self.refused(now, row),
            LeaseInput::Unknown => vec![LeaseEffect::Read],
            LeaseInput::Exhausted => self.exhausted(now),
            LeaseInput::Tick => self.tick(now),
        }
    }

    fn read(&mut self, now: Duration, row: Option<Lease>) -> Vec<LeaseEffect> {
        match &self.state {
            State::Taking { wanted, .. } if row.as_ref() == Some(wanted) => self.applied(),
            State::Taking { expected, .. } if row == *expected => self.take(now, row),
            State::Held {
                setting: Some(setting),
                ..
            } if row.as_ref() == Some(&setting.wanted) => self.applied(),
            State::Held { lease, .. } if row.as_ref() == Some(lease) => {
                let State::Held {
                    setting, next_beat, ..
                } = &mut self.state
                else {
                    return vec![];
                };
                // It was not done; again at once.
                *setting = None;
                *next_beat = now;
                self.tick(now)
            }
            State::Held { .. } => self.lost(now, row),
            State::Watching { seen, since, .. } if row.as_ref() == Some(seen) => {
                if now.saturating_sub(*since) >= TAKE_AFTER {
                    self.take(now, row)
                } else {
                    self.look_later(now);
                    vec![]
                }
            }
            State::Unknown { .. } | State::Watching { .. } | State::Taking { .. } => match row {
                Some(lease) if !self.exclusive => {
                    self.watch(now, lease);
                    vec![]
                }
                row => self.take(now, row),
            },
        }
    }

    fn read_failed(&mut self, now: Duration) -> Vec<LeaseEffect> {
        match &mut self.state {
            State::Unknown { retry_at } => *retry_at = now + BEAT,
            State::Watching { look_at, .. } => *look_at = now + BEAT,
            // What was asked for is still not known.
            State::Taking { .. } => {
                self.state = State::Unknown {
                    retry_at: now + BEAT,
                }
            }
            State::Held { .. } => return vec![LeaseEffect::Read],
        }
        vec![]
    }

    fn take(&mut self, now: Duration, expected: Option<Lease>) -> Vec<LeaseEffect> {
        let wanted = Lease {
            epoch: expected.as_ref().map_or(1, |lease| lease.epoch + 1),
            owner: self.owner.clone(),
            address: self.address.clone(),
            beat: 0,
        };
        let set = LeaseEffect::Set {
            expected: expected.clone(),
            wanted: wanted.clone(),
        };
        self.state = State::Taking {
            expected,
            wanted,
            sent: now,
        };
        vec![set]
    }

    fn applied(&mut self) -> Vec<LeaseEffect> {
        let (lease, sent, owned) = match &mut self.state {
            State::Taking { wanted, sent, .. } => (wanted.clone(), *sent, None),
            State::Held { lease, setting, .. } => match setting.take() {
                Some(setting) => (setting.wanted, setting.sent, Some(lease.epoch())),
                None => return vec![],
            },
            State::Unknown { .. } | State::Watching { .. } => return vec![],
        };
        let epoch = lease.epoch();
        self.state = State::Held {
            lease,
            confirmed: sent,
            next_beat: sent + BEAT,
            setting: None,
        };
        if owned == Some(epoch) {
            vec![]
        } else {
            vec![LeaseEffect::Own(epoch)]
        }
    }

    fn refused(&mut self, now: Duration, row: Option<Lease>) -> Vec<LeaseEffect> {
        match &self.state {
            State::Held { .. } => self.lost(now, row),
            State::Taking { .. } => match row {
                Some(lease) => {
                    self.watch(now, lease);
                    vec![]
                }
                None => self.take(now, None),
            },
            State::Unknown { .. } | State::Watching { .. } => vec![],
        }
    }

    fn lost(&mut self, now: Duration, row: Option<Lease>) -> Vec<LeaseEffect> {
        match row {
            Some(lease) => {
                self.watch(now, lease);
                vec![LeaseEffect::Disown]
            }
            None => {
                self.state = State::Unknown {
                    retry_at: Duration::MAX,
                };
                vec![LeaseEffect::Disown, LeaseEffect::Read]
            }
        }
    }

    fn exhausted(&mut self, now: Duration) -> Vec<LeaseEffect> {
        self.set(now, |lease| Lease {
            epoch: lease.epoch + 1,
            ..lease.clone()
        })
    }

    fn tick(&mut self, now: Duration) -> Vec<LeaseEffect> {
        match &mut self.state {
            State::Unknown { retry_at } if now >= *retry_at => {
                *retry_at = Duration::MAX;
                vec![LeaseEffect::Read]
            }
            State::Watching { look_at, .. } if now >= *look_at => {
                *look_at = now + BEAT;
                vec![LeaseEffect::Read]
            }
            State::Held { next_beat, .. } if !self.exclusive && now >= *next_beat => {
                self.set(now, |lease| Lease {
                    beat: lease.beat + 1,
                    ..lease.clone()
                })
            }
            State::Unknown { .. }
            | State::Watching { .. }
            | State::Taking { .. }
            | State::Held { .. } => vec![],
        }
    }

    fn set(&mut self, now: Duration, change: impl Fn(&Lease) -> Lease) -> Vec<LeaseEffect> {
        match &mut self.state {
            State::Held {
                lease,
                setting: setting @ None,
                ..
            } => {
                let wanted = change(lease);
                *setting = Some(Setting {
                    wanted: wanted.clone(),
                    sent: now,
                });
                vec![LeaseEffect::Set {
                    expected: Some(lease.clone()),
                    wanted,
                }]
            }
            // One at a time; the caller asks again.
            _ => vec![],
        }
    }

    fn watch(&mut self, now: Duration, seen: Lease) {
        self.state = State::Watching {
            seen,
            since: now,
            look_at: now + BEAT,
        };
    }

    fn look_later(&mut self, now: Duration) {
        if let State::Watching { look_at, .. } = &mut self.state {
            *look_at = now + BEAT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lease(epoch: u64, owner: &str, beat: u64) -> Lease {
        Lease {
            epoch,
            owner: owner.into(),
            address: format!("{owner}:1"),
            beat,
        }
    }

    fn machine(exclusive: bool) -> LeaseMachine {
        LeaseMachine::start("me".into(), "me:1".into(), exclusive).0
    }

    fn set(expected: Option<Lease>, wanted: Lease) -> LeaseEffect {
        LeaseEffect::Set { expected, wanted }
    }

    #[track_caller]
    fn step(machine: &mut LeaseMachine, now: u64, input: LeaseInput, expected: &[LeaseEffect]) {
        assert_eq!(machine.handle(at(now), input), expected);
    }

    /// A machine that took a vacant partition at second 0.
    fn held() -> LeaseMachine {
        let mut machine = machine(false);
        step(
            &mut machine,
            0,
            LeaseInput::Read(None),
            &[set(None, lease(1, "me", 0))],
        );
        step(
            &mut machine,
            0,
            LeaseInput::Decided(Cas::Applied),
            &[LeaseEffect::Own(Epoch(1))],
        );
        machine
    }

    #[test]
    fn takes_what_nobody_has() {
        assert_eq!(held().epoch(), Some(Epoch(1)));
    }

    #[test]
    fn takes_over_only_after_a_still_beat() {
        let mut m = machine(false);
        step(&mut m, 0, LeaseInput::Read(Some(lease(4, "other", 7))), &[]);
        step(&mut m, 2, LeaseInput::Tick, &[LeaseEffect::Read]);
        step(&mut m, 2, LeaseInput::Read(Some(lease(4, "other", 8))), &[]);
        for second in [4, 6] {
            step(&mut m, second, LeaseInput::Tick, &[LeaseEffect::Read]);
            step(
                &mut m,
                second,
                LeaseInput::Read(Some(lease(4, "other", 8))),
                &[],
            );
        }
        step(&mut m, 8, LeaseInput::Tick, &[LeaseEffect::Read]);
        step(
            &mut m,
            8,
            LeaseInput::Read(Some(lease(4, "other", 8))),
            &[set(Some(lease(4, "other", 8)), lease(5, "me", 0))],
        );
        step(
            &mut m,
            9,
            LeaseInput::Decided(Cas::Applied),
            &[LeaseEffect::Own(Epoch(5))],
        );
    }

    #[test]
    fn an_exclusive_store_has_no_other_owner_and_needs_no_beat() {
        let mut m = machine(true);
        let dead = lease(3, "before", 9);
        step(
            &mut m,
            0,
            LeaseInput::Read(Some(dead.clone())),
            &[set(Some(dead), lease(4, "me", 0))],
        );
        step(
            &mut m,
            0,
            LeaseInput::Decided(Cas::Applied),
            &[LeaseEffect::Own(Epoch(4))],
        );
        assert_eq!(m.deadline(), None);
        step(&mut m, 1_000_000, LeaseInput::Tick, &[]);
        assert_eq!(m.epoch(), Some(Epoch(4)));
    }

    #[test]
    fn who_loses_the_race_watches() {
        let mut m = machine(false);
        step(
            &mut m,
            0,
            LeaseInput::Read(None),
            &[set(None, lease(1, "me", 0))],
        );
        let winner = lease(1, "other", 0);
        step(
            &mut m,
            0,
            LeaseInput::Decided(Cas::Refused(Some(winner))),
            &[],
        );
        assert_eq!((m.epoch(), m.deadline()), (None, Some(at(2))));
    }

    #[test]
    fn beats_while_it_owns() {
        let mut m = held();
        assert_eq!(m.deadline(), Some(at(2)));
        let beat = set(Some(lease(1, "me", 0)), lease(1, "me", 1));
        step(&mut m, 2, LeaseInput::Tick, &[beat]);
        step(&mut m, 3, LeaseInput::Decided(Cas::Applied), &[]);
        assert_eq!(m.deadline(), Some(at(4)), "counted from when it was sent");
    }

    #[test]
    fn stops_when_no_beat_is_confirmed_though_the_answer_comes_late() {
        let mut m = held();
        m.handle(at(2), LeaseInput::Tick);
        assert_eq!(m.deadline(), Some(at(5)));
        let late = LeaseInput::Decided(Cas::Applied);
        step(&mut m, 5, late, &[LeaseEffect::Disown, LeaseEffect::Read]);
        assert_eq!(m.epoch(), None);
    }

    #[test]
    fn stops_at_once_when_another_took_over() {
        let mut m = held();
        m.handle(at(2), LeaseInput::Tick);
        let other = LeaseInput::Decided(Cas::Refused(Some(lease(2, "other", 0))));
        step(&mut m, 3, other, &[LeaseEffect::Disown]);
    }

    #[test]
    fn an_unknown_outcome_is_read_again() {
        let mut m = machine(false);
        m.handle(at(0), LeaseInput::Read(None));
        step(&mut m, 1, LeaseInput::Unknown, &[LeaseEffect::Read]);
        let done = LeaseInput::Read(Some(lease(1, "me", 0)));
        step(&mut m, 1, done, &[LeaseEffect::Own(Epoch(1))]);

        m.handle(at(2), LeaseInput::Tick);
        step(&mut m, 3, LeaseInput::Unknown, &[LeaseEffect::Read]);
        let not_done = LeaseInput::Read(Some(lease(1, "me", 0)));
        let again = set(Some(lease(1, "me", 0)), lease(1, "me", 1));
        step(&mut m, 3, not_done, &[again]);
    }

    #[test]
    fn raises_its_own_epoch_when_sequence_numbers_run_out() {
        let mut m = held();
        let raise = set(Some(lease(1, "me", 0)), lease(2, "me", 0));
        step(&mut m, 1, LeaseInput::Exhausted, &[raise]);
        step(
            &mut m,
            1,
            LeaseInput::Decided(Cas::Applied),
            &[LeaseEffect::Own(Epoch(2))],
        );
    }
}
