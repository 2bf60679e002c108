//! The broker: one queue per partition with a single active consumer, redelivery of unacknowledged messages, and
//! connections that break.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kindred_domain::intake::unacked::Ack;
use kindred_domain::store::Partition;
use kindred_shared::DomainName;
use kindred_shared::event::Event;

use crate::process::{Message, ProcessId};
use crate::world::{Happening, World};

/// A connection that consumes a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

/// An event in a queue.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// Identifies what was published; duplicates have the same number.
    pub(crate) number: u64,
    pub(crate) event: Arc<Event>,
    /// How often it was delivered before.
    pub(crate) count: u32,
}

#[derive(Debug)]
struct Link {
    process: ProcessId,
    partition: Partition,
    prefetch: usize,
    next_tag: u64,
    unacknowledged: BTreeMap<u64, Letter>,
    /// When the latest message arrives; later ones do not overtake it.
    last: Duration,
    last_back: Duration,
}

#[derive(Debug, Default)]
struct Queue {
    /// Messages to be redelivered, before the others.
    again: VecDeque<Letter>,
    fresh: VecDeque<Letter>,
    /// The first one is active.
    consumers: VecDeque<LinkId>,
}

/// All queues.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    queues: BTreeMap<Partition, Queue>,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    /// Connections that were given up before they were open.
    given_up: BTreeSet<LinkId>,
    /// Until when it is away.
    pub(crate) away_until: Duration,
    /// Number of unacknowledged messages by domain.
    open: BTreeMap<DomainName, usize>,
}

impl Broker {
    /// Whether all events of a domain are acknowledged.
    pub(crate) fn is_done_with(&self, domain: &DomainName) -> bool {
        self.open.get(domain).is_none_or(|open| *open == 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.values().all(|open| *open == 0)
    }

    pub(crate) fn links(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    pub(crate) fn links_of(&self, process: ProcessId) -> Vec<LinkId> {
        let links = self.links.iter();
        let of = links.filter(|(_, link)| link.process == process);
        of.map(|(id, _)| *id).collect()
    }
}

impl World {
    /// An event arrives in its queue.
    pub(crate) fn enqueue(&mut self, partition: Partition, letter: Letter) {
        let open = &mut self.broker.open;
        *open.entry(letter.event.domain().clone()).or_default() += 1;
        let queue = self.broker.queues.entry(partition).or_default();
        queue.fresh.push_back(letter);
        self.push(partition);
    }

    /// A process starts to consume; nothing happens while the broker is away.
    pub(crate) fn connect(
        &mut self,
        process: ProcessId,
        partition: Partition,
        prefetch: usize,
    ) -> LinkId {
        self.broker.next_link += 1;
        let link = LinkId(self.broker.next_link);
        let delay = self.latency();
        let happening = Happening::Consume {
            link,
            process,
            partition,
            prefetch,
        };
        self.after(delay, happening);
        link
    }

    pub(crate) fn consume(
        &mut self,
        link: LinkId,
        process: ProcessId,
        partition: Partition,
        prefetch: usize,
    ) {
        let is_given_up = self.broker.given_up.remove(&link);
        if is_given_up || self.now < self.broker.away_until || !self.is_there(process) {
            let delay = self.latency();
            return self.tell(process, delay, Message::LinkLost(partition, link));
        }
        let opened = Link {
            process,
            partition,
            prefetch,
            next_tag: 1,
            unacknowledged: BTreeMap::new(),
            last: self.now,
            last_back: self.now,
        };
        self.broker.links.insert(link, opened);
        let queue = self.broker.queues.entry(partition).or_default();
        queue.consumers.push_back(link);
        self.push(partition);
    }

    /// Sets the prefetch of a consumer.
    pub(crate) fn read_ahead(&mut self, link: LinkId, prefetch: usize) {
        let Some(open) = self.broker.links.get_mut(&link) else {
            return;
        };
        open.prefetch = prefetch;
        let partition = open.partition;
        self.push(partition);
    }

    /// Sends what the active consumer may have.
    fn push(&mut self, partition: Partition) {
        loop {
            let delay = self.latency();
            let now = self.now;
            let queue = self.broker.queues.entry(partition).or_default();
            let Some(id) = queue.consumers.front().copied() else {
                return;
            };
            let Some(link) = self.broker.links.get_mut(&id) else {
                queue.consumers.pop_front();
                continue;
            };
            if link.unacknowledged.len() >= link.prefetch {
                return;
            }
            let Some(letter) = queue.again.pop_front().or_else(|| queue.fresh.pop_front()) else {
                return;
            };
            let tag = link.next_tag;
            link.next_tag += 1;
            link.unacknowledged.insert(tag, letter.clone());
            link.last = (link.last + Duration::from_micros(1)).max(now + delay);
            let (process, at) = (link.process, link.last);
            self.tell_at(process, at, Message::Delivered(partition, id, tag, letter));
        }
    }

    /// A process acknowledges.
    pub(crate) fn acknowledge(&mut self, link: LinkId, ack: Ack) {
        let delay = self.latency();
        let now = self.now;
        let Some(open) = self.broker.links.get_mut(&link) else {
            return;
        };
        open.last_back = (open.last_back + Duration::from_micros(1)).max(now + delay);
        let at = open.last_back;
        self.at(at, Happening::Acknowledge(link, ack));
    }

    /// An acknowledgement arrives: the events must be durable.
    pub(crate) fn acknowledged(&mut self, link: LinkId, ack: Ack) {
        let Some(open) = self.broker.links.get_mut(&link) else {
            return;
        };
        let partition = open.partition;
        let tags: Vec<u64> = if ack.multiple {
            open.unacknowledged
                .range(..=ack.tag)
                .map(|(tag, _)| *tag)
                .collect()
        } else {
            vec![ack.tag]
        };
        for tag in tags {
            let link = self.broker.links.get_mut(&link);
            let letter = link.and_then(|link| link.unacknowledged.remove(&tag));
            if let Some(letter) = letter {
                let domain = letter.event.domain();
                if let Some(open) = self.broker.open.get_mut(domain) {
                    *open -= 1;
                }
                // Events that kill processes are in the dead-letter queue.
                if !self.books.kills(&letter.event) {
                    self.assert_durable(&letter.event);
                }
            }
        }
        self.push(partition);
    }

    /// The broker considers a connection closed: its unacknowledged messages are redelivered, behind those that were
    /// redelivered before.
    pub(crate) fn close(&mut self, link: LinkId) {
        let Some(closed) = self.broker.links.remove(&link) else {
            self.broker.given_up.insert(link);
            return;
        };
        let queue = self.broker.queues.entry(closed.partition).or_default();
        queue.consumers.retain(|consumer| *consumer != link);
        let again = closed.unacknowledged.into_values().map(|letter| Letter {
            count: letter.count + 1,
            ..letter
        });
        queue.again.extend(again);
        let at = closed.last.max(self.now) + Duration::from_micros(1);
        self.tell_at(
            closed.process,
            at,
            Message::LinkLost(closed.partition, link),
        );
        self.push(closed.partition);
    }
}
