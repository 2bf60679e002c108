//! Keeping a partition's lease: the shell of the lease's machine.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::domain::lease::{LeaseEffect, LeaseInput, LeaseMachine};
use crate::store::{Epoch, Partition, Store, StoreError};

/// Longest one read or compare-and-set of the lease may take.
const STORE_DEADLINE: Duration = Duration::from_secs(4);

/// Whether a partition is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Ours, at this epoch; also when the epoch was raised while it was ours.
    Owned(Epoch),
    /// Not ours any more.
    Lost,
}

/// Who wants the partition.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Unique per start of a process.
    pub owner: String,
    /// Where it answers queries.
    pub address: String,
}

/// Takes the lease when it can, keeps it while it can, and says so, until nobody listens.
/// `exhausted` is told when the epoch's sequence numbers run out.
pub async fn keep(
    store: Arc<dyn Store>,
    partition: Partition,
    me: Instance,
    exhausted: Arc<Notify>,
    ownership: mpsc::Sender<Ownership>,
) {
    let begun = Instant::now();
    let (mut machine, effects) = LeaseMachine::start(me.owner, me.address, store.is_exclusive());
    let mut asked: Option<BoxFuture<'static, LeaseInput>> = None;
    let mut todo = effects;
    loop {
        for effect in todo {
            match effect {
                LeaseEffect::Own(epoch) => {
                    info!(partition = partition.0, epoch = epoch.0, "partition owned");
                    if ownership.send(Ownership::Owned(epoch)).await.is_err() {
                        return;
                    }
                }
                LeaseEffect::Disown => {
                    warn!(partition = partition.0, "partition lost");
                    if ownership.send(Ownership::Lost).await.is_err() {
                        return;
                    }
                }
                // The newest question is the only one whose answer still matters.
                question @ (LeaseEffect::Read | LeaseEffect::Set { .. }) => {
                    asked = Some(Box::pin(ask(Arc::clone(&store), partition, question)));
                }
            }
        }
        let deadline = machine.deadline().map(|at| begun + at);
        let input = tokio::select! {
            input = answer(&mut asked) => input,
            () = alarm(deadline) => LeaseInput::Tick,
            () = exhausted.notified() => LeaseInput::Exhausted,
            () = ownership.closed() => return,
        };
        todo = machine.handle(begun.elapsed(), input);
    }
}

async fn answer(asked: &mut Option<BoxFuture<'static, LeaseInput>>) -> LeaseInput {
    match asked {
        Some(question) => {
            let input = question.await;
            *asked = None;
            input
        }
        None => std::future::pending().await,
    }
}

async fn alarm(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn ask(store: Arc<dyn Store>, partition: Partition, question: LeaseEffect) -> LeaseInput {
    let answered = async {
        match &question {
            LeaseEffect::Set { expected, wanted } => store
                .take_lease(partition, expected.as_ref(), wanted)
                .await
                .map(LeaseInput::Decided),
            LeaseEffect::Read | LeaseEffect::Own(_) | LeaseEffect::Disown => {
                store.lease(partition).await.map(LeaseInput::Read)
            }
        }
    };
    let answered = tokio::time::timeout(STORE_DEADLINE, answered)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unknown("no answer in time".to_owned())));
    match (answered, question) {
        (Ok(input), _) => input,
        (Err(error), LeaseEffect::Set { .. }) => {
            debug!(partition = partition.0, %error, "lease not known");
            LeaseInput::Unknown
        }
        (Err(error), _) => {
            debug!(partition = partition.0, %error, "lease not read");
            LeaseInput::ReadFailed
        }
    }
}
