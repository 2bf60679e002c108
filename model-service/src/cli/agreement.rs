//! `kindred agreement`: the settings that all instances of a cluster must share.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use kindred_runtime::config::Change;
use kindred_runtime::cql::connect;

use super::exit::{CommandError, Exit, Outcome};
use super::flags::AllFlags;
use crate::config::{Config, Flags};
use crate::store::cassandra::agreement::{agreed, is_any_service_running, set};
use crate::store::cassandra::schema::Keyspace;

/// Shows or changes the settings that all model services of a cluster share.
///
/// Windows may be changed while instances run: set the new value here, then restart the instances
/// one by one with it. Everything else may be changed only while no instance runs.
#[derive(Debug, clap::Args)]
pub(crate) struct AgreementArgs {
    /// What to change
    #[arg(value_name = "KEY=VALUE")]
    changes: Vec<String>,
    #[command(flatten)]
    pub(crate) flags: AllFlags,
}

/// A requested change.
struct Wanted {
    key: &'static str,
    value: String,
    change: Change,
}

pub(super) fn run(
    args: &AgreementArgs,
    config: &Config,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let wanted = wanted(&args.changes)?;
    let name = &config.database.cql_keyspace;
    let keyspace = Keyspace::new(name).ok_or_else(|| {
        CommandError::usage(format!(
            "cql_keyspace: {name:?} is not a valid keyspace name"
        ))
    })?;
    let failed =
        |error: &dyn std::fmt::Display| CommandError::failed(format!("the database: {error}"));
    let agreed: BTreeMap<String, String> = actix::System::new().block_on(async {
        let session = connect(&config.database.options(), name).await;
        let session = session.map_err(|error| failed(&error))?;
        let stopped: Vec<&str> = wanted
            .iter()
            .filter(|wanted| wanted.change == Change::Stopped)
            .map(|wanted| wanted.key)
            .collect();
        let there = is_any_service_running(&session, &keyspace).await;
        if !stopped.is_empty() && there.map_err(|error| failed(&error))? {
            return Err(CommandError::failed(format!(
                "{} cannot be changed while model services run; stop all of them first",
                stopped.join(", ")
            )));
        }
        for wanted in &wanted {
            let done = set(&session, &keyspace, wanted.key, &wanted.value).await;
            done.map_err(|error| failed(&error))?;
        }
        agreed(&session, &keyspace)
            .await
            .map_err(|error| failed(&error))
    })?;
    if json {
        let text = serde_json::to_string(&agreed).unwrap_or_default();
        writeln!(out, "{text}")?;
    } else {
        for (key, value) in &agreed {
            writeln!(out, "{key} = {value}")?;
        }
    }
    Ok(Exit::Done)
}

/// Parses the changes; each value is checked and written as `kindred config` writes it.
fn wanted(changes: &[String]) -> Result<Vec<Wanted>, CommandError> {
    let mut wanted = Vec::with_capacity(changes.len());
    for change in changes {
        let (key, value) = change
            .split_once('=')
            .ok_or_else(|| CommandError::usage(format!("{change:?}: expected KEY=VALUE")))?;
        let (key, value) = (key.trim(), value.trim());
        let names = Config::agreed_keys();
        let key = names.iter().find(|name| **name == key).ok_or_else(|| {
            let names = names.join(", ");
            CommandError::usage(format!(
                "{key:?} is not a shared setting; expected one of: {names}"
            ))
        })?;
        let flags = Flags {
            file: None,
            values: [(*key, value.to_owned())].into_iter().collect(),
        };
        // Nothing else may have a say: neither a file nor the environment.
        let resolved = Config::resolve(&flags, [], Path::new("/nonexistent"));
        let (config, _) = resolved.map_err(|error| CommandError::usage(error.to_string()))?;
        let found = config.agreed().find(|(name, ..)| name == key);
        wanted.extend(found.map(|(key, value, change)| Wanted { key, value, change }));
    }
    Ok(wanted)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    #[test]
    fn changes_are_checked_and_written_alike() {
        let changes = ["window=500 ms".to_owned(), "window_events= 2000".to_owned()];
        let wanted = super::wanted(&changes).unwrap();
        let values: Vec<&str> = wanted.iter().map(|wanted| wanted.value.as_str()).collect();
        assert_eq!(values, ["500ms", "2000"]);
        for bad in ["window", "window=soon", "listen=127.0.0.1:1", "wndow=1s"] {
            assert!(super::wanted(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
