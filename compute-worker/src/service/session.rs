//! Taking jobs for as long as the broker is there, and then again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, SelectAll};
use kindred_shared::wire::JobKind;
use lapin::message::Delivery;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::broker::{Broker, Identity, taken};
use super::greeting::Greeter;
use super::job::{Desk, Lost};
use super::patience::Patience;
use super::report::{Edge, JobEnd, Report};

/// How often it is looked whether the connections still stand.
const LOOK: Duration = Duration::from_secs(1);
/// How long jobs in hand may take once the program is told to stop.
const DRAIN: Duration = Duration::from_secs(7);
/// How long jobs in hand may take to notice that their connection is gone.
const LET_GO: Duration = Duration::from_secs(2);

/// Told once that the program stops.
pub(crate) type Stop = watch::Receiver<bool>;

/// Waits until the program is told to stop.
pub(crate) async fn stopped(stop: &Stop) {
    let mut stop = stop.clone();
    // Whoever would tell is gone: that is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Takes jobs until told to stop, over as many connections as it takes.
pub(crate) async fn run(
    url: &str,
    identity: &Identity,
    desk: &Arc<Desk>,
    greeter: &Greeter,
    report: &Report,
    stop: &Stop,
) {
    let mut patience = Patience::with(Edge::Broker.word());
    loop {
        let broker = tokio::select! {
            () = stopped(stop) => return,
            broker = Broker::connect(url, identity) => broker,
        };
        let lost = match broker {
            Ok(broker) => {
                patience.relieved();
                report.edge(Edge::Broker, true);
                tracing::info!("taking jobs");
                let outcome = session(&broker, desk, greeter, stop).await;
                report.edge(Edge::Broker, false);
                broker.close().await;
                match outcome {
                    Ok(()) => return,
                    Err(lost) => lost,
                }
            }
            Err(lost) => lost,
        };
        tokio::select! {
            () = stopped(stop) => return,
            () = patience.wait(&lost.0) => {}
        }
    }
}

/// Takes jobs over one pair of connections. `Ok`: told to stop, and all in hand is settled as far
/// as the time allows.
async fn session(
    broker: &Broker,
    desk: &Arc<Desk>,
    greeter: &Greeter,
    stop: &Stop,
) -> Result<(), Lost> {
    let mut deliveries = merged(broker);
    let outbox = broker.outbox();
    let mut greeting = pin!(greeter.run(&outbox));
    // Never more than what the broker leaves unacknowledged: its prefetch a queue.
    let mut in_hand: JoinSet<JobEnd> = JoinSet::new();
    let mut look = tokio::time::interval(LOOK);
    let lost = loop {
        tokio::select! {
            () = stopped(stop) => {
                broker.cancel().await;
                tracing::info!(jobs = in_hand.len(), "finishing what is in hand");
                finish(&mut in_hand, DRAIN).await;
                return Ok(());
            }
            delivery = deliveries.next() => match delivery {
                Some((kind, Some(Ok(delivery)))) => {
                    let (desk, outbox) = (Arc::clone(desk), outbox.clone());
                    in_hand.spawn(async move { desk.deal(taken(kind, delivery), &outbox).await });
                }
                Some((_, Some(Err(error)))) => break Lost(format!("taking jobs: {error}")),
                Some((kind, None)) => {
                    break Lost(format!("the queue of {} jobs is gone", kind.word()));
                }
                None => break Lost("no queue is left".to_owned()),
            },
            Some(end) = in_hand.join_next() => match end {
                Ok(JobEnd::Lost) => break Lost("a job could not be settled".to_owned()),
                Ok(_) => {}
                Err(error) => break Lost(format!("dealing with a job failed: {error}")),
            },
            () = &mut greeting => break Lost("greeting ended".to_owned()),
            _ = look.tick() => {
                if !broker.stands() {
                    break Lost("a connection is gone".to_owned());
                }
            }
        }
    };
    finish(&mut in_hand, LET_GO).await;
    Err(lost)
}

/// Waits for the jobs in hand, then lets go of those that are not settled.
async fn finish(in_hand: &mut JoinSet<JobEnd>, longest: Duration) {
    let all = async { while in_hand.join_next().await.is_some() {} };
    if tokio::time::timeout(longest, all).await.is_err() {
        tracing::warn!(jobs = in_hand.len(), "jobs given back unfinished");
    }
    in_hand.shutdown().await;
}

/// What a queue gave: a job, an error, or its end.
type Given = (JobKind, Option<lapin::Result<Delivery>>);

/// The jobs of all queues, and for each queue its end: other than a stream's, a queue's end says
/// that something is wrong.
fn merged(broker: &Broker) -> SelectAll<stream::BoxStream<'static, Given>> {
    let streams = broker.consumers().map(|(kind, consumer)| {
        let end = stream::once(async { None });
        let given = consumer.map(Some).chain(end);
        given.map(move |given| (kind, given)).boxed()
    });
    stream::select_all(streams)
}
