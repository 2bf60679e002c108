//! Checks of clocks: versions assigned by Kindred, and expiries, follow them.

use super::broker::BrokerFacts;
use super::database::DatabaseFacts;
use super::finding::Finding;

/// Differences from here on are reported, in ms. HTTP reports whole seconds.
const NOTABLE_MS: i64 = 2_000;
/// From here on expiries and versions are plainly wrong, in ms.
const WRONG_MS: i64 = 60_000;

/// What another clock showed when this machine's clock was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clock {
    /// Whose it is.
    pub(super) of: &'static str,
    /// How far it is ahead of this machine's, in ms; or why it could not be read.
    pub(super) ahead_ms: Result<i64, String>,
}

pub(super) fn of_broker(facts: &BrokerFacts) -> Clock {
    let ahead_ms = match &facts.management {
        Ok(management) => management
            .ahead_ms
            .ok_or_else(|| "its management API does not report the time".to_owned()),
        Err(words) => Err(words.clone()),
    };
    Clock {
        of: "broker",
        ahead_ms,
    }
}

pub(super) fn of_database(facts: &DatabaseFacts) -> Clock {
    let ahead_ms = match &facts.inside {
        Ok(inside) => inside.ahead_ms.clone(),
        Err(_) => Err("not connected".to_owned()),
    };
    Clock {
        of: "database",
        ahead_ms,
    }
}

pub(super) fn judge(clocks: &[Clock]) -> Vec<Finding> {
    const REMEDY: &str = "synchronise the clocks of all machines (NTP, chrony)";
    let judge = |clock: &Clock| {
        let check = format!("clocks.{}", clock.of);
        let ahead = match &clock.ahead_ms {
            Ok(ahead) => *ahead,
            Err(words) => {
                let found = format!("the {}'s clock cannot be read: {words}", clock.of);
                return Finding::unknown(check, found, "compare it by hand");
            }
        };
        let side = if ahead < 0 { "behind" } else { "ahead of" };
        let seconds = ahead.unsigned_abs() as f64 / 1000.0;
        let found = format!("the {} is {seconds:.1} s {side} this machine", clock.of);
        match ahead.saturating_abs() {
            wrong if wrong >= WRONG_MS => Finding::problem(check, found, REMEDY),
            notable if notable >= NOTABLE_MS => Finding::warning(check, found, REMEDY),
            _ => Finding::ok(check, found),
        }
    };
    clocks.iter().map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn the_further_apart_the_worse() {
        for (ahead_ms, level) in [
            (Ok(0), Level::Ok),
            (Ok(-1_999), Level::Ok),
            (Ok(2_000), Level::Warning),
            (Ok(-60_000), Level::Problem),
            (Ok(i64::MIN), Level::Problem),
            (Err("away".to_owned()), Level::Unknown),
        ] {
            let clock = Clock {
                of: "broker",
                ahead_ms,
            };
            assert_eq!(
                judge(std::slice::from_ref(&clock))[0].level,
                level,
                "{clock:?}"
            );
        }
    }
}
