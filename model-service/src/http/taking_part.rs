//! Readers in an experiment: their arm, and how it changes a query.

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

/// Validates a reader's name in a query.
///
/// # Errors
/// 400 when it is empty or too long.
pub(super) fn reader(given: &str) -> Result<String, Error> {
    if (1..=MAX_READER_BYTES).contains(&given.len()) {
        return Ok(given.to_owned());
    }
    let detail = format!("reader is the name of a reader, with 1 to {MAX_READER_BYTES} bytes.");
    Err(invalid("reader", detail))
}

/// A running experiment and the arm that a reader is in.
#[derive(Clone)]
pub(super) struct TakingPart {
    row: Arc<ExperimentRow>,
    arm: usize,
}

impl TakingPart {
    /// The experiment of a reader; `None`: none is running.
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

    /// The conditions that replace the domain's defaults; `None`: the defaults apply.
    pub(super) fn conditions(&self) -> Option<Wanted> {
        let defaults = self.arm()?.defaults.as_ref()?;
        // They were validated when the experiment was started.
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
