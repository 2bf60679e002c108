//! Limits on what one caller may use at once of the resources that all share: connections, requests in progress, bytes
//! of bodies that are held, and bytes of long answers that have not been read yet. A caller is a key or, where none is
//! needed, an address. The [gate](super::gate) limits the connections of an address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kindred_api::problem::ProblemKind;

use actix_web::http::StatusCode;

use super::error::Error;
use super::gate::counted;
use crate::config::{Http, Network};

/// Unread bytes of long answers per caller; a single answer may be longer.
const BYTES: usize = 64 << 20;
/// Bytes of bodies that are held for a caller; a single one may be longer.
const HELD_BYTES: usize = 64 << 20;
/// Bytes of bodies that are held for all callers together.
const ALL_HELD_BYTES: usize = 256 << 20;
/// The first bytes of each body, which are not counted.
const SHORT_BYTES: usize = 64 << 10;

/// Everyone with an open connection or a request in progress.
#[derive(Debug)]
pub(crate) struct Callers {
    /// Most connections per key.
    connections: usize,
    /// Most requests per key.
    requests: usize,
    /// Proxies, whose addresses stand for many clients.
    proxies: Vec<Network>,
    used: Mutex<HashMap<Caller, Used>>,
    /// Bytes of bodies that are held for all callers.
    held: AtomicUsize,
}

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Caller {
    /// The holder of the key with this name.
    Key(String),
    /// A client without a key. Its requests are limited by its connections.
    Address(IpAddr),
}

/// What a caller uses. Callers that use nothing are not remembered.
#[derive(Debug, Default)]
struct Used {
    connections: usize,
    requests: usize,
    bytes: usize,
    held: usize,
}

impl Used {
    fn is_nothing(&self) -> bool {
        self.connections == 0 && self.requests == 0 && self.held == 0
    }
}

impl Callers {
    /// With the configured limits.
    pub(crate) fn new(config: &Http) -> Self {
        Self {
            connections: config.connections_per_key,
            requests: config.requests_per_key,
            proxies: config.trusted_proxies.clone(),
            used: Mutex::default(),
            held: AtomicUsize::new(0),
        }
    }

    /// With limits of this many requests and connections per key.
    #[cfg(test)]
    pub(crate) fn with_requests(requests: usize) -> Self {
        Self {
            connections: requests,
            requests,
            proxies: Vec::new(),
            used: Mutex::default(),
            held: AtomicUsize::new(0),
        }
    }

    /// Counts a connection as the key's, until the result is dropped. `None`: it comes from a proxy
    /// and serves many clients.
    ///
    /// # Errors
    /// 429 when the key has as many open connections as allowed.
    pub(super) fn connect(
        self: &Arc<Self>,
        key: &str,
        from: Option<IpAddr>,
    ) -> Result<Option<Connected>, Error> {
        if from.is_some_and(|from| self.is_proxy(from)) {
            return Ok(None);
        }
        let caller = Caller::Key(key.to_owned());
        let mut all = self.used();
        let open = all.get(&caller).map_or(0, |used| used.connections);
        if open >= self.connections {
            let detail = format!(
                "This key has {open} open connections, which is its limit. Reuse them, or raise \
                 connections_per_key."
            );
            let busy = Error::new(ProblemKind::TooManyConnections, detail).retry_after(1);
            return Err(busy.with_status(StatusCode::TOO_MANY_REQUESTS));
        }
        all.entry(caller).or_default().connections += 1;
        Ok(Some(Connected {
            callers: Arc::clone(self),
            key: key.to_owned(),
        }))
    }

    /// Lets a request with a key in, until its turn is dropped.
    ///
    /// # Errors
    /// 429 when the key has as many requests in progress as allowed.
    pub(super) fn enter(self: &Arc<Self>, key: &str) -> Result<Turn, Error> {
        let caller = Caller::Key(key.to_owned());
        let mut all = self.used();
        let under_way = all.get(&caller).map_or(0, |used| used.requests);
        if under_way >= self.requests {
            let detail = format!(
                "This key has {under_way} requests in progress, which is its limit. Wait for \
                 their answers, or raise requests_per_key."
            );
            return Err(Error::new(ProblemKind::Busy, detail).retry_after(1));
        }
        Ok(self.turn(&mut all, caller))
    }

    /// Lets a request without a key in. `None`: only global limits apply, as for requests from a
    /// proxy.
    pub(super) fn come(self: &Arc<Self>, from: IpAddr) -> Option<Turn> {
        (!self.is_proxy(from)).then(|| self.turn(&mut self.used(), Caller::Address(counted(from))))
    }

    /// Counts a body from this address whose request has no turn. `None`: it only counts towards the total.
    pub(super) fn hold(self: &Arc<Self>, from: Option<IpAddr>) -> Held {
        let from = from.filter(|from| !self.is_proxy(*from));
        self.held_of(from.map(|from| Caller::Address(counted(from))))
    }

    fn held_of(self: &Arc<Self>, caller: Option<Caller>) -> Held {
        Held {
            callers: Arc::clone(self),
            caller,
            bytes: 0,
        }
    }

    fn is_proxy(&self, from: IpAddr) -> bool {
        self.proxies.iter().any(|proxy| proxy.has(from))
    }

    fn turn(self: &Arc<Self>, all: &mut HashMap<Caller, Used>, caller: Caller) -> Turn {
        all.entry(caller.clone()).or_default().requests += 1;
        Turn {
            callers: Arc::clone(self),
            caller,
            bytes: 0,
        }
    }

    /// Reduces what a caller uses.
    fn release(&self, caller: &Caller, release: impl FnOnce(&mut Used)) {
        let mut all = self.used();
        if let Some(used) = all.get_mut(caller) {
            release(used);
            if used.is_nothing() {
                all.remove(caller);
            }
        }
    }

    fn used(&self) -> MutexGuard<'_, HashMap<Caller, Used>> {
        // Every change leaves the counts consistent.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that was let in; dropped once its answer has been sent.
#[derive(Debug)]
pub(super) struct Turn {
    callers: Arc<Callers>,
    caller: Caller,
    bytes: usize,
}

impl Turn {
    /// Counts the request's body as its caller's.
    pub(super) fn hold(&self) -> Held {
        self.callers.held_of(Some(self.caller.clone()))
    }

    /// Reserves room for a long answer, if its caller has some left.
    pub(super) fn takes_room(&mut self, bytes: usize) -> bool {
        let mut all = self.callers.used();
        let used = all.entry(self.caller.clone()).or_default();
        let has_room = used.bytes == 0 || used.bytes.saturating_add(bytes) <= BYTES;
        if has_room {
            used.bytes += bytes;
            self.bytes += bytes;
        }
        has_room
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.callers.release(&self.caller, |used| {
            used.requests = used.requests.saturating_sub(1);
            used.bytes = used.bytes.saturating_sub(self.bytes);
        });
    }
}

/// A body that counts as held until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    callers: Arc<Callers>,
    caller: Option<Caller>,
    bytes: usize,
}

impl Held {
    /// Records that the body now has this many bytes.
    ///
    /// # Errors
    /// 429 when there is no room for them, in total or for its caller.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        let more = bytes
            .saturating_sub(SHORT_BYTES)
            .next_multiple_of(SHORT_BYTES)
            .saturating_sub(self.bytes);
        if more == 0 || self.takes_room(more) {
            return Ok(());
        }
        let detail = "Too many bytes of requests are being held, in total or for you. Wait for requests in progress to \
                      finish and send this again, or send it in smaller parts.";
        Err(Error::new(ProblemKind::Busy, detail).retry_after(1))
    }

    fn takes_room(&mut self, more: usize) -> bool {
        // Added before the comparison; subtracted again if it is too much, or when this is dropped.
        let before = self.callers.held.fetch_add(more, Ordering::Relaxed);
        let has_room = before.saturating_add(more) <= ALL_HELD_BYTES && self.takes_of_caller(more);
        if has_room {
            self.bytes += more;
        } else {
            self.callers.held.fetch_sub(more, Ordering::Relaxed);
        }
        has_room
    }

    fn takes_of_caller(&self, more: usize) -> bool {
        let Some(caller) = &self.caller else {
            return true;
        };
        let mut all = self.callers.used();
        let used = all.entry(caller.clone()).or_default();
        let has_room = used.held == self.bytes || used.held.saturating_add(more) <= HELD_BYTES;
        if has_room {
            used.held += more;
        } else if used.is_nothing() {
            all.remove(caller);
        }
        has_room
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        self.callers.held.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(caller) = &self.caller {
            self.callers.release(caller, |used| {
                used.held = used.held.saturating_sub(self.bytes);
            });
        }
    }
}

/// A connection that counts as one of a key's.
#[derive(Debug)]
pub(super) struct Connected {
    callers: Arc<Callers>,
    key: String,
}

impl Connected {
    /// Whether it counts as this key's.
    pub(super) fn is_of(&self, key: &str) -> bool {
        self.key == key
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let caller = Caller::Key(std::mem::take(&mut self.key));
        self.callers.release(&caller, |used| {
            used.connections = used.connections.saturating_sub(1);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(callers: &Arc<Callers>, from: &str) -> Option<Turn> {
        callers.come(from.parse().expect("an address"))
    }

    #[test]
    fn an_address_leaves_room_for_the_answers_of_others() {
        let callers = Arc::new(Callers::with_requests(1));
        let turns = (0..5).filter_map(|_| come(&callers, "192.0.2.1"));
        let mut turns: Vec<Turn> = turns.collect();
        let taken = turns.iter_mut().map(|turn| turn.takes_room(BYTES / 4));
        assert_eq!(taken.collect::<Vec<_>>(), [true, true, true, true, false]);
        let mut other = come(&callers, "192.0.2.2").expect("a turn");
        assert!(other.takes_room(2 * BYTES), "one alone may be longer");
        let mut second = come(&callers, "192.0.2.2").expect("a turn");
        assert!(!second.takes_room(1));
        turns.remove(0);
        assert!(turns[3].takes_room(BYTES / 4));
        drop((turns, other, second));
        assert!(callers.used().is_empty());
    }

    #[test]
    fn a_key_has_so_many_requests_and_others_have_theirs() {
        let callers = Arc::new(Callers::with_requests(2));
        let turns = [callers.enter("one"), callers.enter("one")];
        assert!(turns.iter().all(Result::is_ok));
        assert!(callers.enter("one").is_err());
        assert!(callers.enter("other").is_ok());
        drop(turns);
        assert!(callers.enter("one").is_ok());
        assert!(callers.used().is_empty());
    }

    #[test]
    fn a_key_has_so_many_connections_and_those_of_proxies_are_many_clients() {
        let callers = Arc::new(Callers {
            proxies: vec!["10.0.0.0/8".parse().expect("a network")],
            ..Callers::with_requests(2)
        });
        let from = |address: &str| Some(address.parse().expect("an address"));
        let connect = |key, address| callers.connect(key, from(address));
        let open = [connect("one", "192.0.2.1"), connect("one", "192.0.2.2")];
        assert!(
            open.iter()
                .all(|open| matches!(open, Ok(Some(one)) if one.is_of("one")))
        );
        let full = connect("one", "192.0.2.3").expect_err("as many as it may have");
        assert_eq!(full.problem().status, 429);
        assert!(connect("other", "192.0.2.3").is_ok());
        assert!(matches!(connect("one", "10.1.2.3"), Ok(None)));
        let turn = callers.enter("one");
        drop(open);
        assert!(turn.is_ok() && connect("one", "192.0.2.3").is_ok());
        drop(turn);
        assert!(callers.used().is_empty());
    }

    #[test]
    fn what_comes_from_proxies_counts_among_all_alone() {
        let callers = Arc::new(Callers {
            proxies: vec!["10.0.0.0/8".parse().expect("a network")],
            ..Callers::with_requests(1)
        });
        assert!(come(&callers, "10.1.2.3").is_none());
        assert!(come(&callers, "192.0.2.1").is_some());
    }

    #[test]
    fn bodies_of_a_caller_leave_room_for_those_of_others() {
        let callers = Arc::new(Callers::with_requests(9));
        let one = come(&callers, "192.0.2.1").expect("a turn");
        let other = come(&callers, "192.0.2.2").expect("a turn");
        let full = |held: &mut Held, bytes| held.grow(bytes).err().map(|e| e.problem().status);
        let mut bodies = [one.hold(), one.hold(), one.hold()];
        assert_eq!(full(&mut bodies[0], HELD_BYTES / 2), None);
        assert_eq!(full(&mut bodies[1], HELD_BYTES / 2), None);
        assert_eq!(full(&mut bodies[2], SHORT_BYTES), None, "it is short");
        assert_eq!(full(&mut bodies[2], HELD_BYTES / 2), Some(429));
        let mut long = other.hold();
        assert_eq!(full(&mut long, SHORT_BYTES + 1), None);
        assert_eq!(full(&mut long, 2 * HELD_BYTES), None, "one may be longer");
        let mut second = other.hold();
        assert_eq!(full(&mut second, 2 * SHORT_BYTES), Some(429));
        let [first, rest @ ..] = bodies;
        drop(first);
        assert_eq!(full(&mut one.hold(), HELD_BYTES / 2), None);
        drop((rest, long, second, one, other));
        assert!(callers.used().is_empty());
        assert_eq!(callers.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn bodies_of_all_callers_are_bounded_together() {
        let callers = Arc::new(Callers::with_requests(9));
        let mut bodies: Vec<Held> = (0..5)
            .map(|n| callers.hold(format!("192.0.2.{n}").parse().ok()))
            .collect();
        let taken = bodies
            .iter_mut()
            .map(|body| body.grow(ALL_HELD_BYTES / 4).is_ok());
        assert_eq!(taken.collect::<Vec<_>>(), [true, true, true, true, false]);
        let mut of_nobody = callers.hold(None);
        assert!(of_nobody.grow(1 << 20).is_err());
        bodies.truncate(3);
        assert!(of_nobody.grow(1 << 20).is_ok());
        drop((bodies, of_nobody));
        assert!(callers.used().is_empty());
        assert_eq!(callers.held.load(Ordering::Relaxed), 0);
    }
}
