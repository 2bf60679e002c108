//! Finds poison messages: events that are delivered again and again because they may be what kills the service. Pure.
//!
//! When a connection is lost, the broker counts a redelivery for every message that was read ahead, including innocent
//! ones. So from a message's third redelivery on, its queue is read one message at a time: later redeliveries are then
//! that message's own. After seven more deliveries, at the tenth redelivery, it is dead-lettered as [`POISONOUS`].
//!
//! Only a death of the process counts against an event. Connections that this process lost and survived are subtracted
//! from the broker's count, however often the broker restarts.
//!
//! A process does not know what killed the previous one, so it starts with one message at a time. If the first message
//! is not suspect, it begins to read ahead. Three things then keep the order of deliveries, on which events without a
//! version rely:
//!
//! - The broker puts a redelivered message *behind* those that were redelivered before. So reading ahead does not begin
//!   by giving the first message back and starting again with a larger prefetch: the consumer that holds it is
//!   cancelled, and a second one reads ahead.
//! - The first consumer may have only one message, which stays unacknowledged until its cancellation is confirmed. So
//!   it gets no other message meanwhile, and its message is handed over before all messages of the second consumer.
//! - A message of a cancelled consumer is redelivered only when the channel closes. Both consumers use one channel, and
//!   the first one's tag sorts first. When a channel is lost, the broker takes its consumers' messages back in the
//!   order of their tags (RabbitMQ up to 4.0) or of their registration (later versions), and each consumer's messages
//!   in the order of delivery. Either way, the order is kept.
//!
//! When it goes back from reading ahead to one message at a time, everything read is given back at once, which keeps
//! its order.
//!
//! Limitation: if the process dies while it reads one at a time, the message in hand is redelivered behind the others
//! that were redelivered, so later messages of its domain may overtake it. Events with versions are not affected.

use std::collections::{HashMap, HashSet};

/// Number of redeliveries from which on a message is read alone.
pub const SUSPECT_FROM: u32 = 3;
/// Number of redeliveries at which a message is dead-lettered.
pub const DEAD_FROM: u32 = 10;
/// The reason for dead-lettering it.
pub const POISONOUS: &str = "poisonous";

/// What to do with a message just read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it over; it was handed over this often before.
    HandOver(u32),
    /// Begin to read ahead, then hand it over; it was handed over this often before.
    ReadAhead(u32),
    /// It kills the service: dead-letter it.
    Dead,
    /// Give back everything that was read, and continue with one message at a time.
    GiveBack,
}

/// Connections that this process lost while a message was unacknowledged.
#[derive(Debug, Clone, Copy, Default)]
struct Losses {
    all: u32,
    /// Those closed because of [`Verdict::GiveBack`], before the message was handed over.
    deliberate: u32,
}

/// What one process remembers of the suspects of one queue.
#[derive(Debug)]
pub struct PoisonGuard {
    one_at_a_time: bool,
    prefetch: u16,
    losses: HashMap<u64, Losses>,
    suspects: HashSet<u64>,
    /// After this many messages, suspects that did not come again are forgotten.
    messages_left: u32,
}

impl PoisonGuard {
    /// Starts with one message at a time; later it reads `prefetch` messages ahead.
    pub fn new(prefetch: u16) -> Self {
        Self {
            one_at_a_time: true,
            prefetch: prefetch.max(1),
            losses: HashMap::new(),
            suspects: HashSet::new(),
            messages_left: 0,
        }
    }

    /// The prefetch of a consumer that starts now.
    pub fn prefetch(&self) -> u16 {
        if self.one_at_a_time { 1 } else { self.prefetch }
    }

    /// Whether a connection that starts now reads one message at a time.
    pub fn reads_one_at_a_time(&self) -> bool {
        self.one_at_a_time
    }

    /// Judges a message by the broker's count of redeliveries.
    pub fn judge(&mut self, fingerprint: u64, count: u32) -> Verdict {
        let losses = self.losses.get(&fingerprint).copied().unwrap_or_default();
        let suspicion = count.saturating_sub(losses.all);
        let before = count.saturating_sub(losses.deliberate);
        if suspicion >= DEAD_FROM {
            return Verdict::Dead;
        }
        if suspicion >= SUSPECT_FROM {
            self.suspect(fingerprint);
            if self.one_at_a_time {
                return Verdict::HandOver(before);
            }
            self.one_at_a_time = true;
            return Verdict::GiveBack;
        }
        if !self.one_at_a_time {
            return Verdict::HandOver(before);
        }
        self.messages_left = self.messages_left.saturating_sub(1);
        if self.messages_left == 0 {
            self.suspects.clear();
        }
        if self.prefetch == 1 || !self.suspects.is_empty() {
            return Verdict::HandOver(before);
        }
        self.one_at_a_time = false;
        Verdict::ReadAhead(before)
    }

    /// A message was acknowledged.
    pub fn settled(&mut self, fingerprint: u64) {
        self.suspects.remove(&fingerprint);
        self.losses.remove(&fingerprint);
    }

    /// A connection was lost with these messages unacknowledged.
    pub fn lost(&mut self, held: impl Iterator<Item = u64>, deliberate: bool) {
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
        self.messages_left = 2 * u32::from(self.prefetch);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn reads_ahead_once_the_first_message_is_not_suspect() {
        let mut guard = PoisonGuard::new(100);
        assert_eq!(guard.prefetch(), 1);
        assert_eq!(guard.judge(7, 2), Verdict::ReadAhead(2));
        assert_eq!(guard.prefetch(), 100);
        assert_eq!(guard.judge(8, 1), Verdict::HandOver(1));
    }

    /// Simulates a queue of numbered messages with the broker's counts, where some messages kill every process. Returns
    /// the messages that were stored and dead-lettered, and the number of deaths.
    fn fates(messages: u64, killers: &[u64]) -> (Vec<u64>, Vec<u64>, u32) {
        let mut queue: VecDeque<(u64, u32)> = (1..=messages).map(|n| (n, 0)).collect();
        let (mut stored, mut dead, mut deaths) = (vec![], vec![], 0);
        'process: while !queue.is_empty() {
            assert!(deaths < 1_000, "it never ends");
            let mut guard = PoisonGuard::new(100);
            let mut held: VecDeque<(u64, u32)> = VecDeque::new();
            loop {
                while held.len() < usize::from(guard.prefetch())
                    && let Some(next) = queue.pop_front()
                {
                    held.push_back(next);
                }
                // Before the first message is handed over, all that were read have been judged.
                let mut gives_back = false;
                for (message, count) in held.iter().copied().collect::<Vec<_>>() {
                    match guard.judge(message, count) {
                        Verdict::GiveBack => {
                            gives_back = true;
                            break;
                        }
                        Verdict::Dead => {
                            held.retain(|(held, _)| *held != message);
                            guard.settled(message);
                            dead.push(message);
                        }
                        Verdict::HandOver(_) | Verdict::ReadAhead(_) => {}
                    }
                }
                let dies = held.front().is_some_and(|(n, _)| killers.contains(n));
                if gives_back || dies {
                    guard.lost(held.iter().map(|(message, _)| *message), gives_back);
                    // Behind those that were redelivered before, ahead of those that were not.
                    let back = held.drain(..).map(|(message, count)| (message, count + 1));
                    let at = queue.iter().take_while(|(_, count)| *count > 0).count();
                    for (offset, message) in back.enumerate() {
                        queue.insert(at + offset, message);
                    }
                    if dies && !gives_back {
                        deaths += 1;
                        continue 'process;
                    }
                } else if let Some((message, _)) = held.pop_front() {
                    guard.settled(message);
                    stored.push(message);
                } else {
                    break;
                }
            }
        }
        (stored, dead, deaths)
    }

    #[test]
    fn a_killer_dies_at_last_and_no_other_does() {
        let (mut stored, dead, deaths) = fates(150, &[50]);
        stored.sort_unstable();
        assert_eq!(dead, [50]);
        assert_eq!(stored, (1..=150).filter(|n| *n != 50).collect::<Vec<_>>());
        assert!((u64::from(SUSPECT_FROM)..=u64::from(DEAD_FROM)).contains(&u64::from(deaths)));
    }

    #[test]
    fn several_killers_die_and_no_other_does() {
        let killers: Vec<u64> = (0..12).map(|n| 10 + 8 * n).collect();
        let (mut stored, mut dead, _) = fates(150, &killers);
        stored.sort_unstable();
        dead.sort_unstable();
        assert_eq!(dead, killers);
        assert_eq!(stored.len(), 150 - killers.len());
    }

    #[test]
    fn connections_lost_and_survived_do_not_count() {
        let mut guard = PoisonGuard::new(100);
        assert_eq!(guard.judge(1, 0), Verdict::ReadAhead(0));
        for lost in 1..50 {
            guard.lost([1].into_iter(), false);
            assert_eq!(guard.judge(1, lost), Verdict::HandOver(lost));
        }
        guard.settled(1);
        assert_eq!(guard.judge(1, SUSPECT_FROM), Verdict::GiveBack);
    }

    #[test]
    fn a_suspect_behind_others_is_waited_for() {
        let mut guard = PoisonGuard::new(100);
        assert_eq!(guard.judge(1, 0), Verdict::ReadAhead(0));
        assert_eq!(guard.judge(2, 3), Verdict::GiveBack);
        guard.lost([1, 2].into_iter(), true);
        assert_eq!(guard.prefetch(), 1);
        assert_eq!(guard.judge(1, 1), Verdict::HandOver(0));
        guard.settled(1);
        assert_eq!(guard.judge(2, 4), Verdict::HandOver(3));
        guard.settled(2);
        assert_eq!(guard.judge(3, 0), Verdict::ReadAhead(0));
        assert_eq!(guard.prefetch(), 100);
    }
}
