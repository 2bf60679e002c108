//! The machine of one domain: `handle(now, input) -> effects`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kindred_shared::DomainName;
use kindred_shared::event::{Event, Reason, Refusal};

use super::blocks::Blocks;
use super::cycle::{Batch, Comparison};
use super::effect::{CommitFailure, CommitStep, Effect, Input, Observation, Ticket};
use super::flush::Flush;
use super::item::Item;
use super::ledger::{Ledger, RoundNumber};
use super::list::List;
use super::round::{Pending, Round, RoundInFlight};
use super::slot::{Slot, Slots};
use super::time::{Now, backoff};
use super::window::{Window, WindowSize};
use crate::intake::{DeliveryTag, Failure, Outcome};
use crate::status::DomainStatus;
use crate::store::{DomainRow, Epoch, Partition, Write};

/// What does not change while a domain is active.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The domain.
    pub domain: DomainName,
    /// Number of the ownership all its writes belong to.
    pub epoch: Epoch,
    /// The model of texts.
    pub model: String,
    /// When a window closes.
    pub window: WindowSize,
    /// Whether a domain that is not registered registers itself.
    pub auto_register: bool,
    /// The partition the domain belongs to.
    pub partition: Partition,
    /// Most right blocks of one compare task: what bounds the size of a reply.
    pub strip_blocks: usize,
    /// Bytes of titles, texts and vectors kept in memory for extraction; what is over is read from
    /// the store again.
    pub material_bytes: usize,
}

/// What the domain is doing to make its lists exact.
#[derive(Debug)]
pub(super) enum Phase {
    /// The store is being read. Nothing is known, so events are held.
    Loading { ticket: Ticket },
    /// Something went wrong; the store is to be read at `until`.
    Unloaded { until: Duration },
    /// Nothing to do, or a window is open.
    Idle,
    /// Features are being made.
    Extracting { ticket: Ticket, batch: Batch },
    /// Features are being stored.
    StoringFeatures { ticket: Ticket, batch: Batch },
    /// Rows are being compared.
    Comparing(Box<Comparison>),
    /// Features could not be made; tried again at `until`.
    BackingOff { until: Duration },
    /// The partition belongs to another.
    Lost,
}

/// Whether the store says that lists may differ from items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It says they agree.
    Clean,
    /// It says so since before it was loaded: at a former owner's epoch, which gives us no right
    /// to write lists, or at ours, with a commit that says otherwise perhaps still on its way.
    Inherited,
    /// A commit that says so is on its way. Other commits carry the mark too: either may be
    /// durable first.
    Marking(Ticket),
    /// It says so at our epoch.
    Dirty,
    /// A commit that says they agree is on its way.
    Cleaning(Ticket),
}

/// One domain's machine. No clock, no I/O: time comes in, effects go out.
#[derive(Debug)]
pub struct Domain {
    pub(super) settings: Settings,
    pub(super) phase: Phase,
    pub(super) row: Option<DomainRow>,
    pub(super) mark: Mark,

    pub(super) slots: Slots,
    pub(super) items: Vec<Item>,
    pub(super) lists: Vec<List>,
    pub(super) blocks: Blocks,
    pub(super) expiries: BTreeSet<(i64, Slot)>,
    pub(super) live: u64,
    pub(super) visible: u64,

    pub(super) ledger: Ledger,
    pub(super) round: Round,
    pub(super) round_number: RoundNumber,
    pub(super) round_in_flight: Option<RoundInFlight>,

    pub(super) window: Option<Window>,
    pub(super) pending: BTreeMap<Slot, Pending>,
    pub(super) material_bytes: usize,
    pub(super) repairs: BTreeSet<Slot>,
    pub(super) flush: Flush,

    held: Vec<(DeliveryTag, Arc<Event>)>,
    commits: BTreeMap<Ticket, CommitStep>,
    /// Commits of before everything was forgotten that are not answered yet. The store is not
    /// read while there are any: what they write later would be missed.
    orphans: BTreeSet<Ticket>,
    next_ticket: Ticket,
    pub(super) failures: u32,
    pub(super) trouble: Option<String>,
    pub(super) effects: Vec<Effect>,
}

impl Domain {
    /// A machine that begins by reading the store, and the effects of that.
    pub fn start(settings: Settings) -> (Self, Vec<Effect>) {
        let mut domain = Self {
            settings,
            phase: Phase::Unloaded {
                until: Duration::ZERO,
            },
            row: None,
            mark: Mark::Clean,
            slots: Slots::default(),
            items: Vec::new(),
            lists: Vec::new(),
            blocks: Blocks::default(),
            expiries: BTreeSet::new(),
            live: 0,
            visible: 0,
            ledger: Ledger::default(),
            round: Round::default(),
            round_number: RoundNumber(1),
            round_in_flight: None,
            window: None,
            pending: BTreeMap::new(),
            material_bytes: 0,
            repairs: BTreeSet::new(),
            flush: Flush::default(),
            held: Vec::new(),
            commits: BTreeMap::new(),
            orphans: BTreeSet::new(),
            next_ticket: Ticket(1),
            failures: 0,
            trouble: None,
            effects: Vec::new(),
        };
        domain.load();
        let effects = std::mem::take(&mut domain.effects);
        (domain, effects)
    }

    /// Takes one input in; what is to be done about it, in order.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Effect> {
        match input {
            Input::Event { tag, event } => self.deliver(now, tag, event),
            Input::Loaded { ticket, result } => self.loaded(now, ticket, result),
            Input::Committed { ticket, result } => self.committed(now, ticket, result),
            Input::Extracted { ticket, result } => self.extracted(now, ticket, result),
            Input::Compared {
                ticket,
                task,
                result,
            } => self.compared(now, ticket, task, result),
            Input::Notified { ticket } => self.notified(ticket),
            Input::Tick => {}
        }
        self.advance(now);
        std::mem::take(&mut self.effects)
    }

    /// When to hand in [`Input::Tick`], if nothing else happens before. May lie in the past.
    pub fn deadline(&self, now: Now) -> Option<Duration> {
        let expiry = self.expiries.first().map(|(at, _)| {
            let left = u64::try_from(at.saturating_sub(now.unix_ms)).unwrap_or(0);
            now.monotonic + Duration::from_millis(left)
        });
        let phase = match &self.phase {
            Phase::Unloaded { until } => Some(*until).filter(|_| self.orphans.is_empty()),
            Phase::BackingOff { until } => Some(*until),
            Phase::Idle => self
                .window
                .filter(|_| !self.pending.is_empty() || !self.has_arrivals())
                .map(|window| window.closes(self.settings.window)),
            Phase::Comparing(comparison) => comparison.retry_at(),
            Phase::Loading { .. }
            | Phase::Extracting { .. }
            | Phase::StoringFeatures { .. }
            | Phase::Lost => None,
        };
        [
            expiry.filter(|_| self.takes_events()),
            phase,
            self.flush.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether nothing is to be done and nothing in memory is missing in the store: the machine
    /// may be dropped.
    pub fn may_sleep(&self) -> bool {
        self.mark == Mark::Clean && self.is_calm() && self.held.is_empty()
    }

    /// When the next item expires, in ms since 1970.
    pub fn next_expiry(&self) -> Option<i64> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Whether events can be taken in. Not before what the store has is known; nor while lists are
    /// made anew that the store has already: they would come out changed, and nobody would know
    /// which ones to store.
    fn takes_events(&self) -> bool {
        match &self.phase {
            Phase::Comparing(comparison) => comparison.rewrites().is_none_or(|rewrites| rewrites),
            _ => self.is_loaded(),
        }
    }

    /// Whether lists wait for workers or the store.
    pub fn is_waiting(&self) -> bool {
        matches!(
            self.phase,
            Phase::Extracting { .. } | Phase::StoringFeatures { .. } | Phase::Comparing(_)
        )
    }

    /// How the domain fares, for people and metrics.
    pub fn status(&self) -> DomainStatus {
        let state = match &self.phase {
            Phase::Loading { .. } => "loading",
            Phase::Unloaded { .. } | Phase::BackingOff { .. } => "backing-off",
            Phase::Idle if self.window.is_some() => "collecting",
            Phase::Idle if !self.is_calm() || self.mark != Mark::Clean => "storing",
            Phase::Idle => "idle",
            Phase::Extracting { .. } => "extracting",
            Phase::StoringFeatures { .. } => "storing",
            Phase::Comparing(comparison) if comparison.retry_at().is_some() => "backing-off",
            Phase::Comparing(_) => "comparing",
            Phase::Lost => "lost",
        };
        let in_batch = match &self.phase {
            Phase::Extracting { batch, .. } | Phase::StoringFeatures { batch, .. } => batch.len(),
            Phase::Comparing(comparison) => comparison.fresh(),
            _ => 0,
        };
        let storing = self.round.arrivals()
            + self
                .round_in_flight
                .as_ref()
                .map_or(0, RoundInFlight::arrivals);
        DomainStatus {
            state,
            quiet: self.may_sleep(),
            live: self.live,
            visible: self.visible,
            pending: (self.pending.len() + in_batch + storing + self.held.len()) as u64,
            trouble: self.trouble.clone(),
        }
    }

    /// Whether the tables are those of the store.
    pub(super) fn is_loaded(&self) -> bool {
        !matches!(
            self.phase,
            Phase::Loading { .. } | Phase::Unloaded { .. } | Phase::Lost
        )
    }

    /// Whether all lists are exact and the store has them.
    pub(super) fn is_calm(&self) -> bool {
        self.is_settled() && self.flush.is_empty() && self.commits.is_empty()
    }

    /// Whether all lists are exact.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Idle)
            && self.window.is_none()
            && self.pending.is_empty()
            && self.repairs.is_empty()
            && self.round.is_empty()
            && self.round_in_flight.is_none()
    }

    /// Asks for a commit; marks the domain dirty with it unless the store says so already.
    pub(super) fn commit(&mut self, step: CommitStep, fence: bool, rows: Vec<Write>) -> Ticket {
        let ticket = self.ticket();
        let mut writes = Vec::with_capacity(rows.len() + 1);
        if step != CommitStep::Clean && self.mark != Mark::Dirty {
            writes.push(Write::Domain(self.domain_row(Some(self.settings.epoch.0))));
            self.mark = Mark::Marking(ticket);
        }
        writes.extend(rows);
        self.commits.insert(ticket, step);
        self.effects.push(Effect::Commit {
            ticket,
            fence,
            writes,
            step,
        });
        ticket
    }

    /// The domain's row as it is to be stored.
    pub(super) fn domain_row(&mut self, dirty: Option<u64>) -> DomainRow {
        let next_expiry = self
            .next_expiry()
            .and_then(chrono::DateTime::from_timestamp_millis);
        let row = DomainRow {
            dirty,
            live: self.live,
            visible: self.visible,
            next_expiry,
            ..self
                .row
                .clone()
                .expect("a domain is registered before it writes")
        };
        self.row = Some(row.clone());
        row
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket = Ticket(ticket.0 + 1);
        ticket
    }

    pub(super) fn observe(&mut self, observation: Observation) {
        self.effects.push(Effect::Observe(observation));
    }

    /// Does whatever can be done now.
    fn advance(&mut self, now: Now) {
        match self.phase {
            Phase::Unloaded { until } if now.monotonic >= until && self.orphans.is_empty() => {
                self.load();
            }
            Phase::BackingOff { until } if now.monotonic >= until => self.phase = Phase::Idle,
            _ => {}
        }
        if !self.is_loaded() {
            return;
        }
        self.retry_comparison(now);
        if !self.takes_events() {
            return;
        }
        self.take_held(now);
        self.expire(now);
        self.send_round();
        self.start_cycle(now);
        self.start_flush(now);
        self.start_cleaning();
    }

    fn deliver(&mut self, now: Now, tag: DeliveryTag, event: Arc<Event>) {
        if matches!(self.phase, Phase::Unloaded { .. } | Phase::Lost) {
            let detail = self.trouble.clone().unwrap_or_else(|| {
                "the domain is not being served here now; send the event again".into()
            });
            let failure = Failure {
                needs_help: false,
                detail,
            };
            self.effects
                .push(Effect::Settle(vec![(tag, Outcome::Failed(failure))]));
        } else if self.takes_events() {
            self.take(now, tag, &event);
        } else {
            self.held.push((tag, event));
        }
    }

    /// Takes an event in, registering the domain with its first one.
    pub(super) fn take(&mut self, now: Now, tag: DeliveryTag, event: &Event) {
        if self.row.is_none() {
            if !self.settings.auto_register {
                let refusal = Refusal {
                    reason: Reason::UnknownDomain,
                    field: Some("domain".into()),
                    detail: format!(
                        "the domain {} is not registered, and domains do not register themselves \
                         here (auto_register = false)",
                        self.settings.domain
                    ),
                };
                self.effects
                    .push(Effect::Settle(vec![(tag, Outcome::Refused(refusal))]));
                return;
            }
            self.row = Some(DomainRow {
                domain: self.settings.domain.clone(),
                model: self.settings.model.clone(),
                partition: self.settings.partition.0,
                registered_at: now.date(),
                dirty: None,
                live: 0,
                visible: 0,
                next_expiry: None,
            });
        }
        self.accept(now, tag, event);
    }

    /// Takes in the events that came while nothing was known.
    pub(super) fn take_held(&mut self, now: Now) {
        for (tag, event) in std::mem::take(&mut self.held) {
            self.take(now, tag, &event);
        }
    }

    fn committed(&mut self, now: Now, ticket: Ticket, result: Result<(), CommitFailure>) {
        let Some(step) = self.commits.remove(&ticket) else {
            self.orphans.remove(&ticket);
            return;
        };
        match result {
            Ok(()) => {}
            Err(CommitFailure::Superseded) => {
                self.abandon(
                    "another instance has taken over; send the event again".into(),
                    false,
                );
                self.phase = Phase::Lost;
                self.effects.push(Effect::Superseded);
                return;
            }
            Err(CommitFailure::Failed(failure)) => {
                // Memory and store may differ now; only the store counts.
                self.abandon(failure.detail, failure.needs_help);
                self.phase = Phase::Unloaded {
                    until: now.monotonic + backoff(self.failures),
                };
                self.failures += 1;
                return;
            }
        }
        self.failures = 0;
        self.trouble = None;
        if self.mark == Mark::Marking(ticket) {
            self.mark = Mark::Dirty;
        }
        match step {
            CommitStep::Events => self.round_stored(now, ticket),
            CommitStep::Features => self.features_stored(now, ticket),
            CommitStep::Lists => self.lists_stored(ticket),
            CommitStep::Clean => {
                if self.mark == Mark::Cleaning(ticket) {
                    self.mark = Mark::Clean;
                }
            }
        }
    }

    fn load(&mut self) {
        let ticket = self.ticket();
        self.phase = Phase::Loading { ticket };
        self.effects.push(Effect::Load { ticket });
    }

    /// Forgets everything but the way back; nothing unsettled will become durable through us.
    fn abandon(&mut self, detail: String, needs_help: bool) {
        let failure = Failure {
            needs_help,
            detail: detail.clone(),
        };
        let failed: Vec<_> = self
            .ledger
            .abandon()
            .into_iter()
            .chain(self.held.drain(..).map(|(tag, _)| tag))
            .map(|tag| (tag, Outcome::Failed(failure.clone())))
            .collect();
        if !failed.is_empty() {
            self.effects.push(Effect::Settle(failed));
        }
        let fresh = Self::start(self.settings.clone()).0;
        let effects = std::mem::take(&mut self.effects);
        let mut orphans = std::mem::take(&mut self.orphans);
        orphans.extend(self.commits.keys());
        *self = Self {
            trouble: Some(detail),
            orphans,
            failures: self.failures,
            next_ticket: self.next_ticket,
            round_number: self.round_number,
            effects,
            ..fresh
        };
    }

    /// Begins again from the store, after a growing delay: the machine's state cannot be trusted
    /// any more. Whoever delivered is told by the caller. Tickets go on, so that no answer still
    /// on its way is taken for another's.
    pub fn restart(&mut self, now: Now) -> Vec<Effect> {
        self.effects.clear();
        self.abandon("the domain failed and is being loaded again".into(), false);
        self.phase = Phase::Unloaded {
            until: now.monotonic + backoff(self.failures),
        };
        self.failures += 1;
        std::mem::take(&mut self.effects)
    }

    /// The store could not be read; it is tried again later.
    pub(super) fn load_failed(&mut self, now: Now, failure: Failure) {
        self.abandon(failure.detail, failure.needs_help);
        self.phase = Phase::Unloaded {
            until: now.monotonic + backoff(self.failures),
        };
        self.failures += 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use kindred_shared::ItemId;
    use kindred_shared::event::Delete;

    use super::super::load::Loaded;
    use super::*;

    fn at(ms: u64) -> Now {
        Now {
            monotonic: Duration::from_millis(ms),
            unix_ms: 1_000_000,
        }
    }

    fn load_ticket(effects: &[Effect]) -> Option<Ticket> {
        effects.iter().find_map(|effect| match effect {
            Effect::Load { ticket } => Some(*ticket),
            _ => None,
        })
    }

    #[test]
    fn the_store_is_not_read_while_an_earlier_commit_is_on_its_way() {
        let domain = DomainName::new("news").unwrap();
        let (mut machine, effects) = Domain::start(Settings {
            domain: domain.clone(),
            epoch: Epoch(1),
            model: "words-1".into(),
            window: WindowSize {
                length: Duration::from_millis(250),
                events: 20,
            },
            auto_register: true,
            partition: Partition(0),
            strip_blocks: 2,
            material_bytes: 100,
        });
        let ticket = load_ticket(&effects).unwrap();
        let result = Ok(Box::<Loaded>::default());
        machine.handle(at(0), Input::Loaded { ticket, result });
        let event = Arc::new(Event::Delete(Delete {
            domain,
            id: ItemId::new("a").unwrap(),
            version: Some(1),
        }));
        let tag = DeliveryTag(1);
        let effects = machine.handle(at(0), Input::Event { tag, event });
        let committed = effects.iter().find_map(|effect| match effect {
            Effect::Commit { ticket, .. } => Some(*ticket),
            _ => None,
        });
        let committed = committed.unwrap();

        let effects = machine.restart(at(0));
        assert!(matches!(&*effects, [Effect::Settle(settled)] if settled.len() == 1));
        assert_eq!(
            machine.deadline(at(0)),
            None,
            "nothing to do before the commit is answered"
        );
        assert_eq!(load_ticket(&machine.handle(at(60_000), Input::Tick)), None);
        let answer = Input::Committed {
            ticket: committed,
            result: Ok(()),
        };
        let reload = load_ticket(&machine.handle(at(60_000), answer));
        assert!(
            reload.is_some_and(|reload| reload > committed),
            "tickets go on"
        );
    }
}
