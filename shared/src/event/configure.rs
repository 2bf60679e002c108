//! The event that sets a domain's settings. Kindred's HTTP interface publishes it, so that it is ordered among the
//! domain's item events; publishers of items do not send it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::member::without_mark;
use crate::event::{Limits, Reason, Refusal};
use crate::name::DomainName;

/// The event's type.
pub const CONFIGURED: &str = "domain.configured";
/// Longest name of a request, in bytes.
pub(super) const MAX_REQUEST_BYTES: usize = 64;
/// Who asked for a change if no key was needed for it.
pub const NOBODY: &str = "-";
/// Longest name of who asked, in bytes; the names of keys are shorter.
pub(super) const MAX_BY_BYTES: usize = 64;

pub(super) fn nobody() -> String {
    NOBODY.to_owned()
}

/// Replaces a domain's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configure {
    /// The domain.
    pub domain: DomainName,
    /// Names the request, so that its sender can look up the outcome.
    pub request: String,
    /// The complete settings.
    pub settings: Map<String, Value>,
    /// Who asked for it, for the domain's log: the name of a key; [`NOBODY`]: unknown, because no key was needed.
    #[serde(default = "nobody")]
    pub by: String,
}

impl Configure {
    /// Parses an event that came with a routing key, which must be its domain.
    ///
    /// # Errors
    /// A [`Refusal`] that names what is wrong.
    pub fn parse(bytes: &[u8], limits: &Limits, routing_key: &str) -> Result<Self, Refusal> {
        checked(bytes, limits, routing_key, |this: &Self| {
            (&this.domain, &this.request, &this.by)
        })
    }
}

/// Parses an event about a domain; checks its size, its domain, the name of its request, and who asked for it.
pub(super) fn checked<T: DeserializeOwned>(
    bytes: &[u8],
    limits: &Limits,
    routing_key: &str,
    of: impl Fn(&T) -> (&DomainName, &str, &str),
) -> Result<T, Refusal> {
    if bytes.len() > limits.message_bytes {
        let detail = format!("{} bytes; at most {}", bytes.len(), limits.message_bytes);
        return Err(Refusal::new(Reason::TooLarge, None, detail));
    }
    let this: T = serde_json::from_slice(without_mark(bytes))
        .map_err(|error| Refusal::new(Reason::InvalidJson, None, error.to_string()))?;
    let (domain, request, by) = of(&this);
    if domain.as_str() != routing_key {
        let detail = format!("the routing key is {routing_key:?}");
        return Err(Refusal::new(Reason::DomainMismatch, Some("domain"), detail));
    }
    if request.is_empty() || request.len() > MAX_REQUEST_BYTES {
        let detail = format!("a name of 1 to {MAX_REQUEST_BYTES} bytes");
        return Err(Refusal::new(Reason::InvalidField, Some("request"), detail));
    }
    if by.is_empty() || by.len() > MAX_BY_BYTES {
        let detail = format!("a name of 1 to {MAX_BY_BYTES} bytes");
        return Err(Refusal::new(Reason::InvalidField, Some("by"), detail));
    }
    Ok(this)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn is_read_back_as_written_and_checked() {
        let configure = Configure {
            domain: DomainName::new("news").unwrap(),
            request: "r1".to_owned(),
            settings: Map::from_iter([("window".to_owned(), Value::from("1s"))]),
            by: "k1".to_owned(),
        };
        let written = crate::event::Event::Configure(Box::new(configure.clone())).to_json();
        let read = |bytes: &str, key| Configure::parse(bytes.as_bytes(), &Limits::default(), key);
        assert_eq!(read(&written, "news"), Ok(configure));
        let reason = |bytes: &str, key| read(bytes, key).unwrap_err().reason;
        assert_eq!(reason(&written, "blog"), Reason::DomainMismatch);
        assert_eq!(reason("{}", "news"), Reason::InvalidJson);
        let nameless = written.replace("r1", "");
        assert_eq!(reason(&nameless, "news"), Reason::InvalidField);
        let by_too_long = written.replace("k1", &"k".repeat(65));
        assert_eq!(reason(&by_too_long, "news"), Reason::InvalidField);
        // Older programs do not say who asked.
        let by_nobody = read(&written.replace(r#","by":"k1""#, ""), "news").unwrap();
        assert_eq!(by_nobody.by, NOBODY);
        let large = Limits {
            message_bytes: 9,
            ..Limits::default()
        };
        let refused = Configure::parse(written.as_bytes(), &large, "news").unwrap_err();
        assert_eq!(refused.reason, Reason::TooLarge);
    }
}
