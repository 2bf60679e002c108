//! Takes jobs while the broker is reachable, and reconnects.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, SelectAll};
use kindred_runtime::amqp::Connector;
use kindred_shared::wire::JobKind;
use lapin::message::Delivery;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Interval;

use super::broker::{Broker, LapinOutbox, taken};
use super::greeting::Greeter;
use super::job::{JobHandler, Lost};
use super::status::{Edge, JobEnd, WorkerStatus};
use super::suspects::{Suspect, in_turn, is_suspect};
use super::waiting::Waiting;

/// How often the connections are checked.
const LOOK: Duration = Duration::from_secs(1);
/// How long jobs in hand may take after the program is told to stop.
const DRAIN: Duration = Duration::from_secs(7);
/// How long jobs in hand may take to notice that their connection is lost.
const LET_GO: Duration = Duration::from_secs(2);

/// Becomes true once, when the program must stop.
pub(crate) type Stop = watch::Receiver<bool>;

/// Waits until the program is told to stop.
pub(crate) async fn stopped(stop: &Stop) {
    let mut stop = stop.clone();
    // If the sender is gone, the program stops as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Takes jobs until told to stop, reconnecting as often as necessary.
pub(crate) async fn run(
    connector: &Connector,
    name: &str,
    handler: &Arc<JobHandler>,
    greeter: &Greeter,
    status: &WorkerStatus,
    stop: &Stop,
) {
    let mut waiting = Waiting::for_edge(Edge::Broker.word());
    loop {
        let broker = tokio::select! {
            () = stopped(stop) => return,
            broker = Broker::connect(connector, name) => broker,
        };
        let lost = match broker {
            Ok(mut broker) => {
                waiting.relieved();
                status.edge(Edge::Broker, true);
                tracing::info!("taking jobs");
                let outcome = session(&mut broker, handler, greeter, stop).await;
                status.edge(Edge::Broker, false);
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
            () = waiting.wait(&lost.0) => {}
        }
    }
}

/// Takes jobs over one pair of connections. `Ok`: told to stop, and everything in hand is settled
/// as far as time allowed.
async fn session(
    broker: &mut Broker,
    handler: &Arc<JobHandler>,
    greeter: &Greeter,
    stop: &Stop,
) -> Result<(), Lost> {
    let (greets, has_exchange) = (broker.outbox(), broker.has_exchange());
    let mut hands = Hands {
        deliveries: merged(broker),
        outbox: broker.outbox(),
        handler: Arc::clone(handler),
        in_hand: JoinSet::new(),
        look: tokio::time::interval(LOOK),
    };
    let work = async {
        loop {
            let suspect = hands.together(broker).await?;
            hands.alone(broker, suspect).await?;
        }
    };
    let lost: Result<Infallible, Lost> = tokio::select! {
        biased;
        () = stopped(stop) => {
            broker.cancel().await;
            tracing::info!(jobs = hands.in_hand.len(), "finishing the jobs in hand");
            finish(&mut hands.in_hand, DRAIN).await;
            return Ok(());
        }
        lost = work => lost,
        never = greeter.run(&greets, has_exchange) => match never {},
    };
    let Err(lost) = lost;
    finish(&mut hands.in_hand, LET_GO).await;
    Err(lost)
}

/// The state of one pair of connections.
struct Hands {
    deliveries: SelectAll<stream::BoxStream<'static, Given>>,
    outbox: LapinOutbox,
    handler: Arc<JobHandler>,
    /// Never more than the broker leaves unacknowledged: its prefetch, per queue.
    in_hand: JoinSet<JobEnd>,
    look: Interval,
}

/// An event of the session.
enum News {
    /// A job came.
    Job(JobKind, Box<Delivery>),
    /// A queue's stream has ended.
    End(JobKind),
    /// The streams of all queues have ended.
    AllEnded,
    /// A job has ended.
    Done,
}

impl Hands {
    /// The next event. Cancel-safe.
    async fn news(&mut self, broker: &Broker) -> Result<News, Lost> {
        loop {
            tokio::select! {
                delivery = self.deliveries.next(), if !self.deliveries.is_empty() => {
                    return match delivery {
                        Some((kind, Some(Ok(delivery)))) => Ok(News::Job(kind, Box::new(delivery))),
                        Some((_, Some(Err(error)))) => Err(Lost(format!("taking jobs: {error}"))),
                        Some((kind, None)) => Ok(News::End(kind)),
                        None => Ok(News::AllEnded),
                    };
                }
                Some(end) = self.in_hand.join_next() => return match end {
                    Ok(JobEnd::Lost) => Err(Lost("a job could not be settled".to_owned())),
                    Ok(_) => Ok(News::Done),
                    Err(error) => Err(Lost(format!("handling a job failed: {error}"))),
                },
                _ = self.look.tick() => {
                    if !broker.stands() {
                        return Err(Lost("a connection was lost".to_owned()));
                    }
                }
            }
        }
    }

    fn handle(&mut self, kind: JobKind, delivery: Delivery) {
        let (handler, outbox) = (Arc::clone(&self.handler), self.outbox.clone());
        self.in_hand
            .spawn(async move { handler.handle(taken(kind, delivery), &outbox).await });
    }

    /// Handles several jobs at a time, until one is suspect.
    async fn together(&mut self, broker: &Broker) -> Result<Suspect, Lost> {
        loop {
            match self.news(broker).await? {
                News::Job(kind, delivery) if is_suspect(&delivery) => {
                    let delivery = *delivery;
                    return Ok(Suspect { kind, delivery });
                }
                News::Job(kind, delivery) => self.handle(kind, *delivery),
                News::Done => {}
                News::End(kind) => {
                    return Err(Lost(format!(
                        "the consumer of {} jobs has ended",
                        kind.word()
                    )));
                }
                News::AllEnded => return Err(Lost("all consumers have ended".to_owned())),
            }
        }
    }

    /// Handles a suspect while nothing else is in hand, and then those that came with it.
    async fn alone(&mut self, broker: &mut Broker, suspect: Suspect) -> Result<(), Lost> {
        broker.cancel().await;
        let mut suspects = vec![suspect];
        // Jobs that were already on their way still arrive.
        while !self.deliveries.is_empty() || !self.in_hand.is_empty() {
            match self.news(broker).await? {
                News::Job(kind, delivery) if is_suspect(&delivery) => {
                    let delivery = *delivery;
                    suspects.push(Suspect { kind, delivery });
                }
                News::Job(kind, delivery) => self.handle(kind, *delivery),
                News::End(_) | News::AllEnded | News::Done => {}
            }
        }
        for Suspect { kind, delivery } in in_turn(suspects) {
            let id = delivery.properties.correlation_id().clone();
            tracing::info!(?id, kind = kind.word(), "redelivered job runs alone");
            self.handle(kind, delivery);
            while !self.in_hand.is_empty() {
                self.news(broker).await?;
            }
        }
        broker.take_again().await?;
        self.deliveries = merged(broker);
        Ok(())
    }
}

/// Waits for the jobs in hand, then gives back those that are not settled.
async fn finish(in_hand: &mut JoinSet<JobEnd>, longest: Duration) {
    let all = async { while in_hand.join_next().await.is_some() {} };
    if tokio::time::timeout(longest, all).await.is_err() {
        tracing::warn!(
            jobs = in_hand.len(),
            "unfinished jobs returned to the broker"
        );
    }
    in_hand.shutdown().await;
}

/// What a queue's stream yields: a job, an error, or its end.
type Given = (JobKind, Option<lapin::Result<Delivery>>);

/// The jobs of all queues, and an explicit end per queue: merging streams would hide it, and a
/// queue's end means that something is wrong.
fn merged(broker: &Broker) -> SelectAll<stream::BoxStream<'static, Given>> {
    let streams = broker.consumers().map(|(kind, consumer)| {
        let end = stream::once(async { None });
        let given = consumer.map(Some).chain(end);
        given.map(move |given| (kind, given)).boxed()
    });
    stream::select_all(streams)
}
