//! The members of a JSON object, each kept as written.
//!
//! Parsing an event must not fail because of something it does not use: an unknown member may hold any JSON (`1e400`, a
//! thousand levels of brackets), and only its syntax is checked. A lone surrogate, which JSON's grammar allows and
//! Unicode does not, becomes U+FFFD everywhere.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The UTF-8 byte-order mark, which some editors and exports prepend.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The input without a leading byte-order mark.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// Replaces each escape of a lone surrogate in JSON by the escape of U+FFFD. Both have six bytes, so positions in error
/// messages stay right.
pub fn whole_characters(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut mended: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(offset) = bytes[at..].iter().position(|byte| *byte == b'\\') {
        at += offset;
        let Some(unit) = escaped_unit(&bytes[at..]) else {
            // Another escape: its second byte may be a backslash.
            at = bytes.len().min(at + 2);
            continue;
        };
        let paired = || escaped_unit(&bytes[at + 6..]).is_some_and(is_low);
        if is_high(unit) && paired() {
            at += 12;
            continue;
        }
        if is_high(unit) || is_low(unit) {
            let mended = mended.get_or_insert_with(|| bytes.to_vec());
            mended[at..at + 6].copy_from_slice(b"\\ufffd");
        }
        at += 6;
    }
    match mended {
        // Six ASCII bytes replaced six others, so this is still UTF-8.
        Some(mended) => Cow::Owned(String::from_utf8(mended).unwrap_or_else(|_| json.to_owned())),
        None => Cow::Borrowed(json),
    }
}

/// The UTF-16 unit of a leading escape `\uXXXX`.
fn escaped_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

fn is_low(unit: u16) -> bool {
    (0xdc00..0xe000).contains(&unit)
}

/// The members of one JSON object. If a name is repeated, the last one counts.
#[derive(Debug)]
pub struct Members<'a>(HashMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Members<'a> {
    /// Parses the JSON, which must be one object. Lone surrogates must have been replaced ([`whole_characters`]).
    ///
    /// # Errors
    /// Where the JSON is malformed, or what it is instead of an object.
    pub fn read(json: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    /// Removes and returns a member; `null` counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Member<'a>> {
        let member = self.0.remove(name).map(Member)?;
        (!member.is_null()).then_some(member)
    }

    /// Whether a member exists and is not null.
    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|raw| !Member(raw).is_null())
    }

    /// Whether a member exists, even if it is null.
    pub fn is_said(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// All members, in no particular order.
    pub(super) fn into_iter(self) -> impl Iterator<Item = (Cow<'a, str>, Member<'a>)> {
        self.0.into_iter().map(|(name, raw)| (name, Member(raw)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = HashMap::new();
                while let Some(Name(name)) = map.next_key()? {
                    members.insert(name, map.next_value()?);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A name; borrowed unless it contains an escape.
#[derive(PartialEq, Eq, Hash, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The type of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonType {
    Null,
    Flag,
    Number,
    Text,
    Array,
    Object,
}

/// One value, kept as written.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a>(&'a RawValue);

impl<'a> Member<'a> {
    pub(super) fn new(value: &'a RawValue) -> Self {
        Self(value)
    }

    /// The JSON of the value.
    pub fn json(self) -> &'a str {
        self.0.get()
    }

    pub(super) fn kind(self) -> JsonType {
        match self.json().as_bytes().first() {
            Some(b'"') => JsonType::Text,
            Some(b'{') => JsonType::Object,
            Some(b'[') => JsonType::Array,
            Some(b't' | b'f') => JsonType::Flag,
            Some(b'n') | None => JsonType::Null,
            Some(_) => JsonType::Number,
        }
    }

    pub(super) fn is_null(self) -> bool {
        self.kind() == JsonType::Null
    }

    /// The text, if it is one.
    pub fn text(self) -> Option<String> {
        serde_json::from_str(self.json()).ok()
    }

    pub(super) fn flag(self) -> Option<bool> {
        serde_json::from_str(self.json()).ok()
    }

    /// The number; infinite if it is too large for an `f64`.
    pub(super) fn number(self) -> Option<f64> {
        match self.kind() {
            JsonType::Number => self.json().parse().ok(),
            JsonType::Null
            | JsonType::Flag
            | JsonType::Text
            | JsonType::Array
            | JsonType::Object => None,
        }
    }

    /// The number, if it is whole and not negative, in any notation: `17`, `17.0`, `1.7e1`.
    pub(super) fn whole_number(self) -> Option<u64> {
        match self.kind() {
            JsonType::Number => whole(self.json()),
            JsonType::Null
            | JsonType::Flag
            | JsonType::Text
            | JsonType::Array
            | JsonType::Object => None,
        }
    }

    /// The values of an array, if it is one.
    pub(super) fn array(self) -> Option<Vec<Member<'a>>> {
        let values: Vec<&RawValue> = serde_json::from_str(self.json()).ok()?;
        Some(values.into_iter().map(Member).collect())
    }

    /// The members of an object, if it is one.
    pub(super) fn object(self) -> Option<Members<'a>> {
        Members::read(self.json()).ok()
    }
}

/// The value of a JSON number, computed in decimal: an `f64` would treat `9007199254740990.5` as whole.
fn whole(json: &str) -> Option<u64> {
    let (mantissa, exponent) = match json.split_once(['e', 'E']) {
        // An exponent that does not fit `i32` moves any non-zero digit out of every range.
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()),
        None => (json, Some(0)),
    };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, mantissa),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{before}{after}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    if sign < 0 {
        return None;
    }
    let significant = digits.trim_end_matches('0');
    let zeros =
        i64::from(exponent?) - after.len() as i64 + (digits.len() - significant.len()) as i64;
    // 20 digits hold every u64.
    if zeros < 0 || zeros + significant.len() as i64 > 20 {
        return None;
    }
    let factor = 10_u64.checked_pow(u32::try_from(zeros).ok()?)?;
    significant.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lone_surrogates_are_mended_and_pairs_are_left() {
        for (json, mended) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\ude00 x""#, r#""\ufffd x""#),
            (r#""\uD83D\uDE00""#, r#""\uD83D\uDE00""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\ud83dA""#, r#""\ufffdA""#),
            (r#""\ud83"#, r#""\ud83"#),
            (r#""\"#, r#""\"#),
            (r#"{"\ud83d":1}"#, r#"{"\ufffd":1}"#),
        ] {
            assert_eq!(whole_characters(json), mended, "{json}");
        }
    }

    #[test]
    fn the_last_of_doubled_names_counts_and_null_is_absent() {
        let mut members = Members::read(r#"{"a":1,"\u0061":2,"b":3,"b":null}"#).unwrap();
        assert_eq!(members.take("a").unwrap().json(), "2");
        assert!(!members.has("b") && members.take("b").is_none());
    }

    #[test]
    fn only_the_syntax_of_what_is_not_read_counts() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let json = format!(r#"{{"x":1e400,"y":{deep},"z":-1E-999,"a":"here"}}"#);
        let mut members = Members::read(&json).unwrap();
        assert_eq!(members.take("a").unwrap().text().unwrap(), "here");
        for broken in [
            r#"{"x":1e}"#,
            r#"{"x":[}"#,
            r#"{"x":01}"#,
            r#"{"x":nul}"#,
            "[]",
            "1",
        ] {
            assert!(Members::read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn whole_numbers_may_be_written_in_any_way() {
        for (json, expected) in [
            ("17", Some(17)),
            ("17.0", Some(17)),
            ("1.7e1", Some(17)),
            ("1700E-2", Some(17)),
            ("1795424400000.000", Some(1_795_424_400_000)),
            ("1.7954244e12", Some(1_795_424_400_000)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("0", Some(0)),
            ("-0.0", Some(0)),
            ("0e99999999999", Some(0)),
            ("9007199254740990.5", None),
            ("17.5", None),
            ("-1", None),
            ("1e400", None),
            ("1e-1", None),
            ("1e99999999999", None),
        ] {
            assert_eq!(whole(json), expected, "{json}");
        }
    }

    proptest! {
        /// Each UTF-16 unit as an escape: the result reads as Rust's lossy UTF-16 decoding.
        #[test]
        fn any_units_are_read_as_lossy_utf16(units in prop::collection::vec(
            prop_oneof![0xd7f0_u16..0xe010, any::<u16>()], 0..20,
        )) {
            let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let json = format!("\"{escapes}\"");
            let read: String = serde_json::from_str(&whole_characters(&json)).unwrap();
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }

        #[test]
        fn any_text_is_mended_without_a_panic(text in "[\\\\ud8DcCfF\"0-9a]{0,40}") {
            prop_assert_eq!(whole_characters(&text).len(), text.len());
        }

        #[test]
        fn whole_numbers_are_read_back(number in any::<u64>(), zeros in 0_usize..4) {
            let json = format!("{number}.{}", "0".repeat(zeros + 1));
            prop_assert_eq!(whole(&json), Some(number));
        }
    }
}
