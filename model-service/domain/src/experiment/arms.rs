//! An experiment, and how its arms are assigned to readers.

use std::collections::BTreeSet;

use kindred_shared::ModelName;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Most arms of an experiment.
pub const MAX_ARMS: usize = 16;
/// Longest name of an experiment or an arm, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Longest salt, in bytes.
const MAX_SALT_BYTES: usize = 256;
/// Tolerance for a sum of shares that is meant to be 1: decimal fractions are not exact.
const SUM_ERROR: f64 = 1e-9;

/// An experiment: readers are divided among its arms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// Its name: 1 to 64 letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Salt for hashing readers' names: another salt divides the readers differently.
    pub salt: String,
    /// Its arms, 2 to 16; readers beyond the sum of the shares take no part.
    pub arms: Vec<Arm>,
}

/// One arm of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Its name, as an experiment's.
    pub name: String,
    /// Its share of all readers: above 0, at most 1.
    pub share: f64,
    /// The model that its readers are answered with; `None`: the domain's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// Conditions that replace those set for the domain, whole; `None`: these count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Map<String, Value>>,
}

/// Why an experiment is not valid: the field at fault, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Unfit {
    /// The field (`arms[1].share`).
    pub field: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl Unfit {
    fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            detail: detail.into(),
        }
    }
}

impl Experiment {
    /// Whether it can be.
    ///
    /// # Errors
    /// [`Unfit`], for the first thing that is wrong.
    pub fn check(&self) -> Result<(), Unfit> {
        if !is_name(&self.name) {
            return Err(Unfit::new("name", no_name("an experiment")));
        }
        if self.salt.len() > MAX_SALT_BYTES {
            let detail = format!("salt is a text of at most {MAX_SALT_BYTES} bytes.");
            return Err(Unfit::new("salt", detail));
        }
        if !(2..=MAX_ARMS).contains(&self.arms.len()) {
            let detail = format!("An experiment has 2 to {MAX_ARMS} arms.");
            return Err(Unfit::new("arms", detail));
        }
        let mut names = BTreeSet::new();
        for (at, arm) in self.arms.iter().enumerate() {
            if !is_name(&arm.name) {
                return Err(Unfit::new(format!("arms[{at}].name"), no_name("an arm")));
            }
            if !names.insert(&arm.name) {
                let detail = format!("Two arms are named {:?}.", arm.name);
                return Err(Unfit::new(format!("arms[{at}].name"), detail));
            }
            if !(arm.share > 0.0 && arm.share <= 1.0) {
                let detail = "share is the fraction of all readers in this arm: above 0, at most \
                1.";
                return Err(Unfit::new(format!("arms[{at}].share"), detail));
            }
        }
        let sum: f64 = self.arms.iter().map(|arm| arm.share).sum();
        if sum > 1.0 + SUM_ERROR {
            let detail = format!(
                "The shares of all arms together are at most 1; these add up to \
            {sum}."
            );
            return Err(Unfit::new("arms", detail));
        }
        Ok(())
    }

    /// The arm of a reader, by its place; `None`: the reader takes no part.
    ///
    /// The first 8 bytes of SHA-256 (salt, byte 0, reader), big-endian, over 2^64 fall into the cumulative share of
    /// one arm.
    pub fn arm_of(&self, reader: &str) -> Option<usize> {
        self.arm_at(fraction(&self.salt, reader))
    }

    /// The arm in whose cumulative share a number of 0 to 1 falls.
    fn arm_at(&self, fraction: f64) -> Option<usize> {
        let mut below = 0.0;
        for (at, arm) in self.arms.iter().enumerate() {
            below += arm.share;
            if fraction < below {
                return Some(at);
            }
        }
        // Shares that are meant to add up to 1 leave no reader out.
        (below >= 1.0 - SUM_ERROR).then(|| self.arms.len().saturating_sub(1))
    }

    /// The place of the arm of this name.
    pub fn arm_named(&self, name: &str) -> Option<usize> {
        self.arms.iter().position(|arm| arm.name == name)
    }
}

/// Where a reader falls among all: evenly, 0 to 1.
fn fraction(salt: &str, reader: &str) -> f64 {
    let mut hash = Context::new(&SHA256);
    hash.update(salt.as_bytes());
    hash.update(&[0]);
    hash.update(reader.as_bytes());
    let hash = hash.finish();
    let first = hash.as_ref().first_chunk::<8>().copied();
    // A hash has 32 bytes.
    let number = u64::from_be_bytes(first.unwrap_or_default());
    number as f64 / 2f64.powi(64)
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(fits)
        && !matches!(name, "." | "..")
}

fn no_name(of: &str) -> String {
    format!(
        "The name of {of} is 1 to {MAX_NAME_BYTES} characters of A-Z, a-z, 0-9, ., _ and -, and neither . nor .."
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arm(name: &str, share: f64) -> Arm {
        Arm {
            name: name.to_owned(),
            share,
            model: None,
            defaults: None,
        }
    }

    fn experiment(shares: &[f64]) -> Experiment {
        let arms = shares.iter().enumerate();
        Experiment {
            name: "test".to_owned(),
            salt: "salt".to_owned(),
            arms: arms
                .map(|(at, share)| arm(&format!("a{at}"), *share))
                .collect(),
        }
    }

    /// Fractions worked out by another program:
    /// `int.from_bytes(hashlib.sha256(b"salt\0" + reader).digest()[:8], "big") / 2**64`.
    #[test]
    fn a_reader_falls_where_the_contract_says() {
        for (reader, expected) in [
            ("reader-1", 0.831_415_311_120_848_9),
            ("reader-2", 0.978_242_737_864_882_7),
            ("Leserin Ä", 0.695_207_172_454_891_3),
        ] {
            assert_eq!(fraction("salt", reader), expected, "{reader}");
        }
    }

    #[test]
    fn an_edge_belongs_to_the_arm_behind_it_and_all_shares_leave_nobody_out() {
        let halves = experiment(&[0.5, 0.5]);
        for (fraction, arm) in [(0.0, 0), (0.499_999, 0), (0.5, 1), (1.0, 1)] {
            assert_eq!(halves.arm_at(fraction), Some(arm), "{fraction}");
        }
        let some = experiment(&[0.1, 0.2]);
        assert_eq!(some.arm_at(0.05), Some(0));
        assert_eq!(some.arm_at(0.25), Some(1));
        assert_eq!(some.arm_at(0.31), None);
        // 0.1 ten times is a little less than 1.
        let tenths = experiment(&[0.1; 10]);
        assert_eq!(tenths.arm_at(1.0 - f64::EPSILON / 2.0), Some(9));
    }

    #[test]
    fn what_cannot_be_is_named() {
        assert_eq!(experiment(&[0.5, 0.5]).check(), Ok(()));
        assert_eq!(experiment(&[0.01, 0.01]).check(), Ok(()));
        assert_eq!(experiment(&[0.1; 10]).check(), Ok(()));
        let renamed = |name: &str| Experiment {
            name: name.to_owned(),
            ..experiment(&[0.5, 0.5])
        };
        let twice = Experiment {
            arms: vec![arm("a", 0.5), arm("a", 0.5)],
            ..experiment(&[])
        };
        for (bad, field) in [
            (renamed(""), "name"),
            (renamed("a b"), "name"),
            (renamed(".."), "name"),
            (renamed(&"x".repeat(65)), "name"),
            (experiment(&[1.0]), "arms"),
            (experiment(&[0.05; 17]), "arms"),
            (experiment(&[0.5, 0.6]), "arms"),
            (experiment(&[0.5, 0.0]), "arms[1].share"),
            (experiment(&[f64::NAN, 0.5]), "arms[0].share"),
            (twice, "arms[1].name"),
        ] {
            assert_eq!(bad.check().unwrap_err().field, field);
        }
    }

    proptest! {
        #[test]
        fn readers_are_divided_by_the_shares(shares in prop::collection::vec(0.05_f64..0.25, 2..5), salt in ".{0,8}") {
            let experiment = Experiment { salt, ..experiment(&shares) };
            let mut counts = vec![0_f64; shares.len()];
            const READERS: u32 = 4_000;
            for reader in 0..READERS {
                if let Some(at) = experiment.arm_of(&format!("r{reader}")) {
                    counts[at] += 1.0;
                }
            }
            for (share, count) in shares.iter().zip(counts) {
                // Five standard deviations.
                let error = 5.0 * (share * (1.0 - share) / f64::from(READERS)).sqrt();
                prop_assert!((count / f64::from(READERS) - share).abs() < error);
            }
        }

        #[test]
        fn another_salt_divides_readers_anew(reader in ".{1,20}") {
            let one = experiment(&[0.5, 0.5]);
            let salts = (0..64).map(|n| Experiment { salt: n.to_string(), ..one.clone() });
            let firsts = salts.filter(|one| one.arm_of(&reader) == Some(0)).count();
            prop_assert!((8..=56).contains(&firsts), "{} of 64", firsts);
        }
    }
}
