//! Limits the number of connections, in total and per address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{Http, Network};

/// Admits connections while there is room.
#[derive(Debug)]
pub(crate) struct Gate {
    connections: usize,
    per_address: usize,
    /// Whose connections are those of many clients.
    proxies: Vec<Network>,
    open: Mutex<Open>,
}

/// Open connections. Addresses without a connection are not remembered, so there are never more of
/// them than connections.
#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The limit for all connections is reached.
    All,
    /// The limit for its address is reached.
    Address,
}

impl Gate {
    /// A gate with the configured limits.
    pub(crate) fn new(config: &Http) -> Self {
        Self {
            connections: config.connections,
            per_address: config.connections_per_address,
            proxies: config.trusted_proxies.clone(),
            open: Mutex::default(),
        }
    }

    /// A gate with these limits.
    #[cfg(test)]
    pub(crate) fn with_room(connections: usize, per_address: usize) -> Self {
        Self {
            connections,
            per_address,
            proxies: Vec::new(),
            open: Mutex::default(),
        }
    }

    /// Admits a connection, until its pass is dropped. A connection from an unknown address only
    /// counts towards the total.
    ///
    /// # Errors
    /// When there is no room.
    pub(crate) fn enter(self: &Arc<Self>, from: Option<IpAddr>) -> Result<Pass, Full> {
        let from = from.filter(|from| !self.proxies.iter().any(|proxy| proxy.has(*from)));
        let from = from.map(counted);
        let mut open = self.open();
        if open.all >= self.connections {
            return Err(Full::All);
        }
        if let Some(from) = from {
            let of_address = open.by_address.entry(from).or_insert(0);
            if *of_address >= self.per_address {
                return Err(Full::Address);
            }
            *of_address += 1;
        }
        open.all += 1;
        Ok(Pass {
            gate: Arc::clone(self),
            from,
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Every change leaves the counts consistent.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an address counts as: in IPv6 one client has a whole /64 network.
pub(super) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

/// An admitted connection.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    from: Option<IpAddr>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut open = self.gate.open();
        open.all = open.all.saturating_sub(1);
        let Some(from) = self.from else {
            return;
        };
        if let Some(count) = open.by_address.get_mut(&from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_address.remove(&from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(connections: usize, per_address: usize) -> Arc<Gate> {
        Arc::new(Gate {
            proxies: vec!["10.0.0.0/8".parse().expect("a network")],
            ..Gate::with_room(connections, per_address)
        })
    }

    fn from(address: &str) -> Option<IpAddr> {
        Some(address.parse().expect("an address"))
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let gate = gate(10, 2);
        let first: Vec<_> = (0..2).map(|_| gate.enter(from("192.0.2.1"))).collect();
        assert!(first.iter().all(Result::is_ok));
        assert_eq!(gate.enter(from("192.0.2.1")).err(), Some(Full::Address));
        assert_eq!(
            gate.enter(from("::ffff:192.0.2.1")).err(),
            Some(Full::Address)
        );
        let _other = gate.enter(from("192.0.2.2")).expect("room for others");
        drop(first);
        assert!(gate.enter(from("192.0.2.1")).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let gate = gate(10, 1);
        let _one = gate.enter(from("2001:db8::1")).expect("room");
        assert_eq!(
            gate.enter(from("2001:db8::ffff:2")).err(),
            Some(Full::Address)
        );
        assert!(gate.enter(from("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn connections_of_proxies_count_among_all_alone() {
        let gate = gate(3, 1);
        let proxied: Vec<_> = (0..3).map(|_| gate.enter(from("10.1.2.3"))).collect();
        assert!(proxied.iter().all(Result::is_ok));
        assert_eq!(gate.enter(from("192.0.2.1")).err(), Some(Full::All));
        drop(proxied);
        assert_eq!(gate.open().all, 0);
        assert!(gate.open().by_address.is_empty());
    }
}
