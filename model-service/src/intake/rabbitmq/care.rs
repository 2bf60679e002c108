//! Care for events that come again and again, because they may be what kills the service. Pure.
//!
//! The broker counts redeliveries of every message that was read ahead when a connection went,
//! of innocent ones too. So, from a message's third redelivery on, its queue is read one message
//! at a time: later redeliveries are then that message's own. Seven deliveries later, at the
//! tenth redelivery, it is dead-lettered as [`POISONOUS`].
//!
//! Only a death of the process speaks against an event. Connections that this process lost and
//! survived are taken off the broker's count, however often the broker restarts.
//!
//! A new connection begins with care, because a process does not know what killed the one before
//! it. When the first message is not suspect, the connection is dropped for one that reads ahead.
//!
//! Limit: the broker puts a message that comes again behind those that came again before it. So a
//! message read alone may, after a restart, be overtaken by others of its domain. Events with
//! versions do not mind.

use std::collections::{HashMap, HashSet};

/// Redeliveries from which on a message is read alone.
pub const CAREFUL_FROM: u32 = 3;
/// Redeliveries at which a message is dead-lettered.
pub const DEAD_FROM: u32 = 10;
/// The reason it is dead-lettered with.
pub const POISONOUS: &str = "poisonous";

/// What to do with a message just read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Hand it over; it was handed over this often before.
    HandOver(u32),
    /// It kills the service: dead-letter it.
    Dead,
    /// Drop the connection and read on with or without care.
    Reconnect,
}

/// Connections this process lost while it held a message.
#[derive(Debug, Clone, Copy, Default)]
struct Losses {
    all: u32,
    /// Those made by [`Verdict::Reconnect`], before the message was handed over.
    deliberate: u32,
}

/// Memory of one process about one queue.
#[derive(Debug)]
pub(super) struct Care {
    careful: bool,
    prefetch: u16,
    losses: HashMap<u64, Losses>,
    suspects: HashSet<u64>,
    /// Messages until suspects that never came are given up.
    patience: u32,
}

impl Care {
    pub(super) fn new(prefetch: u16) -> Self {
        Self {
            careful: true,
            prefetch: prefetch.max(1),
            losses: HashMap::new(),
            suspects: HashSet::new(),
            patience: 0,
        }
    }

    /// Messages the next connection may read ahead.
    pub(super) fn prefetch(&self) -> u16 {
        if self.careful { 1 } else { self.prefetch }
    }

    /// Judges a message by the broker's count of redeliveries.
    pub(super) fn judge(&mut self, fingerprint: u64, count: u32) -> Verdict {
        let losses = self.losses.get(&fingerprint).copied().unwrap_or_default();
        let suspicion = count.saturating_sub(losses.all);
        let hand_over = Verdict::HandOver(count.saturating_sub(losses.deliberate));
        if suspicion >= DEAD_FROM {
            return Verdict::Dead;
        }
        if !self.careful {
            if suspicion < CAREFUL_FROM {
                return hand_over;
            }
            self.suspect(fingerprint);
            self.careful = true;
            return Verdict::Reconnect;
        }
        // Dropping this connection would be one redelivery more.
        if suspicion + 1 >= CAREFUL_FROM {
            self.suspect(fingerprint);
            return hand_over;
        }
        self.patience = self.patience.saturating_sub(1);
        if self.patience == 0 {
            self.suspects.clear();
        }
        if self.prefetch == 1 || !self.suspects.is_empty() {
            return hand_over;
        }
        self.careful = false;
        Verdict::Reconnect
    }

    /// A message is acknowledged.
    pub(super) fn settled(&mut self, fingerprint: u64) {
        self.suspects.remove(&fingerprint);
        self.losses.remove(&fingerprint);
    }

    /// A connection went with these messages read and not acknowledged.
    pub(super) fn lost(&mut self, held: impl Iterator<Item = u64>, deliberate: bool) {
        let before = std::mem::take(&mut self.losses);
        self.losses = held
            .map(|fingerprint| {
                let mut losses = before.get(&fingerprint).copied().unwrap_or_default();
                losses.all += 1;
                losses.deliberate += u32::from(deliberate);
                (fingerprint, losses)
            })
            .collect();
    }

    fn suspect(&mut self, fingerprint: u64) {
        self.suspects.insert(fingerprint);
        self.patience = 2 * u32::from(self.prefetch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ahead_once_the_first_message_is_not_suspect() {
        let mut care = Care::new(100);
        assert_eq!(care.prefetch(), 1);
        assert_eq!(care.judge(7, 0), Verdict::Reconnect);
        care.lost([7].into_iter(), true);
        assert_eq!(care.prefetch(), 100);
        assert_eq!(care.judge(7, 1), Verdict::HandOver(0));
    }

    #[test]
    fn a_killer_is_read_alone_and_dies_at_last_while_its_neighbour_lives() {
        // Message 1 kills the process whenever it is handed over; 2 is read ahead with it.
        let (mut counts, mut deaths) = ([0_u32; 2], 0);
        let mut alone_from = None;
        loop {
            let mut care = Care::new(100);
            let mut verdict = care.judge(1, counts[0]);
            while verdict == Verdict::Reconnect {
                let read = usize::from(care.prefetch()).min(2);
                care.lost((1..=1).chain(0..0), true);
                counts[0] += 1;
                verdict = care.judge(1, counts[0]);
                assert!(read <= 2);
            }
            match verdict {
                Verdict::Dead => break,
                Verdict::HandOver(_) => {
                    if care.prefetch() == 1 {
                        alone_from.get_or_insert(counts[0]);
                    } else {
                        counts[1] += 1;
                    }
                    counts[0] += 1;
                    deaths += 1;
                }
                Verdict::Reconnect => unreachable!("the loop above ends it"),
            }
        }
        assert!(alone_from.is_some_and(|count| count <= CAREFUL_FROM));
        assert_eq!(counts[0], DEAD_FROM);
        assert!(deaths >= 7, "{deaths} deliveries");
        assert!(counts[1] < CAREFUL_FROM, "the neighbour is not suspect");
    }

    #[test]
    fn broker_restarts_speak_against_nobody() {
        let mut care = Care::new(100);
        for count in 0..50 {
            let verdict = care.judge(1, count);
            assert_ne!(verdict, Verdict::Dead);
            care.lost([1].into_iter(), verdict == Verdict::Reconnect);
        }
    }

    #[test]
    fn a_suspect_behind_others_is_waited_for() {
        let mut care = Care::new(100);
        care.judge(1, 0);
        care.lost([1].into_iter(), true);
        assert_eq!(care.judge(1, 1), Verdict::HandOver(0));
        assert_eq!(care.judge(2, 3), Verdict::Reconnect);
        care.lost([1, 2].into_iter(), true);
        assert_eq!(care.prefetch(), 1);
        assert_eq!(care.judge(1, 2), Verdict::HandOver(0));
        care.settled(1);
        assert_eq!(care.judge(2, 4), Verdict::HandOver(3));
        care.settled(2);
        assert_eq!(care.judge(3, 0), Verdict::Reconnect);
        assert_eq!(care.prefetch(), 100);
    }
}
