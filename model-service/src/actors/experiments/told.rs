//! What is reported about an experiment: what readers did, and what it implies.

use chrono::{DateTime, SecondsFormat, Utc};
use kindred_api::experiment::{ArmAnswer, ExperimentAnswer, LiftAnswer};
use kindred_shared::DomainName;

use super::Figures;
use kindred_domain::experiment::statistics::{Lift, MISMATCH, results};

/// A timestamp as answers write it.
pub(super) fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An experiment as answers report it.
pub fn told(domain: DomainName, figures: Figures) -> ExperimentAnswer {
    let Figures { row, sums } = figures;
    let arms = row.experiment.arms;
    let shares = arms.iter().map(|arm| arm.share);
    let said = results(&shares.zip(sums.iter().copied()).collect::<Vec<_>>());
    let others = arms.iter().skip(1).zip(&said.lifts);
    let lift = others
        .filter_map(|(arm, lift)| {
            let Lift { lift, low, high } = (*lift)?;
            Some((arm.name.clone(), LiftAnswer { lift, low, high }))
        })
        .collect();
    let counted = sums.iter().zip(&said.rates);
    let arms = arms
        .into_iter()
        .zip(counted)
        .map(|(arm, (sums, rate))| ArmAnswer {
            name: arm.name,
            share: arm.share,
            model: arm.model,
            defaults: arm.defaults,
            readers: sums.readers,
            seen: sums.seen,
            clicked: sums.clicked,
            rate: rate.rate,
            low: rate.low,
            high: rate.high,
        });
    let arms: Vec<ArmAnswer> = arms.collect();
    ExperimentAnswer {
        warnings: warnings(&arms, said.sample_ratio_p),
        domain,
        name: row.experiment.name,
        salt: row.experiment.salt,
        since: rfc3339(row.since),
        ended: row.ended.map(|ended| rfc3339(ended.at)),
        arms,
        lift,
        p: said.p,
        sample_ratio_p: said.sample_ratio_p,
    }
}

/// Reasons to doubt the figures.
fn warnings(arms: &[ArmAnswer], sample_ratio_p: f64) -> Vec<String> {
    let mut warnings = Vec::new();
    if sample_ratio_p < MISMATCH {
        let readers: Vec<String> = arms
            .iter()
            .map(|arm| format!("{} of {}", arm.readers, arm.name))
            .collect();
        warnings.push(format!(
            "Sample-ratio mismatch: the arms have {} readers, which does not match their shares. \
             Some are lost or counted twice on the way, and so may clicks be: find the cause \
             before you trust the rates.",
            readers.join(", ")
        ));
    }
    for arm in arms.iter().filter(|arm| arm.clicked > arm.seen) {
        warnings.push(format!(
            "More clicks than views in {}: views are not sent or are lost.",
            arm.name
        ));
    }
    warnings
}
