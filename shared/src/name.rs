//! The names by which everything else is keyed.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Name of the model for items that bring their own vector.
pub const OWN: &str = "own";

/// Replaces the language in a space for texts of all languages. It is ISO 639's code for several languages, which no
/// item may have.
pub const ALL_LANGUAGES: &str = "mul";

/// Longest domain name, in bytes.
pub const MAX_DOMAIN_BYTES: usize = 128;
/// Longest item id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 256;
/// Longest name of a model, in bytes.
pub const MAX_MODEL_BYTES: usize = 64;
/// Longest name of a vector, in bytes: it is part of the name of a kind of model ([`ModelName::of_vector`]).
pub const MAX_VECTOR_NAME_BYTES: usize = MAX_MODEL_BYTES - VECTORS.len();
/// Begins the name of a kind of model whose features are vectors that items bring with them; the vector's name follows.
/// No other kind's name begins like this.
const VECTORS: &str = "vectors-";
/// Begins the name of a kind of model that mixes others; what it mixes follows, as a hash. No other kind's name begins
/// like this.
const MIX: &str = "mix-";

/// Begins the name of a kind of model whose features a sentence encoder makes; the encoder's name and a hash of its files
/// follow. No other kind's name begins like this.
const ENCODER: &str = "onnx-";

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// A domain outside `[A-Za-z0-9._-]{1,128}`, or one with a special meaning in paths.
    #[error(
        "a domain is 1 to {MAX_DOMAIN_BYTES} characters of A-Z, a-z, 0-9, '.', '_' and '-', and neither \".\" nor \"..\"; got {0:?}"
    )]
    Domain(String),
    /// An item id that is empty, too long or has control characters.
    #[error("an id is 1 to {MAX_ID_BYTES} bytes of UTF-8 without control characters; got {0:?}")]
    Id(String),
    /// A model outside `[a-z0-9-]{1,64}`.
    #[error("a model is 1 to {MAX_MODEL_BYTES} characters of a-z, 0-9 and '-'; got {0:?}")]
    Model(String),
    /// A vector outside `[a-z0-9-]{1,56}`.
    #[error(
        "the name of a vector is 1 to {MAX_VECTOR_NAME_BYTES} characters of a-z, 0-9 and '-'; got {0:?}"
    )]
    Vector(String),
}

macro_rules! name {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name! {
    /// An isolated set of items: `[A-Za-z0-9._-]{1,128}`, except `.` and `..`. Cheap to clone.
    DomainName
}

name! {
    /// An item's id, unique in its domain: 1–256 bytes of UTF-8 without control characters.
    /// Ordered by bytes. Cheap to clone.
    ItemId
}

name! {
    /// A way to turn texts or vectors into features: `[a-z0-9-]{1,64}`. Cheap to clone.
    ModelName
}

name! {
    /// The name of a vector that items bring with them: `[a-z0-9-]{1,56}`. Cheap to clone.
    VectorName
}

name! {
    /// A space: the items of a domain that are compared with each other. A model's name, a slash, and the language of
    /// texts (`mul`: all of them) or the length of vectors, as in `words-1/en` and `own/384`.
    Space
}

impl DomainName {
    /// Checks and makes a domain name.
    ///
    /// # Errors
    /// [`NameError::Domain`] outside `[A-Za-z0-9._-]{1,128}`, and for `.` and `..`, which have a special meaning in
    /// file paths and URLs.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let is_place = matches!(name, "." | "..");
        if (1..=MAX_DOMAIN_BYTES).contains(&name.len()) && name.bytes().all(allowed) && !is_place {
            Ok(Self(name.into()))
        } else {
            Err(NameError::Domain(excerpt(name)))
        }
    }
}

impl ItemId {
    /// Checks and makes an item id.
    ///
    /// # Errors
    /// [`NameError::Id`] when empty, over 256 bytes, or holding a control character.
    pub fn new(id: &str) -> Result<Self, NameError> {
        if (1..=MAX_ID_BYTES).contains(&id.len()) && !id.chars().any(char::is_control) {
            Ok(Self(id.into()))
        } else {
            Err(NameError::Id(excerpt(id)))
        }
    }
}

impl ItemId {
    /// The id's hash wherever one is needed: xxh3-64 of its bytes. Stored data depends on it.
    pub fn hash64(&self) -> u64 {
        xxh3_64(self.0.as_bytes())
    }
}

impl ModelName {
    /// The model of items that bring their own vector.
    pub fn own() -> Self {
        Self(OWN.into())
    }

    /// Checks and makes a model's name.
    ///
    /// # Errors
    /// [`NameError::Model`] outside `[a-z0-9-]{1,64}`.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=MAX_MODEL_BYTES).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name.into()))
        } else {
            Err(NameError::Model(excerpt(name)))
        }
    }

    /// The kind of model whose features are the vectors of this name.
    pub fn of_vector(name: &VectorName) -> Self {
        Self(format!("{VECTORS}{name}").into())
    }

    /// The name of the vectors that are this kind's features; `None`: its features are something else.
    pub fn vector(&self) -> Option<VectorName> {
        let name = self.0.strip_prefix(VECTORS)?;
        VectorName::new(name).ok()
    }

    /// The kind of model that mixes others, as identified by this hash.
    pub fn of_mix(hash: u64) -> Self {
        Self(format!("{MIX}{hash:016x}").into())
    }

    /// Whether it is a kind of model that mixes others.
    pub fn is_mix(&self) -> bool {
        self.0.starts_with(MIX)
    }

    /// Whether it is a kind of model whose features depend on the domain alone: of vectors that items bring, or a mix.
    pub fn is_of_domain(&self) -> bool {
        self.vector().is_some() || self.is_mix()
    }

    /// Whether items that bring a vector of their own are compared by it, and only the others by their text.
    pub fn prefers_own(&self) -> bool {
        !self.is_of_domain()
    }
}

impl VectorName {
    /// The name of the vector that an event has as `vector`.
    pub fn own() -> Self {
        Self(OWN.into())
    }

    /// Checks and makes the name of a vector.
    ///
    /// # Errors
    /// [`NameError::Vector`] outside `[a-z0-9-]{1,56}`.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=MAX_VECTOR_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name.into()))
        } else {
            Err(NameError::Vector(excerpt(name)))
        }
    }
}

impl Space {
    /// The space of texts in one language under a model.
    pub fn of_texts(model: &ModelName, language: &str) -> Self {
        Self(format!("{model}/{language}").into())
    }

    /// The space of texts in all languages under a model.
    pub fn of_all_languages(model: &ModelName) -> Self {
        Self::of_texts(model, ALL_LANGUAGES)
    }

    /// The space of own vectors of one length.
    pub fn own(length: usize) -> Self {
        Self(format!("{OWN}/{length}").into())
    }

    /// The space of the features of a kind whose features are vectors of this length. With length 0 it is that of items
    /// without such a vector, which are compared with nothing.
    pub fn of_vectors(kind: &ModelName, length: usize) -> Self {
        Self(format!("{kind}/{length}").into())
    }

    /// Whether it is a space of own vectors.
    pub fn is_own(&self) -> bool {
        self.model_name() == OWN
    }

    /// Whether its features are vectors that items bring with them: own ones, or those of a name.
    pub fn is_of_vectors(&self) -> bool {
        let model = self.model_name();
        model == OWN || model.starts_with(VECTORS)
    }

    /// The space of the features of a mix in which no text takes part.
    pub fn without_language(mix: &ModelName) -> Self {
        Self::of_vectors(mix, 0)
    }

    /// Whether dense parts may be of several lengths: the shorter ones go on with zeros.
    pub fn is_ragged(&self) -> bool {
        self.model_name().starts_with(MIX)
    }

    /// The length of the vectors in a space of vectors.
    pub fn vector_length(&self) -> Option<usize> {
        let (_, length) = self.0.split_once('/').filter(|_| self.is_of_vectors())?;
        length.parse().ok()
    }

    /// A space read back from storage.
    pub fn stored(space: &str) -> Self {
        Self(space.into())
    }

    /// The model whose features are in this space.
    pub fn model(&self) -> ModelName {
        ModelName(self.model_name().into())
    }

    /// The name of that model.
    pub fn model_name(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(model, _)| model)
    }

    /// The language of a space of texts.
    pub fn language(&self) -> Option<&str> {
        let (_, language) = self.0.split_once('/')?;
        let is_length = language.bytes().all(|byte| byte.is_ascii_digit());
        (!self.is_of_vectors() && !is_length).then_some(language)
    }
}

impl ModelName {
    /// The kind of model whose features this encoder makes. It includes a fingerprint of the encoder's files, so that
    /// features of different files are never compared.
    ///
    /// # Errors
    /// [`NameError::Model`] if the encoder's name has characters other than `[a-z0-9-]`, or more than 42.
    pub fn of_encoder(name: &str, fingerprint: u64) -> Result<Self, NameError> {
        Self::new(&format!("{ENCODER}{name}-{fingerprint:016x}"))
    }

    /// The name of the encoder that makes this kind's features, and the fingerprint of its files in hexadecimal; `None`:
    /// they are made in another way.
    pub fn encoder(&self) -> Option<(&str, &str)> {
        let (name, fingerprint) = self.0.strip_prefix(ENCODER)?.rsplit_once('-')?;
        let is_hash =
            fingerprint.len() == 16 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hash && !name.is_empty()).then_some((name, fingerprint))
    }
}

impl<'de> Deserialize<'de> for DomainName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ItemId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ModelName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for VectorName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Space {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::stored(&String::deserialize(deserializer)?))
    }
}

/// The first characters of a refused name, short enough for a log line.
fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn domains_are_ascii_letters_digits_dot_underscore_dash() {
        for good in [
            "a",
            "news.example",
            "A_b-c.9",
            ".a",
            "...",
            &"x".repeat(128),
        ] {
            assert_eq!(
                DomainName::new(good).map(|d| d.to_string()),
                Ok(good.to_string())
            );
        }
        for bad in [
            "",
            "a b",
            "ä",
            "a/b",
            "a#",
            "*",
            ".",
            "..",
            &"x".repeat(129),
        ] {
            assert!(DomainName::new(bad).is_err(), "{bad:?} is no domain");
        }
    }

    #[test]
    fn ids_are_any_utf8_without_control_characters() {
        for good in ["a", "a/b c", "é", "日本", "%2F", &"x".repeat(256)] {
            assert!(ItemId::new(good).is_ok(), "{good:?} is an id");
        }
        for bad in ["", "a\n", "\u{7f}", "\u{85}", &"é".repeat(129)] {
            assert!(ItemId::new(bad).is_err(), "{bad:?} is no id");
        }
    }

    #[test]
    fn models_are_small_ascii_letters_digits_and_dashes() {
        for good in ["words-1", "own", "x", &"x".repeat(64)] {
            assert!(ModelName::new(good).is_ok(), "{good:?} is a model");
        }
        for bad in ["", "Words", "a.b", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(ModelName::new(bad).is_err(), "{bad:?} is no model");
        }
    }

    #[test]
    fn spaces_know_their_model_and_language() {
        let english = Space::of_texts(&ModelName::new("words-1").unwrap(), "en");
        assert_eq!(english, Space::stored("words-1/en"));
        assert_eq!(english.model().as_str(), "words-1");
        assert_eq!(english.language(), Some("en"));
        assert_eq!(Space::own(384).as_str(), "own/384");
        assert_eq!(Space::own(384).language(), None);
        assert!(english.language().is_some() && !english.is_of_vectors());
        assert_eq!(english.vector_length(), None);
    }

    #[test]
    fn the_kind_of_a_mix_is_told_from_others() {
        let mix = ModelName::of_mix(u64::MAX);
        assert_eq!(ModelName::new(mix.as_str()), Ok(mix.clone()));
        assert!(mix.is_mix() && mix.is_of_domain() && !mix.prefers_own());
        let english = Space::of_texts(&mix, "en");
        assert_eq!(english.language(), Some("en"));
        assert!(english.is_ragged() && !english.is_of_vectors());
        let without = Space::without_language(&mix);
        assert_eq!((without.language(), without.vector_length()), (None, None));
        assert!(without.is_ragged() && !Space::own(3).is_ragged());
    }

    #[test]
    fn the_kind_of_a_vector_is_named_after_it() {
        let clip = VectorName::new("clip").unwrap();
        let kind = ModelName::of_vector(&clip);
        assert_eq!(ModelName::new(kind.as_str()), Ok(kind.clone()));
        assert_eq!(kind.vector(), Some(clip));
        assert!(!kind.prefers_own());
        let space = Space::of_vectors(&kind, 512);
        assert_eq!(space.as_str(), "vectors-clip/512");
        assert_eq!((space.model(), space.language()), (kind, None));
        assert!(space.is_of_vectors() && !space.is_own());
        assert_eq!(space.vector_length(), Some(512));
        for other in ["text-2", "words-1", "own", "vectors", "vectors-"] {
            assert_eq!(ModelName::new(other).unwrap().vector(), None, "{other}");
        }
        let longest = "x".repeat(MAX_VECTOR_NAME_BYTES);
        let kind = ModelName::of_vector(&VectorName::new(&longest).unwrap());
        assert_eq!(ModelName::new(kind.as_str()), Ok(kind));
        for bad in ["", "Clip", "a.b", "a/b", &"x".repeat(57)] {
            assert!(VectorName::new(bad).is_err(), "{bad:?} is no name");
        }
    }

    #[test]
    fn the_kind_of_an_encoder_has_its_name_and_fingerprint() {
        let kind = ModelName::of_encoder("all-minilm", 0xab).unwrap();
        assert_eq!(kind.as_str(), "onnx-all-minilm-00000000000000ab");
        assert_eq!(kind.encoder(), Some(("all-minilm", "00000000000000ab")));
        assert_eq!(Space::of_texts(&kind, "en").model(), kind);
        for other in [
            "text-2",
            "onnx",
            "onnx-minilm",
            "onnx-00000000000000ab",
            "onnx--00000000000000ab",
        ] {
            assert_eq!(ModelName::new(other).unwrap().encoder(), None, "{other}");
        }
        assert!(ModelName::of_encoder("MiniLM", 1).is_err());
        assert!(ModelName::of_encoder(&"x".repeat(43), 1).is_err());
    }
}
