//! What is to be done with each entry of a log.

use std::collections::{HashMap, HashSet};

use kindred_shared::DomainName;
use kindred_shared::event::{Configure, Event};

use super::Present;
use super::plan::Plan;
use super::record::{Record, Said, Unreadable};
use super::versions::Versions;

/// Settings that limit what is accepted. They were no limit for what was accepted before they were set.
const QUOTAS: [&str; 3] = ["max_items", "max_events_per_second", "max_text"];
/// Names the request that sets them after all items.
const AFTERWARDS: &str = "log-quotas";

/// How settings of domains that the target does not have are replayed.
#[derive(Debug)]
pub(super) enum SettingsRule {
    /// Not at all: the target is somebody's running Kindred.
    Never,
    /// Each in its place among the events, as they were requested.
    InOrder,
    /// The newest ones before the first event of their domain: the log has only what was stored.
    First(HashMap<DomainName, Configure>),
}

/// Decides about the entries of a log, in their order.
#[derive(Debug)]
pub(super) struct Judge {
    /// Only this domain.
    only: Option<DomainName>,
    /// Where each domain was deleted last.
    removed: HashMap<DomainName, u64>,
    /// What is before this place is applied.
    next: u64,
    versions: Versions,
    pub(super) settings: SettingsRule,
    /// Domains that the target had before the replay: their settings stay.
    pub(super) present: Present,
    /// Domains whose settings were replayed first.
    begun: HashSet<DomainName>,
}

/// What is to be done with an entry.
#[derive(Debug)]
pub(super) enum Step {
    /// It is applied.
    Apply(Event),
    /// It belongs to another domain.
    Elsewhere,
    /// An earlier run has dealt with it, or it is applied together with others.
    Done,
    /// It came before its domain was deleted.
    Deleted,
    /// It says which models and experiments a domain has.
    Other,
    /// The target has settings of its own.
    SettingsLeft,
    /// It cannot be read.
    Unreadable(Option<DomainName>, Unreadable),
}

impl Judge {
    /// `next`: what is before this place is applied already.
    pub(super) fn new(plan: &Plan, only: Option<DomainName>, next: u64) -> Self {
        Self {
            only,
            removed: plan.removed.clone(),
            next,
            versions: Versions::default(),
            settings: SettingsRule::Never,
            present: Present::new(),
            begun: HashSet::new(),
        }
    }

    /// Decides about the next entry.
    pub(super) fn judge(&mut self, record: Record) -> Step {
        let Record {
            place,
            domain,
            said,
        } = record;
        let is_other = self.only.is_some() && domain.is_some() && self.only != domain;
        if is_other {
            return Step::Elsewhere;
        }
        let is_applied = place < self.next;
        let is_deleted = domain
            .as_ref()
            .and_then(|domain| self.removed.get(domain))
            .is_some_and(|removed| place <= *removed);
        match said {
            Said::Unreadable(_) if is_applied => Step::Done,
            Said::Unreadable(why) => Step::Unreadable(domain, why),
            _ if is_deleted && is_applied => Step::Done,
            _ if is_deleted => Step::Deleted,
            Said::Item(mut event) => {
                // Later events of the item depend on it.
                self.versions.assign(&mut event, place);
                match is_applied {
                    true => Step::Done,
                    false => Step::Apply(event),
                }
            }
            _ if is_applied => Step::Done,
            Said::Settings(configure) => match self.settings {
                SettingsRule::InOrder if !self.present.contains(&configure.domain) => {
                    Step::Apply(Event::Configure(configure))
                }
                SettingsRule::First(_) if !self.present.contains(&configure.domain) => Step::Done,
                SettingsRule::Never | SettingsRule::InOrder | SettingsRule::First(_) => {
                    Step::SettingsLeft
                }
            },
            // With `undelete`: the deletion is what is to be undone.
            Said::Removal => Step::Deleted,
            Said::Other => Step::Other,
        }
    }

    /// Settings that are to be applied before an event.
    pub(super) fn settings_before(&mut self, event: &Event) -> Option<Event> {
        let SettingsRule::First(newest) = &self.settings else {
            return None;
        };
        let domain = event.domain();
        if self.present.contains(domain) || !self.begun.insert(domain.clone()) {
            return None;
        }
        let mut configure = newest.get(domain)?.clone();
        configure
            .settings
            .retain(|name, _| !QUOTAS.contains(&name.as_str()));
        Some(Event::Configure(Box::new(configure)))
    }

    /// Settings that are to be applied after all events.
    pub(super) fn settings_after(&self) -> Vec<Event> {
        let SettingsRule::First(newest) = &self.settings else {
            return Vec::new();
        };
        let limits = |configure: &&Configure| {
            let has = |name: &&str| configure.settings.contains_key(*name);
            QUOTAS.iter().any(has)
        };
        let newest = newest.values().filter(limits);
        let newest = newest.filter(|configure| self.begun.contains(&configure.domain));
        newest
            .map(|configure| {
                Event::Configure(Box::new(Configure {
                    request: AFTERWARDS.to_owned(),
                    ..configure.clone()
                }))
            })
            .collect()
    }
}
