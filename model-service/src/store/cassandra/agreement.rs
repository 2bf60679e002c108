//! What all instances must have alike: their languages, windows and times of leases. The store has it,
//! in `meta`, and an instance that has something else does not start beside others.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use kindred_runtime::config::{Change, Config};
use scylla::client::session::Session;
use scylla::statement::{Consistency, Statement};
use tokio::time::sleep;

use super::failure::Trouble;
use super::schema::Keyspace;

/// Until an instance that is gone does not count as there any more, with the times that are set unless
/// somebody changes them.
const LASTING: Duration = Duration::from_secs(7);
/// Before the name of a key, in `meta`.
const AGREED: &str = "agreed:";

/// The settings that all instances must have alike, as one instance has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agreement(BTreeMap<&'static str, Setting>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    value: String,
    change: Change,
}

/// A setting that one instance has otherwise than all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The key.
    pub key: &'static str,
    /// What all have.
    pub theirs: String,
    /// What this one has.
    pub ours: String,
    /// When it may be changed.
    pub change: Change,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key, theirs, ours, ..
        } = self;
        write!(f, "{key} is {theirs:?} there and {ours:?} here")
    }
}

impl Agreement {
    /// What this configuration says.
    pub fn of(config: &Config) -> Self {
        let agreed = config.agreed();
        let settings = agreed.map(|(key, value, change)| (key, Setting { value, change }));
        Self(settings.collect())
    }

    /// Where `found` says otherwise. What it lacks is no difference.
    fn differences(&self, found: &BTreeMap<String, String>) -> Vec<Difference> {
        let differences = self.0.iter().filter_map(|(key, ours)| {
            let theirs = found.get(*key).filter(|theirs| **theirs != ours.value)?;
            Some(Difference {
                key,
                theirs: theirs.clone(),
                ours: ours.value.clone(),
                change: ours.change,
            })
        });
        differences.collect()
    }
}

/// What all have, by key.
pub(crate) async fn agreed(
    session: &Session,
    keyspace: &Keyspace,
) -> Result<BTreeMap<String, String>, Trouble> {
    let mut read = Statement::new(keyspace.fill("SELECT key, value FROM {ks}.meta"));
    read.set_consistency(Consistency::Quorum);
    let found = session.query_unpaged(read, ()).await?.into_rows_result()?;
    let mut agreed = BTreeMap::new();
    for row in found.rows::<(&str, String)>()? {
        let (key, value) = row?;
        if let Some(key) = key.strip_prefix(AGREED) {
            agreed.insert(key.to_owned(), value);
        }
    }
    Ok(agreed)
}

/// Whether any instance is there.
pub(crate) async fn is_anybody_there(
    session: &Session,
    keyspace: &Keyspace,
) -> Result<bool, Trouble> {
    let mut read = Statement::new(keyspace.fill("SELECT owner FROM {ks}.instances"));
    read.set_consistency(Consistency::Quorum);
    let found = session.query_unpaged(read, ()).await?.into_rows_result()?;
    Ok(found.maybe_first_row::<(String,)>()?.is_some())
}

/// Sets what all have.
pub(crate) async fn set(
    session: &Session,
    keyspace: &Keyspace,
    key: &str,
    value: &str,
) -> Result<(), Trouble> {
    // Unconditional: who starts at the same moment compares again with what is there then.
    let write = Statement::new(keyspace.fill("INSERT INTO {ks}.meta (key, value) VALUES (?, ?)"));
    let key = format!("{AGREED}{key}");
    session.query_unpaged(write, (key, value)).await?;
    Ok(())
}

/// Sees that this instance has what all have. The first one ever, and one that is alone, sets it.
/// The differences that keep it from starting, if any.
pub(super) async fn agree(
    session: &Session,
    keyspace: &Keyspace,
    ours: &Agreement,
) -> Result<Vec<Difference>, Trouble> {
    let found = agreed(session, keyspace).await?;
    let differences = ours.differences(&found);
    if !differences.is_empty() && is_anybody_there(session, keyspace).await? {
        // One that was killed counts as there for a while.
        sleep(LASTING).await;
        if is_anybody_there(session, keyspace).await? {
            return Ok(differences);
        }
    }
    for difference in &differences {
        tracing::info!(%difference, "store.agreement_changed");
    }
    for (key, setting) in &ours.0 {
        if found.get(*key) != Some(&setting.value) {
            set(session, keyspace, key, &setting.value).await?;
        }
    }
    Ok(Vec::new())
}

/// Where this instance has not what all have although it runs: one that started at the same moment may have set
/// something else. What may be changed while instances run does not count.
pub(super) async fn harmful(
    session: &Session,
    keyspace: &Keyspace,
    ours: &Agreement,
) -> Result<Vec<Difference>, Trouble> {
    let found = agreed(session, keyspace).await?;
    let mut differences = ours.differences(&found);
    differences.retain(|difference| difference.change == Change::Stopped);
    Ok(differences)
}

/// Differences in words.
pub(crate) fn in_words(differences: &[Difference]) -> String {
    let words: Vec<String> = differences.iter().map(Difference::to_string).collect();
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_with_both_values() {
        let setting = |value: &str| Setting {
            value: value.to_owned(),
            change: Change::Stopped,
        };
        let ours = Agreement(BTreeMap::from([
            ("languages", setting("en")),
            ("lease_take", setting("6s")),
            ("window", setting("250ms")),
        ]));
        let found = [("languages", "en,de"), ("lease_take", "6s")];
        let found = found.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let differences = ours.differences(&BTreeMap::from(found));
        assert_eq!(
            in_words(&differences),
            "languages is \"en,de\" there and \"en\" here"
        );
    }
}
