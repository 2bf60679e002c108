//! The registry: an actor for each active domain, made on demand and put to sleep when idle.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::fut::LocalBoxActorFuture;
use actix::prelude::*;
use futures_util::future::join_all;
use kindred_shared::DomainName;
use kindred_shared::event::Event;
use tracing::{info, warn};

use super::domain::{Deliver, DomainActor, Halt, Sleep, Slept};
use super::services::Services;
use kindred_domain::intake::{Delivery, DeliveryTag};
use kindred_domain::store::DomainRow;

/// How often idle domains are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Active domains past which a quiet one sleeps at once, and no more dirty ones are loaded.
const MAX_IDLE_DOMAINS: usize = 256;

type Events = Vec<(DeliveryTag, Arc<Event>)>;

/// Knows every active domain, and when a sleeping one must wake.
pub struct DomainRegistry {
    services: Arc<Services>,
    arbiters: Vec<ArbiterHandle>,
    active: HashMap<DomainName, Addr<DomainActor>>,
    /// Sleeping domains by when their next item expires, in ms since 1970.
    expiries: BTreeSet<(i64, DomainName)>,
    next_arbiter: usize,
    /// Dirty domains that are still to be loaded.
    to_load: VecDeque<DomainName>,
}

/// Deliveries of any domains, in order. Answered once all are with their domains.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Dispatch(pub Vec<Delivery>);

/// Domains as the store has them at start: the dirty ones are loaded now, those with expiring
/// items when their time comes.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Resume(pub Vec<DomainRow>);

/// The owner's epoch was raised: every domain begins again from the store.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Raise;

/// The partition is not ours any more: everything stops.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Disown;

impl DomainRegistry {
    /// A registry whose domains live on these arbiters.
    pub fn new(services: Arc<Services>, arbiters: Vec<ArbiterHandle>) -> Self {
        Self {
            services,
            arbiters,
            active: HashMap::new(),
            expiries: BTreeSet::new(),
            next_arbiter: 0,
            to_load: VecDeque::new(),
        }
    }

    fn actor(&mut self, domain: &DomainName) -> Addr<DomainActor> {
        if let Some(actor) = self.active.get(domain) {
            return actor.clone();
        }
        let arbiter = &self.arbiters[self.next_arbiter % self.arbiters.len()];
        self.next_arbiter += 1;
        let services = Arc::clone(&self.services);
        let actor = DomainActor::start_domain(domain.clone(), services, arbiter);
        self.active.insert(domain.clone(), actor.clone());
        self.expiries.retain(|(_, sleeping)| sleeping != domain);
        actor
    }

    /// Hands events to their domains. An actor that stopped before it took its events in is
    /// replaced, and the new one gets them.
    fn deliver(&mut self, groups: Vec<(DomainName, Events)>) -> LocalBoxActorFuture<Self, ()> {
        let sends: Vec<_> = groups
            .into_iter()
            .map(|(domain, events)| {
                let actor = self.actor(&domain);
                async move {
                    let taken = actor.send(Deliver(events.clone())).await;
                    taken.is_err().then_some((domain, events, actor))
                }
            })
            .collect();
        let handed_over = join_all(sends).into_actor(self).then(|results, this, _| {
            let again: Vec<_> = results
                .into_iter()
                .flatten()
                .map(|(domain, events, stopped)| {
                    if this.active.get(&domain) == Some(&stopped) {
                        this.active.remove(&domain);
                    }
                    (domain, events)
                })
                .collect();
            if again.is_empty() {
                Box::pin(fut::ready(()))
            } else {
                this.deliver(again)
            }
        });
        Box::pin(handed_over)
    }

    /// Loads dirty domains, a bounded number at a time.
    fn load_some(&mut self) {
        while self.active.len() < MAX_IDLE_DOMAINS
            && let Some(domain) = self.to_load.pop_front()
        {
            self.actor(&domain);
        }
    }

    /// Asks quiet domains to sleep, and wakes those with an expired item.
    fn look(&mut self, context: &mut Context<Self>) {
        let now = self.services.clock.now().unix_ms;
        while let Some((at, domain)) = self.expiries.first().cloned() {
            if at > now {
                break;
            }
            self.expiries.remove(&(at, domain.clone()));
            self.actor(&domain);
        }
        self.load_some();
        let is_crowded = self.active.len() > MAX_IDLE_DOMAINS;
        let idle = if is_crowded {
            Duration::ZERO
        } else {
            self.services.idle_after
        };
        for (domain, actor) in &self.active {
            let (domain, actor) = (domain.clone(), actor.clone());
            let answer = actor.send(Sleep { idle });
            context.spawn(answer.into_actor(self).map(move |answer, this, _| {
                if let Ok(Some(slept)) = answer {
                    this.asleep(domain, &actor, slept);
                }
            }));
        }
    }

    /// Readers are answered from the store from now on.
    fn close_views(&self) {
        for domain in self.active.keys() {
            self.services.views.close(domain);
        }
    }

    /// Stops every domain's actor, now.
    fn halt(&mut self) -> impl Future<Output = ()> + use<> {
        let halts: Vec<_> = self
            .active
            .drain()
            .map(|(_, actor)| actor.send(Halt))
            .collect();
        async move {
            join_all(halts).await;
        }
    }

    fn asleep(&mut self, domain: DomainName, actor: &Addr<DomainActor>, slept: Slept) {
        // It may have been replaced already, by events that came too late for it.
        if self.active.get(&domain) != Some(actor) {
            return;
        }
        self.active.remove(&domain);
        self.services.views.close(&domain);
        if let Some(at) = slept.next_expiry {
            self.expiries.insert((at, domain));
        }
    }
}

impl Actor for DomainRegistry {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(LOOK_EVERY, |this, context| this.look(context));
    }
}

impl Handler<Dispatch> for DomainRegistry {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, Dispatch(deliveries): Dispatch, _: &mut Context<Self>) -> Self::Result {
        let mut groups: BTreeMap<DomainName, Events> = BTreeMap::new();
        for Delivery {
            tag, domain, event, ..
        } in deliveries
        {
            groups.entry(domain).or_default().push((tag, event));
        }
        self.deliver(groups.into_iter().collect())
    }
}

impl Handler<Resume> for DomainRegistry {
    type Result = ();

    fn handle(&mut self, Resume(rows): Resume, _: &mut Context<Self>) {
        let mut dirty = 0;
        for row in rows {
            if row.dirty.is_some() {
                dirty += 1;
                self.to_load.push_back(row.domain);
            } else if let Some(at) = row.next_expiry {
                self.expiries.insert((at.timestamp_millis(), row.domain));
            }
        }
        self.load_some();
        if dirty > 0 {
            warn!(
                domains = dirty,
                "not stopped cleanly; their lists are made anew"
            );
        } else {
            info!("all domains are clean");
        }
    }
}

impl Handler<Raise> for DomainRegistry {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Raise: Raise, _: &mut Context<Self>) -> Self::Result {
        self.close_views();
        Box::pin(self.halt())
    }
}

impl Handler<Disown> for DomainRegistry {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Disown: Disown, context: &mut Context<Self>) -> Self::Result {
        self.close_views();
        context.stop();
        Box::pin(self.halt())
    }
}
