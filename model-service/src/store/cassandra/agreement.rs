//! Settings that all instances must share: languages, windows and lease times. The store has them,
//! in `meta`; an instance with different settings does not start next to others.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use kindred_runtime::config::{Change, Config};
use scylla::client::session::Session;
use scylla::statement::{Consistency, Statement};
use tokio::time::sleep;

use super::failure::Trouble;
use super::schema::Keyspace;

/// How long an instance that is gone still counts as alive, with the default settings.
const LASTING: Duration = Duration::from_secs(7);
/// Prefix of these keys in `meta`.
const AGREED: &str = "agreed:";

/// The shared settings as one instance has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agreement(BTreeMap<&'static str, Setting>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    value: String,
    change: Change,
}

/// A setting in which one instance differs from the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The key.
    pub key: &'static str,
    /// The others' value.
    pub theirs: String,
    /// This instance's value.
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
    /// The settings of this configuration.
    pub fn of(config: &Config) -> Self {
        let agreed = config.agreed();
        let settings = agreed.map(|(key, value, change)| (key, Setting { value, change }));
        Self(settings.collect())
    }

    /// Where `found` differs. A key that it lacks is no difference.
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

/// The shared settings, by key.
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

/// Whether any instance is alive.
pub(crate) async fn is_any_service_running(
    session: &Session,
    keyspace: &Keyspace,
) -> Result<bool, Trouble> {
    let mut read = Statement::new(keyspace.fill("SELECT owner FROM {ks}.instances"));
    read.set_consistency(Consistency::Quorum);
    let found = session.query_unpaged(read, ()).await?.into_rows_result()?;
    Ok(found.maybe_first_row::<(String,)>()?.is_some())
}

/// Sets the shared settings.
pub(crate) async fn set(
    session: &Session,
    keyspace: &Keyspace,
    key: &str,
    value: &str,
) -> Result<(), Trouble> {
    // Unconditional: an instance that starts at the same moment compares again with what is then
    // stored.
    let write = Statement::new(keyspace.fill("INSERT INTO {ks}.meta (key, value) VALUES (?, ?)"));
    let key = format!("{AGREED}{key}");
    session.query_unpaged(write, (key, value)).await?;
    Ok(())
}

/// Makes sure that this instance has the shared settings. The first one ever, and one that is
/// alone, sets them. Returns the differences that prevent it from starting.
pub(super) async fn agree(
    session: &Session,
    keyspace: &Keyspace,
    ours: &Agreement,
) -> Result<Vec<Difference>, Trouble> {
    let found = agreed(session, keyspace).await?;
    let differences = ours.differences(&found);
    if !differences.is_empty() && is_any_service_running(session, keyspace).await? {
        // A killed instance counts as alive for a while.
        sleep(LASTING).await;
        if is_any_service_running(session, keyspace).await? {
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

/// Differences of this running instance: one that started at the same moment may have set other
/// values. Settings that may be changed while instances run do not count.
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
