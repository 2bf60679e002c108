//! What is in a log, before any of it is applied.

use std::collections::{HashMap, HashSet};

use kindred_shared::DomainName;
use kindred_shared::event::Configure;

use super::record::{Record, Said};
use super::since::Since;
use super::source::Log;
use crate::cli::exit::CommandError;
use crate::cli::interrupt::Interrupt;

/// The part of a log that is replayed.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The place of its last entry: what is logged later is not part of it. `None`: there is none.
    pub(super) end: Option<u64>,
    /// Its entries about these domains.
    pub(super) events: u64,
    /// Domains that have entries.
    pub(super) domains: HashSet<DomainName>,
    /// Where each domain was deleted last.
    pub(super) removed: HashMap<DomainName, u64>,
    /// The newest settings of each domain since then.
    pub(super) settings: HashMap<DomainName, Configure>,
    /// Only this domain is replayed.
    only: Option<DomainName>,
    /// Deletions of domains count for nothing.
    undelete: bool,
}

impl Plan {
    pub(super) fn new(only: Option<DomainName>, undelete: bool) -> Self {
        Self {
            only,
            undelete,
            ..Self::default()
        }
    }

    /// Reads a log to its present end.
    ///
    /// # Errors
    /// When it cannot be read, or the command is interrupted.
    pub(super) fn read(
        mut self,
        log: &Log,
        since: Since,
        interrupt: &Interrupt,
    ) -> Result<Self, CommandError> {
        let Some(end) = log.end()? else {
            return Ok(self);
        };
        let mut records = log.read(since, end);
        while let Some(record) = records.blocking_recv() {
            if interrupt.is_asked() {
                return Err(CommandError::failed("interrupted: nothing was applied"));
            }
            self.add(record?);
        }
        self.end = Some(end);
        Ok(self)
    }

    pub(super) fn add(&mut self, record: Record) {
        let place = record.place;
        let Some(domain) = record.domain else {
            self.events += 1;
            return;
        };
        if self.only.as_ref().is_some_and(|only| *only != domain) {
            return;
        }
        self.events += 1;
        match record.said {
            Said::Removal if self.undelete => {}
            Said::Removal => {
                self.settings.remove(&domain);
                self.removed.insert(domain.clone(), place);
            }
            Said::Settings(configure) => {
                self.settings.insert(domain.clone(), *configure);
            }
            Said::Item(_) | Said::Other | Said::Unreadable(_) => {}
        }
        self.domains.insert(domain);
    }
}
