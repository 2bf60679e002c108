//! Messages that arrive at a process. Messages from one sender to one receiver arrive in order, as in a mailbox, a
//! channel or a connection, even if the process was frozen meanwhile; others may overtake them.

use std::collections::{BTreeMap, VecDeque};

use kindred_domain::store::Partition;

use crate::broker::LinkId;
use crate::process::{Message, ProcessId};

/// A sender and a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// From the keeper of a partition's lease to the partition's host.
    Ownership(Partition),
    /// From the broker to the reader of a queue, over one connection.
    Link(LinkId),
    /// From the driver of a served model to that of another one.
    Follow(u64),
    /// The other way round.
    Told(u64),
}

/// An arrival.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A message without an order.
    Alone(Message),
    /// The first message of a lane that has not arrived yet. If arrivals change places, as after a freeze, the order of
    /// messages stays the same.
    NextOf(Lane),
}

/// Messages in flight, in order.
#[derive(Debug, Default)]
pub(crate) struct Mail(BTreeMap<(ProcessId, Lane), VecDeque<Message>>);

impl Mail {
    /// Sends a message; returns its arrival.
    pub(crate) fn post(&mut self, process: ProcessId, message: Message) -> Arrival {
        let lane = match &message {
            Message::Ownership(partition, ..) => Lane::Ownership(*partition),
            Message::Delivered(_, link, ..) | Message::LinkLost(_, link) => Lane::Link(*link),
            Message::Follow(address, ..) => Lane::Follow(address.actor),
            Message::Told(_, by, _) => Lane::Told(by.actor),
            _ => return Arrival::Alone(message),
        };
        let in_order = self.0.entry((process, lane)).or_default();
        in_order.push_back(message);
        Arrival::NextOf(lane)
    }

    /// The message that arrives next.
    pub(crate) fn next<'a>(
        &'a self,
        process: ProcessId,
        arrival: &'a Arrival,
    ) -> Option<&'a Message> {
        match arrival {
            Arrival::Alone(message) => Some(message),
            Arrival::NextOf(lane) => self.0.get(&(process, *lane))?.front(),
        }
    }

    /// The receiver does not exist any more.
    pub(crate) fn forget(&mut self, process: ProcessId) {
        self.0.retain(|(receiver, _), _| *receiver != process);
    }

    /// Takes out the message that arrives now.
    pub(crate) fn take(&mut self, process: ProcessId, arrival: Arrival) -> Option<Message> {
        let lane = match arrival {
            Arrival::Alone(message) => return Some(message),
            Arrival::NextOf(lane) => lane,
        };
        let in_order = self.0.get_mut(&(process, lane))?;
        let message = in_order.pop_front();
        if in_order.is_empty() {
            self.0.remove(&(process, lane));
        }
        message
    }
}
