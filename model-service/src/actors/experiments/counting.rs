//! Counts what readers did, for all waiting callers with one read and one write.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chrono::Utc;
use kindred_shared::event::{Reason, Refusal};
use kindred_shared::{DomainName, ItemId};

use super::domain::{Counter, DomainExperiments, writer};
use super::{ExperimentError, Experiments, Outcomes};
use kindred_domain::experiment::Experiment;
use kindred_domain::experiment::feedback::Feedback;
use kindred_domain::experiment::tally::{Counted, MAX_RECENT, ReaderKey, Tally};
use kindred_domain::store::{DomainRow, StoreError};

/// Items read at a time.
const PAGE_ITEMS: usize = 1_000;

impl Experiments {
    /// Counts waiting events and answers their callers; returns whether anything was counted.
    pub(super) async fn count_waiting(
        &self,
        domain: &DomainRow,
        experiments: &DomainExperiments,
    ) -> bool {
        let mut open = experiments.counter.lock().await;
        let waiting = experiments.next();
        let (batches, answers): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .map(|one| (one.feedback, (one.answer, one._room)))
            .unzip();
        if batches.is_empty() {
            return false;
        }
        let counted = self.count_now(domain, &mut open, &batches).await;
        if counted.is_err() {
            // After a failed write it is unknown what was stored: read everything again.
            *open = None;
        }
        let mut counted = counted.map(Vec::into_iter);
        for (answer, _) in answers {
            let outcomes = match &mut counted {
                Ok(counted) => counted.next().ok_or(ExperimentError::Late),
                Err(failure) => Err(failure.clone()),
            };
            // The caller may have gone.
            let _ = answer.send(outcomes);
        }
        counted.is_ok()
    }

    async fn count_now(
        &self,
        domain: &DomainRow,
        open: &mut Option<Counter>,
        batches: &[Vec<Feedback>],
    ) -> Result<Vec<Outcomes>, ExperimentError> {
        let owner = self.owner(domain)?;
        let counter = self.opened(domain, &owner, open).await?;
        let Some(running) = &mut counter.running else {
            // Nothing is read for events that cannot count.
            let refused = |batch: &Vec<Feedback>| vec![Err(nothing_runs()); batch.len()];
            return Ok(batches.iter().map(refused).collect());
        };
        let known = self.known_items(&domain.domain, batches).await?;
        let placed = |feedback: &Feedback| placed(feedback, &running.row.experiment, &known);
        let mut outcomes: Vec<Vec<Result<usize, Refusal>>> = batches
            .iter()
            .map(|batch| batch.iter().map(placed).collect())
            .collect();
        let run = running.row.run;

        let mut readers = self
            .tallies(&domain.domain, run, batches, &outcomes)
            .await?;
        let (mut changed, mut changes) = (HashSet::new(), Vec::new());
        let now = Utc::now();
        for (batch, outcomes) in batches.iter().zip(&mut outcomes) {
            for (feedback, outcome) in batch.iter().zip(outcomes) {
                let Ok(arm) = *outcome else { continue };
                let key = ReaderKey::of(&feedback.reader);
                let tally = readers.entry(key).or_default();
                // There are 16 arms at most.
                match tally.count(&feedback.event, arm as u8, feedback.kind, now) {
                    Counted::Now(before, after) => {
                        changed.insert(key);
                        changes.push((arm, before, after));
                        self.metrics.feedback.with_label_values(&["counted"]).inc();
                    }
                    Counted::Before => self.metrics.feedback.with_label_values(&["again"]).inc(),
                    Counted::TooMany => *outcome = Err(too_many()),
                }
            }
        }
        if !changed.is_empty() {
            let rows: Vec<_> = readers
                .into_iter()
                .filter(|(key, _)| changed.contains(key))
                .collect();
            self.store
                .put_readers(writer(&owner)?, &domain.domain, run, &rows)
                .await?;
        }
        for (arm, before, after) in changes {
            if let Some(sums) = running.sums.get_mut(arm) {
                sums.change(before, after);
            }
        }
        Ok(outcomes.into_iter().map(without_arms).collect())
    }

    /// The stored rows of the readers whose events may count.
    async fn tallies(
        &self,
        domain: &DomainName,
        run: i64,
        batches: &[Vec<Feedback>],
        outcomes: &[Vec<Result<usize, Refusal>>],
    ) -> Result<BTreeMap<ReaderKey, Tally>, StoreError> {
        let events = batches.iter().flatten().zip(outcomes.iter().flatten());
        let keys: HashSet<ReaderKey> = events
            .filter(|(_, outcome)| outcome.is_ok())
            .map(|(feedback, _)| ReaderKey::of(&feedback.reader))
            .collect();
        let keys: Vec<ReaderKey> = keys.into_iter().collect();
        let found = self.store.readers(domain, run, &keys).await?;
        let found = keys.into_iter().zip(found);
        Ok(found
            .map(|(key, tally)| (key, tally.unwrap_or_default()))
            .collect())
    }

    /// Which items of the events the domain has, or has had: an item withdrawn since was still
    /// seen.
    async fn known_items(
        &self,
        domain: &DomainName,
        batches: &[Vec<Feedback>],
    ) -> Result<HashSet<ItemId>, StoreError> {
        let now = Utc::now().timestamp_millis();
        let events = batches.iter().flatten();
        let all: HashSet<&ItemId> = events.map(|feedback| &feedback.item).collect();
        let view = self.views.get(domain);
        let snapshot = view.and_then(|view| view.snapshot().as_ref().map(Arc::clone));
        let is_shown = |id: &ItemId| {
            let snapshot = snapshot.as_ref();
            snapshot.is_some_and(|snapshot| snapshot.item(id.as_str(), now).is_some())
        };
        let (shown, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|id| is_shown(id));
        let mut known: HashSet<ItemId> = shown.into_iter().cloned().collect();
        let others: Vec<ItemId> = others.into_iter().cloned().collect();
        for ids in others.chunks(PAGE_ITEMS) {
            let rows = self.items.items(domain, ids).await?;
            known.extend(rows.into_iter().flatten().map(|row| row.id));
        }
        Ok(known)
    }
}

fn without_arms(outcomes: Vec<Result<usize, Refusal>>) -> Outcomes {
    outcomes
        .into_iter()
        .map(|outcome| outcome.map(drop))
        .collect()
}

/// The arm that an event counts for.
fn placed(
    feedback: &Feedback,
    running: &Experiment,
    known: &HashSet<ItemId>,
) -> Result<usize, Refusal> {
    let refused = |reason, field, detail: String| Err(Refusal::new(reason, Some(field), detail));
    if running.name != feedback.experiment {
        return Err(nothing_runs());
    }
    let Some(arm) = running.arm_named(&feedback.arm) else {
        let names: Vec<&str> = running.arms.iter().map(|arm| &*arm.name).collect();
        let detail = format!("the experiment's arms are {}", names.join(", "));
        return refused(Reason::UnknownArm, "arm", detail);
    };
    // An earlier experiment of this name may have divided readers otherwise, and its last clicks may come late.
    let own = running.arm_of(&feedback.reader);
    if own != Some(arm) {
        let own = own.and_then(|own| running.arms.get(own));
        let detail = match own {
            Some(own) => format!("this reader is in the arm {}", own.name),
            None => "this reader takes no part in the experiment".to_owned(),
        };
        return refused(Reason::UnknownArm, "arm", detail);
    }
    if !known.contains(&feedback.item) {
        let detail = "the domain has no item of this id".to_owned();
        return refused(Reason::UnknownItem, "item", detail);
    }
    Ok(arm)
}

fn nothing_runs() -> Refusal {
    let detail = "no experiment of this name runs in the domain";
    Refusal::new(Reason::UnknownExperiment, Some("experiment"), detail)
}

fn too_many() -> Refusal {
    let detail = format!("this reader has {MAX_RECENT} events in the last 48 hours; no more count");
    Refusal::new(Reason::OverQuota, Some("reader"), detail)
}
