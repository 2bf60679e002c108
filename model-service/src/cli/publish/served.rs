//! Waits until what was published is served.
//!
//! A domain gets its events in the order of publishing: once it has the last one, it has all. When
//! it is quiet after that, their lists are exact and stored. An event has arrived
//!
//! - when its item's version was lower before, or the item did not exist, and that has changed; or
//! - when the item has that version, or a higher one, and got it after publishing began. Two clocks
//!   decide that; they may differ by [`CLOCKS`].
//!
//! If the item had that version before, or may have it from an earlier event of the same files,
//! this proves nothing: many files repeat what was published last night, with something new in the
//! middle. Then the queues must become empty, and after that the domain must stay quiet for
//! [`SETTLE`].

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use kindred_api::domain::DomainAnswer;
use kindred_shared::{DomainName, ItemId};
use serde::{Deserialize, Serialize};

use super::super::exit::{CommandError, Exit};

/// Polling interval.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// By how much the clocks of model services may differ.
const CLOCKS: Duration = Duration::from_secs(2);
/// How long a domain must stay quiet once no queue holds its events, if those left no trace.
const SETTLE: Duration = Duration::from_secs(3);
/// Domains named in the message when time is up.
const NAMED: usize = 3;
/// Items for which it is remembered that an event was read; beyond it no event can be told from
/// others.
const REMEMBERED: usize = 1 << 20;

/// What identifies an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Its item.
    pub(super) id: ItemId,
    /// Its version; `None`: assigned by its domain.
    pub(super) version: Option<u64>,
    /// Whether the item's row can tell it from all events before it.
    pub(super) is_sure: bool,
}

/// The events read so far, in order: which of them can be told from earlier ones.
#[derive(Debug)]
pub(super) struct Seen {
    /// The highest version of each item; `None`: assigned by its domain.
    newest: HashMap<u64, Option<u64>>,
    hasher: RandomState,
    /// Whether all are remembered.
    is_whole: bool,
}

impl Seen {
    /// `is_whole`: no events were published before.
    pub(super) fn new(is_whole: bool) -> Self {
        Self {
            newest: HashMap::new(),
            hasher: RandomState::new(),
            is_whole,
        }
    }

    /// The mark of the next event.
    pub(super) fn mark(&mut self, domain: &DomainName, id: &ItemId, version: Option<u64>) -> Mark {
        Mark {
            id: id.clone(),
            version,
            is_sure: self.is_sure(domain, id, version),
        }
    }

    fn is_sure(&mut self, domain: &DomainName, id: &ItemId, version: Option<u64>) -> bool {
        if self.newest.len() >= REMEMBERED {
            self.is_whole = false;
            self.newest = HashMap::new();
        }
        if !self.is_whole {
            return false;
        }
        let item = self.hasher.hash_one((domain.as_str(), id.as_str()));
        match self.newest.entry(item) {
            Entry::Vacant(place) => {
                place.insert(version);
                true
            }
            Entry::Occupied(mut known) => {
                let is_higher =
                    matches!((*known.get(), version), (Some(known), Some(new)) if new > known);
                if is_higher || version.is_none() {
                    known.insert(version);
                }
                is_higher
            }
        }
    }
}

/// The last published event of each domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    /// When publishing began, in ms since 1970.
    began_ms: u64,
    /// The last event of each domain.
    last: BTreeMap<DomainName, Mark>,
}

impl Marks {
    /// Before anything is published.
    pub(super) fn begin(now_ms: u64) -> Self {
        Self {
            began_ms: now_ms,
            last: BTreeMap::new(),
        }
    }

    /// Records a published event of the domain, newer than all before.
    pub(super) fn published(&mut self, domain: &DomainName, mark: &Mark) {
        if let Some(known) = self.last.get_mut(domain) {
            known.clone_from(mark);
        } else {
            self.last.insert(domain.clone(), mark.clone());
        }
    }
}

/// The relevant part of an item's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// The version of its newest event.
    pub(super) version: u64,
    /// When that event arrived, in ms since 1970 by the service's clock.
    pub(super) since_ms: i64,
}

/// The outside world: who is asked, and the time.
pub(super) trait World {
    /// How far the service's clock is ahead of this one, in ms.
    fn ahead_ms(&mut self) -> Result<i64, CommandError>;
    /// An item's row; `None`: there is none.
    fn item(&mut self, domain: &DomainName, id: &ItemId) -> Result<Option<Row>, CommandError>;
    /// The state of every domain.
    fn domains(&mut self) -> Result<Vec<DomainAnswer>, CommandError>;
    /// Event queues that have ready messages.
    fn full_queues(&mut self) -> Result<BTreeSet<String>, CommandError>;
    /// Time since waiting began.
    fn now(&self) -> Duration;
    /// Lets time pass.
    fn pause(&mut self, time: Duration);
    /// Tells people what is being waited for.
    fn waiting(&self, words: String);
}

/// Whether a domain has its last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// It has not.
    No,
    /// Its item already was like that before.
    Unclear,
    /// It has.
    Yes,
}

/// A domain being waited for.
#[derive(Debug)]
struct Waiting<'a> {
    mark: &'a Mark,
    /// `None`: not checked yet.
    taken: Option<Taken>,
    /// Since when it has been quiet at every check.
    quiet_since: Option<Duration>,
    pending: u64,
    trouble: Option<String>,
}

impl Waiting<'_> {
    /// Judges by the item's row; `began_ms` is by the service's clock.
    fn see(&mut self, row: Option<Row>, began_ms: i64) {
        let Some(row) = row else {
            self.taken = Some(Taken::No);
            return;
        };
        let is_older = self
            .mark
            .version
            .is_some_and(|version| row.version < version);
        let is_new = self.taken == Some(Taken::No) || row.since_ms >= began_ms;
        self.taken = Some(if is_older {
            Taken::No
        } else if self.mark.is_sure && is_new {
            Taken::Yes
        } else {
            Taken::Unclear
        });
    }

    fn has_taken(&self) -> bool {
        self.taken == Some(Taken::Yes)
    }

    fn words(&self, domain: &DomainName) -> String {
        match (self.taken, &self.trouble) {
            (None, _) => format!("{domain} was not checked yet"),
            (_, Some(trouble)) => format!("{domain}: {trouble}"),
            (Some(Taken::No), None) => {
                format!(
                    "{domain} has not received its last event (item {})",
                    self.mark.id
                )
            }
            (Some(Taken::Unclear), None) => {
                format!("{domain} may not have received all of its events")
            }
            (Some(Taken::Yes), None) => format!("{domain} has {} items pending", self.pending),
        }
    }
}

/// The state of waiting.
struct Wait<'a> {
    began_ms: u64,
    ahead_ms: Option<i64>,
    domains: BTreeMap<&'a DomainName, Waiting<'a>>,
    /// Queues not yet seen empty; `None`: not checked yet.
    queues: Option<BTreeSet<String>>,
    /// When the last of them was seen empty.
    emptied: Option<Duration>,
}

/// Waits until every domain has its last event and is quiet.
///
/// # Errors
/// When that takes longer than `timeout`; [`Exit::Unreachable`] if nobody answered at its end.
pub(super) fn wait(
    world: &mut impl World,
    marks: &Marks,
    timeout: Duration,
) -> Result<(), CommandError> {
    let waiting = |mark| Waiting {
        mark,
        taken: None,
        quiet_since: None,
        pending: 0,
        trouble: None,
    };
    if marks.last.is_empty() {
        return Ok(());
    }
    let last = marks.last.iter();
    let mut wait = Wait {
        began_ms: marks.began_ms,
        ahead_ms: None,
        domains: last.map(|(domain, mark)| (domain, waiting(mark))).collect(),
        queues: None,
        emptied: None,
    };
    loop {
        let looked = wait.look(world, timeout);
        if wait.domains.is_empty() {
            return Ok(());
        }
        match looked {
            Err(failure) if failure.exit == Exit::Usage => return Err(failure),
            Err(failure) if world.now() >= timeout => {
                return Err(CommandError::new(
                    failure.exit,
                    format!(
                        "published, but it is unknown whether everything is served: {}; gave up \
                        after {}",
                        failure.message,
                        humantime::format_duration(timeout)
                    ),
                ));
            }
            Ok(()) if world.now() >= timeout => return Err(wait.late(timeout)),
            Ok(()) => world.waiting(wait.words()),
            Err(failure) => world.waiting(failure.message),
        }
        world.pause(ASK_EVERY.min(timeout.saturating_sub(world.now())));
    }
}

impl Wait<'_> {
    /// Checks once, items first: a domain that is quiet after it has its last event has processed
    /// it.
    fn look(&mut self, world: &mut impl World, timeout: Duration) -> Result<(), CommandError> {
        let ahead_ms = match self.ahead_ms {
            Some(known) => known,
            None => *self.ahead_ms.insert(world.ahead_ms()?),
        };
        let began = i64::try_from(self.began_ms).unwrap_or(i64::MAX);
        let clocks = CLOCKS.as_millis() as i64;
        let began = began.saturating_add(ahead_ms).saturating_sub(clocks);
        for (domain, waiting) in &mut self.domains {
            if waiting.has_taken() {
                continue;
            }
            // There may be thousands of domains, so time may run out within one check.
            if waiting.taken.is_some() && world.now() >= timeout {
                return Ok(());
            }
            waiting.see(world.item(domain, &waiting.mark.id)?, began);
        }
        let is_unclear = |waiting: &Waiting<'_>| waiting.taken == Some(Taken::Unclear);
        if self.emptied.is_none() && self.domains.values().any(is_unclear) {
            let full = world.full_queues()?;
            // Others may publish, too, so each queue only has to be seen empty once.
            match &mut self.queues {
                Some(left) => left.retain(|queue| full.contains(queue)),
                None => self.queues = Some(full),
            }
            if self.queues.as_ref().is_some_and(BTreeSet::is_empty) {
                self.emptied = Some(world.now());
            }
        }
        let told = world.domains()?;
        let now = world.now();
        let mut told: BTreeMap<DomainName, DomainAnswer> = told
            .into_iter()
            .map(|answer| (answer.domain.clone(), answer))
            .collect();
        let emptied = self.emptied;
        self.domains.retain(|domain, waiting| {
            let answer = told.remove(*domain);
            let is_quiet = answer.as_ref().is_some_and(|answer| answer.quiet);
            waiting.quiet_since = is_quiet.then(|| waiting.quiet_since.unwrap_or(now));
            waiting.pending = answer.as_ref().map_or(0, |answer| answer.pending);
            waiting.trouble = answer.and_then(|answer| answer.trouble);
            let has_settled = match (emptied, waiting.quiet_since) {
                (Some(emptied), Some(quiet)) => now >= emptied.max(quiet) + SETTLE,
                _ => false,
            };
            let is_served = match waiting.taken {
                Some(Taken::Yes) => is_quiet,
                Some(Taken::Unclear) => has_settled,
                Some(Taken::No) | None => false,
            };
            !is_served
        });
        Ok(())
    }

    fn words(&self) -> String {
        let taken = self.domains.values().filter(|one| one.has_taken());
        let pending: u64 = self.domains.values().map(|one| one.pending).sum();
        format!(
            "waiting for {} domains: {} have all their events, {pending} items pending",
            self.domains.len(),
            taken.count()
        )
    }

    /// The time is over.
    fn late(&self, timeout: Duration) -> CommandError {
        let named = self.domains.iter().take(NAMED);
        let mut named: Vec<String> = named.map(|(domain, one)| one.words(domain)).collect();
        let more = self.domains.len().saturating_sub(NAMED);
        if more > 0 {
            named.push(format!("{more} more"));
        }
        CommandError::failed(format!(
            "published, but not everything was served within {}: {}; see `kindred status` and \
             the queues kindred.items.p… and kindred.items.dead",
            humantime::format_duration(timeout),
            named.join(", ")
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_api::domain::DomainState;
    use kindred_shared::ModelName;
    use proptest::prelude::*;

    use super::*;

    /// When publishing began, by both clocks.
    const BEGAN_MS: i64 = 1_000_000;

    fn domain(name: &str) -> DomainName {
        DomainName::new(name).unwrap()
    }

    fn id(n: usize) -> ItemId {
        ItemId::new(&format!("i{n}")).unwrap()
    }

    /// One domain and its queue: events are taken in order at these times, and processed some time
    /// later. Time passes with each question.
    struct Fake {
        now: Duration,
        name: DomainName,
        /// Item and version, and when it is published and taken.
        events: Vec<(usize, Option<u64>, Duration, Duration)>,
        rows: BTreeMap<ItemId, Row>,
        /// From being taken until lists are stored.
        takes: Duration,
        /// Other events that fill the queue, at these times.
        others: Vec<Duration>,
        /// When nobody answers.
        away: Option<(Duration, Duration)>,
    }

    impl Fake {
        fn ask(&mut self) -> Result<(), CommandError> {
            self.now += Duration::from_millis(3);
            while let Some(&(item, version, _, at)) = self.events.first()
                && at <= self.now
            {
                self.events.remove(0);
                let since_ms = BEGAN_MS + at.as_millis() as i64;
                let known = self.rows.get(&id(item)).map(|row| row.version);
                let version = version.unwrap_or(known.map_or(77, |known| known + 1));
                if known.is_none_or(|known| version >= known) {
                    self.rows.insert(id(item), Row { version, since_ms });
                }
            }
            let is_away = self
                .away
                .is_some_and(|(from, to)| (from..to).contains(&self.now));
            if is_away {
                return Err(CommandError::new(Exit::Unreachable, "nobody answers"));
            }
            Ok(())
        }

        fn done(&self, last: Duration) -> bool {
            self.events.is_empty() && self.now >= last + self.takes
        }

        /// Whether an event was taken but is not processed yet.
        fn is_busy(&self, all: &[Duration]) -> bool {
            all.iter()
                .any(|at| *at <= self.now && self.now < *at + self.takes)
        }
    }

    struct Timed<'a> {
        fake: &'a mut Fake,
        taken_at: Vec<Duration>,
    }

    impl World for Timed<'_> {
        fn ahead_ms(&mut self) -> Result<i64, CommandError> {
            self.fake.ask().map(|()| 0)
        }

        fn item(&mut self, _: &DomainName, id: &ItemId) -> Result<Option<Row>, CommandError> {
            self.fake.ask()?;
            Ok(self.fake.rows.get(id).copied())
        }

        fn domains(&mut self) -> Result<Vec<DomainAnswer>, CommandError> {
            self.fake.ask()?;
            let quiet = !self.fake.is_busy(&self.taken_at);
            Ok(vec![DomainAnswer {
                domain: self.fake.name.clone(),
                model: ModelName::new("words-1").unwrap(),
                state: if quiet {
                    DomainState::Idle
                } else {
                    DomainState::Comparing
                },
                quiet,
                live: 0,
                visible: 0,
                pending: 7,
                oldest_pending_seconds: None,
                recent: None,
                partition: 0,
                owner: None,
                registered_at: String::new(),
                trouble: None,
                settings: None,
            }])
        }

        fn full_queues(&mut self) -> Result<BTreeSet<String>, CommandError> {
            self.fake.ask()?;
            let now = self.fake.now;
            let ours = self
                .fake
                .events
                .iter()
                .any(|(_, _, handed, _)| *handed > now);
            let others = self
                .fake
                .others
                .iter()
                .any(|at| (*at..*at + ASK_EVERY).contains(&now));
            let full = ours || others;
            Ok(full
                .then(|| "kindred.items.p00".to_owned())
                .into_iter()
                .collect())
        }

        fn now(&self) -> Duration {
            self.fake.now
        }

        fn pause(&mut self, time: Duration) {
            self.fake.now += time;
        }

        fn waiting(&self, _: String) {}
    }

    fn marks(events: &[(usize, Option<u64>)]) -> Marks {
        let (mut marks, mut seen) = (Marks::begin(BEGAN_MS as u64), Seen::new(true));
        for &(item, version) in events {
            let mark = seen.mark(&domain("news"), &id(item), version);
            marks.published(&domain("news"), &mark);
        }
        marks
    }

    /// Waits for these events; each is published at `handed` and taken the given time later.
    fn waited(
        events: &[(usize, Option<u64>)],
        before: &[(usize, u64)],
        handed: &[Duration],
        more: impl FnOnce(&mut Fake),
        timeout: Duration,
    ) -> (Result<(), CommandError>, bool) {
        let later = Duration::from_millis(40);
        let timed = events.iter().zip(handed);
        let events_at = timed.map(|(&(item, version), &at)| (item, version, at, at + later));
        let row = |version| Row {
            version,
            since_ms: BEGAN_MS - 60_000,
        };
        let mut fake = Fake {
            now: Duration::ZERO,
            name: domain("news"),
            events: events_at.collect(),
            rows: before
                .iter()
                .map(|&(item, version)| (id(item), row(version)))
                .collect(),
            takes: Duration::from_millis(700),
            others: Vec::new(),
            away: None,
        };
        more(&mut fake);
        let taken_at: Vec<Duration> = fake.events.iter().map(|(.., at)| *at).collect();
        let last = taken_at.last().copied().unwrap_or_default();
        let mut world = Timed {
            fake: &mut fake,
            taken_at,
        };
        let result = wait(&mut world, &marks(events), timeout);
        let done = fake.done(last);
        (result, done)
    }

    const LONG: Duration = Duration::from_secs(3_600);

    fn seconds(seconds: &[u64]) -> Vec<Duration> {
        seconds.iter().map(|s| Duration::from_secs(*s)).collect()
    }

    #[test]
    fn nothing_that_was_published_is_served_at_once() {
        let (result, _) = waited(&[], &[], &[], |_| {}, Duration::ZERO);
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn an_event_that_says_nothing_new_is_no_proof_of_those_before_it() {
        let events = [(1, Some(5)), (2, Some(5))];
        let (result, done) = waited(&events, &[(2, 5)], &seconds(&[30, 30]), |_| {}, LONG);
        assert_eq!((result, done), (Ok(()), true));
        // An event newer than ours leaves no trace either.
        let (result, done) = waited(&events, &[(2, 9)], &seconds(&[30, 30]), |_| {}, LONG);
        assert_eq!((result, done), (Ok(()), true));
    }

    #[test]
    fn others_who_publish_and_a_service_that_is_away_are_waited_out() {
        let events = [(1, Some(5)), (2, Some(5))];
        let more = |fake: &mut Fake| {
            fake.others = (0..200).map(|n| Duration::from_millis(700 * n)).collect();
            fake.away = Some((Duration::from_secs(2), Duration::from_secs(40)));
        };
        let (result, done) = waited(&events, &[(2, 5)], &seconds(&[1, 20]), more, LONG);
        assert_eq!((result, done), (Ok(()), true));
    }

    #[test]
    fn the_time_is_over_in_words_that_name_what_is_missing() {
        let timeout = Duration::from_secs(10);
        let failed = |events: &[_], handed: &[u64], more: fn(&mut Fake)| {
            let (result, done) = waited(events, &[], &seconds(handed), more, timeout);
            assert!(!done);
            result.unwrap_err()
        };
        let late = failed(&[(1, Some(5))], &[20], |_| {});
        assert_eq!(late.exit, Exit::Failed);
        assert!(late.message.contains("within 10s"), "{late}");
        assert!(
            late.message
                .contains("news has not received its last event (item i1)"),
            "{late}"
        );
        let busy = failed(&[(1, None)], &[1], |fake| {
            fake.takes = Duration::from_secs(60);
        });
        assert!(busy.message.contains("news has 7 items pending"), "{busy}");
        let away = failed(&[(1, None)], &[20], |fake| {
            fake.away = Some((Duration::ZERO, Duration::from_secs(60)));
        });
        assert_eq!(away.exit, Exit::Unreachable);
        assert!(away.message.contains("nobody answers"), "{away}");
    }

    #[test]
    fn an_event_is_told_from_those_before_it_by_a_higher_version_alone() {
        let (news, shop) = (domain("news"), domain("shop"));
        let mut seen = Seen::new(true);
        let mut is_sure = |domain, item, version| seen.mark(domain, &id(item), version).is_sure;
        for (domain, item, version, sure) in [
            (&news, 1, Some(5), true),
            (&shop, 1, Some(5), true),
            (&news, 1, Some(5), false),
            (&news, 1, Some(4), false),
            (&news, 1, Some(6), true),
            (&news, 2, None, true),
            (&news, 2, None, false),
            (&news, 2, Some(9), false),
            (&news, 1, None, false),
            (&news, 1, Some(7), false),
        ] {
            assert_eq!(
                is_sure(domain, item, version),
                sure,
                "{domain} {item} {version:?}"
            );
        }
        assert!(!Seen::new(false).mark(&news, &id(1), Some(1)).is_sure);
    }

    #[test]
    fn marks_are_kept_and_read_again() {
        let marks = marks(&[(1, Some(5)), (2, None)]);
        let kept = serde_json::to_string(&marks).unwrap();
        assert_eq!(serde_json::from_str::<Marks>(&kept).unwrap(), marks);
        assert_eq!(marks.last.len(), 1, "one a domain");
    }

    proptest! {
        /// Whatever was there before, and whenever events are taken: when waiting ends, all are
        /// taken, and their lists are stored.
        #[test]
        fn ends_when_all_is_served_and_not_before(
            events in prop::collection::vec((0..6_usize, prop::option::weighted(0.8, 0..9_u64)), 1..12),
            before in prop::collection::btree_map(0..6_usize, 0..9_u64, 0..6),
            gaps in prop::collection::vec(0..4_000_u64, 12),
        ) {
            let mut at = Duration::ZERO;
            let handed: Vec<Duration> = events
                .iter()
                .zip(gaps)
                .map(|(_, gap)| {
                    at += Duration::from_millis(gap);
                    at
                })
                .collect();
            let before: Vec<(usize, u64)> = before.into_iter().collect();
            let (result, done) = waited(&events, &before, &handed, |_| {}, LONG);
            prop_assert_eq!(result, Ok(()));
            prop_assert!(done);
        }
    }
}
