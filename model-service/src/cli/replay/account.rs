//! Accounting: counts, names of what is left out, progress, and the saved position.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kindred_shared::DomainName;

use super::Present;
use super::record::Unreadable;
use super::state::{Counts, State};
use crate::cli::client::printable;
use crate::cli::state_file::StateFile;

/// How often the position is saved. After a crash, events applied since then are applied again, which changes nothing.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How often progress is told where it is not shown.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How often it is redrawn where it is.
const TICK: Duration = Duration::from_millis(200);
/// Entries that are named one by one; all are counted.
const NAMED: u64 = 100;

/// Keeps the account of a replay.
pub(super) struct Account {
    bar: ProgressBar,
    is_shown: bool,
    told: Instant,
    total: u64,
    /// What an entry's place is called.
    unit: &'static str,
    /// `None`: the position cannot be saved, or no longer.
    state_file: Option<StateFile>,
    state: State,
    saved: Instant,
    /// Places of events that are on their way.
    on_their_way: BTreeSet<u64>,
    /// Behind the last entry that was looked at.
    read: u64,
    /// There are no more.
    has_ended: bool,
    /// Events that this run applied.
    applied: u64,
    named: u64,
    /// From the first event of this run to the last one that was settled.
    begun: Option<Instant>,
    settled: Option<Instant>,
}

impl Account {
    pub(super) fn new(file: StateFile, state: State, total: u64, unit: &'static str) -> Self {
        let is_shown = std::io::stderr().is_terminal();
        let target = match is_shown {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = "{bar:24} {pos}/{len} events  {per_sec}  {msg}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if is_shown {
            bar.enable_steady_tick(TICK);
        }
        let now = Instant::now();
        Self {
            bar,
            is_shown,
            told: now,
            total,
            unit,
            state_file: Some(file),
            read: state.next,
            has_ended: false,
            state,
            saved: now,
            on_their_way: BTreeSet::new(),
            applied: 0,
            named: 0,
            begun: None,
            settled: None,
        }
    }

    /// Warns if an earlier run could be resumed and this one starts over.
    pub(super) fn begin(&self) {
        if let Some(file) = self.state_file.as_ref().filter(|file| file.is_there()) {
            self.say(&format!(
                "{} belongs to an unfinished replay; starting over (--resume would continue it)",
                file.path().display()
            ));
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.state.counts
    }

    /// Events that this run applied.
    pub(super) fn applied_now(&self) -> u64 {
        self.applied
    }

    /// How long this run took to apply them.
    pub(super) fn taking(&self) -> Duration {
        let both = self.begun.zip(self.settled);
        both.map_or(Duration::ZERO, |(begun, settled)| settled - begun)
    }

    /// Everything before this place is applied, or needs not to be.
    pub(super) fn next(&self) -> u64 {
        let first = self.on_their_way.first().copied();
        first.unwrap_or(self.read).max(self.state.next)
    }

    /// The domains that the target had before the replay: these, unless an earlier run knows.
    pub(super) fn present(&mut self, now: Present) -> Present {
        self.state.present.get_or_insert(now).clone()
    }

    /// An entry does not belong to what is replayed.
    pub(super) fn passed(&mut self, place: u64) {
        self.read = self.read.max(place + 1);
    }

    /// Nothing is to be done with an entry.
    pub(super) fn done(&mut self, place: u64) {
        self.passed(place);
        self.advance();
    }

    /// All entries were looked at.
    pub(super) fn ended(&mut self) {
        self.has_ended = true;
    }

    /// Whether all entries were looked at, and everything that is to be applied is.
    pub(super) fn is_complete(&self) -> bool {
        self.has_ended && self.on_their_way.is_empty()
    }

    /// An entry is left out, and counted here.
    pub(super) fn left_out(&mut self, place: u64, count: impl FnOnce(&mut Counts) -> &mut u64) {
        *count(&mut self.state.counts) += 1;
        self.done(place);
    }

    /// An entry cannot be read.
    pub(super) fn unreadable(&mut self, place: u64, domain: Option<&DomainName>, why: &Unreadable) {
        self.state.counts.unreadable += 1;
        self.name(place, domain, why.reason, &why.detail);
        self.done(place);
    }

    /// An event is on its way.
    pub(super) fn sent(&mut self, place: u64) {
        self.begun.get_or_insert_with(Instant::now);
        self.on_their_way.insert(place);
        self.read = self.read.max(place + 1);
    }

    /// An event is applied.
    pub(super) fn applied(&mut self, place: u64) {
        self.applied += 1;
        self.state.counts.replayed += 1;
        self.settle(place);
    }

    /// An event was refused by the target. A patch of an item that is not there changes nothing, as when it was
    /// published.
    pub(super) fn refused(
        &mut self,
        place: u64,
        domain: &DomainName,
        (reason, detail): (&str, &str),
        is_groundless: bool,
    ) {
        if is_groundless {
            self.state.counts.groundless += 1;
        } else {
            self.state.counts.refused += 1;
            self.name(place, Some(domain), reason, detail);
        }
        self.settle(place);
    }

    fn settle(&mut self, place: u64) {
        self.on_their_way.remove(&place);
        self.settled = Some(Instant::now());
        self.advance();
    }

    fn advance(&mut self) {
        self.bar.inc(1);
        let now = Instant::now();
        if now - self.saved >= SAVE_EVERY {
            self.save();
        }
        if !self.is_shown && now - self.told >= TELL_EVERY {
            self.told = now;
            let (done, total) = (self.bar.position(), self.total);
            self.say(&format!("{done} of {total} events"));
        }
    }

    /// What is being waited for.
    pub(super) fn waiting(&mut self, words: String) {
        if self.is_shown {
            self.bar.set_message(words);
        } else if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            self.say(&words);
        }
    }

    fn name(&mut self, place: u64, domain: Option<&DomainName>, reason: &str, detail: &str) {
        self.named += 1;
        if self.named > NAMED {
            return;
        }
        let domain = domain.map_or_else(String::new, |domain| format!(" ({domain})"));
        self.say(&format!(
            "{} {place}{domain}: {reason}: {}",
            self.unit,
            printable(detail)
        ));
    }

    /// Prints a message for people.
    pub(super) fn say(&self, words: &str) {
        if self.is_shown {
            self.bar.println(words);
        } else {
            // Standard error may be closed; the replay continues.
            let _ = writeln!(std::io::stderr(), "{words}");
        }
    }

    fn save(&mut self) {
        self.saved = Instant::now();
        self.state.next = self.next();
        if let Some(file) = &self.state_file
            && let Err(error) = file.save(&self.state)
        {
            self.say(&format!(
                "{} cannot be written, so --resume will not work: {error}",
                file.path().display()
            ));
            self.state_file = None;
        }
    }

    /// Removes the bar. Returns the file of the saved position, if the replay is not complete.
    pub(super) fn finish(&mut self, is_complete: bool) -> Option<PathBuf> {
        self.bar.finish_and_clear();
        if self.named > NAMED {
            self.say(&format!("… and {} more", self.named - NAMED));
        }
        if !is_complete {
            if self.next() > 0 {
                self.save();
            }
            let file = self.state_file.as_ref().filter(|file| file.is_there());
            return file.map(|file| file.path().to_owned());
        }
        if let Some(file) = &self.state_file
            && let Err(error) = file.remove()
        {
            self.say(&format!(
                "{} cannot be removed: {error}",
                file.path().display()
            ));
        }
        None
    }
}
