//! The lease of a partition: who owns it, and when an owner must stop. Pure.
//!
//! An owner raises `beat` every [`LeaseTimes::beat`]. An instance that sees it unchanged for [`LeaseTimes::take`] on
//! its own clock takes the partition by compare-and-set, at the next epoch. An owner whose last confirmed beat was
//! *sent* [`LeaseTimes::stop`] ago stops before anybody can have taken over.
//!
//! A change of an owned row that got no answer may or may not have been made, so it is sent again unchanged. A late or
//! lost answer then costs the lease nothing, as long as a later try is answered: if an earlier try was applied after
//! all, the later one is refused because the row is already as wanted.
//!
//! A watching instance only looks at the row ([`LeaseEffect::Look`]). Its view may be slightly stale, because the
//! compare-and-set checks that the row is still as seen. To learn the outcome of a claim, an instance reads the current
//! row ([`LeaseEffect::Read`]).
//!
//! An owner may also hand the partition over: it lets go first, and then leaves the row without an owner, so that
//! another can take it at once. Wishes ([`Wish`]) balance shares and make shutdown fast, but nothing depends on them:
//! only the lease guarantees one owner, and any instance may claim a partition that stayed unowned for
//! [`LeaseTimes::late`].

use std::time::Duration;

use crate::store::{Cas, Epoch, Lease};

/// The intervals of leases. All instances must use the same: an owner must stop before anybody may take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// The interval of an owner's beats.
    pub beat: Duration,
    /// The age of its last confirmed beat at which an owner stops.
    pub stop: Duration,
    /// How long a beat must stay unchanged before its owner is presumed dead.
    pub take: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            beat: Duration::from_secs(2),
            stop: Duration::from_secs(5),
            take: Duration::from_secs(6),
        }
    }
}

impl LeaseTimes {
    /// The interval at which watchers look.
    pub fn look(&self) -> Duration {
        self.beat / 2
    }

    /// How long a partition must stay unowned before even an instance that would rather leave it to others takes it.
    pub fn late(&self) -> Duration {
        self.take * 3
    }

    /// The pause before a change that got no answer is sent again.
    pub fn again(&self) -> Duration {
        self.beat / 20
    }

    /// Timeout of one request about the lease: an owner must learn in time whether it still is the owner.
    pub fn answer(&self) -> Duration {
        self.stop * 4 / 5
    }
}

/// What an instance wants to do about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To own it: keep it, or take it when it is free.
    Have,
    /// To let others take it, if there are any.
    Wait,
    /// To give it up.
    Leave,
}

/// An input: something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseInput {
    /// The row was read or looked at.
    Read(Option<Lease>),
    /// The row could not be read.
    ReadFailed,
    /// The compare-and-set has a definite outcome.
    Decided(Cas),
    /// The outcome of the compare-and-set is unknown.
    Unknown,
    /// The epoch's sequence numbers are running out: a new epoch is needed.
    Exhausted,
    /// The wish has changed.
    Wished(Wish),
    /// [`LeaseEffect::HandOver`] is finished.
    LetGo,
    /// [`LeaseMachine::deadline`] has come.
    Tick,
}

/// An effect: something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseEffect {
    /// Read the current row, including the effect of every compare-and-set so far.
    Read,
    /// Read the row; a slightly stale view is fine.
    Look,
    /// Compare-and-set the row.
    Set {
        /// What the row must be.
        expected: Option<Lease>,
        /// What the row becomes.
        wanted: Lease,
    },
    /// The partition is ours at this epoch: load, consume, answer.
    Own(Epoch),
    /// It is no longer ours: stop acknowledging, writing and answering from memory.
    Disown,
    /// The same, because it will go to another instance; answered by [`LeaseInput::LetGo`].
    HandOver,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum LeaseState {
    /// The row is being read for the first time, or again after losing the partition.
    Unknown { retry_at: Duration },
    /// Another instance owns it, or none does.
    Watching {
        seen: Option<Lease>,
        since: Duration,
        /// When it was last seen like that.
        seen_at: Duration,
        look_at: Duration,
    },
    /// It is being claimed.
    Taking {
        expected: Option<Lease>,
        wanted: Lease,
        sent: Duration,
    },
    /// It is ours.
    Held {
        lease: Lease,
        confirmed: Duration,
        next_beat: Duration,
        setting: Option<Setting>,
    },
    /// It is being handed over: first let go, then leave it without an owner.
    Leaving { let_go: bool },
}

/// A change of an owned row that is not decided yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    wanted: Lease,
    /// When it was first sent.
    first: Duration,
    /// When it was last sent.
    sent: Duration,
    /// When to send it again, if it got no answer.
    again_at: Option<Duration>,
}

/// The lease of one partition from the view of one process.
#[derive(Debug)]
pub struct LeaseMachine {
    owner: String,
    address: String,
    /// Whether the store itself excludes other processes: no beats are needed.
    exclusive: bool,
    times: LeaseTimes,
    wish: Wish,
    state: LeaseState,
}

impl LeaseMachine {
    /// A machine that starts by looking at the row.
    pub fn start(
        owner: String,
        address: String,
        exclusive: bool,
        times: LeaseTimes,
        wish: Wish,
    ) -> (Self, Vec<LeaseEffect>) {
        let state = LeaseState::Unknown {
            retry_at: Duration::MAX,
        };
        (
            Self {
                owner,
                address,
                exclusive,
                times,
                wish,
                state,
            },
            vec![LeaseEffect::Look],
        )
    }

    /// Our epoch, if the partition is ours.
    pub fn epoch(&self) -> Option<Epoch> {
        match &self.state {
            LeaseState::Held { lease, .. } => Some(lease.epoch()),
            LeaseState::Unknown { .. }
            | LeaseState::Watching { .. }
            | LeaseState::Taking { .. }
            | LeaseState::Leaving { .. } => None,
        }
    }

    /// Until when no other instance can have taken the partition, if it is ours.
    pub fn lasts_until(&self) -> Option<Duration> {
        match &self.state {
            LeaseState::Held { .. } if self.exclusive => Some(Duration::MAX),
            LeaseState::Held { confirmed, .. } => Some(*confirmed + self.times.stop),
            LeaseState::Unknown { .. }
            | LeaseState::Watching { .. }
            | LeaseState::Taking { .. }
            | LeaseState::Leaving { .. } => None,
        }
    }

    /// The owner of the partition, as far as is known here. A partition that is being claimed or handed over counts as
    /// ours.
    pub fn owner(&self) -> Option<&str> {
        match &self.state {
            LeaseState::Unknown { .. } => None,
            LeaseState::Watching { seen, .. } => {
                let owned = seen.as_ref().filter(|lease| !lease.is_vacant());
                owned.map(|lease| lease.owner.as_str())
            }
            LeaseState::Taking { .. } | LeaseState::Held { .. } | LeaseState::Leaving { .. } => {
                Some(&self.owner)
            }
        }
    }

    /// Whether nothing of it is ours, being claimed or being handed over.
    pub fn is_away(&self) -> bool {
        matches!(
            self.state,
            LeaseState::Unknown { .. } | LeaseState::Watching { .. }
        )
    }

    /// When to pass in [`LeaseInput::Tick`].
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            LeaseState::Unknown { retry_at } => Some(*retry_at).filter(|at| *at != Duration::MAX),
            LeaseState::Watching { look_at, .. } => Some(*look_at),
            LeaseState::Taking { .. } | LeaseState::Leaving { .. } => None,
            LeaseState::Held { setting, .. } if self.exclusive => {
                setting.as_ref().and_then(|setting| setting.again_at)
            }
            LeaseState::Held {
                confirmed,
                next_beat,
                setting,
                ..
            } => {
                let next = match setting {
                    Some(setting) => setting.again_at,
                    None => Some(*next_beat),
                };
                let stop = *confirmed + self.times.stop;
                Some(next.map_or(stop, |next| next.min(stop)))
            }
        }
    }

    /// Processes one input; returns the effects in order.
    pub fn handle(&mut self, now: Duration, input: LeaseInput) -> Vec<LeaseEffect> {
        if let LeaseState::Held { confirmed, .. } = &self.state
            && !self.exclusive
            && now >= *confirmed + self.times.stop
        {
            // Whatever the input says, it is too late to be sure that we still own it.
            self.state = LeaseState::Unknown {
                retry_at: Duration::MAX,
            };
            return vec![LeaseEffect::Disown, LeaseEffect::Look];
        }
        match input {
            LeaseInput::Read(row) => self.read(now, row),
            LeaseInput::ReadFailed => self.read_failed(now),
            LeaseInput::Decided(Cas::Applied) => self.applied(now),
            LeaseInput::Decided(Cas::Refused(row)) => self.refused(now, row),
            // The outcome of a request from before it was let go no longer matters.
            LeaseInput::Unknown if self.state == (LeaseState::Leaving { let_go: false }) => vec![],
            LeaseInput::Unknown => self.unknown(now),
            LeaseInput::Exhausted => self.exhausted(now),
            LeaseInput::Wished(wish) => self.wished(now, wish),
            LeaseInput::LetGo => self.let_go(),
            LeaseInput::Tick => self.tick(now),
        }
    }

    fn wished(&mut self, now: Duration, wish: Wish) -> Vec<LeaseEffect> {
        self.wish = wish;
        let is_worth_a_look = match &self.state {
            LeaseState::Watching { seen, .. } => self.may_take(seen.as_ref(), self.unchanged(now)),
            _ => false,
        };
        match &mut self.state {
            LeaseState::Held { .. } if wish == Wish::Leave => {
                self.state = LeaseState::Leaving { let_go: false };
                vec![LeaseEffect::HandOver]
            }
            LeaseState::Watching { look_at, .. } if is_worth_a_look => {
                *look_at = now + self.times.look();
                vec![LeaseEffect::Look]
            }
            LeaseState::Unknown { .. }
            | LeaseState::Watching { .. }
            | LeaseState::Taking { .. }
            | LeaseState::Held { .. }
            | LeaseState::Leaving { .. } => vec![],
        }
    }

    fn let_go(&mut self) -> Vec<LeaseEffect> {
        match &mut self.state {
            // The store excludes all others.
            LeaseState::Leaving { .. } if self.exclusive => {
                self.state = LeaseState::Unknown {
                    retry_at: Duration::MAX,
                };
                vec![]
            }
            LeaseState::Leaving { let_go } => {
                *let_go = true;
                vec![LeaseEffect::Read]
            }
            LeaseState::Unknown { .. }
            | LeaseState::Watching { .. }
            | LeaseState::Taking { .. }
            | LeaseState::Held { .. } => vec![],
        }
    }

    /// Releases the row, as just read, by removing its owner.
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
            LeaseState::Leaving { let_go: true } => self.vacate(now, row),
            LeaseState::Leaving { let_go: false } => vec![],
            LeaseState::Taking { wanted, .. } if row.as_ref() == Some(wanted) => self.applied(now),
            LeaseState::Taking { expected, .. } if row == *expected => self.take(now, row),
            // The owner learns from its own changes.
            LeaseState::Held { .. } => vec![],
            LeaseState::Watching { seen, .. } if row == *seen => {
                if self.may_take(row.as_ref(), self.unchanged(now)) {
                    self.take(now, row)
                } else {
                    self.look_again(now);
                    vec![]
                }
            }
            LeaseState::Unknown { .. }
            | LeaseState::Watching { .. }
            | LeaseState::Taking { .. } => {
                if self.exclusive || self.may_take(row.as_ref(), Duration::ZERO) {
                    self.take(now, row)
                } else {
                    self.watch(now, row);
                    vec![]
                }
            }
        }
    }

    /// A change got no answer.
    fn unknown(&mut self, now: Duration) -> Vec<LeaseEffect> {
        match &mut self.state {
            LeaseState::Held { setting, .. } => {
                if let Some(setting) = setting {
                    setting.again_at = Some(now + self.times.again());
                }
                vec![]
            }
            LeaseState::Unknown { .. }
            | LeaseState::Watching { .. }
            | LeaseState::Taking { .. }
            | LeaseState::Leaving { .. } => vec![LeaseEffect::Read],
        }
    }

    fn read_failed(&mut self, now: Duration) -> Vec<LeaseEffect> {
        match &mut self.state {
            LeaseState::Unknown { retry_at } => *retry_at = now + self.times.look(),
            LeaseState::Watching { look_at, .. } => *look_at = now + self.times.look(),
            LeaseState::Leaving { let_go: false } => {}
            // The outcome is still unknown. If the row is still ours, the next read will find it so.
            LeaseState::Taking { .. } | LeaseState::Leaving { let_go: true } => {
                self.state = LeaseState::Unknown {
                    retry_at: now + self.times.look(),
                }
            }
            LeaseState::Held { .. } => {}
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
        self.state = LeaseState::Taking {
            expected,
            wanted,
            sent: now,
        };
        vec![set]
    }

    fn applied(&mut self, now: Duration) -> Vec<LeaseEffect> {
        let (lease, sent, owned) = match &mut self.state {
            LeaseState::Leaving { let_go: true } => {
                self.state = LeaseState::Unknown {
                    retry_at: now + self.times.look(),
                };
                return vec![];
            }
            // No longer wanted. The new claim was not announced, but what belonged to our earlier ownership may still
            // have to be let go.
            LeaseState::Taking { .. } if self.wish == Wish::Leave => {
                self.state = LeaseState::Leaving { let_go: false };
                return vec![LeaseEffect::HandOver];
            }
            LeaseState::Taking { wanted, sent, .. } => (wanted.clone(), *sent, None),
            LeaseState::Held { lease, setting, .. } => match setting.take() {
                Some(setting) => (setting.wanted, setting.sent, Some(lease.epoch())),
                None => return vec![],
            },
            LeaseState::Unknown { .. }
            | LeaseState::Watching { .. }
            | LeaseState::Leaving { let_go: false } => {
                return vec![];
            }
        };
        let epoch = lease.epoch();
        self.state = LeaseState::Held {
            lease,
            confirmed: sent,
            next_beat: sent + self.times.beat,
            setting: None,
        };
        if owned == Some(epoch) {
            vec![]
        } else {
            vec![LeaseEffect::Own(epoch)]
        }
    }

    fn refused(&mut self, now: Duration, row: Option<Lease>) -> Vec<LeaseEffect> {
        if let LeaseState::Held {
            setting: Some(setting),
            ..
        } = &mut self.state
            && row.as_ref() == Some(&setting.wanted)
        {
            // An earlier try was applied after all, perhaps the first: no one else writes exactly this row.
            setting.sent = setting.first;
            return self.applied(now);
        }
        match &self.state {
            LeaseState::Held { .. } => self.lost(now, row),
            LeaseState::Leaving { let_go: true } => self.vacate(now, row),
            LeaseState::Taking { .. } if self.may_take(row.as_ref(), Duration::ZERO) => {
                self.take(now, row)
            }
            LeaseState::Taking { .. } => {
                self.watch(now, row);
                vec![]
            }
            LeaseState::Unknown { .. }
            | LeaseState::Watching { .. }
            | LeaseState::Leaving { let_go: false } => {
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
                self.state = LeaseState::Unknown {
                    retry_at: Duration::MAX,
                };
                vec![LeaseEffect::Disown, LeaseEffect::Look]
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
            LeaseState::Unknown { retry_at } if now >= *retry_at => {
                *retry_at = Duration::MAX;
                vec![LeaseEffect::Look]
            }
            LeaseState::Watching { look_at, .. } if now >= *look_at => {
                *look_at = now + self.times.look();
                vec![LeaseEffect::Look]
            }
            LeaseState::Held {
                lease,
                setting: Some(setting),
                ..
            } => match setting.again_at.take_if(|at| *at <= now) {
                Some(_) => {
                    setting.sent = now;
                    vec![LeaseEffect::Set {
                        expected: Some(lease.clone()),
                        wanted: setting.wanted.clone(),
                    }]
                }
                None => vec![],
            },
            LeaseState::Held { next_beat, .. } if !self.exclusive && now >= *next_beat => {
                self.set(now, |lease| Lease {
                    beat: lease.beat + 1,
                    ..lease.clone()
                })
            }
            LeaseState::Unknown { .. }
            | LeaseState::Watching { .. }
            | LeaseState::Taking { .. }
            | LeaseState::Held { .. }
            | LeaseState::Leaving { .. } => vec![],
        }
    }

    fn set(&mut self, now: Duration, change: impl Fn(&Lease) -> Lease) -> Vec<LeaseEffect> {
        match &mut self.state {
            LeaseState::Held {
                lease,
                setting: setting @ None,
                ..
            } => {
                let wanted = change(lease);
                *setting = Some(Setting {
                    wanted: wanted.clone(),
                    first: now,
                    sent: now,
                    again_at: None,
                });
                vec![LeaseEffect::Set {
                    expected: Some(lease.clone()),
                    wanted,
                }]
            }
            // One compare-and-set at a time; the caller asks again.
            _ => vec![],
        }
    }

    fn watch(&mut self, now: Duration, seen: Option<Lease>) {
        self.state = LeaseState::Watching {
            seen,
            since: now,
            seen_at: now,
            look_at: now + self.times.look(),
        };
    }

    /// The row was seen unchanged.
    fn look_again(&mut self, now: Duration) {
        let unchanged = self.unchanged(now);
        let (take, look) = (self.times.take, self.times.look());
        if let LeaseState::Watching {
            since,
            seen_at,
            look_at,
            ..
        } = &mut self.state
        {
            *since = now.saturating_sub(unchanged);
            *seen_at = now;
            // The moment when it may be taken, if that comes before the next look.
            let may_be_taken = Some(*since + take).filter(|at| *at > now);
            *look_at = may_be_taken.map_or(now + look, |at| at.min(now + look));
        }
    }

    /// How long the watched row has been seen unchanged. Time during which it could not be read does not count, because
    /// its owner could not beat then either.
    fn unchanged(&self, now: Duration) -> Duration {
        match &self.state {
            LeaseState::Watching { since, seen_at, .. }
                if now.saturating_sub(*seen_at) <= self.times.stop =>
            {
                now.saturating_sub(*since)
            }
            _ => Duration::ZERO,
        }
    }

    /// Whether this instance takes a partition whose row has been unchanged for `unchanged`.
    fn may_take(&self, row: Option<&Lease>, unchanged: Duration) -> bool {
        // A row that names this process is one that it had to let go of: no other instance has taken it.
        let is_left = row.is_none_or(|lease| lease.is_vacant() || lease.owner == self.owner);
        match self.wish {
            Wish::Have => is_left || unchanged >= self.times.take,
            Wish::Wait => unchanged >= self.times.late(),
            Wish::Leave => false,
        }
    }
}

#[cfg(test)]
mod tests;
