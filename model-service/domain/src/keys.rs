//! API keys: the holder of a key may do certain things in certain domains. This module decides what a key allows; how
//! keys are made and recognised is decided elsewhere.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kindred_shared::DomainName;
use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// Most grants per key.
pub const MAX_GRANTS: usize = 64;
/// Most keys in a store: every instance keeps all of them in memory.
pub const MAX_KEYS: usize = 10_000;

/// What may be done in a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Read items and lists, and query.
    Read,
    /// Put, patch and delete items.
    Write,
    /// Change settings, and export or delete the domain.
    Manage,
}

impl Right {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Manage];

    /// The right's name in grants.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Manage => "manage",
        }
    }
}

/// The domains to which a grant applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// A single domain.
    One(DomainName),
    /// Domains whose names have this prefix; empty: all domains.
    Beginning(String),
}

impl Scope {
    fn has(&self, domain: &DomainName) -> bool {
        match self {
            Self::One(one) => one == domain,
            Self::Beginning(beginning) => domain.as_str().starts_with(beginning.as_str()),
        }
    }
}

/// One thing that a key allows. Written as `read:news.example`, `write:news.*`, `manage:*`, `metrics`, `admin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// A right in some domains.
    In(Right, Scope),
    /// Reading metrics and workers.
    Metrics,
    /// Everything, including keys.
    Admin,
}

/// A text that is not a grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no grant. One is read, write or manage with a domain, the beginning of some and a star, or a star \
     alone, as read:news.example, write:news.* or manage:*; or metrics, or admin"
)]
pub struct NoGrant(String);

impl FromStr for Grant {
    type Err = NoGrant;

    fn from_str(text: &str) -> Result<Self, NoGrant> {
        let none = || NoGrant(text.chars().take(200).collect());
        match text {
            "metrics" => return Ok(Self::Metrics),
            "admin" => return Ok(Self::Admin),
            _ => {}
        }
        let (word, scope) = text.split_once(':').ok_or_else(none)?;
        let right = Right::ALL.into_iter().find(|right| right.word() == word);
        let right = right.ok_or_else(none)?;
        let scope = match scope.strip_suffix('*') {
            Some(beginning) => {
                // A prefix must itself be a valid name.
                let is_fit = beginning.is_empty() || DomainName::new(beginning).is_ok();
                is_fit
                    .then(|| Scope::Beginning(beginning.to_owned()))
                    .ok_or_else(none)?
            }
            None => Scope::One(DomainName::new(scope).map_err(|_| none())?),
        };
        Ok(Self::In(right, scope))
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(right, Scope::One(domain)) => write!(f, "{}:{domain}", right.word()),
            Self::In(right, Scope::Beginning(beginning)) => {
                write!(f, "{}:{beginning}*", right.word())
            }
            Self::Metrics => f.write_str("metrics"),
            Self::Admin => f.write_str("admin"),
        }
    }
}

impl Serialize for Grant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Everything that a key allows. No grant includes another, except that `admin` includes everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(Vec<Grant>);

/// Why a list of grants is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadGrants {
    /// There are none, or too many.
    #[error("a key has 1 to {MAX_GRANTS} grants")]
    Count,
    /// One of them is invalid.
    #[error(transparent)]
    Grant(#[from] NoGrant),
}

impl Grants {
    /// Parses grants.
    ///
    /// # Errors
    /// When there are none or too many, or one is invalid.
    pub fn read<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, BadGrants> {
        let mut grants = Vec::new();
        for text in texts {
            if grants.len() == MAX_GRANTS {
                return Err(BadGrants::Count);
            }
            grants.push(text.parse()?);
        }
        if grants.is_empty() {
            return Err(BadGrants::Count);
        }
        Ok(Self(grants))
    }

    /// The grants of an administrator.
    pub fn of_admin() -> Self {
        Self(vec![Grant::Admin])
    }

    /// Whether they allow this in this domain.
    pub fn allow(&self, wanted: Right, domain: &DomainName) -> bool {
        self.0.iter().any(|grant| match grant {
            Grant::In(right, scope) => *right == wanted && scope.has(domain),
            Grant::Metrics => false,
            Grant::Admin => true,
        })
    }

    /// Whether they allow anything in this domain.
    pub fn know(&self, domain: &DomainName) -> bool {
        Right::ALL.iter().any(|right| self.allow(*right, domain))
    }

    /// Whether they allow reading metrics.
    pub fn allow_metrics(&self) -> bool {
        self.is_admin() || self.0.contains(&Grant::Metrics)
    }

    /// Whether they allow everything.
    pub fn is_admin(&self) -> bool {
        self.0.contains(&Grant::Admin)
    }

    /// The written form.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(Grant::to_string).collect()
    }
}

/// A key as stored, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Its id.
    pub id: String,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// What it allows.
    pub grants: Grants,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it expires; `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The store of keys. Keys have no owner: any instance creates and deletes them, by compare-and-set.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// All keys, including expired ones, in any order.
    async fn keys(&self) -> Result<Vec<KeyRow>, StoreError>;

    /// Adds a key unless its id exists; returns whether it was added. After [`StoreError::Unknown`] it may exist or
    /// not.
    async fn add_key(&self, row: &KeyRow) -> Result<bool, StoreError>;

    /// Deletes a key; returns whether it existed.
    async fn remove_key(&self, id: &str) -> Result<bool, StoreError>;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    fn grants(texts: &[&str]) -> Grants {
        Grants::read(texts.iter().copied()).unwrap()
    }

    fn domain(name: &str) -> DomainName {
        DomainName::new(name).unwrap()
    }

    #[test]
    fn grants_are_read_as_they_are_written() {
        for text in [
            "read:news.example",
            "write:news.*",
            "manage:*",
            "metrics",
            "admin",
        ] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "read",
            "read:",
            "read:a b",
            "read:*.example",
            "Read:a",
            "delete:a",
            "read:a/*",
            "admin:*",
            "metrics:a",
            "read:a**",
        ] {
            assert!(bad.parse::<Grant>().is_err(), "{bad}");
        }
        assert_eq!(Grants::read([]), Err(BadGrants::Count));
        let many = vec!["metrics"; MAX_GRANTS + 1];
        assert_eq!(Grants::read(many), Err(BadGrants::Count));
    }

    #[test]
    fn nothing_includes_anything_else_but_admin_all() {
        let key = grants(&["read:a.example", "write:news.*", "metrics"]);
        for (right, name, allowed) in [
            (Right::Read, "a.example", true),
            (Right::Write, "a.example", false),
            (Right::Manage, "a.example", false),
            (Right::Read, "a.example.org", false),
            (Right::Write, "news.example", true),
            (Right::Read, "news.example", false),
            (Right::Write, "newsroom", false),
        ] {
            assert_eq!(key.allow(right, &domain(name)), allowed, "{right:?} {name}");
        }
        assert!(key.know(&domain("news.x")) && !key.know(&domain("b.example")));
        assert!(key.allow_metrics() && !key.is_admin());
        assert!(!grants(&["read:*"]).allow_metrics());
        let admin = Grants::of_admin();
        assert!(
            Right::ALL
                .iter()
                .all(|right| admin.allow(*right, &domain("x")))
        );
        assert!(admin.allow_metrics() && admin.is_admin());
        let metrics = grants(&["metrics"]);
        assert!(!metrics.know(&domain("x")));
    }
}
