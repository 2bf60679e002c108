//! Which process owns a domain.
//!
//! A partition's hosts report what this process hosts ([`HostedPartitions`]). For any other partition the
//! lease row names the owner and its address. An owner does not count if its beat has not changed,
//! by this process's own clock, for the time after which others may take over.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kindred_shared::{DomainName, LogLimiter};
use tokio::sync::watch;

use kindred_domain::store::{Lease, Partition, Store, StoreError};

/// How long a lease that was read is trusted without reading it again.
const BELIEVED: Duration = Duration::from_secs(1);
/// Domains whose partition is cached; beyond it the cache is cleared.
const REMEMBERED: usize = 100_000;
/// How often an invalid owner's address is logged.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The partitions that this process hosts.
#[derive(Debug, Default)]
pub struct HostedPartitions(watch::Sender<BTreeSet<Partition>>);

impl HostedPartitions {
    /// The partition is hosted from now on.
    pub fn host(&self, partition: Partition) {
        self.0.send_modify(|hosted| {
            hosted.insert(partition);
        });
    }

    /// The partition is no longer hosted.
    pub fn let_go(&self, partition: Partition) {
        self.0.send_modify(|hosted| {
            hosted.remove(&partition);
        });
    }

    /// Whether it is hosted.
    pub fn has(&self, partition: Partition) -> bool {
        self.0.borrow().contains(&partition)
    }

    /// Number of hosted partitions.
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Waits until this partition is hosted.
    pub async fn until(&self, partition: Partition) {
        let mut hosted = self.0.subscribe();
        // The sender is `self`, so it cannot be dropped.
        let _ = hosted.wait_for(|hosted| hosted.contains(&partition)).await;
    }
}

/// Where the owner of a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OwnerLocation {
    /// It is this process.
    Local,
    /// It is the process that answers at this address.
    Remote(String),
    /// There is none for now.
    Unowned,
}

/// Finds owners.
pub struct Owners {
    store: Arc<dyn Store>,
    hosted: Arc<HostedPartitions>,
    partitions: u16,
    /// How long a beat may stay unchanged: after that, any other instance may take the partition.
    dead_after: Duration,
    /// A domain stays in its partition.
    partition_of: Mutex<HashMap<DomainName, Partition>>,
    sightings: Mutex<HashMap<Partition, Sighting>>,
    told: Mutex<LogLimiter>,
    begun: Instant,
}

/// Whether an owner may be contacted there: a host and a port, and nothing that would change the
/// meaning of a URL (a user, a path). Whoever can write the table must not be able to choose what
/// is requested.
fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse().is_ok_and(|port: u16| port > 0);
    let is_name = |host: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        (1..=253).contains(&host.len()) && host.bytes().all(fits)
    };
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = match in_brackets {
        Some(host) => host.parse::<Ipv6Addr>().is_ok(),
        None => is_name(host),
    };
    is_port && is_host
}

/// A lease as last seen.
#[derive(Debug, Clone)]
struct Sighting {
    lease: Option<Lease>,
    /// Since when it has not changed.
    since: Instant,
    read: Instant,
}

impl Sighting {
    /// Where the owner is, for everybody but itself.
    fn location(&self, dead_after: Duration) -> OwnerLocation {
        match &self.lease {
            Some(lease)
                if !lease.is_vacant()
                    && is_host_and_port(&lease.address)
                    && self.read.duration_since(self.since) < dead_after =>
            {
                OwnerLocation::Remote(lease.address.clone())
            }
            _ => OwnerLocation::Unowned,
        }
    }
}

impl Owners {
    /// Finds owners in this store; `hosted` says which of the `partitions` this process hosts.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        hosted: Arc<HostedPartitions>,
        partitions: u16,
        dead_after: Duration,
    ) -> Self {
        Self {
            dead_after,
            store,
            hosted,
            partitions,
            partition_of: Mutex::default(),
            sightings: Mutex::default(),
            told: Mutex::new(LogLimiter::new(TELL_EVERY)),
            begun: Instant::now(),
        }
    }

    /// Where the owner of a domain is. A domain that is not registered counts as local.
    pub(crate) async fn of_domain(&self, domain: &DomainName) -> Result<OwnerLocation, StoreError> {
        if self.has_all() {
            return Ok(OwnerLocation::Local);
        }
        let known = lock(&self.partition_of).get(domain).copied();
        let partition = match known {
            Some(partition) => partition,
            None => {
                let Some(row) = self.store.domain(domain).await? else {
                    return Ok(OwnerLocation::Local);
                };
                let mut remembered = lock(&self.partition_of);
                if remembered.len() >= REMEMBERED {
                    remembered.clear();
                }
                let partition = Partition(row.partition);
                remembered.insert(domain.clone(), partition);
                partition
            }
        };
        self.of_partition(partition).await
    }

    /// Every partition.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..self.partitions).map(Partition)
    }

    /// Whose a partition is.
    pub(crate) async fn of_partition(
        &self,
        partition: Partition,
    ) -> Result<OwnerLocation, StoreError> {
        // A store that excludes every other process has no other owner.
        if self.store.is_exclusive() || self.hosted.has(partition) {
            return Ok(OwnerLocation::Local);
        }
        let last = lock(&self.sightings).get(&partition).cloned();
        if let Some(last) = &last
            && last.read.elapsed() < BELIEVED
        {
            return Ok(last.location(self.dead_after));
        }
        let lease = self.store.look_at_lease(partition).await?;
        let read = Instant::now();
        if let Some(lease) = &lease
            && !lease.is_vacant()
            && !is_host_and_port(&lease.address)
            && let Some(more) = lock(&self.told).tell(read.duration_since(self.begun))
        {
            let (partition, address) = (partition.0, excerpt(&lease.address));
            tracing::error!(
                partition,
                address,
                more,
                "the owner's address is not a host and port; ignored"
            );
        }
        let since = match last {
            Some(last) if last.lease == lease => last.since,
            _ => read,
        };
        let sighting = Sighting { lease, since, read };
        let location = sighting.location(self.dead_after);
        lock(&self.sightings).insert(partition, sighting);
        Ok(location)
    }

    fn has_all(&self) -> bool {
        self.store.is_exclusive() || self.hosted.count() == usize::from(self.partitions)
    }
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owners")
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

/// The first characters, for a log line.
fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Every write leaves the value consistent, so a panic elsewhere is no reason to stop serving.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD_AFTER: Duration = Duration::from_secs(6);

    fn lease(beat: u64) -> Option<Lease> {
        Some(Lease {
            epoch: 1,
            owner: "o".into(),
            address: "host:1".into(),
            beat,
        })
    }

    #[test]
    fn an_owner_whose_beat_stands_still_is_none() {
        let since = Instant::now();
        let seen = |after: Duration, lease| Sighting {
            lease,
            since,
            read: since + after,
        };
        let remote = OwnerLocation::Remote("host:1".to_owned());
        assert_eq!(seen(Duration::ZERO, lease(1)).location(DEAD_AFTER), remote);
        assert_eq!(
            seen(DEAD_AFTER - Duration::from_millis(1), lease(1)).location(DEAD_AFTER),
            remote
        );
        assert_eq!(
            seen(DEAD_AFTER, lease(1)).location(DEAD_AFTER),
            OwnerLocation::Unowned
        );
        assert_eq!(
            seen(Duration::ZERO, None).location(DEAD_AFTER),
            OwnerLocation::Unowned
        );
        let handed_over = lease(1).map(|lease| Lease {
            owner: String::new(),
            ..lease
        });
        assert_eq!(
            seen(Duration::ZERO, handed_over).location(DEAD_AFTER),
            OwnerLocation::Unowned
        );
    }

    #[test]
    fn owners_are_asked_at_a_host_and_a_port_alone() {
        for good in ["host:1", "10.0.0.7:8080", "[::1]:80", "a-b.example:65535"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in [
            "",
            "host",
            "host:",
            ":80",
            "host:0",
            "host:+80",
            "host:65536",
            "user@host:80",
            "user:word@host:80",
            "host:80/path",
            "host/path:80",
            "host?a=b:80",
            "host#a:80",
            "http://host:80",
            "a b:80",
            "a\\b:80",
            "::1:80",
            "[::1:80",
            "[host]:80",
            "host%2f:80",
            "hôst:80",
        ] {
            assert!(!is_host_and_port(bad), "{bad}");
            let now = Instant::now();
            let lease = lease(1).map(|lease| Lease {
                address: bad.to_owned(),
                ..lease
            });
            let seen = Sighting {
                lease,
                since: now,
                read: now,
            };
            assert_eq!(seen.location(DEAD_AFTER), OwnerLocation::Unowned, "{bad}");
        }
    }

    #[tokio::test]
    async fn what_is_hosted_is_told() {
        let hosted = HostedPartitions::default();
        assert!(!hosted.has(Partition(3)));
        hosted.host(Partition(3));
        hosted.until(Partition(3)).await;
        assert!(hosted.has(Partition(3)));
        hosted.let_go(Partition(3));
        assert_eq!(hosted.count(), 0);
    }
}
