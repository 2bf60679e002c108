//! What identifies a job and each time it is sent.

use std::fmt;
use std::str::FromStr;

/// The kind of work of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Terms in, features out.
    Extract,
    /// Rows in, candidates out.
    Compare,
}

impl JobKind {
    /// The message's type and the last word of the queue's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Extract => "extract",
            Self::Compare => "compare",
        }
    }

    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "extract" => Some(Self::Extract),
            "compare" => Some(Self::Compare),
            _ => None,
        }
    }
}

/// Identifies one sending of a job to its sender: `<job>.<attempt>`, the correlation id of the job
/// and of its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JobAddress {
    /// The job's number.
    pub job: u64,
    /// The number of the attempt.
    pub attempt: u32,
}

impl fmt::Display for JobAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.job, self.attempt)
    }
}

impl FromStr for JobAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (job, attempt) = text.split_once('.').ok_or(())?;
        Ok(Self {
            job: job.parse().map_err(|_| ())?,
            attempt: attempt.parse().map_err(|_| ())?,
        })
    }
}
