//! Whose a domain is: what only its owner knows is asked of the owner.
//!
//! A partition's hosts say what this process hosts ([`Hosted`]). For any other partition the lease
//! row says who owns it and where; an owner whose beat has stood still for [`DEAD_AFTER`] on this
//! process's own clock is none.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use actix_web::{HttpResponse, web};
use kindred_shared::DomainName;
use tokio::sync::{Semaphore, watch};

use super::problem::{Kind, Problem};
use kindred_domain::store::{Lease, Partition, Store, StoreError};

/// Header of a request that one model service asks of another: it is answered there or not at all.
pub(crate) const PROXIED: &str = "x-kindred-proxied";

/// How long a lease that was read is believed without reading it again.
const BELIEVED: Duration = Duration::from_secs(1);
/// How long a beat may stand still: whoever wants the partition takes it then.
const DEAD_AFTER: Duration = Duration::from_secs(6);
/// When to ask again for what nobody owns, in seconds.
const RETRY_S: u32 = 2;
/// Domains whose partition is remembered; past it all are forgotten.
const REMEMBERED: usize = 100_000;
/// Requests to owners at once.
const ASKING: usize = 64;
/// How long an owner may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Largest answer of an owner.
const ANSWER_BYTES: u64 = 64 << 20;

/// The partitions this process hosts now.
#[derive(Debug, Default)]
pub struct Hosted(watch::Sender<BTreeSet<Partition>>);

impl Hosted {
    /// The partition is hosted from now on.
    pub fn host(&self, partition: Partition) {
        self.0.send_modify(|hosted| {
            hosted.insert(partition);
        });
    }

    /// The partition is hosted no more.
    pub fn let_go(&self, partition: Partition) {
        self.0.send_modify(|hosted| {
            hosted.remove(&partition);
        });
    }

    /// Whether it is hosted.
    pub fn has(&self, partition: Partition) -> bool {
        self.0.borrow().contains(&partition)
    }

    /// How many are.
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Waits until this partition is hosted.
    pub async fn until(&self, partition: Partition) {
        let mut hosted = self.0.subscribe();
        // The sender is `self`, so it cannot be gone.
        let _ = hosted.wait_for(|hosted| hosted.contains(&partition)).await;
    }
}

/// Whose something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whose {
    /// This process's.
    Ours,
    /// That of the process that answers at this address.
    Theirs(String),
    /// Nobody's, for now.
    Nobody,
}

/// Finds owners and asks them.
pub struct Owners {
    store: Arc<dyn Store>,
    hosted: Arc<Hosted>,
    partitions: u16,
    /// A domain belongs to one partition for ever.
    partition_of: Mutex<HashMap<DomainName, Partition>>,
    sightings: Mutex<HashMap<Partition, Sighting>>,
    agent: ureq::Agent,
    asking: Semaphore,
}

/// A lease as it was seen.
#[derive(Debug, Clone)]
struct Sighting {
    lease: Option<Lease>,
    /// Since when it has been exactly so.
    since: Instant,
    read: Instant,
}

impl Sighting {
    /// Whose it is, for everybody but its owner.
    fn whose(&self) -> Whose {
        match &self.lease {
            Some(lease)
                if !lease.is_vacant() && self.read.duration_since(self.since) < DEAD_AFTER =>
            {
                Whose::Theirs(lease.address.clone())
            }
            _ => Whose::Nobody,
        }
    }
}

impl Owners {
    /// Finds owners in this store; `hosted` says what this process hosts of its `partitions`.
    pub(crate) fn new(store: Arc<dyn Store>, hosted: Arc<Hosted>, partitions: u16) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER))
            .proxy(None)
            .build()
            .into();
        Self {
            store,
            hosted,
            partitions,
            partition_of: Mutex::default(),
            sightings: Mutex::default(),
            agent,
            asking: Semaphore::new(ASKING),
        }
    }

    /// Whose a domain is. One that is not registered is everybody's.
    pub(crate) async fn of_domain(&self, domain: &DomainName) -> Result<Whose, StoreError> {
        if self.has_all() {
            return Ok(Whose::Ours);
        }
        let known = lock(&self.partition_of).get(domain).copied();
        let partition = match known {
            Some(partition) => partition,
            None => {
                let Some(row) = self.store.domain(domain).await? else {
                    return Ok(Whose::Ours);
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

    /// Whose a partition is.
    pub(crate) async fn of_partition(&self, partition: Partition) -> Result<Whose, StoreError> {
        // A store that keeps every other process out has no other owner.
        if self.store.is_exclusive() || self.hosted.has(partition) {
            return Ok(Whose::Ours);
        }
        let last = lock(&self.sightings).get(&partition).cloned();
        if let Some(last) = &last
            && last.read.elapsed() < BELIEVED
        {
            return Ok(last.whose());
        }
        let lease = self.store.lease(partition).await?;
        let read = Instant::now();
        let since = match last {
            Some(last) if last.lease == lease => last.since,
            _ => read,
        };
        let sighting = Sighting { lease, since, read };
        let whose = sighting.whose();
        lock(&self.sightings).insert(partition, sighting);
        Ok(whose)
    }

    fn has_all(&self) -> bool {
        self.store.is_exclusive() || self.hosted.count() == usize::from(self.partitions)
    }

    /// What an owner answers to a GET of this path and query, whatever it is.
    pub(crate) async fn ask(&self, address: &str, path: &str) -> Result<Answered, Problem> {
        let silent = |detail: String| {
            Problem::new(
                Kind::NotReady,
                format!("The domain's owner at {address} does not answer: {detail}. Ask again."),
            )
            .retry_after(RETRY_S)
        };
        let Ok(_turn) = self.asking.acquire().await else {
            return Err(silent("the service is stopping".to_owned()));
        };
        let (agent, url) = (self.agent.clone(), format!("http://{address}{path}"));
        let asked = web::block(move || -> Result<Answered, ureq::Error> {
            let mut response = agent.get(url).header(PROXIED, "1").call()?;
            let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
            Ok(Answered {
                status: response.status().as_u16(),
                kind: header("content-type"),
                retry_after: header("retry-after"),
                body: response
                    .body_mut()
                    .with_config()
                    .limit(ANSWER_BYTES)
                    .read_to_vec()?,
            })
        });
        match asked.await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(error)) => Err(silent(error.to_string())),
            Err(error) => Err(silent(error.to_string())),
        }
    }
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owners")
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

/// An owner's answer.
#[derive(Debug)]
pub(crate) struct Answered {
    status: u16,
    kind: Option<String>,
    retry_after: Option<String>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Answered {
    /// The same answer, as ours.
    pub(crate) fn response(self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut response = HttpResponse::build(status);
        if let Some(kind) = self.kind {
            response.insert_header((CONTENT_TYPE, kind));
        }
        if let Some(after) = self.retry_after {
            response.insert_header((RETRY_AFTER, after));
        }
        response.body(self.body)
    }

    /// Whether it is what was asked for.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Whether another model service asks.
pub(crate) fn is_proxied(headers: &HeaderMap) -> bool {
    headers.contains_key(PROXIED)
}

/// Nobody can say it now.
pub(crate) fn unowned() -> Problem {
    Problem::new(
        Kind::NotReady,
        "No model service owns this domain's partition now; one takes it within seconds. Ask again.",
    )
    .retry_after(RETRY_S)
}

/// Every write leaves the value whole, so a panic elsewhere is no reason to stop serving.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let theirs = Whose::Theirs("host:1".to_owned());
        assert_eq!(seen(Duration::ZERO, lease(1)).whose(), theirs);
        assert_eq!(
            seen(DEAD_AFTER - Duration::from_millis(1), lease(1)).whose(),
            theirs
        );
        assert_eq!(seen(DEAD_AFTER, lease(1)).whose(), Whose::Nobody);
        assert_eq!(seen(Duration::ZERO, None).whose(), Whose::Nobody);
        let handed_over = lease(1).map(|lease| Lease {
            owner: String::new(),
            ..lease
        });
        assert_eq!(seen(Duration::ZERO, handed_over).whose(), Whose::Nobody);
    }

    #[tokio::test]
    async fn what_is_hosted_is_told() {
        let hosted = Hosted::default();
        assert!(!hosted.has(Partition(3)));
        hosted.host(Partition(3));
        hosted.until(Partition(3)).await;
        assert!(hosted.has(Partition(3)));
        hosted.let_go(Partition(3));
        assert_eq!(hosted.count(), 0);
    }
}
