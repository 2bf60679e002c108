//! Readers who take part in an experiment: which arm they are in, and what that changes of a query.

use std::sync::Arc;

use kindred_shared::{DomainName, ModelName};

use super::conditions::Wanted;
use super::error::Error;
use super::parts::Queries;
use super::values::invalid;
use kindred_domain::experiment::Arm;
use kindred_domain::experiment::store::ExperimentRow;

/// Longest name of a reader, in bytes.
const MAX_READER_BYTES: usize = 256;

/// A reader's name, as a query gives it.
///
/// # Errors
/// 400 when it is empty or too long.
pub(super) fn reader(given: &str) -> Result<String, Error> {
    if (1..=MAX_READER_BYTES).contains(&given.len()) {
        return Ok(given.to_owned());
    }
    let detail = format!("reader names who reads the answer, in 1 to {MAX_READER_BYTES} bytes.");
    Err(invalid("reader", detail))
}

/// An experiment that runs, and the arm of it that a reader is in.
#[derive(Clone)]
pub(super) struct TakingPart {
    row: Arc<ExperimentRow>,
    arm: usize,
}

impl TakingPart {
    /// What a reader takes part in; `None`: in nothing.
    pub(super) async fn of(
        queries: &Queries,
        domain: &DomainName,
        reader: Option<&str>,
    ) -> Option<Self> {
        let reader = reader?;
        let row = queries.experiments.running(domain).await?;
        let arm = row.experiment.arm_of(reader)?;
        Some(Self { row, arm })
    }

    fn arm(&self) -> Option<&Arm> {
        self.row.experiment.arms.get(self.arm)
    }

    /// The conditions that count in place of those set for the domain; `None`: those do.
    pub(super) fn conditions(&self) -> Option<Wanted> {
        let defaults = self.arm()?.defaults.as_ref()?;
        // They were checked when the experiment was begun.
        Some(Wanted::of_json(defaults).unwrap_or_default())
    }

    /// The model that answers; `None`: the served one.
    pub(super) fn model(&self) -> Option<&ModelName> {
        self.arm()?.model.as_ref()
    }

    /// The names of the experiment and the arm.
    pub(super) fn names(&self) -> Option<(&str, &str)> {
        let arm = self.arm()?;
        Some((&self.row.experiment.name, &arm.name))
    }
}
