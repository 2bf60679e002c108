//! The memory account: what the active domains of all partitions use together, and which of them
//! may load.
//!
//! [`Budget`] decides; loads that must wait do so here.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kindred_shared::DomainName;
use tokio::sync::oneshot;
use tracing::warn;

use kindred_domain::budget::{Budget, LoadNumber};
use kindred_domain::memory::of_loading;

/// Domains remembered as already reported too large; beyond it all are forgotten.
const TOLD: usize = 1_000;

/// The account of a process.
#[derive(Debug)]
pub struct MemoryAccount(Mutex<LoadQueue>);

#[derive(Debug)]
struct LoadQueue {
    budget: Budget,
    /// Loads waiting for their turn.
    waiting: HashMap<LoadNumber, oneshot::Sender<()>>,
    /// Domains larger than the budget that have been reported.
    told: BTreeSet<DomainName>,
}

/// The state of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// What domains may use together.
    pub budget: u64,
    /// What they use, loads included.
    pub used: u64,
    /// Part of it used by loads.
    pub loading: u64,
    /// How much domains should release.
    pub over: u64,
}

impl MemoryAccount {
    /// An account of this many bytes.
    pub fn new(budget: u64) -> Self {
        Self(Mutex::new(LoadQueue {
            budget: Budget::new(budget),
            waiting: HashMap::new(),
            told: BTreeSet::new(),
        }))
    }

    /// The current state.
    pub fn balance(&self) -> Balance {
        let state = self.lock();
        let budget = &state.budget;
        Balance {
            budget: budget.most(),
            used: budget.used(),
            loading: budget.loading(),
            over: budget.over(),
        }
    }

    /// Changes the budget and wakes the loads whose turn has come.
    fn change<T>(&self, change: impl FnOnce(&mut LoadQueue) -> T) -> T {
        let mut state = self.lock();
        let changed = change(&mut state);
        for number in state.budget.admit() {
            // A load that is not waiting yet asks before it waits.
            if let Some(waiting) = state.waiting.remove(&number) {
                let _ = waiting.send(());
            }
        }
        changed
    }

    /// Every change leaves the state consistent, so a panic elsewhere is harmless.
    fn lock(&self) -> MutexGuard<'_, LoadQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory use of one active domain.
#[derive(Debug)]
pub struct Share {
    account: Arc<MemoryAccount>,
    domain: DomainName,
    held: u64,
    load: Option<Arc<Load>>,
}

impl Share {
    /// The share of a new domain.
    pub fn new(account: Arc<MemoryAccount>, domain: DomainName) -> Self {
        Self {
            account,
            domain,
            held: 0,
            load: None,
        }
    }

    /// The domain is about to load about this many items.
    pub fn load(&mut self, items: u64) -> Arc<Load> {
        let bytes = of_loading(items);
        let number = self.account.change(|state| state.budget.ask(bytes));
        let account = Arc::clone(&self.account);
        let load = Arc::new(Load { account, number });
        self.load = Some(Arc::clone(&load));
        load
    }

    /// The domain now uses this much; `is_loading`: its load still needs what it was given.
    pub fn hold(&mut self, bytes: u64, is_loading: bool) {
        if !is_loading {
            self.load = None;
        }
        // During a load the domain's use is part of what the load was given.
        let now = if self.load.is_some() { 0 } else { bytes };
        let before = std::mem::replace(&mut self.held, now);
        if before == now {
            return;
        }
        let domain = &self.domain;
        let too_large = self.account.change(|state| {
            state.budget.hold(before, now);
            let budget = state.budget.most();
            (now > budget && state.told(domain)).then_some(budget)
        });
        if let Some(budget) = too_large {
            warn!(
                %domain,
                bytes,
                budget,
                "the domain alone exceeds the memory budget; raise `memory`"
            );
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0, false);
    }
}

impl LoadQueue {
    /// Whether to report now that the domain is too large: only once.
    fn told(&mut self, domain: &DomainName) -> bool {
        if self.told.contains(domain) {
            return false;
        }
        if self.told.len() >= TOLD {
            self.told.clear();
        }
        self.told.insert(domain.clone())
    }
}

/// One load of a domain; it ends when the last reference is dropped.
#[derive(Debug)]
pub struct Load {
    account: Arc<MemoryAccount>,
    number: LoadNumber,
}

impl Load {
    /// Waits until the load may start.
    pub async fn begin(&self) {
        self.turn(|_| ()).await;
    }

    /// Records how much the load takes now, and waits until it may continue.
    pub async fn go_on(&self, bytes: u64) {
        self.turn(|state| state.budget.grow(self.number, bytes))
            .await;
    }

    async fn turn(&self, change: impl FnOnce(&mut LoadQueue)) {
        let turn = self.account.change(|state| {
            change(state);
            if state.budget.may_go_on(self.number) {
                return None;
            }
            let (waiting, turn) = oneshot::channel();
            state.waiting.insert(self.number, waiting);
            Some(turn)
        });
        if let Some(turn) = turn {
            // An error means that the load has been removed, with its place.
            let _ = turn.await;
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.account.change(|state| {
            state.waiting.remove(&self.number);
            state.budget.end(self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn share(account: &Arc<MemoryAccount>, name: &str) -> Share {
        let domain = DomainName::new(name).expect("a domain");
        Share::new(Arc::clone(account), domain)
    }

    fn used(account: &MemoryAccount) -> u64 {
        account.balance().used
    }

    #[test]
    fn a_load_waits_until_there_is_room_and_is_over_when_its_domain_is_served() {
        let items = 10_000;
        let account = Arc::new(MemoryAccount::new(of_loading(items) * 3 / 2));
        let (mut one, mut two) = (share(&account, "one"), share(&account, "two"));
        let first = one.load(items);
        assert!(first.begin().now_or_never().is_some());
        let second = two.load(items);
        let mut turn = Box::pin(second.begin());
        assert!((&mut turn).now_or_never().is_none());
        assert_eq!(account.balance().over, of_loading(items) / 2);

        one.hold(1_000, true);
        assert_eq!(
            used(&account),
            of_loading(items),
            "it is in what its load takes"
        );
        drop(first);
        assert!(
            (&mut turn).now_or_never().is_none(),
            "its lists are still to be made"
        );
        one.hold(1_000, false);
        assert!(turn.now_or_never().is_some());
        assert_eq!(used(&account), 1_000 + of_loading(items));
        assert!(
            second.go_on(3 * of_loading(items)).now_or_never().is_some(),
            "one always goes on"
        );
        drop((one, two, second));
        let nothing = account.balance();
        assert_eq!((nothing.used, nothing.loading, nothing.over), (0, 0, 0));
    }

    #[test]
    fn one_that_grows_waits_and_one_that_is_given_up_leaves() {
        let account = Arc::new(MemoryAccount::new(10 << 20));
        let mut shares: Vec<Share> = ["one", "two", "three"]
            .map(|name| share(&account, name))
            .into();
        let loads: Vec<Arc<Load>> = shares.iter_mut().map(|share| share.load(1)).collect();
        for load in &loads {
            assert!(load.begin().now_or_never().is_some());
        }
        assert!(loads[0].go_on(8 << 20).now_or_never().is_some());
        let mut turn = Box::pin(loads[1].go_on(4 << 20));
        assert!((&mut turn).now_or_never().is_none());
        // It is reloaded, or its domain stopped.
        drop(shares.remove(0));
        assert!(
            (&mut turn).now_or_never().is_none(),
            "it is still being read"
        );
        drop(turn);
        drop(loads);
        drop(shares);
        assert_eq!(used(&account), 0);
    }

    #[test]
    fn a_domain_that_is_too_large_is_told_once() {
        let account = Arc::new(MemoryAccount::new(1 << 20));
        let domain = DomainName::new("large").expect("a domain");
        let told = || account.change(|state| state.told(&domain));
        assert_eq!([told(), told()], [true, false]);
        let mut large = share(&account, "large");
        large.hold(2 << 20, false);
        assert_eq!(account.balance().over, 1 << 20);
    }
}
