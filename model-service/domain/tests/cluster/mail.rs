//! What arrives at a process. What one sender tells one receiver arrives in the order it was told, as in a
//! mailbox, a channel or a connection, also when the process was frozen meanwhile; anything else may
//! overtake.

use std::collections::{BTreeMap, VecDeque};

use kindred_domain::store::Partition;

use crate::broker::LinkId;
use crate::process::{Message, ProcessId};

/// One sender and one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// From the keeper of a partition's lease to its host.
    Ownership(Partition),
    /// From the broker to the reader of a queue, over one connection.
    Link(LinkId),
}

/// Something that arrives.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// It has no order.
    Alone(Message),
    /// The first of a lane that has not arrived yet. When arrivals change places, as they do after a freeze, what
    /// arrives does not.
    NextOf(Lane),
}

/// What is on its way in order.
#[derive(Debug, Default)]
pub(crate) struct Mail(BTreeMap<(ProcessId, Lane), VecDeque<Message>>);

impl Mail {
    /// A message is on its way: what is to arrive at its time.
    pub(crate) fn post(&mut self, process: ProcessId, message: Message) -> Arrival {
        let lane = match &message {
            Message::Ownership(partition, ..) => Lane::Ownership(*partition),
            Message::Delivered(_, link, ..) | Message::LinkLost(_, link) => Lane::Link(*link),
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

    /// Nobody is there any more to whom it could arrive.
    pub(crate) fn forget(&mut self, process: ProcessId) {
        self.0.retain(|(receiver, _), _| *receiver != process);
    }

    /// The message that arrives now.
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
