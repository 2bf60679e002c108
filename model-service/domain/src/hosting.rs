//! Hosting a partition: what to start and what to stop as its ownership comes and goes. Pure.
//!
//! A partition that is ours is hosted as soon as its intake is open. Its events are taken once its domains have been
//! read, so that it is known which must be loaded now and which must wake later. Whatever is in progress when the
//! partition is lost is dropped at once, without waiting for a broker or a database that does not answer.

use std::time::Duration;

use kindred_shared::Backoff;

use crate::store::{DomainRow, Epoch, Partition};
use crate::time::RETRY;

/// Delays before reading the domains again. Until they have been read, the partition stands still.
const READ_AGAIN: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// An input: something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostInput {
    /// The partition is ours, at this epoch; also sent when the epoch was raised while it was ours.
    Owned(Epoch),
    /// It is no longer ours.
    Lost,
    /// It goes to another instance as soon as it is let go; answered by [`HostEffect::HandedOver`].
    HandOver,
    /// The intake is open.
    Opened,
    /// The intake could not be opened.
    NotOpened,
    /// The domains of all partitions, as the store has them.
    DomainsRead(Vec<DomainRow>),
    /// The domains could not be read.
    DomainsNotRead,
    /// [`Hosting::deadline`] has come.
    Tick,
}

/// An effect: something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostEffect {
    /// Open the partition's intake.
    Open,
    /// Host the partition at this epoch, with the intake that is now open. Its events wait.
    Host(Epoch),
    /// Write at this epoch from now on: every domain restarts from the store.
    Raise(Epoch),
    /// Read the domains. Earlier requests need no answer any more.
    ReadDomains,
    /// Resume the partition's domains: load the dirty ones, wake others when it is time.
    Resume(Vec<DomainRow>),
    /// Take events, and announce that the partition is hosted.
    Serve,
    /// Stop everything that was started or is in progress: first stop taking events, then stop the domains.
    /// Unacknowledged events go to the next owner.
    LetGo,
    /// Announce that nothing of the partition is left here.
    HandedOver,
}

#[derive(Debug)]
enum HostingState {
    /// It is not ours.
    Idle,
    /// Its intake is being opened, or waits to be tried again.
    Opening {
        epoch: Epoch,
        failures: Backoff,
        retry_at: Option<Duration>,
    },
    /// It is hosted.
    Hosting {
        epoch: Epoch,
        /// Whether its domains have been read once, so that events are taken.
        serves: bool,
        failures: Backoff,
        /// When to read its domains again.
        read_at: Option<Duration>,
    },
}

/// One partition from the view of its host.
#[derive(Debug)]
pub struct Hosting {
    partition: Partition,
    state: HostingState,
}

impl Hosting {
    /// The host of a partition that is not ours.
    pub fn new(partition: Partition) -> Self {
        Self {
            partition,
            state: HostingState::Idle,
        }
    }

    /// Whether the partition is not ours, as far as the host knows.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, HostingState::Idle)
    }

    /// When to pass in [`HostInput::Tick`].
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            HostingState::Idle => None,
            HostingState::Opening { retry_at, .. } => *retry_at,
            HostingState::Hosting { read_at, .. } => *read_at,
        }
    }

    /// Processes one input; returns the effects in order.
    pub fn handle(&mut self, now: Duration, input: HostInput) -> Vec<HostEffect> {
        match input {
            HostInput::Owned(epoch) => self.owned(epoch),
            HostInput::Lost => self.let_go(),
            HostInput::HandOver => {
                let mut effects = self.let_go();
                effects.push(HostEffect::HandedOver);
                effects
            }
            HostInput::Opened => self.opened(),
            HostInput::NotOpened => self.not_opened(now),
            HostInput::DomainsRead(rows) => self.domains_read(rows),
            HostInput::DomainsNotRead => self.domains_not_read(now),
            HostInput::Tick => self.tick(now),
        }
    }

    fn owned(&mut self, owned: Epoch) -> Vec<HostEffect> {
        match &mut self.state {
            HostingState::Idle => {
                self.state = HostingState::Opening {
                    epoch: owned,
                    failures: RETRY,
                    retry_at: None,
                };
                vec![HostEffect::Open]
            }
            HostingState::Opening { epoch, .. } => {
                *epoch = owned.max(*epoch);
                vec![]
            }
            HostingState::Hosting {
                epoch,
                failures,
                read_at,
                ..
            } if owned > *epoch => {
                *epoch = owned;
                failures.worked();
                *read_at = None;
                vec![HostEffect::Raise(owned), HostEffect::ReadDomains]
            }
            HostingState::Hosting { .. } => vec![],
        }
    }

    fn let_go(&mut self) -> Vec<HostEffect> {
        match std::mem::replace(&mut self.state, HostingState::Idle) {
            HostingState::Idle => vec![],
            HostingState::Opening { .. } | HostingState::Hosting { .. } => vec![HostEffect::LetGo],
        }
    }

    fn opened(&mut self) -> Vec<HostEffect> {
        match &self.state {
            HostingState::Opening { epoch, .. } => {
                let epoch = *epoch;
                self.state = HostingState::Hosting {
                    epoch,
                    serves: false,
                    failures: READ_AGAIN,
                    read_at: None,
                };
                vec![HostEffect::Host(epoch), HostEffect::ReadDomains]
            }
            HostingState::Idle | HostingState::Hosting { .. } => vec![],
        }
    }

    fn not_opened(&mut self, now: Duration) -> Vec<HostEffect> {
        match &mut self.state {
            HostingState::Opening {
                failures, retry_at, ..
            } => *retry_at = Some(now + failures.failed()),
            HostingState::Idle | HostingState::Hosting { .. } => {}
        }
        vec![]
    }

    fn domains_read(&mut self, mut rows: Vec<DomainRow>) -> Vec<HostEffect> {
        match &mut self.state {
            HostingState::Hosting {
                serves,
                failures,
                read_at,
                ..
            } => {
                failures.worked();
                *read_at = None;
                rows.retain(|row| row.partition == self.partition.0);
                let mut effects = vec![HostEffect::Resume(rows)];
                if !std::mem::replace(serves, true) {
                    effects.push(HostEffect::Serve);
                }
                effects
            }
            HostingState::Idle | HostingState::Opening { .. } => vec![],
        }
    }

    fn domains_not_read(&mut self, now: Duration) -> Vec<HostEffect> {
        match &mut self.state {
            HostingState::Hosting {
                failures, read_at, ..
            } => *read_at = Some(now + failures.failed()),
            HostingState::Idle | HostingState::Opening { .. } => {}
        }
        vec![]
    }

    fn tick(&mut self, now: Duration) -> Vec<HostEffect> {
        let (due, effect) = match &mut self.state {
            HostingState::Idle => return vec![],
            HostingState::Opening { retry_at, .. } => (retry_at, HostEffect::Open),
            HostingState::Hosting { read_at, .. } => (read_at, HostEffect::ReadDomains),
        };
        match due.take_if(|at| *at <= now) {
            Some(_) => vec![effect],
            None => vec![],
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use chrono::DateTime;
    use kindred_shared::{DomainName, ModelName};

    use super::*;

    const NOW: Duration = Duration::from_secs(7);

    fn row(domain: &str, partition: u16) -> DomainRow {
        DomainRow {
            domain: DomainName::new(domain).unwrap(),
            model: ModelName::new("words-1").unwrap(),
            partition,
            registered_at: DateTime::UNIX_EPOCH,
            dirty: None,
            live: 0,
            visible: 0,
            next_expiry: None,
            removal: None,
        }
    }

    /// The host of partition 3, after these inputs.
    fn after(inputs: &[HostInput]) -> Hosting {
        let mut hosting = Hosting::new(Partition(3));
        for input in inputs {
            hosting.handle(NOW, input.clone());
        }
        hosting
    }

    #[track_caller]
    fn asks(hosting: &mut Hosting, input: HostInput, expected: &[HostEffect]) {
        assert_eq!(hosting.handle(NOW, input), expected);
    }

    const OWNED: HostInput = HostInput::Owned(Epoch(4));
    const READ: HostInput = HostInput::DomainsRead(Vec::new());

    #[test]
    fn events_are_taken_once_the_domains_are_read() {
        let mut hosting = after(&[]);
        asks(&mut hosting, OWNED, &[HostEffect::Open]);
        assert!(!hosting.is_idle());
        let hosts = [HostEffect::Host(Epoch(4)), HostEffect::ReadDomains];
        asks(&mut hosting, HostInput::Opened, &hosts);
        let rows = vec![row("ours", 3), row("theirs", 2)];
        let serves = [HostEffect::Resume(vec![row("ours", 3)]), HostEffect::Serve];
        asks(&mut hosting, HostInput::DomainsRead(rows), &serves);
        // Reading once is enough.
        asks(&mut hosting, READ, &[HostEffect::Resume(vec![])]);
    }

    #[test]
    fn a_raised_epoch_begins_domains_again_and_leaves_the_intake() {
        for inputs in [
            &[OWNED, HostInput::Opened][..],
            &[OWNED, HostInput::Opened, READ],
            &[OWNED, HostInput::Opened, HostInput::DomainsNotRead],
        ] {
            let mut hosting = after(inputs);
            let raised = [HostEffect::Raise(Epoch(5)), HostEffect::ReadDomains];
            asks(&mut hosting, HostInput::Owned(Epoch(5)), &raised);
            assert_eq!(hosting.deadline(), None, "after {inputs:?}");
            // Older epochs are ignored.
            asks(&mut hosting, HostInput::Owned(Epoch(5)), &[]);
            asks(&mut hosting, OWNED, &[]);
        }
    }

    #[test]
    fn an_epoch_raised_before_the_intake_is_open_is_the_one_that_is_hosted() {
        let mut hosting = after(&[OWNED, HostInput::Owned(Epoch(6)), OWNED]);
        let hosts = [HostEffect::Host(Epoch(6)), HostEffect::ReadDomains];
        asks(&mut hosting, HostInput::Opened, &hosts);
    }

    #[test]
    fn whatever_is_under_way_is_let_go_at_once() {
        for inputs in [
            &[OWNED][..],
            &[OWNED, HostInput::NotOpened],
            &[OWNED, HostInput::Opened],
            &[OWNED, HostInput::Opened, HostInput::DomainsNotRead],
            &[OWNED, HostInput::Opened, READ],
        ] {
            asks(&mut after(inputs), HostInput::Lost, &[HostEffect::LetGo]);
            let mut hosting = after(inputs);
            let handed_over = [HostEffect::LetGo, HostEffect::HandedOver];
            asks(&mut hosting, HostInput::HandOver, &handed_over);
            assert!(hosting.is_idle() && hosting.deadline().is_none());
            // Late results are ignored.
            for late in [
                HostInput::Opened,
                HostInput::NotOpened,
                READ,
                HostInput::DomainsNotRead,
                HostInput::Tick,
                HostInput::Lost,
            ] {
                asks(&mut hosting, late, &[]);
            }
            assert!(hosting.is_idle() && hosting.deadline().is_none());
        }
        // Nothing is ours, and the answer says so.
        let mut hosting = after(&[]);
        asks(&mut hosting, HostInput::HandOver, &[HostEffect::HandedOver]);
    }

    #[test]
    fn what_failed_is_tried_again_later_and_later() {
        let later = |hosting: &mut Hosting, effect: HostEffect| {
            let at = hosting.deadline().unwrap();
            assert_eq!(hosting.handle(NOW, HostInput::Tick), [], "too early");
            assert_eq!(hosting.handle(at, HostInput::Tick), [effect]);
            assert_eq!(hosting.deadline(), None, "until it is answered");
            at - NOW
        };
        let mut hosting = after(&[OWNED]);
        let delays = [(); 3].map(|()| {
            asks(&mut hosting, HostInput::NotOpened, &[]);
            later(&mut hosting, HostEffect::Open)
        });
        assert!(delays[0] < delays[1] && delays[1] < delays[2], "{delays:?}");
        asks(
            &mut hosting,
            HostInput::Opened,
            &[HostEffect::Host(Epoch(4)), HostEffect::ReadDomains],
        );
        let delays = [(); 9].map(|()| {
            asks(&mut hosting, HostInput::DomainsNotRead, &[]);
            later(&mut hosting, HostEffect::ReadDomains)
        });
        assert_eq!(delays[8], Duration::from_secs(2));
        let serves = [HostEffect::Resume(vec![]), HostEffect::Serve];
        asks(&mut hosting, READ, &serves);
    }
}
