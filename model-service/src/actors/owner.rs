//! The owner: stamps everything that one ownership writes.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use kindred_domain::store::{Epoch, Partition, Stamp};
use kindred_query::Term;

/// One process's ownership of a partition.
#[derive(Debug)]
pub struct Owner {
    partition: Partition,
    /// How long the ownership is certain.
    term: Arc<Term>,
    next: Mutex<(Epoch, u32)>,
    /// Notified when sequence numbers run out.
    exhausted: Arc<Notify>,
}

impl Owner {
    /// The owner of a partition at an epoch; its first stamp has sequence number 0.
    pub fn new(
        partition: Partition,
        epoch: Epoch,
        term: Arc<Term>,
        exhausted: Arc<Notify>,
    ) -> Self {
        Self {
            partition,
            term,
            next: Mutex::new((epoch, 0)),
            exhausted,
        }
    }

    /// The owned partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// How long the ownership is certain.
    pub fn term(&self) -> &Arc<Term> {
        &self.term
    }

    /// The epoch of the ownership.
    pub fn epoch(&self) -> Epoch {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The next stamp, strictly above all earlier ones. `None`: the epoch's sequence numbers are
    /// used up; nothing may be written until a higher epoch is taken.
    pub fn stamp(&self) -> Option<(Epoch, Stamp)> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let (epoch, seq) = *next;
        let Some(stamp) = Stamp::new(epoch, seq) else {
            self.exhausted.notify_one();
            return None;
        };
        next.1 += 1;
        Some((epoch, stamp))
    }

    /// The partition was taken again at a higher epoch.
    pub fn raise(&self, epoch: Epoch) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch > next.0 {
            *next = (epoch, 0);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_strictly_and_end() {
        let owner = Owner::new(Partition(0), Epoch(3), Arc::default(), Arc::default());
        let (_, first) = owner.stamp().unwrap();
        assert!(owner.stamp().unwrap().1 > first);
        owner.next.lock().unwrap().1 = Stamp::SEQS - 1;
        let (_, last) = owner.stamp().unwrap();
        assert_eq!(owner.stamp(), None);
        owner.raise(Epoch(4));
        assert!(owner.stamp().unwrap().1 > last);
        owner.raise(Epoch(2));
        assert_eq!(owner.epoch(), Epoch(4));
    }
}
