//! Answers: the one way from candidates to an answer, wherever the candidates come from.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use kindred_domain::slot::Slot;
use kindred_shared::ItemId;

use crate::admission::Admission;
use crate::collapse::{Collapsing, Representative};
use crate::conditions::Conditions;
use crate::diversity::{POOL, diversify};
use crate::fallback::fill;
use crate::listed::listed;
use crate::question::{AskError, Question, ResolvedSubject};
use crate::ranking::{Candidate, Ranked, Ranking};
use crate::scan::Scan;
use crate::snapshot::{Item, Snapshot};
use crate::why::{Why, why};

/// How an answer was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Computed {
    /// Not at all: the stored list was read.
    List,
    /// By scoring all items that may be answered.
    Scan,
}

/// The answer of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// How it was computed.
    pub computed: Computed,
    /// The time whose state it reflects, in ms since 1970; `None`: no item of the question has a list or a feature yet.
    pub as_of: Option<i64>,
    /// Ids in the question that readers do not see.
    pub unknown: Vec<ItemId>,
    /// Best first.
    pub similar: Vec<Match>,
}

/// An answered item. Its slot is valid in the snapshot ([`Snapshot::at`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// The item's slot.
    pub slot: Slot,
    /// Its score; 0: it was added to fill up the answer.
    pub score: f32,
    /// What the answer is ordered by, if not by score.
    pub rank: Option<f64>,
    /// Items that are left out because this one is answered.
    pub also: Vec<Slot>,
    /// What its score consists of, if requested.
    pub why: Option<Why>,
    /// Whether it was added to fill up the answer.
    pub fallback: bool,
}

/// The chosen candidates, and those left out because of them.
struct Chosen {
    representatives: Vec<Representative>,
    joined: Vec<Slot>,
}

/// A source of candidates, in order.
struct Source<I> {
    candidates: I,
    /// Whether these are all.
    is_complete: bool,
}

impl Snapshot {
    /// Answers a question from the stored list if that is exact, otherwise by a scan on the current rayon pool. Returns
    /// soon after `cancelled` becomes true.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn ask(&self, question: &Question, cancelled: &AtomicBool) -> Result<Found, AskError> {
        let asked = ResolvedSubject::of(self, question)?;
        let answering = Answering::new(self, question, &asked, cancelled);
        if let Some(found) = answering.by_list()? {
            return Ok(found);
        }
        answering.by_scan()
    }

    /// Answers a question from the stored list alone, if that is exact and needs only a look at each of its entries.
    /// `None`: use [`Self::ask`].
    ///
    /// # Errors
    /// [`AskError`].
    pub fn ask_list(&self, question: &Question) -> Result<Option<Found>, AskError> {
        let Conditions {
            collapse,
            diversity,
            explain,
            fallback,
            ..
        } = &question.conditions;
        if collapse.is_some() || diversity.is_some() || *explain || fallback.is_some() {
            return Ok(None);
        }
        let asked = ResolvedSubject::of(self, question)?;
        Answering::new(self, question, &asked, &AtomicBool::new(false)).by_list()
    }

    /// The item of a slot in an answer of this snapshot, even if it has expired.
    pub fn at(&self, slot: Slot) -> Option<Item<'_>> {
        self.visible(slot, i64::MIN)
    }
}

/// A question that is being answered.
struct Answering<'a> {
    snapshot: &'a Snapshot,
    question: &'a Question,
    asked: &'a ResolvedSubject<'a>,
    admission: Admission<'a>,
    ranking: Ranking,
    cancelled: &'a AtomicBool,
}

impl<'a> Answering<'a> {
    fn new(
        snapshot: &'a Snapshot,
        question: &'a Question,
        asked: &'a ResolvedSubject<'a>,
        cancelled: &'a AtomicBool,
    ) -> Self {
        let (conditions, now) = (&question.conditions, question.now);
        Self {
            snapshot,
            question,
            asked,
            admission: Admission::new(snapshot, conditions, &asked.items, now),
            ranking: Ranking::of(conditions, asked.hub, now),
            cancelled,
        }
    }

    /// The answer from the stored list; `None`: items may be missing from it.
    fn by_list(&self) -> Result<Option<Found>, AskError> {
        let listed = listed(self.snapshot, self.asked, &self.admission, self.ranking);
        let Some(mut listed) = listed else {
            return Ok(None);
        };
        listed.candidates.truncate(listed.certain);
        let source = Source {
            candidates: listed.candidates.into_iter(),
            is_complete: listed.is_complete,
        };
        let served = self.asked.one.as_ref().and_then(Item::served);
        let as_of = served.map(|served| served.as_of);
        self.finish(Computed::List, as_of, source)
    }

    /// The answer by a scan.
    fn by_scan(&self) -> Result<Found, AskError> {
        let Conditions {
            limit,
            collapse,
            diversity,
            ..
        } = self.question.conditions;
        // How many candidates collapsing needs is not known in advance.
        let first = collapse
            .is_none()
            .then(|| diversity.map_or(limit, |_| POOL));
        let scan = Scan {
            snapshot: self.snapshot,
            asked: self.asked,
            admission: &self.admission,
            ranking: self.ranking,
            kernel: self.question.kernel,
            cancelled: self.cancelled,
        };
        let found = scan.candidates(first)?;
        let as_of = (!self.asked.is_pending).then_some(self.question.now);
        let source = Source {
            candidates: Ranked::new(self.snapshot, found),
            is_complete: true,
        };
        let found = self.finish(Computed::Scan, as_of, source)?;
        Ok(found.expect("whatever a scan does not find is not there"))
    }

    /// The answer from these candidates; `None`: more are needed.
    fn finish(
        &self,
        computed: Computed,
        as_of: Option<i64>,
        source: Source<impl Iterator<Item = Candidate>>,
    ) -> Result<Option<Found>, AskError> {
        let conditions = &self.question.conditions;
        let limit = conditions.limit;
        let wanted = conditions.diversity.map_or(limit, |_| POOL);
        let Some(chosen) = self.choose(source, wanted)? else {
            return Ok(None);
        };
        let Chosen {
            representatives: mut chosen,
            joined,
        } = chosen;
        if let Some(lambda) = conditions.diversity {
            let Question { kernel, now, .. } = *self.question;
            chosen = diversify(self.snapshot, chosen, lambda, limit, kernel, now)?;
        }
        let is_by_score = self.ranking == Ranking::Score && conditions.diversity.is_none();
        let matches = chosen.into_iter().map(|one| Match {
            slot: one.candidate.slot,
            score: one.candidate.score,
            rank: (!is_by_score).then_some(one.candidate.rank),
            why: self.why(one.candidate.slot),
            also: one.also,
            fallback: false,
        });
        let mut similar: Vec<Match> = matches.collect();
        self.fill(&mut similar, &joined);
        Ok(Some(Found {
            computed,
            as_of,
            unknown: self.asked.unknown.clone(),
            similar,
        }))
    }

    /// The first `wanted` candidates after collapsing. `None`: there may be more.
    fn choose(
        &self,
        source: Source<impl Iterator<Item = Candidate>>,
        wanted: usize,
    ) -> Result<Option<Chosen>, AskError> {
        let Question {
            conditions,
            near_duplicate,
            kernel,
            now,
            ..
        } = self.question;
        let Some(by) = conditions.collapse else {
            let chosen: Vec<Representative> =
                source.candidates.take(wanted).map(Into::into).collect();
            let is_enough = source.is_complete || chosen.len() >= wanted;
            return Ok(is_enough.then_some(Chosen {
                representatives: chosen,
                joined: Vec::new(),
            }));
        };
        let mut collapsing = Collapsing::new(by, *near_duplicate, *kernel);
        for candidate in source.candidates {
            if collapsing.len() >= wanted {
                break;
            }
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(AskError::Cancelled);
            }
            if let Some(item) = self.snapshot.visible(candidate.slot, *now) {
                collapsing.take(candidate, &item)?;
            }
        }
        let is_enough = source.is_complete || collapsing.len() >= wanted;
        let (representatives, joined) = collapsing.finish();
        Ok(is_enough.then_some(Chosen {
            representatives,
            joined,
        }))
    }

    fn why(&self, slot: Slot) -> Option<Why> {
        let Question {
            conditions, now, ..
        } = self.question;
        let is_asked = conditions.explain.then_some(());
        let item = is_asked.and_then(|()| self.snapshot.visible(slot, *now))?;
        Some(why(self.asked, &item))
    }

    /// Fills up an answer that is shorter than requested.
    fn fill(&self, similar: &mut Vec<Match>, joined: &[Slot]) {
        let Conditions {
            limit, fallback, ..
        } = self.question.conditions;
        let missing = limit.saturating_sub(similar.len());
        let Some(fallback) = fallback.filter(|_| missing > 0) else {
            return;
        };
        // Items that joined an answer count as answered.
        let there = similar.iter().map(|one| one.slot);
        let there: HashSet<Slot> = there.chain(joined.iter().copied()).collect();
        let filling = fill(&self.admission, fallback, &there, missing);
        similar.extend(filling.into_iter().map(|slot| Match {
            slot,
            score: 0.0,
            rank: None,
            also: Vec::new(),
            why: None,
            fallback: true,
        }));
    }
}
