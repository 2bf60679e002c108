//! Checks of the versions of running programs.

use std::collections::BTreeSet;
use std::time::Duration;

use kindred_api::path;

use super::broker::BrokerFacts;
use super::database::DatabaseFacts;
use super::finding::Finding;
use crate::cli::exit::CommandError;
use crate::client::{Http, Trust};
use crate::config::Config;

/// This program's own.
const OWN: &str = env!("CARGO_PKG_VERSION");
/// Longest wait for a model service's answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The name under which workers connect to the broker.
const WORKER: &str = "compute-worker";
/// The metric that carries a model service's version as a label.
const BUILD_INFO: &str = "kindred_build_info{";

/// A running program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Running {
    /// Its name and where it runs.
    name: String,
    /// Its version, or why it is unknown.
    version: Result<String, String>,
}

/// Workers, as the broker reports them; each worker has two connections.
pub(super) fn of_broker(facts: &BrokerFacts) -> Vec<Running> {
    let programs = facts.management.as_ref().ok();
    let programs = programs.and_then(|management| management.programs.as_ref());
    let workers: BTreeSet<Running> = programs
        .into_iter()
        .flatten()
        .filter(|(product, _)| product == WORKER)
        .map(|(product, version)| Running {
            name: product.clone(),
            version: Ok(version.clone()),
        })
        .collect();
    workers.into_iter().collect()
}

/// Model services, as the database names them, asked over HTTP.
///
/// # Errors
/// When the key or the certificates for asking them cannot be read.
pub(super) fn look(facts: &DatabaseFacts, config: &Config) -> Result<Vec<Running>, CommandError> {
    let Ok(inside) = &facts.inside else {
        return Ok(Vec::new());
    };
    let trust = Trust::configured(&config.tls);
    let trust = trust.map_err(|error| CommandError::usage(error.to_string()))?;
    let http = trust
        .with_deadline(ANSWER)
        .with_key(config.access.sent_key()?);
    let owned = inside.owners.iter().filter(|one| !one.owner.is_empty());
    let addresses: BTreeSet<&str> = owned.map(|one| one.address.as_str()).collect();
    let running = addresses.into_iter().map(|address| Running {
        name: format!("the model service at {address}"),
        version: ask(&http, config.tls.scheme(), address),
    });
    Ok(running.collect())
}

fn ask(http: &Http, scheme: &str, address: &str) -> Result<String, String> {
    let url = format!("{scheme}://{address}{}", path::METRICS);
    let answer = http.get(&url, &[]);
    let answer = answer.map_err(|error| error.to_string())?;
    if !answer.is_success() {
        return Err(answer.words());
    }
    version_in(&answer.text()).ok_or_else(|| "it does not report its version".to_owned())
}

/// The version in metrics.
fn version_in(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(BUILD_INFO))?;
    let (_, rest) = line.split_once("version=\"")?;
    Some(rest.split('"').next()?.to_owned())
}

pub(super) fn judge(running: &[Running]) -> Finding {
    let check = "programs.versions";
    let known: Vec<(&str, &str)> = running
        .iter()
        .filter_map(|one| Some((one.name.as_str(), one.version.as_deref().ok()?)))
        .collect();
    let other: Vec<String> = known
        .iter()
        .filter(|(_, version)| *version != OWN)
        .map(|(name, version)| format!("{name} is {version}"))
        .collect();
    if !other.is_empty() {
        return Finding::warning(
            check,
            format!("this is {OWN}, but {}", other.join(", ")),
            "run one version everywhere (docs/OPERATIONS.md, Upgrades)",
        );
    }
    let silent: Vec<String> = running
        .iter()
        .filter_map(|one| Some(format!("{}: {}", one.name, one.version.as_ref().err()?)))
        .collect();
    if !silent.is_empty() {
        return Finding::warning(
            check,
            format!(
                "owners of partitions that do not answer: {}",
                silent.join(", ")
            ),
            "a dead owner's partitions are taken over within seconds; make sure that `advertise` \
             is an address that others can reach",
        );
    }
    if known.is_empty() {
        return Finding::unknown(
            check,
            format!("this is {OWN}; no other program was found"),
            "workers are found through the broker's management API",
        );
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    Finding::ok(check, format!("{OWN}: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn one_version_everywhere_is_ok() {
        let one = |version: Result<&str, &str>| Running {
            name: "compute-worker".to_owned(),
            version: version.map(str::to_owned).map_err(str::to_owned),
        };
        for (running, level) in [
            (vec![], Level::Unknown),
            (vec![one(Ok(OWN))], Level::Ok),
            (vec![one(Ok(OWN)), one(Ok("0.0.0"))], Level::Warning),
            (vec![one(Ok(OWN)), one(Err("away"))], Level::Warning),
        ] {
            assert_eq!(judge(&running).level, level, "{running:?}");
        }
    }

    #[test]
    fn the_version_is_a_label() {
        let text = "# HELP x\nkindred_build_info{kernel=\"none\",version=\"1.2.3\"} 1\n";
        assert_eq!(version_in(text).as_deref(), Some("1.2.3"));
        assert_eq!(version_in("kindred_build_info_other 1"), None);
    }
}
