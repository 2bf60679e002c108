//! Mixes: models whose score is the weighted sum of the scores of others.
//!
//! The feature of a mix consists of the features of its parts, each scaled by the root of its share of the weights. So
//! the score of two items is exactly what the definition says, and everything that holds for other features holds for
//! it. A part that an item lacks has no share: the others divide its weight in proportion, and features keep length 1.
//! Where only one of two items has a part, it adds nothing to their score.

use std::collections::BTreeMap;
use std::hash::Hasher;

use kindred_shared::ModelName;
use kindred_shared::event::Weight;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// What a mix mixes: other models of the domain, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mix {
    of: BTreeMap<ModelName, Part>,
}

/// A model in a mix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The way its features are made.
    pub kind: ModelName,
    /// Its weight.
    pub weight: Weight,
}

impl Mix {
    /// A mix of these models; none of them is a mix.
    pub fn new(of: BTreeMap<ModelName, Part>) -> Self {
        Self { of }
    }

    /// Its models, by name.
    pub fn parts(&self) -> &BTreeMap<ModelName, Part> {
        &self.of
    }

    /// Its parts by kind, with their weights: models of one kind are one part. The order is that of their places in
    /// features: kinds of texts come first.
    pub fn by_kind(&self) -> Vec<(&ModelName, f64)> {
        let mut kinds: BTreeMap<(bool, &ModelName), f64> = BTreeMap::new();
        for part in self.of.values() {
            let key = (part.kind.is_of_domain(), &part.kind);
            *kinds.entry(key).or_default() += part.weight.get();
        }
        let kinds = kinds.into_iter();
        kinds.map(|((_, kind), weight)| (kind, weight)).collect()
    }

    /// The kinds of its parts, in that order.
    pub fn kinds(&self) -> impl Iterator<Item = &ModelName> {
        self.by_kind().into_iter().map(|(kind, _)| kind)
    }

    /// The kinds of those of its parts that read texts.
    pub fn kinds_of_texts(&self) -> impl Iterator<Item = &ModelName> {
        self.kinds().filter(|kind| !kind.is_of_domain())
    }

    /// Its kind: mixes of the same kind have the same features.
    pub fn kind(&self) -> ModelName {
        let mut hasher = Xxh3::new();
        for (kind, weight) in self.by_kind() {
            hasher.write_u64(kind.as_str().len() as u64);
            hasher.write(kind.as_str().as_bytes());
            hasher.write_u64(weight.to_bits());
        }
        ModelName::of_mix(hasher.finish())
    }
}

/// The kinds that read texts for a model of this kind, which mixes these if it is a mix; none: it compares vectors.
pub fn kinds_of_texts<'a>(kind: &'a ModelName, mix: Option<&'a Mix>) -> Vec<&'a ModelName> {
    match mix.filter(|_| kind.is_mix()) {
        Some(mix) => mix.kinds_of_texts().collect(),
        None => Some(kind)
            .filter(|kind| !kind.is_of_domain())
            .into_iter()
            .collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    fn mix(of: &[(&str, &str, f64)]) -> Mix {
        let name = |name: &str| ModelName::new(name).unwrap();
        let of = of.iter().map(|(model, kind, weight)| {
            let (kind, weight) = (name(kind), Weight::new(*weight).unwrap());
            (name(model), Part { kind, weight })
        });
        Mix::new(of.collect())
    }

    #[test]
    fn mixes_of_the_same_features_are_of_one_kind() {
        let base = mix(&[("text-2", "text-2", 0.7), ("clip", "vectors-clip", 0.3)]);
        let renamed = mix(&[("a", "text-2", 0.7), ("b", "vectors-clip", 0.3)]);
        assert_eq!(base.kind(), renamed.kind());
        let twice = mix(&[
            ("a", "text-2", 0.5),
            ("b", "text-2", 0.25),
            ("c", "vectors-clip", 0.3),
        ]);
        let once = mix(&[("a", "text-2", 0.75), ("c", "vectors-clip", 0.3)]);
        assert_eq!(twice.kind(), once.kind());
        for other in [
            mix(&[("text-2", "text-2", 0.3), ("clip", "vectors-clip", 0.7)]),
            mix(&[("text-2", "text-2", 0.7), ("clip", "vectors-clop", 0.3)]),
            mix(&[("text-2", "text-2", 0.7)]),
        ] {
            assert_ne!(base.kind(), other.kind());
        }
        let kinds = mix(&[("a", "words-1", 1.0), ("b", "vectors-clip", 1.0)]);
        let kinds: Vec<&str> = kinds.kinds().map(ModelName::as_str).collect();
        assert_eq!(kinds, ["words-1", "vectors-clip"]);
        let of_texts = |kind: &str, mix| {
            let kind = ModelName::new(kind).unwrap();
            kinds_of_texts(&kind, mix).len()
        };
        assert_eq!(
            (of_texts("text-2", None), of_texts("vectors-clip", None)),
            (1, 0)
        );
        assert_eq!(
            (of_texts("mix-1", Some(&base)), of_texts("mix-1", None)),
            (1, 0)
        );
        let written = serde_json::to_string(&base).unwrap();
        assert_eq!(serde_json::from_str::<Mix>(&written).unwrap(), base);
    }
}
