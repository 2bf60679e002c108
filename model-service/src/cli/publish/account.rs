//! Accounting: counts, rejected lines, progress on a terminal, and the saved position.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::client::printable;
use super::super::exit::CommandError;
use super::super::import::{Position, Progress, Rejects};
use super::super::state_file::StateFile;
use super::pipeline::{PipelineEntry, Watch, Work};
use super::resume::ResumePoint;

/// How often the position is saved. After a crash, events confirmed since then are published twice,
/// which is harmless.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Rejected lines printed one by one; the rejects file has all.
const TOLD: u64 = 10;

/// What became of the entries.
pub(super) struct Account {
    progress: Progress,
    /// The inputs' names.
    names: Vec<String>,
    rejects: Rejects,
    /// Rejected by this run.
    rejected_now: u64,
    /// `None`: the position cannot be saved, or no longer.
    state_file: Option<StateFile>,
    state: ResumePoint,
    saved: Instant,
    /// When the broker confirmed the first event of this run.
    first: Option<Instant>,
}

impl Account {
    pub(super) fn new(
        progress: Progress,
        names: Vec<String>,
        rejects: Rejects,
        state_file: Option<StateFile>,
        state: ResumePoint,
    ) -> Self {
        Self {
            progress,
            names,
            rejects,
            rejected_now: 0,
            state_file,
            state,
            saved: Instant::now(),
            first: None,
        }
    }

    /// Time since the broker's first confirmation; before that, publishing was waiting for it.
    pub(super) fn taking(&self) -> Duration {
        self.first.map_or(Duration::ZERO, |first| first.elapsed())
    }

    pub(super) fn state(&self) -> &ResumePoint {
        &self.state
    }

    /// Warns if an earlier run could be resumed and this one starts over.
    pub(super) fn begin(&self) {
        if let Some(file) = self.state_file.as_ref().filter(|file| file.is_there()) {
            self.progress.say(&format!(
                "{} belongs to an unfinished publish; starting over (--resume would continue it)",
                file.path().display()
            ));
        }
    }

    /// Saves the position, after the rejected lines.
    fn save(&mut self) -> Result<(), CommandError> {
        self.rejects.flush()?;
        self.saved = Instant::now();
        if let Some(file) = &self.state_file
            && let Err(error) = file.save(&self.state)
        {
            self.progress.say(&format!(
                "{} cannot be written, so --resume will not work: {error}",
                file.path().display()
            ));
            self.state_file = None;
        }
        Ok(())
    }

    /// Removes the bar and returns the rejects file of this run.
    ///
    /// # Errors
    /// When the rejected lines cannot be written.
    pub(super) fn finish(&mut self, done: bool) -> Result<Option<PathBuf>, CommandError> {
        let begun = self.state.position != Position::default();
        if begun {
            self.save()?;
        }
        if self.rejected_now > TOLD {
            self.progress
                .say(&format!("… and {} more", self.rejected_now - TOLD));
        }
        self.progress.finish();
        if !done
            && begun
            && let Some(file) = &self.state_file
        {
            self.progress.say(&format!(
                "{} published, {} rejected; --resume continues from there ({})",
                self.state.published,
                self.state.rejected,
                file.path().display()
            ));
        }
        let (_, path) = self.rejects.finish()?;
        Ok(path)
    }

    /// Everything is published: removes the saved position.
    pub(super) fn forget(&self) {
        if let Some(file) = &self.state_file
            && let Err(error) = file.remove()
        {
            self.progress.say(&format!(
                "{} cannot be removed: {error}",
                file.path().display()
            ));
        }
    }
}

impl Watch for Account {
    fn settled(&mut self, entry: PipelineEntry) -> Result<(), CommandError> {
        match entry.work {
            Work::Event(_) => {
                self.first.get_or_insert_with(Instant::now);
                self.state.published += 1;
                if let (Some(marks), Some((domain, mark))) = (&mut self.state.marks, &entry.mark) {
                    marks.published(domain, mark);
                }
            }
            Work::Rejected(reject) => {
                self.rejects.add(entry.after.file, &reject)?;
                if self.rejected_now < TOLD {
                    self.progress.say(&format!(
                        "{}:{}: {}: {}",
                        self.names[entry.after.file],
                        reject.line,
                        reject.reason,
                        printable(&reject.detail)
                    ));
                }
                self.rejected_now += 1;
                self.state.rejected += 1;
            }
        }
        self.state.position = entry.after;
        self.progress.items(1);
        if self.saved.elapsed() >= SAVE_EVERY {
            self.save()?;
        }
        Ok(())
    }

    fn say(&self, words: &str) {
        self.progress.say(words);
    }
}
