//! Checks whether an answer can belong to its job.
//!
//! Workers are separate programs, possibly of other versions. Their answers are stored, read at every load and shown to
//! readers, so everything that these rely on is checked first: shapes, numbers, and that the answer refers to the job's
//! rows. Whether the values are right is not checked: that would mean doing the work again.

use kindred_shared::Feature;
use kindred_shared::event::MAX_VECTOR;
use kindred_shared::feature::HIGHEST_SCORE;
use kindred_shared::job::{CompareReply, CompareTask, ExtractTask, Floor, Reply, Side, Task};
use kindred_similarity::{Candidate, Found, RowMask, RowRef};

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It answers the other kind of job.
    OtherQuestion,
    /// The number of features differs from the number of items.
    WrongCount,
    /// Dense parts differ in length from those they are compared with, or are longer than any may be.
    WrongLength,
    /// A feature has more terms than its item.
    TooManyTerms,
    /// A feature has neither length 1 nor is zero.
    NotScaled,
    /// It names a row that the job does not have, or that does not take part.
    UnknownRow,
    /// It has candidates for a row that wants none.
    UnwantedRow,
    /// Two rows do not meet in this job.
    NeverMet,
    /// A row, or a candidate of a row, is repeated.
    Repeated,
    /// A row has more candidates than requested.
    TooManyCandidates,
    /// No two features can have this score, or the score is not wanted.
    ImpossibleScore,
    /// It counts more pairs than there are.
    ImpossiblePairs,
}

impl Fault {
    /// The name under which it is counted.
    pub fn word(self) -> &'static str {
        match self {
            Self::OtherQuestion => "other-question",
            Self::WrongCount => "wrong-count",
            Self::WrongLength => "wrong-length",
            Self::TooManyTerms => "too-many-terms",
            Self::NotScaled => "not-scaled",
            Self::UnknownRow => "unknown-row",
            Self::UnwantedRow => "unwanted-row",
            Self::NeverMet => "never-met",
            Self::Repeated => "repeated",
            Self::TooManyCandidates => "too-many-candidates",
            Self::ImpossibleScore => "impossible-score",
            Self::ImpossiblePairs => "impossible-pairs",
        }
    }
}

/// Why an answer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", fault.word())]
pub struct Unfit {
    /// The kind of error.
    pub fault: Fault,
    /// Where, and what would be right.
    pub detail: String,
}

fn unfit(fault: Fault, detail: impl Into<String>) -> Unfit {
    let detail = detail.into();
    Unfit { fault, detail }
}

/// Checks an answer. `dense` is the length of the requested dense parts, if known.
pub(super) fn check(task: &Task, dense: Option<usize>, reply: &Reply) -> Result<(), Unfit> {
    match (task, reply) {
        (Task::Extract(task), Reply::Extracted(features)) => check_features(task, dense, features),
        (Task::Compare(task), Reply::Compared(reply)) => Comparison::of(task).check(reply),
        (_, Reply::Failed(_) | Reply::UnknownModel(_) | Reply::Refused(_)) => Ok(()),
        (Task::Extract(_), Reply::Compared(_)) => {
            let detail = "candidates are the answer to texts";
            Err(unfit(Fault::OtherQuestion, detail))
        }
        (Task::Compare(_), Reply::Extracted(_)) => {
            let detail = "features are the answer to a comparison";
            Err(unfit(Fault::OtherQuestion, detail))
        }
    }
}

fn check_features(
    task: &ExtractTask,
    dense: Option<usize>,
    features: &[Feature],
) -> Result<(), Unfit> {
    let (asked, got) = (task.rows.len(), features.len());
    if asked != got {
        let detail = format!("{got} features for {asked} items");
        return Err(unfit(Fault::WrongCount, detail));
    }
    let lengths = features.iter().map(|feature| feature.dense().len());
    let wanted = dense.or_else(|| lengths.clone().find(|length| *length > 0));
    for (row, feature) in task.rows.iter().zip(features) {
        let id = &row.id;
        let length = feature.dense().len();
        if length > MAX_VECTOR || (length > 0 && wanted.is_some_and(|wanted| length != wanted)) {
            let wanted = wanted.unwrap_or(MAX_VECTOR).min(MAX_VECTOR);
            let detail =
                format!("the dense part of {id} has {length} values, those of others {wanted}");
            return Err(unfit(Fault::WrongLength, detail));
        }
        let (terms, most) = (feature.term_ids().len(), row.terms.len());
        if terms > most {
            let detail = format!("{id} has {terms} terms, but its text has only {most}");
            return Err(unfit(Fault::TooManyTerms, detail));
        }
        if !feature.is_scaled() {
            let detail = format!("the feature of {id} is not of length 1");
            return Err(unfit(Fault::NotScaled, detail));
        }
    }
    Ok(())
}

/// A comparison whose answer is being checked.
struct Comparison<'a> {
    task: &'a CompareTask,
    /// Rows of each side for which candidates were reported.
    told: Vec<RowMask>,
    /// The candidates of one row, encoded as numbers.
    seen: Vec<u64>,
}

impl<'a> Comparison<'a> {
    fn of(task: &'a CompareTask) -> Self {
        let sides = std::iter::once(&task.left).chain(&task.rights);
        Self {
            task,
            told: sides.map(|side| RowMask::none(side.block.rows())).collect(),
            seen: Vec::new(),
        }
    }

    fn check(mut self, reply: &CompareReply) -> Result<(), Unfit> {
        let most = self.pairs();
        if reply.pairs > most {
            let detail = format!("{} pairs are counted; at most {most} exist", reply.pairs);
            return Err(unfit(Fault::ImpossiblePairs, detail));
        }
        reply.found.iter().try_for_each(|found| self.row(found))
    }

    /// The most pairs that can meet.
    fn pairs(&self) -> u64 {
        let count = |side: &Side| side.live.count() as u64;
        let left = count(&self.task.left);
        let rights: u64 = self.task.rights.iter().map(count).sum();
        let within = match self.task.within_left {
            true => left * left.saturating_sub(1) / 2,
            false => 0,
        };
        left.saturating_mul(rights).saturating_add(within)
    }

    /// The side of a row, if the row takes part.
    fn side(&self, RowRef { side, row }: RowRef) -> Result<&'a Side, Unfit> {
        let found = match usize::from(side).checked_sub(1) {
            Some(right) => self.task.rights.get(right),
            None => Some(&self.task.left),
        };
        found
            .filter(|side| side.live.contains(row as usize))
            .ok_or_else(|| {
                let detail = format!("row {row} of side {side} does not take part");
                unfit(Fault::UnknownRow, detail)
            })
    }

    fn row(&mut self, found: &Found) -> Result<(), Unfit> {
        let RowRef { side, row } = found.row;
        let of = self.side(found.row)?;
        let name = || format!("row {row} of side {side}");
        match of.floors.get(row as usize) {
            Some(Floor::Open | Floor::At(..)) => {}
            Some(Floor::Closed) | None => {
                let detail = format!("{} wants no candidates", name());
                return Err(unfit(Fault::UnwantedRow, detail));
            }
        }
        let told = &mut self.told[usize::from(side)];
        if told.contains(row as usize) {
            let detail = format!("{} occurs twice", name());
            return Err(unfit(Fault::Repeated, detail));
        }
        told.insert(row as usize);
        let (count, most) = (found.candidates.len(), self.task.keep);
        if count > most {
            let detail = format!(
                "{} has {count} candidates; at most {most} are allowed",
                name()
            );
            return Err(unfit(Fault::TooManyCandidates, detail));
        }
        let mut seen = std::mem::take(&mut self.seen);
        seen.clear();
        for candidate in found.candidates.iter().chain(&found.dropped) {
            self.candidate(found.row, candidate)?;
            let RowRef { side, row } = candidate.row;
            seen.push(u64::from(side) << 32 | u64::from(row));
        }
        seen.sort_unstable();
        if seen.windows(2).any(|pair| pair[0] == pair[1]) {
            let detail = format!("{} has the same candidate twice", name());
            return Err(unfit(Fault::Repeated, detail));
        }
        self.seen = seen;
        Ok(())
    }

    fn candidate(&self, of: RowRef, candidate: &Candidate) -> Result<(), Unfit> {
        let other = candidate.row;
        self.side(other)?;
        let meet = match (of.side, other.side) {
            (0, 0) => self.task.within_left && of.row != other.row,
            (0, _) | (_, 0) => true,
            _ => false,
        };
        if !meet {
            let detail = format!(
                "row {} of side {} is not compared with row {} of side {}",
                of.row, of.side, other.row, other.side
            );
            return Err(unfit(Fault::NeverMet, detail));
        }
        let score = candidate.score;
        // NaN fails this test too.
        if !(score > 0.0 && score <= HIGHEST_SCORE) {
            let detail = format!(
                "a candidate of row {} of side {} has the score {score}",
                of.row, of.side
            );
            return Err(unfit(Fault::ImpossibleScore, detail));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::sync::Arc;

    use kindred_shared::job::{JobRefusal, TermCounts};
    use kindred_shared::{BlockBuilder, ItemId, Space};

    use super::*;

    fn item(id: &str, terms: usize) -> TermCounts {
        TermCounts {
            id: ItemId::new(id).unwrap(),
            terms: (0..terms).map(|n| (format!("t{n}").into(), 1)).collect(),
        }
    }

    fn texts(terms: &[usize]) -> Task {
        let rows = terms.iter().enumerate();
        Task::Extract(Arc::new(ExtractTask {
            space: Space::stored("words-1/en"),
            rows: rows
                .map(|(n, terms)| item(&format!("i{n}"), *terms))
                .collect(),
        }))
    }

    fn feature(dense: &[f32], terms: &[(u32, f32)]) -> Feature {
        let (ids, weights) = terms.iter().copied().unzip();
        Feature::new(dense.to_vec(), ids, weights).unwrap()
    }

    #[track_caller]
    fn fault(task: &Task, dense: Option<usize>, reply: Reply) -> Option<Fault> {
        check(task, dense, &reply).err().map(|unfit| {
            assert!(!unfit.detail.is_empty());
            unfit.fault
        })
    }

    #[test]
    fn features_are_as_many_as_items_and_alike() {
        let fit = |features: Vec<Feature>| {
            let task = texts(&[2, 2, 2]);
            fault(&task, None, Reply::Extracted(features))
        };
        let good = [
            feature(&[0.6, 0.8], &[]),
            feature(&[0.6, 0.0], &[(7, 0.8)]),
            feature(&[], &[(1, 0.6), (2, -0.8)]),
        ];
        assert_eq!(fit(good.to_vec()), None);
        assert_eq!(fit(vec![Feature::zero(); 3]), None);
        assert_eq!(fit(good[..2].to_vec()), Some(Fault::WrongCount));
        let with = |other: Feature| {
            let mut features = good.to_vec();
            features[2] = other;
            fit(features)
        };
        assert_eq!(with(feature(&[1.0], &[])), Some(Fault::WrongLength));
        let long = [&[1.0][..], &[0.0; MAX_VECTOR]].concat();
        let all = vec![feature(&long, &[]); 3];
        assert_eq!(fit(all), Some(Fault::WrongLength));
        let terms = [(1, 0.6), (2, 0.6), (3, 0.529)];
        assert_eq!(with(feature(&[], &terms)), Some(Fault::TooManyTerms));
        for wild in [
            feature(&[1.0, 1.0], &[]),
            feature(&[0.0, 0.0], &[]),
            feature(&[0.5, 0.0], &[(1, 0.5)]),
            feature(&[f32::MAX, 0.0], &[]),
            feature(&[0.6, 0.8], &[(1, -0.1)]),
        ] {
            assert_eq!(with(wild.clone()), Some(Fault::NotScaled), "{wild:?}");
        }
    }

    #[test]
    fn features_are_as_long_as_those_that_are_there() {
        let task = texts(&[1]);
        let reply = || Reply::Extracted(vec![feature(&[0.6, 0.8], &[])]);
        assert_eq!(fault(&task, Some(2), reply()), None);
        assert_eq!(fault(&task, Some(3), reply()), Some(Fault::WrongLength));
        assert_eq!(fault(&task, Some(0), reply()), Some(Fault::WrongLength));
        let sparse = Reply::Extracted(vec![feature(&[], &[(1, 1.0)])]);
        assert_eq!(fault(&task, Some(3), sparse), None);
    }

    fn side(first: usize, floors: &[Floor]) -> Side {
        let rows = floors.len();
        let mut builder = BlockBuilder::new(Space::own(1), 1);
        for row in first..first + rows {
            let id = ItemId::new(&format!("i{row}")).unwrap();
            builder.push(id, 1, &feature(&[1.0], &[]));
        }
        Side {
            block: Arc::new(builder.build()),
            live: RowMask::all(rows),
            floors: floors.to_vec(),
        }
    }

    /// Two left rows and three right ones, of which the second wants nothing and the third is dead.
    fn comparison(within_left: bool) -> Task {
        let mut right = side(2, &[Floor::Open, Floor::Closed, Floor::Open]);
        right.live.remove(2);
        let mut silent = side(5, &[Floor::Open, Floor::Open]);
        silent.floors.clear();
        Task::Compare(Arc::new(CompareTask {
            left: side(0, &[Floor::Open, Floor::Open]),
            within_left,
            rights: vec![right, silent],
            keep: 2,
        }))
    }

    const fn candidate(side: u16, row: u32) -> Candidate {
        let row = RowRef { side, row };
        Candidate { row, score: 0.5 }
    }

    fn found(side: u16, row: u32, candidates: &[Candidate]) -> Found {
        Found {
            row: RowRef { side, row },
            candidates: candidates.to_vec(),
            dropped: None,
        }
    }

    fn compared(task: &Task, pairs: u64, found: Vec<Found>) -> Option<Fault> {
        fault(task, None, Reply::Compared(CompareReply { pairs, found }))
    }

    #[test]
    fn candidates_are_rows_of_the_job_that_meet() {
        let task = comparison(true);
        let fit = |found: Vec<Found>| compared(&task, 0, found);
        let dropped = Found {
            dropped: Some(candidate(0, 1)),
            ..found(0, 0, &[candidate(1, 1), candidate(2, 1)])
        };
        let good = [found(1, 0, &[candidate(0, 0), candidate(0, 1)]), dropped];
        assert_eq!(fit(good.to_vec()), None);
        for (wrong, why) in [
            (found(3, 0, &[candidate(0, 0)]), Fault::UnknownRow),
            (found(0, 2, &[candidate(1, 0)]), Fault::UnknownRow),
            (found(1, u32::MAX, &[]), Fault::UnknownRow),
            (found(1, 2, &[candidate(0, 0)]), Fault::UnknownRow),
            (found(0, 1, &[candidate(1, 2)]), Fault::UnknownRow),
            (found(0, 1, &[candidate(u16::MAX, 0)]), Fault::UnknownRow),
            (found(1, 1, &[candidate(0, 0)]), Fault::UnwantedRow),
            (found(2, 0, &[candidate(0, 0)]), Fault::UnwantedRow),
            (found(0, 1, &[candidate(0, 1)]), Fault::NeverMet),
            (found(1, 0, &[candidate(2, 0)]), Fault::NeverMet),
            (found(1, 0, &[candidate(1, 1)]), Fault::NeverMet),
            (found(0, 1, &[candidate(0, 0); 2]), Fault::Repeated),
            (
                found(1, 0, &[candidate(0, 0), candidate(0, 1), candidate(0, 0)]),
                Fault::TooManyCandidates,
            ),
        ] {
            assert_eq!(fit(vec![wrong.clone()]), Some(why), "{wrong:?}");
        }
        assert_eq!(
            fit([good.clone(), good].concat()),
            Some(Fault::Repeated),
            "each row once"
        );
        let dropped = Found {
            dropped: Some(candidate(1, 0)),
            ..found(0, 0, &[candidate(1, 0)])
        };
        assert_eq!(fit(vec![dropped]), Some(Fault::Repeated));
        let apart = comparison(false);
        let left = found(0, 0, &[candidate(0, 1)]);
        assert_eq!(compared(&apart, 0, vec![left]), Some(Fault::NeverMet));
    }

    #[test]
    fn scores_are_those_of_features_of_length_one() {
        let task = comparison(true);
        for (score, why) in [
            (1.0, None),
            (1.000_1, None),
            (f32::from_bits(1), None),
            (0.0, Some(Fault::ImpossibleScore)),
            (-0.5, Some(Fault::ImpossibleScore)),
            (7.5, Some(Fault::ImpossibleScore)),
            (f32::MAX, Some(Fault::ImpossibleScore)),
            (f32::INFINITY, Some(Fault::ImpossibleScore)),
            (f32::NAN, Some(Fault::ImpossibleScore)),
        ] {
            let one = Candidate {
                score,
                ..candidate(1, 0)
            };
            let kept = found(0, 0, &[one]);
            assert_eq!(compared(&task, 0, vec![kept]), why, "{score}");
            let dropped = Found {
                dropped: Some(one),
                ..found(0, 0, &[])
            };
            assert_eq!(compared(&task, 0, vec![dropped]), why, "{score}");
        }
    }

    #[test]
    fn pairs_are_at_most_those_of_the_job() {
        // Two left rows, four live right rows, and the pair of both left rows.
        let pairs = |within_left, pairs| compared(&comparison(within_left), pairs, vec![]);
        assert_eq!(pairs(false, 8), None);
        assert_eq!(pairs(true, 9), None);
        assert_eq!(pairs(false, 9), Some(Fault::ImpossiblePairs));
        assert_eq!(pairs(true, 10), Some(Fault::ImpossiblePairs));
        assert_eq!(pairs(true, u64::MAX), Some(Fault::ImpossiblePairs));
    }

    #[test]
    fn an_answer_is_of_the_kind_that_was_asked_for() {
        let (texts, rows) = (texts(&[1]), comparison(true));
        let comparing = Reply::Compared(CompareReply::default());
        assert_eq!(fault(&texts, None, comparing), Some(Fault::OtherQuestion));
        let extracting = Reply::Extracted(vec![]);
        assert_eq!(fault(&rows, None, extracting), Some(Fault::OtherQuestion));
        let refused = JobRefusal {
            reason: "malformed-job".to_owned(),
            detail: String::new(),
        };
        for unable in [
            Reply::Failed("no".to_owned()),
            Reply::UnknownModel("words-9".to_owned()),
            Reply::Refused(refused),
        ] {
            assert_eq!(fault(&texts, None, unable.clone()), None);
            assert_eq!(fault(&rows, None, unable), None);
        }
    }
}
