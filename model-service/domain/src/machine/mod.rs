//! The machine of one domain: `handle(now, input) -> effects`.
//!
//! The files beside this one are the steps of an event's path, in order: [`accept`], [`rounds`], [`cycle`],
//! [`merging`], [`flushing`]. [`loading`] builds the state from the store, at the start and after errors
//! ([`recovery`]). Each step works on the parts below, whose fields are private.

mod accept;
mod activating;
mod anew;
mod beside;
mod configure;
mod cycle;
mod flushing;
mod keeping;
mod loading;
mod logging;
mod merging;
mod patching;
mod recovery;
mod removing;
mod rounds;
mod surveying;
mod weighing;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kindred_shared::event::{Event, Reason, Refusal, Upsert};
use kindred_shared::{Backoff, DomainName, ItemId, ModelName};

use self::beside::Behind;
use self::configure::Configuring;
use self::keeping::Keeping;
use self::loading::Loading;
use self::logging::Logging;
use self::removing::Removing;
use self::surveying::Surveying;
use crate::acceptance::Acceptance;
use crate::backlog::Backlog;
use crate::catalogue::Catalogue;
use crate::comparison::{Comparison, FeatureBatch};
use crate::effect::{CommitFailure, CommitStep, Effect, Input, Ticket};
use crate::flush::Flush;
use crate::intake::{DeliveryTag, Failure, Outcome};
use crate::lists::Lists;
use crate::outbox::{Mark, Outbox};
use crate::rebuild::Rebuild;
use crate::settings::{DomainSettings, ProcessSettings};
use crate::shown::Interner;
use crate::status::{DomainStatus, LoadedState};
use crate::store::{DomainRow, Epoch, Partition, RemovalStage, Removed, SettingsRow, Write};
use crate::time::{Now, RETRY};
use crate::uncompared::Uncompared;
use crate::unread::Unread;

/// Longest interval between looks at the wall clock for items that expire or appear: somebody may set the clock, and
/// there is no notification of that.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(10);

/// Which domain this is, and the ownership under which it is active.
#[derive(Debug, Clone)]
pub struct Tenure {
    /// The domain.
    pub domain: DomainName,
    /// The partition the domain belongs to.
    pub partition: Partition,
    /// Number of the ownership; all writes carry it.
    pub epoch: Epoch,
}

/// What the domain is doing to make its lists exact.
#[derive(Debug)]
enum Phase {
    /// The domain's own rows are being read. Nothing is known yet, so events are held.
    Opening { ticket: Ticket },
    /// The whole domain is being read. Events are accepted, except those that depend on the whole domain.
    Loading(Loading),
    /// Another model is served now: everything is read again once the store has answered all requests. Events that
    /// arrive meanwhile are held.
    Reopening,
    /// Something failed; the store is read again at `until`.
    Unloaded { until: Duration },
    /// Nothing to do, or a window is open.
    Idle,
    /// Features are being made.
    Extracting { ticket: Ticket, batch: FeatureBatch },
    /// Why some items cannot have a feature is being stored.
    StoringRejected { ticket: Ticket, batch: FeatureBatch },
    /// Features are being stored.
    StoringFeatures { ticket: Ticket, batch: FeatureBatch },
    /// Rows are being compared.
    Comparing {
        ticket: Ticket,
        comparison: Box<Comparison>,
    },
    /// Features could not be made; the next attempt is at `until`.
    BackingOff { until: Duration },
    /// The domain is being removed. Events that arrive meanwhile are held.
    Removing(Removing),
    /// The partition has another owner.
    Lost,
}

/// One domain's machine. It has no clock and does no I/O: time is an argument, effects are returned.
#[derive(Debug)]
pub struct Domain {
    tenure: Tenure,
    settings: Arc<ProcessSettings>,
    phase: Phase,
    /// The domain's row as stored, or on its way to the store; `None`: the domain is not registered.
    row: Option<DomainRow>,
    /// Whether readers still have to be told that the domain is registered.
    must_tell: bool,
    catalogue: Catalogue,
    lists: Lists,
    acceptance: Acceptance,
    backlog: Backlog,
    uncompared: Uncompared,
    /// A comparison of all rows, which runs beside the phases.
    rebuild: Option<Rebuild>,
    flush: Flush,
    outbox: Outbox,
    /// When the domain is marked clean if nothing happens before; `None`: it is busy, or clean already.
    clean_at: Option<Duration>,
    /// Words of items that readers see; each is stored once.
    words: Interner,
    /// The domain's settings; `None`: none were ever set.
    set: Option<SettingsRow>,
    /// The settings of `set`, shared with those who make features.
    text_settings: Arc<DomainSettings>,
    /// The habits of the domain's texts, and the surveys that find them.
    surveying: Surveying,
    /// Settings on their way to the store.
    configuring: Vec<Configuring>,
    /// The models beside the served one.
    keeping: Keeping,
    /// What is known of the log in the store.
    logging: Logging,
    /// For the machine of a model beside the served one: how far it is behind.
    behind: Behind,
    /// Commits of the domain's row that name the model that was set.
    naming: Vec<(Ticket, DeliveryTag)>,
    /// Deliveries about items whose row is being read.
    unread: Unread,
    /// Deliveries about items that are being read with text and vector.
    whole: Unread,
    /// The domain's latest removal, even if it was registered again since.
    removed: Option<Removed>,
    /// A removal that waits until everything before it is stored, and the name of its request.
    removal: Option<(DeliveryTag, String)>,
    /// Deliveries that wait until the domain is opened, loaded or removed.
    held: Vec<(DeliveryTag, Arc<Event>)>,
    /// When the first of them arrived.
    held_since: Duration,
    /// Consecutive failures.
    retry: Backoff,
    /// Why the last attempt failed.
    trouble: Option<String>,
}

impl Domain {
    /// Starts a machine, which begins by reading the store; returns it and its first effects.
    pub fn start(tenure: Tenure, settings: Arc<ProcessSettings>) -> (Self, Vec<Effect>) {
        let mut domain = Self {
            backlog: Backlog::new(settings.window, settings.material_bytes),
            tenure,
            settings,
            phase: Phase::Unloaded {
                until: Duration::ZERO,
            },
            row: None,
            must_tell: false,
            catalogue: Catalogue::default(),
            lists: Lists::default(),
            acceptance: Acceptance::default(),
            uncompared: Uncompared::default(),
            rebuild: None,
            flush: Flush::default(),
            outbox: Outbox::default(),
            clean_at: None,
            words: Interner::default(),
            set: None,
            text_settings: Arc::default(),
            surveying: Surveying::default(),
            configuring: Vec::new(),
            keeping: Keeping::default(),
            logging: Logging::default(),
            behind: Behind::default(),
            naming: Vec::new(),
            unread: Unread::default(),
            whole: Unread::default(),
            removed: None,
            removal: None,
            held: Vec::new(),
            held_since: Duration::ZERO,
            retry: RETRY,
            trouble: None,
        };
        domain.open();
        let effects = domain.outbox.drain();
        (domain, effects)
    }

    /// Processes one input; returns what to do, in order.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Effect> {
        match input {
            Input::Event { tag, event } => self.deliver(now, tag, event),
            Input::Opened { ticket, result } => self.opened(now, ticket, result),
            Input::ItemsRead { ticket, result } => self.items_read(now, ticket, result),
            Input::WholeRead { ticket, result } => self.whole_read(now, ticket, result),
            Input::Loaded { ticket, result } => self.loaded(now, ticket, result),
            Input::Committed { ticket, result } => self.committed(now, ticket, result),
            Input::Extracted { ticket, result } => self.extracted(now, ticket, result),
            Input::Compared {
                ticket,
                task,
                result,
            } => self.compared(now, ticket, task, result),
            Input::Surveyed { ticket, result } => self.surveyed(now, ticket, result),
            Input::Swept { ticket, result } => self.swept(now, ticket, result),
            Input::Follow { passed } => self.follow(now, passed),
            Input::Passed { ticket } => self.passed(now, ticket),
            Input::Kept { ticket } => self.keeping.kept(ticket),
            Input::Told { model, report } => self.keeping.told(&model, report),
            Input::Notified { ticket } => self.flush.notified(ticket),
            Input::MakeAnew { ids } => self.make_anew(now, &ids),
            Input::Tick => {}
        }
        self.advance(now);
        self.outbox.drain()
    }

    /// Whether processing this input takes time proportional to the whole domain: perhaps a second.
    pub fn takes_long(&self, input: &Input) -> bool {
        match input {
            Input::Loaded { .. } => true,
            Input::Compared { ticket, .. } => self.is_rebuilt_by(*ticket),
            // All items that were put off may have to be put into blocks now.
            Input::Committed { .. } | Input::Tick => {
                let are_put_off =
                    self.rebuild.is_none() && self.uncompared.len() > self.settings.batch_items;
                // All features may turn out to have been made with other habits.
                are_put_off || self.surveying.is_storing()
            }
            _ => false,
        }
    }

    /// When to pass in [`Input::Tick`] if nothing else happens before. May be in the past.
    pub fn deadline(&self, now: Now) -> Option<Duration> {
        if self.must_reload() {
            // Work goes on when the pending request is answered.
            return None;
        }
        let expiry = self.catalogue.next_expiry().map(|at| {
            let left = u64::try_from(at.saturating_sub(now.unix_ms)).unwrap_or(0);
            now.monotonic + Duration::from_millis(left).min(LOOK_AT_CLOCK)
        });
        let phase = match &self.phase {
            Phase::Unloaded { until } => Some(*until).filter(|_| self.outbox.may_read_store()),
            Phase::BackingOff { until } => Some(*until),
            Phase::Idle => self
                .backlog
                .closes()
                .filter(|_| self.backlog.has_items() || self.acceptance.arrivals() == 0),
            Phase::Comparing { comparison, .. } => comparison.retry_at(),
            Phase::Removing(removing) => {
                removing.deadline().filter(|_| self.outbox.may_read_store())
            }
            Phase::Opening { .. }
            | Phase::Reopening
            | Phase::Loading(_)
            | Phase::Extracting { .. }
            | Phase::StoringRejected { .. }
            | Phase::StoringFeatures { .. }
            | Phase::Lost => None,
        };
        [
            expiry.filter(|_| self.is_loaded() && !self.keeping.is_activating()),
            phase,
            self.rebuild.as_ref().and_then(Rebuild::retry_at),
            self.flush.deadline().filter(|_| self.is_loaded()),
            self.clean_at,
            self.next_look(),
            self.keeping
                .deadline()
                .filter(|_| self.is_known() && self.removal.is_none()),
            (self.lists.must_scrub() && self.is_loaded()).then_some(now.monotonic),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether nothing is left to do and the store has everything that is in memory: the machine may be dropped.
    pub fn may_sleep(&self) -> bool {
        self.outbox.mark() == Mark::Clean && self.is_calm() && self.held.is_empty()
    }

    /// Whether every list is exact and stored, and no event waits. The domain may still be marked dirty: if the machine
    /// were lost now, the same lists would be computed again.
    fn is_quiet(&self) -> bool {
        self.is_settled()
            && self.flush.is_empty()
            && self.outbox.has_stored_all()
            && self.held.is_empty()
            && self.keeping.has_passed_all()
    }

    /// When the next item expires or is published, or the row of a removed domain may be deleted, in ms since 1970.
    pub fn next_expiry(&self) -> Option<i64> {
        let of_row = self.removed.as_ref().and_then(Removed::kept_until);
        let of_row = of_row.map(|until| until.timestamp_millis());
        self.catalogue.next_expiry().or(of_row)
    }

    /// Whether lists wait for workers or the store.
    pub fn is_waiting(&self) -> bool {
        matches!(
            self.phase,
            Phase::Extracting { .. }
                | Phase::StoringRejected { .. }
                | Phase::StoringFeatures { .. }
                | Phase::Comparing { .. }
        )
    }

    /// The domain's status, for people and metrics.
    pub fn status(&self) -> DomainStatus {
        let state = match &self.phase {
            Phase::Opening { .. } | Phase::Reopening | Phase::Loading(_) => LoadedState::Loading,
            Phase::Unloaded { .. } | Phase::BackingOff { .. } => LoadedState::BackingOff,
            Phase::Idle if self.rebuild.is_some() => LoadedState::Comparing,
            Phase::Idle if self.backlog.has_window() => LoadedState::Collecting,
            Phase::Idle if !self.is_quiet() => LoadedState::Storing,
            Phase::Idle => LoadedState::Idle,
            Phase::Extracting { .. } => LoadedState::Extracting,
            Phase::StoringRejected { .. } | Phase::StoringFeatures { .. } => LoadedState::Storing,
            Phase::Comparing { comparison, .. } if comparison.retry_at().is_some() => {
                LoadedState::BackingOff
            }
            Phase::Comparing { .. } => LoadedState::Comparing,
            Phase::Removing(_) => LoadedState::Storing,
            Phase::Lost => LoadedState::Lost,
        };
        let (in_batch, oldest_in_batch) = match &self.phase {
            Phase::Extracting { batch, .. }
            | Phase::StoringRejected { batch, .. }
            | Phase::StoringFeatures { batch, .. } => (batch.asked.len(), batch.oldest),
            Phase::Comparing { comparison, .. } => (comparison.fresh.len(), comparison.oldest()),
            _ => (0, None),
        };
        let untaken = self.held.len() + self.unread.len() + self.whole.len();
        let unlisted = self.rebuild.as_ref();
        let unlisted = unlisted.map_or(0, |rebuild| rebuild.comparison.fresh.len());
        let waiting = self.backlog.len() + self.acceptance.arrivals() + untaken;
        let waiting = waiting + self.uncompared.len() + unlisted + self.catalogue.outdated().len();
        let pending = (waiting + in_batch) as u64;
        let oldest = [
            oldest_in_batch,
            self.backlog.oldest(),
            self.acceptance.oldest(),
            self.uncompared.oldest(),
            self.rebuild
                .as_ref()
                .and_then(|rebuild| rebuild.comparison.oldest()),
            self.unread.oldest(),
            self.whole.oldest(),
            (!self.held.is_empty()).then_some(self.held_since),
        ];
        let oldest = oldest.into_iter().flatten().min();
        DomainStatus {
            state,
            quiet: self.is_quiet(),
            clean: self.may_sleep(),
            live: self.catalogue.live(),
            visible: self.catalogue.visible(),
            pending,
            oldest_pending: oldest.filter(|_| pending > 0),
            unstored: self.flush.len() as u64,
            memory: self.memory(),
            trouble: self.trouble.clone(),
        }
    }

    /// Whether the settings in memory are those in the store, or the domain accepts no events now.
    pub fn knows_settings(&self) -> bool {
        !matches!(self.phase, Phase::Opening { .. } | Phase::Reopening)
    }

    /// The domain's settings.
    pub fn set(&self) -> &DomainSettings {
        &self.text_settings
    }

    /// Whether the catalogue reflects the store.
    fn is_loaded(&self) -> bool {
        !matches!(
            self.phase,
            Phase::Unloaded { .. }
                | Phase::Opening { .. }
                | Phase::Reopening
                | Phase::Loading(_)
                | Phase::Removing(_)
                | Phase::Lost
        )
    }

    /// Whether all lists are exact and stored.
    fn is_calm(&self) -> bool {
        self.is_settled()
            && self.flush.is_empty()
            && self.outbox.is_answered()
            && self.keeping.is_calm(self.models())
    }

    /// Whether all lists are exact.
    fn is_settled(&self) -> bool {
        self.is_settled_but_for_habits() && self.are_habits_current()
    }

    /// Whether all lists are exact for the features that exist.
    fn is_settled_but_for_habits(&self) -> bool {
        matches!(self.phase, Phase::Idle)
            && self.rebuild.is_none()
            && self.backlog.is_empty()
            && self.uncompared.is_empty()
            && !self.lists.need_repair()
            && !self.lists.must_scrub()
            && self.acceptance.is_empty()
            && self.whole.is_empty()
    }

    /// Requests a commit, which also marks the domain dirty unless the store already says so.
    fn commit(&mut self, step: CommitStep, fence: bool, mut rows: Vec<Write>) -> Ticket {
        if self.outbox.model_beside().is_none() {
            // The store only knows kinds that have one set of features, so the others are named.
            let kinds = self.models().kinds().chain([self.model()]);
            let kinds: BTreeSet<&ModelName> = kinds.filter(|kind| kind.is_of_domain()).collect();
            let gone = rows.iter().filter_map(|row| match row {
                Write::DeleteFeatures(id) => Some(id),
                _ => None,
            });
            let gone = gone.flat_map(|id| kinds.iter().map(|kind| ((*kind).clone(), id.clone())));
            let gone = gone.map(|(kind, id)| Write::DeleteFeature(kind, id));
            let gone: Vec<Write> = gone.collect();
            rows.extend(gone);
        }
        let (row, catalogue, epoch) = (&mut self.row, &self.catalogue, self.tenure.epoch);
        let dirty = || domain_row(row, catalogue, Some(epoch.0));
        self.outbox.commit(step, fence, rows, dirty)
    }

    /// Does everything that can be done now.
    fn advance(&mut self, now: Now) {
        match self.phase {
            Phase::Unloaded { until } if now.monotonic >= until && self.outbox.may_read_store() => {
                self.open();
            }
            Phase::BackingOff { until } if now.monotonic >= until => self.phase = Phase::Idle,
            Phase::Reopening if self.outbox.may_read_store() && !self.keeping.is_waiting() => {
                self.open();
            }
            _ => {}
        }
        self.read_items();
        if self.is_loaded() {
            self.retry_comparison(now);
            self.scrub_some(now);
            for (tag, event) in self.unread.take() {
                self.admit(now, tag, &event);
            }
            if !self.must_reload() {
                for (tag, event) in std::mem::take(&mut self.held) {
                    self.take(now, tag, &event);
                }
            }
            if !self.keeping.is_activating() {
                self.expire(now);
            }
            self.publish(now);
        }
        self.read_whole();
        self.send_round();
        self.start_removing(now);
        self.acknowledge_removal(now);
        self.sweep(now);
        self.start_activating(now);
        self.note_reports(now);
        self.sweep_models(now);
        self.copy_log();
        if self.must_reload() {
            self.reload();
        } else if self.is_loaded() {
            // First, because a survey starts only when no window is open, and nothing may happen after this.
            self.end_withdrawn_window();
            self.start_survey(now);
            self.start_cycle(now);
            self.start_flush(now);
            self.start_cleaning(now);
        }
        self.look_whether_whole();
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
            self.outbox.settle(vec![tag], &Outcome::Failed(failure));
        } else if self.must_reload() {
            self.hold(now, tag, event);
        } else if self.is_loaded() {
            self.take(now, tag, &event);
        } else if matches!(self.phase, Phase::Loading(_)) {
            self.take_early(now, tag, event);
        } else {
            self.hold(now, tag, event);
        }
    }

    /// Holds a delivery until the domain is opened or loaded.
    fn hold(&mut self, now: Now, tag: DeliveryTag, event: Arc<Event>) {
        if self.held.is_empty() {
            self.held_since = now.monotonic;
        }
        self.held.push((tag, event));
    }

    /// Processes an event, unless a removal of the domain comes before it, or the log has no room.
    fn take(&mut self, now: Now, tag: DeliveryTag, event: &Arc<Event>) {
        if self.removal.is_some() || self.keeping.is_activating() || self.is_log_full() {
            return self.hold(now, tag, Arc::clone(event));
        }
        self.admit(now, tag, event);
    }

    /// Processes an event that comes before any pending removal of the domain.
    fn admit(&mut self, now: Now, tag: DeliveryTag, event: &Arc<Event>) {
        if let Event::Remove(removal) = &**event {
            return self.remove(tag, removal);
        }
        if self.needs_whole(event) && self.row.is_some() {
            return self.whole.wait(now.monotonic, tag, Arc::clone(event));
        }
        self.take_whole(now, tag, event);
    }

    /// Processes an event that need not wait; the first one registers the domain. Returns whether it was accepted.
    fn take_whole(&mut self, now: Now, tag: DeliveryTag, event: &Event) -> bool {
        match event {
            Event::Configure(configure) => self.configure(now, tag, configure),
            Event::Model(modelled) => self.change_model(now, tag, modelled),
            Event::Record(recorded) => self.record(now, tag, recorded),
            Event::Upsert(upsert) => match self.over_quota(now, upsert) {
                Some(refusal) => {
                    self.outbox.settle(vec![tag], &Outcome::Refused(refusal));
                    return false;
                }
                None => {
                    return self.take_item(now, tag, &upsert.id, upsert.version, Some(upsert));
                }
            },
            Event::Delete(delete) => {
                return self.take_item(now, tag, &delete.id, delete.version, None);
            }
            // The item was read for it; if it was not, the domain does not exist.
            Event::Patch(_) => {
                let why = "a patch does not register a domain: send the whole item";
                self.refuse_unknown(tag, why);
                return false;
            }
            Event::Remove(removal) => self.remove(tag, removal),
        }
        true
    }

    /// Processes an event about an item; `None`: the item is deleted. Returns whether it was accepted.
    fn take_item(
        &mut self,
        now: Now,
        tag: DeliveryTag,
        id: &ItemId,
        version: Option<u64>,
        upsert: Option<&Upsert>,
    ) -> bool {
        if self.row.is_none() {
            if !self.settings.auto_register {
                let why = "domains do not register themselves here (auto_register = false)";
                self.refuse_unknown(tag, why);
                return false;
            }
            self.register(now);
        }
        let slot = self.catalogue.slot(id);
        self.accept(now, tag, slot, version, upsert);
        true
    }

    /// Refuses an event because the domain is not registered; it stays so.
    fn refuse_unknown(&mut self, tag: DeliveryTag, why: &str) {
        let domain = &self.tenure.domain;
        let detail = format!("the domain {domain} is not registered, and {why}");
        let refusal = Refusal::new(Reason::UnknownDomain, Some("domain"), detail);
        self.outbox.settle(vec![tag], &Outcome::Refused(refusal));
    }

    fn register(&mut self, now: Now) {
        if let Some(removed) = &mut self.removed {
            removed.stage = RemovalStage::Past;
        }
        self.must_tell = true;
        self.row = Some(DomainRow {
            domain: self.tenure.domain.clone(),
            model: self.settings.model.clone(),
            partition: self.tenure.partition.0,
            registered_at: now.date(),
            dirty: None,
            live: 0,
            visible: 0,
            next_expiry: None,
            removal: self.removed.clone(),
        });
    }

    /// The domain's model: the one that is set, otherwise the one with which it was registered.
    fn model(&self) -> &ModelName {
        let set = self.text_settings.model.as_ref();
        let registered = self.row.as_ref().map(|row| &row.model);
        set.or(registered).unwrap_or(&self.settings.model)
    }

    fn committed(&mut self, now: Now, ticket: Ticket, result: Result<(), CommitFailure>) {
        let Some(step) = self.outbox.answered(ticket) else {
            return;
        };
        match result {
            Ok(()) => {}
            Err(CommitFailure::Superseded) => return self.lose(),
            // Memory and store may differ now, and only the store counts.
            Err(CommitFailure::Failed(failure)) => return self.reload_later(now, failure),
        }
        self.retry.worked();
        self.trouble = None;
        self.outbox.stored(ticket);
        self.logging.stored(ticket);
        match step {
            CommitStep::Events => self.round_stored(now, ticket),
            CommitStep::Settings => self.settings_stored(ticket),
            CommitStep::Models => self.models_stored(now, ticket),
            CommitStep::Model => self.model_stored(ticket),
            CommitStep::Log => self.log_copied(ticket),
            CommitStep::Habits => self.habits_stored(ticket),
            CommitStep::Features => self.features_stored(now, ticket),
            CommitStep::Lists => self.lists_stored(ticket),
            CommitStep::Clean => {}
            CommitStep::Removal | CommitStep::Removed => self.removal_stored(ticket),
        }
    }
}

/// The domain's row as it is to be stored.
fn domain_row(row: &mut Option<DomainRow>, catalogue: &Catalogue, dirty: Option<u64>) -> DomainRow {
    let row = row
        .as_mut()
        .expect("a domain is registered before it writes");
    row.dirty = dirty;
    row.live = catalogue.live();
    row.visible = catalogue.visible();
    row.next_expiry = catalogue
        .next_expiry()
        .and_then(chrono::DateTime::from_timestamp_millis);
    row.clone()
}
