//! Runs the machine that keeps a partition's lease.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::clock::Clock;
use super::pending::{alarm, answer};
use kindred_domain::lease::{LeaseEffect, LeaseInput, LeaseMachine, LeaseTimes, Wish};
use kindred_domain::store::{Epoch, Partition, Store, StoreError};
use kindred_query::Term;

/// Whether this process owns a partition.
#[derive(Debug)]
pub enum Ownership {
    /// Owned at this epoch, for a term; sent again when the epoch is raised.
    Owned(Epoch, Arc<Term>),
    /// No longer owned.
    Lost,
    /// To be handed over to another instance once the partition is released, which drops the
    /// sender.
    HandedOver(oneshot::Sender<()>),
}

/// One model service, as others see it.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Unique per start of a process.
    pub owner: String,
    /// Address for queries.
    pub address: String,
}

/// What a keeper of a lease is told and tells, its clock and its times.
#[derive(Debug)]
pub struct KeeperChannels {
    /// Whether the partition is wanted. When the sender is dropped, the partition is handed over
    /// and the keeper ends.
    pub wishes: watch::Receiver<Wish>,
    /// The partition's owner, as far as known.
    pub owner: watch::Sender<Option<String>>,
    /// Reports whether this process owns it.
    pub ownership: mpsc::Sender<Ownership>,
    /// Notified when the epoch's sequence numbers run out.
    pub exhausted: Arc<Notify>,
    /// The clock that terms use.
    pub clock: Clock,
    /// How often the lease is renewed, and after how long it may be taken.
    pub times: LeaseTimes,
}

/// Acquires the lease when possible, keeps it as long as possible, and reports ownership.
pub async fn keep(
    store: Arc<dyn Store>,
    partition: Partition,
    me: Instance,
    mut channels: KeeperChannels,
) {
    let begun = Instant::now();
    let wish = *channels.wishes.borrow_and_update();
    let (exclusive, times) = (store.is_exclusive(), channels.times);
    let (mut machine, mut todo) = LeaseMachine::start(me.owner, me.address, exclusive, times, wish);
    let mut under_way = UnderWay::default();
    let mut ending = false;
    loop {
        for effect in todo {
            let carried_out = under_way.carry_out(effect, &store, partition, &channels);
            if carried_out.await.is_err() {
                return;
            }
        }
        tell_owner(&channels.owner, machine.owner());
        if ending && machine.is_away() {
            return;
        }
        let deadline = machine.deadline().map(|at| begun + at);
        let input = tokio::select! {
            input = answer(&mut under_way.asked) => input,
            () = let_go(&mut under_way.leaving) => LeaseInput::LetGo,
            () = alarm(deadline) => LeaseInput::Tick,
            () = channels.exhausted.notified() => LeaseInput::Exhausted,
            changed = channels.wishes.changed(), if !ending => {
                ending = changed.is_err();
                LeaseInput::Wished(if ending { Wish::Leave } else { *channels.wishes.borrow() })
            }
            () = channels.ownership.closed() => return,
        };
        todo = machine.handle(begun.elapsed(), input);
        // Read this clock first: if time passes in between, the term is too short rather than too
        // long.
        let now = channels.clock.now().monotonic;
        let lasts_until = machine.lasts_until();
        under_way.owned_for(
            now,
            lasts_until.map(|until| until.saturating_sub(begun.elapsed())),
        );
    }
}

/// Requests of the machine that are in flight.
#[derive(Default)]
struct UnderWay {
    asked: Option<BoxFuture<'static, LeaseInput>>,
    leaving: Option<oneshot::Receiver<()>>,
    /// Of the current ownership, or of the next.
    term: Arc<Term>,
}

impl UnderWay {
    /// Extends the term: the partition stays owned for `left`.
    fn owned_for(&mut self, now: Duration, left: Option<Duration>) {
        match left {
            Some(left) => self.term.extend(now.saturating_add(left)),
            None => {
                self.term.end();
                // Views of this ownership become invalid, even if another one follows.
                self.term = Arc::default();
            }
        }
    }

    /// Carries out the machine's requests. An error: nobody listens to ownership any more.
    async fn carry_out(
        &mut self,
        effect: LeaseEffect,
        store: &Arc<dyn Store>,
        partition: Partition,
        channels: &KeeperChannels,
    ) -> Result<(), SendError<Ownership>> {
        let change = match effect {
            LeaseEffect::Own(epoch) => {
                info!(partition = partition.0, epoch = epoch.0, "partition owned");
                Ownership::Owned(epoch, Arc::clone(&self.term))
            }
            LeaseEffect::Disown => {
                warn!(partition = partition.0, "partition lost");
                Ownership::Lost
            }
            LeaseEffect::HandOver => {
                info!(partition = partition.0, "partition handed over");
                let (let_go, until) = oneshot::channel();
                self.leaving = Some(until);
                Ownership::HandedOver(let_go)
            }
            // Only the newest request's answer still matters.
            question @ (LeaseEffect::Read | LeaseEffect::Look | LeaseEffect::Set { .. }) => {
                let question = ask(
                    Arc::clone(store),
                    partition,
                    question,
                    channels.times.answer(),
                );
                self.asked = Some(Box::pin(question));
                return Ok(());
            }
        };
        channels.ownership.send(change).await
    }
}

/// Publishes the owner if it has changed.
fn tell_owner(told: &watch::Sender<Option<String>>, known: Option<&str>) {
    told.send_if_modified(|owner| {
        let is_other = owner.as_deref() != known;
        if is_other {
            *owner = known.map(str::to_owned);
        }
        is_other
    });
}

async fn let_go(leaving: &mut Option<oneshot::Receiver<()>>) {
    match leaving {
        Some(until) => {
            // Nothing is ever sent; this ends when the sender is dropped.
            let _ = until.await;
            *leaving = None;
        }
        None => std::future::pending().await,
    }
}

async fn ask(
    store: Arc<dyn Store>,
    partition: Partition,
    question: LeaseEffect,
    deadline: Duration,
) -> LeaseInput {
    let answered = async {
        match &question {
            LeaseEffect::Set { expected, wanted } => store
                .take_lease(partition, expected.as_ref(), wanted)
                .await
                .map(LeaseInput::Decided),
            LeaseEffect::Look => store.look_at_lease(partition).await.map(LeaseInput::Read),
            LeaseEffect::Read
            | LeaseEffect::Own(_)
            | LeaseEffect::Disown
            | LeaseEffect::HandOver => store.lease(partition).await.map(LeaseInput::Read),
        }
    };
    let answered = tokio::time::timeout(deadline, answered)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unknown("no answer in time".to_owned())));
    match (answered, question) {
        (Ok(input), _) => input,
        (Err(error), LeaseEffect::Set { .. }) => {
            debug!(partition = partition.0, %error, "lease state unknown");
            LeaseInput::Unknown
        }
        (Err(error), _) => {
            debug!(partition = partition.0, %error, "lease not read");
            LeaseInput::ReadFailed
        }
    }
}
