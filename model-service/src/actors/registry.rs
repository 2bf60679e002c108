//! The registry: one actor per active domain, started on demand and put to sleep when it is idle,
//! or when memory is short and other domains were used more recently. [`kindred_domain::registry`]
//! decides which domains must wake.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::LocalBoxActorFuture;
use actix::prelude::*;
use futures_util::future::join_all;
use kindred_shared::DomainName;
use kindred_shared::event::Event;
use tracing::{info, warn};

use super::domain::{Deliver, DomainActor, Halt, MakeAnew, Sleep, Slept};
use super::services::Services;
use super::waking::Wake;
use kindred_domain::budget::{Use, who_sleeps};
use kindred_domain::intake::{Delivery, DeliveryTag};
use kindred_domain::registry::{Registry, is_idle};
use kindred_domain::status::LoadedState;
use kindred_domain::store::DomainRow;
use kindred_domain::time::Now;
use kindred_query::DomainView;

/// How often idle domains are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Dirty domains opened at a time, to be loaded when it is their turn.
const OPENED: usize = 256;

type Events = Vec<(DeliveryTag, Arc<Event>)>;

/// Knows every active domain, and when a sleeping one must wake.
pub struct DomainRegistry {
    services: Arc<Services>,
    arbiters: Vec<ArbiterHandle>,
    domains: Registry<Active>,
    next_arbiter: usize,
}

/// An active domain.
struct Active {
    actor: Addr<DomainActor>,
    view: Arc<DomainView>,
}

/// Deliveries of any domains, in order. Answered once all of them are with their domains.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Dispatch(pub Vec<Delivery>);

/// The domains in the store at start: dirty ones are loaded now, those with expiring items when the
/// time comes.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Resume(pub Vec<DomainRow>);

/// The owner's epoch was raised: every domain restarts from the store.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Raise;

/// The partition is no longer owned: everything stops.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Disown;

impl DomainRegistry {
    /// A registry whose domains run on these arbiters.
    pub fn new(services: Arc<Services>, arbiters: Vec<ArbiterHandle>) -> Self {
        Self {
            services,
            arbiters,
            domains: Registry::new(OPENED),
            next_arbiter: 0,
        }
    }

    fn actor(&mut self, domain: &DomainName) -> Addr<DomainActor> {
        if let Some(active) = self.domains.get(domain) {
            return active.actor.clone();
        }
        info!(%domain, "domain woken");
        let arbiter = &self.arbiters[self.next_arbiter % self.arbiters.len()];
        self.next_arbiter += 1;
        let services = Arc::clone(&self.services);
        let view = services.views.open(domain, services.owner.term());
        let of_actor = Arc::clone(&view);
        let actor = DomainActor::start_domain(domain.clone(), services, of_actor, arbiter);
        let active = Active {
            actor: actor.clone(),
            view,
        };
        self.domains.woke(domain.clone(), active);
        actor
    }

    /// Hands events to their domains. An actor that stopped before it accepted its events is
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
                    if this.is_actor(&domain, &stopped) {
                        this.domains.ended(&domain);
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

    /// Whether this is the domain's current actor.
    fn is_actor(&self, domain: &DomainName, actor: &Addr<DomainActor>) -> bool {
        let active = self.domains.get(domain);
        active.is_some_and(|active| active.actor == *actor)
    }

    /// Opens dirty domains, a bounded number at a time.
    fn load_some(&mut self) {
        let is_loading = |active: &Active| active.view.status().state == LoadedState::Loading;
        for domain in self.domains.load_some(is_loading) {
            self.actor(&domain);
        }
    }

    /// Asks idle domains, and domains for which memory is short, to sleep; wakes those with an
    /// expired item.
    fn look(&mut self, context: &mut Context<Self>) {
        let now = self.services.clock.now();
        for domain in self.domains.expired(now.unix_ms) {
            self.actor(&domain);
        }
        self.load_some();
        let idle_after = self.services.idle_after;
        let is_idle = |active: &Active| {
            let unused_for = active.view.unused_for(now.monotonic);
            is_idle(unused_for, idle_after, active.view.status().clean)
        };
        let active = self.domains.active();
        let idle = active.filter(|(_, active)| is_idle(active));
        let mut tired: Vec<(DomainName, Duration)> = idle
            .map(|(domain, _)| (domain.clone(), idle_after))
            .collect();
        tired.extend(self.crowded_out(now));
        for (domain, idle) in tired {
            let Some(Active { actor, .. }) = self.domains.get(&domain) else {
                continue;
            };
            let actor = actor.clone();
            let answer = actor.send(Sleep { idle });
            context.spawn(answer.into_actor(self).map(move |answer, this, _| {
                if let Ok(Some(slept)) = answer {
                    this.asleep(domain, &actor, slept);
                }
            }));
        }
    }

    /// Domains of this partition to evict, with the time since each was last used. The domains of
    /// all partitions share the memory, so all registries choose among all domains in the same way.
    fn crowded_out(&self, now: Now) -> Vec<(DomainName, Duration)> {
        let over = self.services.memory.balance().over;
        if over == 0 {
            return Vec::new();
        }
        let views = self.services.views.all().into_iter();
        let active = views.map(|(domain, view)| {
            let status = view.status();
            let beside = self.services.views.all_beside(&domain).into_iter();
            let beside = beside.map(|(_, one)| one.view.status().memory.total());
            Use {
                domain,
                bytes: status.memory.total() + beside.sum::<u64>(),
                unused_for: view.unused_for(now.monotonic),
                is_quiet: status.clean,
            }
        });
        let chosen = who_sleeps(active.collect(), over).into_iter();
        let ours = chosen.filter(|one| self.domains.get(&one.domain).is_some());
        ours.map(|one| (one.domain, one.unused_for)).collect()
    }

    /// From now on readers are answered from the store.
    fn close_views(&self) {
        for (domain, _) in self.domains.active() {
            self.services.views.close(domain);
        }
    }

    /// Stops every domain's actor at once.
    fn halt(&mut self) -> impl Future<Output = ()> + use<> {
        let halts: Vec<_> = self
            .domains
            .drain()
            .into_iter()
            .map(|(_, active)| active.actor.send(Halt))
            .collect();
        async move {
            join_all(halts).await;
        }
    }

    fn asleep(&mut self, domain: DomainName, actor: &Addr<DomainActor>, slept: Slept) {
        // It may have been replaced already, because of events that came too late for it.
        if !self.is_actor(&domain, actor) {
            return;
        }
        self.services.views.close(&domain);
        self.domains.asleep(domain, slept.next_expiry);
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

impl Handler<Wake> for DomainRegistry {
    type Result = ();

    fn handle(&mut self, wake: Wake, _: &mut Context<Self>) {
        let actor = self.actor(&wake.domain);
        if let Some(ids) = wake.make_anew {
            actor.do_send(MakeAnew(ids));
        }
    }
}

impl Handler<Resume> for DomainRegistry {
    type Result = ();

    fn handle(&mut self, Resume(rows): Resume, _: &mut Context<Self>) {
        let dirty = self.domains.resume(rows);
        self.load_some();
        if dirty > 0 {
            warn!(
                domains = dirty,
                "domains were not stopped cleanly; their lists are recomputed"
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
