//! The messages that were read and not acknowledged, and the acknowledgements that are due. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kindred_shared::DomainName;
use kindred_shared::event::Event;

use super::{Delivery, DeliveryTag};

/// Bits of a delivery tag that are the broker's tag; the others are the generation.
const BROKER_BITS: u32 = 40;

/// The generation of a tag: it rises whenever messages are handed over again.
pub fn generation_of(tag: DeliveryTag) -> u64 {
    tag.0 >> BROKER_BITS
}

/// A message as received.
pub trait Message {
    /// Bytes of its body.
    fn bytes(&self) -> usize;
    /// Identifies the message across redeliveries.
    fn fingerprint(&self) -> u64;
    /// How often it was handed over before, on any connection.
    fn redeliveries(&self) -> u32;
}

#[derive(Debug)]
struct UnackedMessage<M> {
    message: Arc<M>,
    /// `None`: it is being dead-lettered.
    event: Option<(DomainName, Arc<Event>)>,
    state: DeliveryState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeliveryState {
    /// Read, but not handed over.
    Ready,
    /// Handed over, but not settled.
    Handed,
    /// On its way to the dead-letter queue.
    DeadLettering,
    /// To be acknowledged.
    Settled,
}

/// An acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The broker's tag.
    pub tag: u64,
    /// Whether all earlier messages are acknowledged too.
    pub multiple: bool,
}

/// All unacknowledged messages of one connection, by the broker's tag.
#[derive(Debug)]
pub struct UnackedMessages<M> {
    generation: u64,
    entries: BTreeMap<u64, UnackedMessage<M>>,
    ready: VecDeque<u64>,
    handed_bytes: usize,
    capacity_bytes: usize,
}

impl<M: Message> UnackedMessages<M> {
    /// Starts empty. At most `capacity_bytes` are handed over and unsettled, but always at least one message.
    pub fn new(generation: u64, capacity_bytes: usize) -> Self {
        Self {
            generation,
            entries: BTreeMap::new(),
            ready: VecDeque::new(),
            handed_bytes: 0,
            capacity_bytes,
        }
    }

    /// Adds an event that is to be handed over.
    pub fn enter(&mut self, tag: u64, message: M, domain: DomainName, event: Event) {
        self.entries.insert(
            tag,
            UnackedMessage {
                message: Arc::new(message),
                event: Some((domain, Arc::new(event))),
                state: DeliveryState::Ready,
            },
        );
        self.ready.push_back(tag);
    }

    /// Adds a message that goes to the dead-letter queue without being handed over.
    pub fn enter_dead_letter(&mut self, tag: u64, message: M) -> Arc<M> {
        let message = Arc::new(message);
        self.entries.insert(
            tag,
            UnackedMessage {
                message: Arc::clone(&message),
                event: None,
                state: DeliveryState::DeadLettering,
            },
        );
        message
    }

    /// Whether [`Self::hand_over`] would return something.
    pub fn has_ready(&self) -> bool {
        let Some(entry) = self.ready.front().and_then(|tag| self.entries.get(tag)) else {
            return false;
        };
        let bytes = entry.message.bytes();
        self.handed_bytes == 0 || self.handed_bytes.saturating_add(bytes) <= self.capacity_bytes
    }

    /// The next event in order, if the capacity allows it.
    pub fn hand_over(&mut self) -> Option<Delivery> {
        if !self.has_ready() {
            return None;
        }
        let tag = self.ready.pop_front()?;
        let entry = self.entries.get_mut(&tag)?;
        let (domain, event) = entry.event.clone()?;
        entry.state = DeliveryState::Handed;
        self.handed_bytes += entry.message.bytes();
        Some(Delivery {
            tag: DeliveryTag(self.generation << BROKER_BITS | tag),
            redeliveries: entry.message.redeliveries(),
            domain,
            event,
        })
    }

    /// The message that was handed over under this tag and is not settled.
    fn handed(&mut self, tag: DeliveryTag) -> Option<(u64, &mut UnackedMessage<M>)> {
        let broker = tag.0 & ((1 << BROKER_BITS) - 1);
        if generation_of(tag) != self.generation {
            return None;
        }
        let entry = self.entries.get_mut(&broker)?;
        (entry.state == DeliveryState::Handed).then_some((broker, entry))
    }

    /// A delivery is durable; returns its message if the tag was known.
    pub fn stored(&mut self, tag: DeliveryTag) -> Option<Arc<M>> {
        let (_, entry) = self.handed(tag)?;
        entry.state = DeliveryState::Settled;
        let message = Arc::clone(&entry.message);
        self.handed_bytes -= message.bytes();
        Some(message)
    }

    /// A delivery goes to the dead-letter queue; returns the broker's tag and the message.
    pub fn refused(&mut self, tag: DeliveryTag) -> Option<(u64, Arc<M>)> {
        let (broker, entry) = self.handed(tag)?;
        entry.state = DeliveryState::DeadLettering;
        let message = Arc::clone(&entry.message);
        self.handed_bytes -= message.bytes();
        Some((broker, message))
    }

    /// Whether the tag belongs to a delivery that is not settled.
    pub fn is_handed(&mut self, tag: DeliveryTag) -> bool {
        self.handed(tag).is_some()
    }

    /// A message is in the dead-letter queue; returns its fingerprint, if it was there.
    pub fn dead_lettered(&mut self, broker: u64) -> Option<u64> {
        let entry = self.entries.get_mut(&broker)?;
        entry.state = DeliveryState::Settled;
        Some(entry.message.fingerprint())
    }

    /// Everything that was handed over and not settled will be handed over again, in order, under new tags.
    pub fn rewind(&mut self, generation: u64) {
        self.generation = generation;
        self.handed_bytes = 0;
        self.ready.clear();
        for (tag, entry) in &mut self.entries {
            if matches!(entry.state, DeliveryState::Handed | DeliveryState::Ready) {
                entry.state = DeliveryState::Ready;
                self.ready.push_back(*tag);
            }
        }
    }

    /// The acknowledgements that are due: one for all messages before the first unsettled one, and one for each later
    /// one. Forgets these messages.
    pub fn acks(&mut self) -> Vec<Ack> {
        let mut acks = Vec::new();
        let mut prefix: Option<Ack> = None;
        while let Some(first) = self.entries.first_entry() {
            if first.get().state != DeliveryState::Settled {
                break;
            }
            prefix = Some(Ack {
                tag: *first.key(),
                multiple: prefix.is_some(),
            });
            first.remove();
        }
        acks.extend(prefix);
        let settled =
            |_: &u64, entry: &mut UnackedMessage<M>| entry.state == DeliveryState::Settled;
        acks.extend(self.entries.extract_if(.., settled).map(|(tag, _)| Ack {
            tag,
            multiple: false,
        }));
        acks
    }

    /// Fingerprints of all unacknowledged messages.
    pub fn fingerprints(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries
            .values()
            .map(|entry| entry.message.fingerprint())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::ItemId;
    use kindred_shared::event::Delete;

    use super::*;

    /// A message of ten bytes with this fingerprint.
    struct Ten(u64);

    impl Message for Ten {
        fn bytes(&self) -> usize {
            10
        }

        fn fingerprint(&self) -> u64 {
            self.0
        }

        fn redeliveries(&self) -> u32 {
            0
        }
    }

    fn unacked(count: u64, capacity: usize) -> UnackedMessages<Ten> {
        let mut unacked = UnackedMessages::new(1, capacity);
        for tag in 1..=count {
            let domain = DomainName::new("unacked").unwrap();
            let event = Event::Delete(Delete {
                domain: domain.clone(),
                id: ItemId::new("a").unwrap(),
                version: Some(tag),
            });
            unacked.enter(tag, Ten(tag), domain, event);
        }
        unacked
    }

    fn all(unacked: &mut UnackedMessages<Ten>) -> Vec<DeliveryTag> {
        std::iter::from_fn(|| unacked.hand_over())
            .map(|d| d.tag)
            .collect()
    }

    #[test]
    fn acknowledges_what_is_in_order_at_once_and_the_rest_singly() {
        let mut unacked = unacked(6, usize::MAX);
        let tags = all(&mut unacked);
        for at in [1, 0, 4] {
            assert!(unacked.stored(tags[at]).is_some());
        }
        let ack = |tag, multiple| Ack { tag, multiple };
        assert_eq!(unacked.acks(), [ack(2, true), ack(5, false)]);
        assert!(unacked.acks().is_empty());
        assert!(unacked.stored(tags[0]).is_none(), "settled before");
        assert!(unacked.stored(tags[2]).is_some());
        assert_eq!(unacked.acks(), [ack(3, false)]);
    }

    #[test]
    fn rewinding_hands_over_again_in_order_under_new_tags() {
        let mut unacked = unacked(4, usize::MAX);
        let tags = all(&mut unacked);
        unacked.stored(tags[1]);
        unacked.refused(tags[2]);
        unacked.rewind(2);
        assert!(unacked.stored(tags[0]).is_none(), "of an older generation");
        let again: Vec<u64> = all(&mut unacked).iter().map(|tag| tag.0 & 7).collect();
        assert_eq!(again, [1, 4]);
        unacked.dead_lettered(3);
        assert_eq!(unacked.acks().len(), 2);
    }

    #[test]
    fn hands_over_within_its_bytes_but_always_one() {
        let mut unacked = unacked(5, 25);
        let tags = all(&mut unacked);
        assert_eq!(tags.len(), 2);
        unacked.stored(tags[0]);
        assert_eq!(all(&mut unacked).len(), 1);
        let mut narrow = self::unacked(2, 1);
        assert_eq!(all(&mut narrow).len(), 1);
    }
}
