//! The actor of one active domain: carries its machine's effects out, and brings the answers in.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use kindred_shared::event::{Event, UpsertKind};
use kindred_shared::job::{CompareTask, Job, Reply, Task};
use kindred_shared::{DomainName, ItemId};
use tracing::{debug, error, info, warn};

use super::supervisor::{Perform, Undone};
use super::{Services, extraction, loading};
use crate::crash;
use kindred_domain::effect::{CommitFailure, CommitStep, Effect, Input, Observation, Ticket};
use kindred_domain::intake::{DeliveryTag, Failure, Outcome};
use kindred_domain::machine::{Domain, Settings};
use kindred_domain::store::{Batch, StoreError, Write};
use kindred_domain::time::RETRY;
use kindred_query::DomainView;

/// Messages that may wait for one domain; each is a handful of deliveries.
const MAILBOX: usize = 64;

/// One active domain.
pub struct DomainActor {
    name: DomainName,
    machine: Domain,
    services: Arc<Services>,
    view: Arc<DomainView>,
    unsettled: HashMap<DeliveryTag, (&'static str, Instant)>,
    timer: Option<SpawnHandle>,
    last_event: Instant,
}

/// Deliveries of this domain, in order. Answered once they are in the machine.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deliver(pub Vec<(DeliveryTag, Arc<Event>)>);

/// Go to sleep if nothing is to be done and no event has come for `idle`. The answer is `Some`
/// if the domain sleeps now, with when its next item expires (ms since 1970).
#[derive(Message)]
#[rtype(result = "Option<Slept>")]
pub struct Sleep {
    /// How long the domain must have been idle.
    pub idle: Duration,
}

/// Stop at once: the domain belongs to another, or begins again. What is unsettled is settled as
/// failed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Halt;

/// The domain sleeps now.
#[derive(Debug, Clone, Copy)]
pub struct Slept {
    /// When its next item expires, in ms since 1970.
    pub next_expiry: Option<i64>,
}

impl DomainActor {
    /// Starts the actor of a domain on an arbiter; it begins by loading.
    pub fn start_domain(
        name: DomainName,
        services: Arc<Services>,
        arbiter: &ArbiterHandle,
    ) -> Addr<Self> {
        let view = services.views.open(&name);
        Self::start_in_arbiter(arbiter, move |context| {
            context.set_mailbox_capacity(MAILBOX);
            let (machine, effects) = Domain::start(settings(&name, &services));
            let mut this = Self {
                name,
                machine,
                services,
                view,
                unsettled: HashMap::new(),
                timer: None,
                last_event: Instant::now(),
            };
            this.perform(effects, context);
            this.view.set_status(this.machine.status());
            this
        })
    }

    /// One step of the machine. A panic in it is a bug; it costs this domain a reload.
    fn step(&mut self, input: Input, context: &mut Context<Self>) {
        let now = self.services.clock.now();
        let machine = &mut self.machine;
        match catch_unwind(AssertUnwindSafe(|| machine.handle(now, input))) {
            Ok(effects) => self.perform(effects, context),
            Err(_) => self.rebuild(context),
        }
        self.set_alarm(context);
        self.view.set_status(self.machine.status());
    }

    /// The machine's state cannot be trusted any more: begin again from the store.
    fn rebuild(&mut self, context: &mut Context<Self>) {
        error!(domain = %self.name, "the domain's machine failed; it is loaded again");
        let effects = self.machine.restart(self.services.clock.now());
        self.perform(effects, context);
        // Those the machine lost count of.
        self.fail_unsettled("the domain failed and is being loaded again; send the event again");
    }

    fn fail_unsettled(&mut self, detail: &str) {
        let failure = Failure {
            needs_help: false,
            detail: detail.to_owned(),
        };
        let failed: Vec<_> = self
            .unsettled
            .keys()
            .map(|tag| (*tag, Outcome::Failed(failure.clone())))
            .collect();
        if !failed.is_empty() {
            self.settle(failed);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>, context: &mut Context<Self>) {
        for effect in effects {
            match effect {
                Effect::Load { ticket } => self.load(ticket, context),
                Effect::Commit {
                    ticket,
                    fence,
                    writes,
                    step,
                } => {
                    self.commit(ticket, fence, writes, step, context);
                }
                Effect::Extract { ticket, rows } => {
                    let (services, name) = (Arc::clone(&self.services), self.name.clone());
                    let made = async move { extraction::extract(&services, &name, rows).await };
                    context.spawn(made.into_actor(self).map(move |result, this, context| {
                        crash::point("after-extract");
                        this.step(Input::Extracted { ticket, result }, context);
                    }));
                }
                Effect::Compare { ticket, tasks } => {
                    for (task, compare) in tasks {
                        self.compare(ticket, task, compare, context);
                    }
                }
                Effect::Settle(settled) => self.settle(settled),
                Effect::Serve(change) => self.view.apply(change, self.services.clock.now().unix_ms),
                Effect::Notify { ticket, ids } => self.notify(ticket, ids, context),
                Effect::Observe(observation) => self.observe(observation),
                Effect::Superseded => {
                    warn!(domain = %self.name, "another instance has taken over");
                    context.stop();
                }
            }
        }
    }

    fn load(&mut self, ticket: Ticket, context: &mut Context<Self>) {
        let (services, name) = (Arc::clone(&self.services), self.name.clone());
        let loaded = async move { loading::load(&*services.store, &name).await };
        context.spawn(loaded.into_actor(self).map(move |result, this, context| {
            if let Err(failure) = &result {
                warn!(domain = %this.name, reason = failure.detail, "not loaded");
            }
            this.step(Input::Loaded { ticket, result }, context);
        }));
    }

    fn commit(
        &mut self,
        ticket: Ticket,
        fence: bool,
        writes: Vec<Write>,
        step: CommitStep,
        context: &mut Context<Self>,
    ) {
        crash::point(match step {
            CommitStep::Events => "before-store",
            CommitStep::Features => "before-features",
            CommitStep::Lists => "before-flush",
            CommitStep::Clean => "before-clean",
        });
        let services = Arc::clone(&self.services);
        let batch = Batch {
            domain: self.name.clone(),
            fence,
            writes,
        };
        let stamp = services.owner.stamp();
        let committed = async move {
            let begun = Instant::now();
            let Some((epoch, stamp)) = stamp else {
                return Err(CommitFailure::Failed(Failure {
                    needs_help: false,
                    detail: "the epoch's sequence numbers are used up; a new one is being taken"
                        .to_owned(),
                }));
            };
            let partition = services.owner.partition();
            let result = services.store.commit(partition, epoch, stamp, batch).await;
            services
                .metrics
                .store_commit
                .observe(begun.elapsed().as_secs_f64());
            result.map_err(|error| match error {
                StoreError::Superseded { .. } => CommitFailure::Superseded,
                error => CommitFailure::Failed(loading::failure(&error)),
            })
        };
        context.spawn(
            committed
                .into_actor(self)
                .map(move |result, this, context| {
                    crash::point(match step {
                        CommitStep::Events => "after-store",
                        CommitStep::Features => "after-features",
                        CommitStep::Lists => "after-flush",
                        CommitStep::Clean => "after-clean",
                    });
                    if let Err(CommitFailure::Failed(failure)) = &result {
                        warn!(domain = %this.name, ?step, reason = failure.detail, "not stored");
                    }
                    this.step(Input::Committed { ticket, result }, context);
                }),
        );
    }

    fn compare(
        &mut self,
        ticket: Ticket,
        task: usize,
        compare: CompareTask,
        context: &mut Context<Self>,
    ) {
        let job = Job {
            domain: self.name.clone(),
            task: Task::Compare(Arc::new(compare)),
        };
        let reply = self.services.supervisor.send(Perform(job));
        context.spawn(reply.into_actor(self).map(move |reply, this, context| {
            let unfit = |detail: &str| {
                Err(Failure {
                    needs_help: false,
                    detail: detail.to_owned(),
                })
            };
            let result = match reply {
                Ok(Ok(Reply::Compared(reply))) => Ok(reply),
                Ok(Ok(Reply::Extracted(_) | Reply::Failed(_))) => {
                    unfit("a worker answered another question")
                }
                Ok(Err(undone)) => Err(undone.into()),
                Err(_) => Err(Undone::Stopping.into()),
            };
            crash::point("after-compare");
            this.step(
                Input::Compared {
                    ticket,
                    task,
                    result,
                },
                context,
            );
        }));
    }

    /// Tells watchers, trying again for as long as it takes.
    fn notify(&mut self, ticket: Ticket, ids: Vec<ItemId>, context: &mut Context<Self>) {
        self.services.metrics.lists_written.inc_by(ids.len() as u64);
        debug!(domain = %self.name, lists = ids.len(), "lists stored");
        let (services, name) = (Arc::clone(&self.services), self.name.clone());
        let told = async move {
            let mut retry = RETRY;
            while let Err(failure) = services.watchers.notify(&name, &ids).await {
                warn!(domain = %name, reason = failure.detail, "watchers not told");
                tokio::time::sleep(retry.failed()).await;
            }
        };
        context.spawn(told.into_actor(self).map(move |(), this, context| {
            this.step(Input::Notified { ticket }, context);
        }));
    }

    fn settle(&mut self, settled: Vec<(DeliveryTag, Outcome)>) {
        let metrics = &self.services.metrics;
        for (tag, outcome) in &settled {
            let Some((kind, came)) = self.unsettled.remove(tag) else {
                continue;
            };
            let word = match outcome {
                Outcome::Stored => {
                    metrics
                        .event_to_durable
                        .observe(came.elapsed().as_secs_f64());
                    "stored"
                }
                Outcome::Refused(refusal) => {
                    metrics
                        .events_refused
                        .with_label_values(&[refusal.reason.word()])
                        .inc();
                    "refused"
                }
                Outcome::Failed(_) => "failed",
            };
            metrics.events.with_label_values(&[kind, word]).inc();
        }
        self.services.settle.settle(settled);
        crash::point("after-ack");
    }

    fn observe(&self, observation: Observation) {
        let metrics = &self.services.metrics;
        match observation {
            Observation::WindowClosed(items) => {
                metrics.windows_closed.inc();
                debug!(domain = %self.name, items, "window closed");
            }
            Observation::Pairs(pairs) => metrics.pairs_compared.inc_by(pairs),
            Observation::Rebuilt => {
                metrics.rebuilds.inc();
                info!(domain = %self.name, "loaded, lists made anew");
            }
            Observation::Recomputed(lists) => metrics.lists_recomputed.inc_by(lists as u64),
            Observation::Served(after) => metrics.event_to_served.observe(after.as_secs_f64()),
        }
    }

    fn set_alarm(&mut self, context: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            context.cancel_future(timer);
        }
        let now = self.services.clock.now();
        if let Some(at) = self.machine.deadline(now) {
            let delay = at.saturating_sub(now.monotonic);
            self.timer = Some(context.run_later(delay, |this, context| {
                this.timer = None;
                this.step(Input::Tick, context);
            }));
        }
    }
}

impl Actor for DomainActor {
    type Context = Context<Self>;
}

impl Handler<Deliver> for DomainActor {
    type Result = ();

    fn handle(&mut self, Deliver(events): Deliver, context: &mut Context<Self>) {
        self.last_event = Instant::now();
        for (tag, event) in events {
            crash::point("received");
            crash::taken_in(&event);
            self.unsettled.insert(tag, (kind(&event), Instant::now()));
            self.step(Input::Event { tag, event }, context);
        }
    }
}

impl Handler<Sleep> for DomainActor {
    type Result = MessageResult<Sleep>;

    fn handle(&mut self, Sleep { idle }: Sleep, context: &mut Context<Self>) -> Self::Result {
        let sleeps = self.last_event.elapsed() >= idle && self.machine.may_sleep();
        MessageResult(sleeps.then(|| {
            debug!(domain = %self.name, "goes to sleep");
            context.stop();
            Slept {
                next_expiry: self.machine.next_expiry(),
            }
        }))
    }
}

impl Handler<Halt> for DomainActor {
    type Result = ();

    fn handle(&mut self, Halt: Halt, context: &mut Context<Self>) {
        self.fail_unsettled("the partition is being taken over; send the event again");
        context.stop();
    }
}

fn settings(name: &DomainName, services: &Services) -> Settings {
    Settings {
        domain: name.clone(),
        epoch: services.owner.epoch(),
        model: services.settings.model.clone(),
        window: services.settings.window,
        auto_register: services.settings.auto_register,
        partition: services.owner.partition(),
        strip_blocks: services.settings.strip_blocks,
        material_bytes: services.settings.material_bytes,
    }
}

/// The event's type, as counted.
fn kind(event: &Event) -> &'static str {
    match event {
        Event::Upsert(upsert) => match upsert.kind {
            UpsertKind::Created => "item.created",
            UpsertKind::Updated => "item.updated",
        },
        Event::Delete(_) => "item.deleted",
    }
}
