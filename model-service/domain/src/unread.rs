//! Events about items that must be read first: only their row, for events that arrive before the domain is loaded; the
//! whole item, for events that contain only changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kindred_shared::ItemId;
use kindred_shared::event::Event;

use crate::effect::Ticket;
use crate::intake::DeliveryTag;
use crate::time::earlier;

/// Most items read at a time.
const MOST_AT_A_TIME: usize = 256;

/// Events that wait for their item, in the order of their arrival.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    asked: Option<PendingRead>,
    waiting: Vec<(DeliveryTag, Arc<Event>)>,
    /// Arrival of the first of them, or of one that no longer waits.
    oldest: Option<Duration>,
}

/// Items that are being read, and the events that wait for them.
#[derive(Debug)]
pub(crate) struct PendingRead {
    ticket: Ticket,
    /// Arrival of the first of the events.
    oldest: Option<Duration>,
    /// The items.
    pub(crate) ids: BTreeSet<ItemId>,
    /// In the order of their arrival.
    pub(crate) events: Vec<(DeliveryTag, Arc<Event>)>,
}

impl Unread {
    /// The event, which arrived at `now`, waits until its item is read.
    pub(crate) fn wait(&mut self, now: Duration, tag: DeliveryTag, event: Arc<Event>) {
        if self.waiting.is_empty() {
            self.oldest = Some(now);
        }
        self.waiting.push((tag, event));
    }

    /// Whether no event waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of waiting events.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.asked.as_ref().map_or(0, |asked| asked.events.len())
    }

    /// Arrival of the first of them, or of one that no longer waits.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        let waiting = self.oldest.filter(|_| !self.waiting.is_empty());
        earlier(self.asked.as_ref().and_then(|asked| asked.oldest), waiting)
    }

    /// Whether an event of this item waits.
    pub(crate) fn waits_for(&self, id: &ItemId) -> bool {
        let is_asked = |asked: &PendingRead| asked.ids.contains(id);
        let mut waiting = self.waiting.iter();
        self.asked.as_ref().is_some_and(is_asked)
            || waiting.any(|(_, event)| event.id() == Some(id))
    }

    /// The items to read now, if any. Only one read is in progress at a time, so that events keep their order. Takes
    /// items up to the first one that may not be read now.
    pub(crate) fn ask(
        &mut self,
        ticket: impl FnOnce() -> Ticket,
        may_be_read: impl Fn(&ItemId) -> bool,
    ) -> Option<(Ticket, Vec<ItemId>)> {
        if self.asked.is_some() {
            return None;
        }
        let mut ids = BTreeSet::new();
        let taken = self.waiting.iter().take_while(|(_, event)| {
            ids.len() < MOST_AT_A_TIME && event.id().is_none_or(&may_be_read) && {
                ids.extend(event.id().cloned());
                true
            }
        });
        let taken = taken.count();
        if taken == 0 {
            return None;
        }
        let events = self.waiting.drain(..taken).collect();
        let ticket = ticket();
        self.asked = Some(PendingRead {
            ticket,
            oldest: self.oldest,
            ids: ids.clone(),
            events,
        });
        Some((ticket, ids.into_iter().collect()))
    }

    /// Items were read: returns them and the events that waited, including those that arrived meanwhile. `None`: nobody
    /// waits for this read.
    pub(crate) fn answered(&mut self, ticket: Ticket) -> Option<PendingRead> {
        let mut asked = self.asked.take_if(|asked| asked.ticket == ticket)?;
        let is_read = |event: &Event| event.id().is_some_and(|id| asked.ids.contains(id));
        let came_since = self.waiting.extract_if(.., |(_, event)| is_read(event));
        asked.events.extend(came_since);
        Some(asked)
    }

    /// Takes all waiting events, in the order of their arrival. A pending read is no longer awaited.
    pub(crate) fn take(&mut self) -> Vec<(DeliveryTag, Arc<Event>)> {
        let asked = self.asked.take();
        let mut events = asked.map_or_else(Vec::new, |asked| asked.events);
        events.append(&mut self.waiting);
        events
    }
}
