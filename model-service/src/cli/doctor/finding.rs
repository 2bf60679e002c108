//! What a check found, and how it is shown.

use std::io::Write;

use serde::Serialize;

use super::super::client::printable;

/// Severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// The check could not be made; the finding says why.
    Unknown,
    /// It works, but something should be known or done.
    Warning,
    /// It does not work, or will not for long.
    Problem,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was checked: a stable name.
    pub(super) check: String,
    /// How bad it is.
    pub(super) level: Level,
    /// What was found.
    pub(super) found: String,
    /// What to do about it.
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Level::Ok, check, found, None)
    }

    pub(super) fn unknown(
        check: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Level::Unknown, check, found, Some(remedy.into()))
    }

    pub(super) fn warning(
        check: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Level::Warning, check, found, Some(remedy.into()))
    }

    pub(super) fn problem(
        check: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Level::Problem, check, found, Some(remedy.into()))
    }

    fn new(
        level: Level,
        check: impl Into<String>,
        found: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self {
            check: check.into(),
            level,
            found: found.into(),
            remedy,
        }
    }
}

/// All findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct DoctorReport {
    /// Whether there is no problem.
    pub(super) healthy: bool,
    /// How many problems there are.
    pub(super) problems: usize,
    /// How many warnings there are.
    pub(super) warnings: usize,
    /// In the order of the checks.
    pub(super) findings: Vec<Finding>,
}

impl DoctorReport {
    pub(super) fn new(findings: Vec<Finding>) -> Self {
        let count = |level| findings.iter().filter(|one| one.level == level).count();
        let problems = count(Level::Problem);
        Self {
            healthy: problems == 0,
            problems,
            warnings: count(Level::Warning),
            findings,
        }
    }

    /// Prints one line per check, then totals.
    pub(super) fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let widest = self.findings.iter().map(|one| one.check.len()).max();
        let width = widest.unwrap_or(0);
        for one in &self.findings {
            let remedy = match &one.remedy {
                Some(remedy) => format!("; {remedy}"),
                None => String::new(),
            };
            writeln!(
                out,
                "{:<7}  {:<width$}  {}",
                one.level.word(),
                one.check,
                printable(&format!("{}{remedy}", one.found))
            )?;
        }
        writeln!(
            out,
            "problems: {}, warnings: {}",
            self.problems, self.warnings
        )
    }
}

/// Findings that are worse than ok, as (check, level); asserts that each has a remedy.
#[cfg(test)]
pub(super) fn worse_than_ok(findings: Vec<Finding>) -> Vec<(String, Level)> {
    findings
        .into_iter()
        .filter(|one| one.level != Level::Ok)
        .map(|one| {
            assert!(one.remedy.is_some(), "{one:?} says what to do");
            (one.check, one.level)
        })
        .collect()
}
