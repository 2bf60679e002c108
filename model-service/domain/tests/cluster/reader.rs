//! How the events of a partition arrive while the broker's connections break: the driver of the intake's state
//! machines.

use std::time::Duration;

use kindred_domain::intake::poison::{PoisonGuard, Verdict};
use kindred_domain::intake::rewind::Rewinding;
use kindred_domain::intake::unacked::{self, UnackedMessages};
use kindred_domain::intake::{DeliveryTag, Outcome};
use kindred_domain::store::Partition;
use kindred_shared::Backoff;

use crate::broker::{Letter, LinkId};
use crate::mutations::Mutation;
use crate::process::{Context, Message};
use crate::seat::Seat;
use crate::tenure::Tenure;

/// Messages read ahead.
const PREFETCH: u16 = 8;
/// Bytes handed over and not settled; a message counts as one byte.
const CAPACITY: usize = 6;
/// Delays before a lost connection is opened again.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// A message as received.
#[derive(Debug)]
struct Came {
    number: u64,
    redeliveries: u32,
}

impl unacked::Message for Came {
    fn bytes(&self) -> usize {
        1
    }

    fn fingerprint(&self) -> u64 {
        self.number
    }

    fn redeliveries(&self) -> u32 {
        self.redeliveries
    }
}

/// Reads one queue, over one connection after the other.
pub(crate) struct QueueReader {
    link: Option<LinkId>,
    /// The number of the latest message on this connection.
    last_tag: u64,
    generation: u64,
    unacked: UnackedMessages<Came>,
    guard: PoisonGuard,
    rewinding: Rewinding,
    reconnects: Backoff,
}

impl QueueReader {
    pub(crate) fn new() -> Self {
        Self {
            link: None,
            last_tag: 0,
            generation: 1,
            unacked: UnackedMessages::new(1, CAPACITY),
            guard: PoisonGuard::new(PREFETCH),
            rewinding: Rewinding::default(),
            reconnects: RECONNECT,
        }
    }

    /// Nothing is acknowledged from now on.
    pub(crate) fn end(&mut self, context: &mut Context<'_>) {
        if let Some(link) = self.link.take() {
            context.world.hang_up(link);
        }
    }

    /// The connection is given up; its unacknowledged messages come again.
    fn lost(&mut self, deliberate: bool) {
        self.link = None;
        self.guard.lost(self.unacked.fingerprints(), deliberate);
        self.generation += 1;
        self.unacked = UnackedMessages::new(self.generation, CAPACITY);
        self.rewinding.done();
    }

    fn acknowledge(&mut self, context: &mut Context<'_>) {
        let Some(link) = self.link else { return };
        for ack in self.unacked.acks() {
            context.world.acknowledge(link, ack);
        }
    }

    /// Settles deliveries.
    pub(crate) fn settle(
        &mut self,
        context: &mut Context<'_>,
        partition: Partition,
        settled: Vec<(DeliveryTag, Outcome)>,
    ) {
        let Some(link) = self.link else { return };
        for (tag, outcome) in settled {
            match outcome {
                // Refused events are in the dead-letter queue.
                Outcome::Stored(_) | Outcome::Refused(_) => {
                    if let Some(came) = self.unacked.stored(tag) {
                        self.guard.settled(came.number);
                        self.rewinding.stored();
                    }
                }
                Outcome::Failed(_) => {
                    let is_handed = self.unacked.is_handed(tag);
                    if let Some(delay) = self.rewinding.failed(is_handed)
                        && !context.world.is_mutated(Mutation::FailedNotReadAgain)
                    {
                        let rewind = Message::Rewind(partition, link);
                        context.world.tell(context.me.id, delay, rewind);
                    }
                }
            }
        }
        self.acknowledge(context);
    }
}

impl Tenure {
    /// Starts to consume.
    pub(crate) fn connect(&mut self, context: &mut Context<'_>) {
        let prefetch = usize::from(self.reader.guard.prefetch());
        let link = context
            .world
            .connect(context.me.id, self.partition, prefetch);
        self.reader.link = Some(link);
        self.reader.last_tag = 0;
    }

    /// Unacknowledged messages come again, over another connection.
    fn link_lost(&mut self, context: &mut Context<'_>, deliberate: bool) {
        self.reader.lost(deliberate);
        let delay = if deliberate {
            Duration::ZERO
        } else {
            self.reader.reconnects.failed()
        };
        let connect = Message::Connect(self.partition, self.number);
        context.world.tell(context.me.id, delay, connect);
    }

    fn delivered(&mut self, context: &mut Context<'_>, tag: u64, letter: Letter) {
        let reader = &mut self.reader;
        // A connection guarantees this, whatever happens to processes.
        assert_eq!(tag, reader.last_tag + 1, "a message overtakes others");
        reader.last_tag = tag;
        reader.reconnects.worked();
        let Letter {
            number,
            event,
            count,
        } = letter;
        let verdict = reader.guard.judge(number, count);
        let came = |redeliveries| Came {
            number,
            redeliveries,
        };
        let before = match verdict {
            Verdict::GiveBack => {
                reader.unacked.enter_dead_letter(tag, came(0));
                if let Some(link) = reader.link {
                    context.world.hang_up(link);
                }
                return self.link_lost(context, true);
            }
            Verdict::Dead => {
                reader.unacked.enter_dead_letter(tag, came(0));
                let checked = context.world.books.dead_letter(&event);
                context.world.check(checked);
                if let Some(link) = reader.link {
                    let (delay, died) = (
                        context.world.latency(),
                        Message::Died(self.partition, link, tag),
                    );
                    context.world.tell(context.me.id, delay, died);
                }
                return;
            }
            Verdict::ReadAhead(before) => {
                if let Some(link) = reader.link {
                    context
                        .world
                        .read_ahead(link, usize::from(reader.guard.prefetch()));
                }
                before
            }
            Verdict::HandOver(before) => before,
        };
        let domain = event.domain().clone();
        reader
            .unacked
            .enter(tag, came(before), domain, (*event).clone());
        self.hand_over(context);
    }

    /// Hands over what is ready, within the capacity.
    pub(crate) fn hand_over(&mut self, context: &mut Context<'_>) {
        if !self.serves || self.is_handing_over {
            return;
        }
        // Deliveries that are settled at once make room for more.
        self.is_handing_over = true;
        while self.reader.rewinding.may_hand_over()
            && let Some(delivery) = self.reader.unacked.hand_over()
        {
            self.deliver(context, delivery.tag, delivery.event);
        }
        self.is_handing_over = false;
    }
}

impl Seat {
    fn tenure_with(&mut self, link: LinkId) -> Option<&mut Tenure> {
        let tenure = self.tenure.as_mut()?;
        (tenure.reader.link == Some(link)).then_some(tenure)
    }

    pub(crate) fn delivered(
        &mut self,
        context: &mut Context<'_>,
        link: LinkId,
        tag: u64,
        letter: Letter,
    ) {
        if let Some(tenure) = self.tenure_with(link) {
            tenure.delivered(context, tag, letter);
        }
    }

    pub(crate) fn link_lost(&mut self, context: &mut Context<'_>, link: LinkId) {
        if let Some(tenure) = self.tenure_with(link) {
            tenure.link_lost(context, false);
        }
    }

    /// Hands over everything unsettled again.
    pub(crate) fn rewind(&mut self, context: &mut Context<'_>, link: LinkId) {
        if let Some(tenure) = self.tenure_with(link) {
            let reader = &mut tenure.reader;
            reader.generation += 1;
            reader.unacked.rewind(reader.generation);
            reader.rewinding.done();
            tenure.hand_over(context);
        }
    }

    /// A message is in the dead-letter queue.
    pub(crate) fn died(&mut self, context: &mut Context<'_>, link: LinkId, tag: u64) {
        if let Some(tenure) = self.tenure_with(link) {
            let fingerprint = tenure.reader.unacked.dead_lettered(tag);
            tenure.reader.guard.settled(fingerprint.unwrap_or_default());
            tenure.reader.acknowledge(context);
        }
    }
}
