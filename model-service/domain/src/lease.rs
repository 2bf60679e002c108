//! The lease: who owns a partition, and when an owner must stop. Pure.
//!
//! An owner raises `beat` every [`BEAT`]. Who sees it unchanged for [`TAKE_AFTER`] on its own
//! clock takes the partition by compare-and-set, at the next epoch. An owner whose last confirmed
//! beat was *sent* [`STOP_AFTER`] ago stops, before anybody can have taken over.
//!
//! An owner may also hand the partition over: it lets go first, and then leaves the row without an
//! owner, for whoever wishes to take it at once. Wishes ([`Wish`]) make shares even and stops fast;
//! nothing depends on them, for what stays free for [`LATE`] is anybody's.

use std::time::Duration;

use crate::store::{Cas, Epoch, Lease};

/// How often an owner beats, and a watcher looks.
pub const BEAT: Duration = Duration::from_secs(2);
/// How long a beat must stand still before it is taken for dead.
pub const TAKE_AFTER: Duration = Duration::from_secs(6);
/// How old the last confirmed beat may be.
pub const STOP_AFTER: Duration = Duration::from_secs(5);
/// How long what is free must stay so for one to take it who leaves it to others.
pub const LATE: Duration = Duration::from_secs(18);

/// What an instance wants of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To have it: keep it, or take it when it is free.
    Have,
    /// That others take it, if there are any.
    Wait,
    /// To be without it.
    Leave,
}

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
    /// Something else is wished from now on.
    Wished(Wish),
    /// [`LeaseEffect::HandOver`] is done.
    LetGo,
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
    /// The same, because it is to be another's; answered by [`LeaseInput::LetGo`].
    HandOver,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// The row is being read for the first time, or again after a loss.
    Unknown { retry_at: Duration },
    /// Another owns it, or nobody.
    Watching {
        seen: Option<Lease>,
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
    /// Being handed over: let go first, then without an owner.
    Leaving { let_go: bool },
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
    wish: Wish,
    state: State,
}

impl LeaseMachine {
    /// A machine that begins by reading the row.
    pub fn start(
        owner: String,
        address: String,
        exclusive: bool,
        wish: Wish,
    ) -> (Self, Vec<LeaseEffect>) {
        let state = State::Unknown {
            retry_at: Duration::MAX,
        };
        (
            Self {
                owner,
                address,
                exclusive,
                wish,
                state,
            },
            vec![LeaseEffect::Read],
        )
    }

    /// The epoch owned, if the partition is ours.
    pub fn epoch(&self) -> Option<Epoch> {
        match &self.state {
            State::Held { lease, .. } => Some(lease.epoch()),
            State::Unknown { .. }
            | State::Watching { .. }
            | State::Taking { .. }
            | State::Leaving { .. } => None,
        }
    }

    /// Until when no other can have taken the partition, if it is ours.
    pub fn lasts_until(&self) -> Option<Duration> {
        match &self.state {
            State::Held { .. } if self.exclusive => Some(Duration::MAX),
            State::Held { confirmed, .. } => Some(*confirmed + STOP_AFTER),
            State::Unknown { .. }
            | State::Watching { .. }
            | State::Taking { .. }
            | State::Leaving { .. } => None,
        }
    }

    /// Who owns the partition, as far as is known here. One that is being taken or handed over
    /// counts as ours.
    pub fn owner(&self) -> Option<&str> {
        match &self.state {
            State::Unknown { .. } => None,
            State::Watching { seen, .. } => {
                let owned = seen.as_ref().filter(|lease| !lease.is_vacant());
                owned.map(|lease| lease.owner.as_str())
            }
            State::Taking { .. } | State::Held { .. } | State::Leaving { .. } => Some(&self.owner),
        }
    }

    /// Whether nothing of it is ours, nor on its way to or from us.
    pub fn is_away(&self) -> bool {
        matches!(self.state, State::Unknown { .. } | State::Watching { .. })
    }

    /// When to hand in [`LeaseInput::Tick`].
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Unknown { retry_at } => Some(*retry_at).filter(|at| *at != Duration::MAX),
            State::Watching { look_at, .. } => Some(*look_at),
            State::Taking { .. } | State::Leaving { .. } => None,
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
            LeaseInput::Decided(Cas::Applied) => self.applied(now),
            LeaseInput::Decided(Cas::Refused(row)) => self.refused(now, row),
            // What was asked before it was let go does not matter any more.
            LeaseInput::Unknown if self.state == (State::Leaving { let_go: false }) => vec![],
            LeaseInput::Unknown => vec![LeaseEffect::Read],
            LeaseInput::Exhausted => self.exhausted(now),
            LeaseInput::Wished(wish) => self.wished(now, wish),
            LeaseInput::LetGo => self.let_go(),
            LeaseInput::Tick => self.tick(now),
        }
    }

    fn wished(&mut self, now: Duration, wish: Wish) -> Vec<LeaseEffect> {
        self.wish = wish;
        match &mut self.state {
            State::Held { .. } if wish == Wish::Leave => {
                self.state = State::Leaving { let_go: false };
                vec![LeaseEffect::HandOver]
            }
            State::Watching {
                seen,
                since,
                look_at,
            } if may_take(wish, seen.as_ref(), now.saturating_sub(*since)) => {
                *look_at = now + BEAT;
                vec![LeaseEffect::Read]
            }
            State::Unknown { .. }
            | State::Watching { .. }
            | State::Taking { .. }
            | State::Held { .. }
            | State::Leaving { .. } => vec![],
        }
    }

    fn let_go(&mut self) -> Vec<LeaseEffect> {
        match &mut self.state {
            // Nobody else could take it.
            State::Leaving { .. } if self.exclusive => {
                self.state = State::Unknown {
                    retry_at: Duration::MAX,
                };
                vec![]
            }
            State::Leaving { let_go } => {
                *let_go = true;
                vec![LeaseEffect::Read]
            }
            State::Unknown { .. }
            | State::Watching { .. }
            | State::Taking { .. }
            | State::Held { .. } => vec![],
        }
    }

    /// Leaves the row, which is as read, without an owner.
    fn vacate(&mut self, now: Duration, row: Option<Lease>) -> Vec<LeaseEffect> {
        match row {
            Some(lease) if lease.owner == self.owner => {
                let wanted = Lease {
                    epoch: lease.epoch,
                    owner: String::new(),
                    address: String::new(),
                    beat: 0,
                };
                vec![LeaseEffect::Set {
                    expected: Some(lease),
                    wanted,
                }]
            }
            row => {
                self.watch(now, row);
                vec![]
            }
        }
    }

    fn read(&mut self, now: Duration, row: Option<Lease>) -> Vec<LeaseEffect> {
        match &self.state {
            State::Leaving { let_go: true } => self.vacate(now, row),
            State::Leaving { let_go: false } => vec![],
            State::Taking { wanted, .. } if row.as_ref() == Some(wanted) => self.applied(now),
            State::Taking { expected, .. } if row == *expected => self.take(now, row),
            State::Held {
                setting: Some(setting),
                ..
            } if row.as_ref() == Some(&setting.wanted) => self.applied(now),
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
            State::Watching { seen, since, .. } if row == *seen => {
                if may_take(self.wish, row.as_ref(), now.saturating_sub(*since)) {
                    self.take(now, row)
                } else {
                    self.look_later(now);
                    vec![]
                }
            }
            State::Unknown { .. } | State::Watching { .. } | State::Taking { .. } => {
                if self.exclusive || may_take(self.wish, row.as_ref(), Duration::ZERO) {
                    self.take(now, row)
                } else {
                    self.watch(now, row);
                    vec![]
                }
            }
        }
    }

    fn read_failed(&mut self, now: Duration) -> Vec<LeaseEffect> {
        match &mut self.state {
            State::Unknown { retry_at } => *retry_at = now + BEAT,
            State::Watching { look_at, .. } => *look_at = now + BEAT,
            State::Leaving { let_go: false } => {}
            // What was asked for is still not known. If it is still ours, others find it still.
            State::Taking { .. } | State::Leaving { let_go: true } => {
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

    fn applied(&mut self, now: Duration) -> Vec<LeaseEffect> {
        let (lease, sent, owned) = match &mut self.state {
            State::Leaving { let_go: true } => {
                self.state = State::Unknown {
                    retry_at: now + BEAT,
                };
                return vec![];
            }
            // Not wanted any more, and nobody was told of it.
            State::Taking { .. } if self.wish == Wish::Leave => {
                self.state = State::Leaving { let_go: true };
                return vec![LeaseEffect::Read];
            }
            State::Taking { wanted, sent, .. } => (wanted.clone(), *sent, None),
            State::Held { lease, setting, .. } => match setting.take() {
                Some(setting) => (setting.wanted, setting.sent, Some(lease.epoch())),
                None => return vec![],
            },
            State::Unknown { .. } | State::Watching { .. } | State::Leaving { let_go: false } => {
                return vec![];
            }
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
            State::Leaving { let_go: true } => self.vacate(now, row),
            State::Taking { .. } if may_take(self.wish, row.as_ref(), Duration::ZERO) => {
                self.take(now, row)
            }
            State::Taking { .. } => {
                self.watch(now, row);
                vec![]
            }
            State::Unknown { .. } | State::Watching { .. } | State::Leaving { let_go: false } => {
                vec![]
            }
        }
    }

    fn lost(&mut self, now: Duration, row: Option<Lease>) -> Vec<LeaseEffect> {
        match row {
            Some(_) => {
                self.watch(now, row);
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
            | State::Held { .. }
            | State::Leaving { .. } => vec![],
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

    fn watch(&mut self, now: Duration, seen: Option<Lease>) {
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

/// Whether one with this wish takes a partition whose row has been the same for so long.
fn may_take(wish: Wish, row: Option<&Lease>, unchanged: Duration) -> bool {
    let is_free = row.is_none_or(Lease::is_vacant) || unchanged >= TAKE_AFTER;
    match wish {
        Wish::Have => is_free,
        Wish::Wait => unchanged >= LATE,
        Wish::Leave => false,
    }
}

#[cfg(test)]
mod tests;
