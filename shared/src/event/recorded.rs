//! The event that records the beginning or the end of an experiment in its domain's log. The change itself is durable
//! already. Kindred publishes it, so that the log has one order; publishers of items do not send it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::configure::{checked, nobody};
use crate::event::{Limits, Refusal};
use crate::name::DomainName;

/// The event's type.
pub const RECORDED: &str = "domain.recorded";
/// Largest event of this type, in bytes, whatever the limit of other events: an experiment may have 256 KiB.
const MAX_BYTES: usize = 1 << 20;

/// An experiment began or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The domain.
    pub domain: DomainName,
    /// Names the event: 1 to 64 bytes.
    pub request: String,
    /// When the domain was registered, in milliseconds since 1970: it does not apply to one that was created later
    /// under the same name.
    pub registered_at: i64,
    /// The number of the change among those of the domain's experiments. Numbers rise, and each change is recorded
    /// once.
    pub number: i64,
    /// When it took effect, in milliseconds since 1970.
    pub at: i64,
    /// What happened, as a word of the log.
    pub what: String,
    /// The experiment that ran before.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub before: Value,
    /// The experiment that has been running since.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub after: Value,
    /// Who asked for it, as in [`Configure`](super::Configure).
    #[serde(default = "nobody")]
    pub by: String,
}

impl Recorded {
    /// Parses an event that came with a routing key, which must be its domain.
    ///
    /// # Errors
    /// A [`Refusal`] that names what is wrong.
    pub fn parse(bytes: &[u8], limits: &Limits, routing_key: &str) -> Result<Self, Refusal> {
        let limits = Limits {
            message_bytes: limits.message_bytes.max(MAX_BYTES),
            ..*limits
        };
        checked(bytes, &limits, routing_key, |this: &Self| {
            (&this.domain, &this.request, &this.by)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::{Event, Reason};

    #[test]
    fn is_read_back_as_written_and_checked() {
        let recorded = Recorded {
            domain: DomainName::new("news").unwrap(),
            request: "r1".to_owned(),
            registered_at: 1_795_424_400_000,
            number: 12,
            at: 1_795_424_460_000,
            what: "experiment.begun".to_owned(),
            before: Value::Null,
            after: json!({"name": "fresh"}),
            by: "k1".to_owned(),
        };
        let written = Event::Record(Box::new(recorded.clone())).to_json();
        assert!(!written.contains("before"), "{written}");
        let small = Limits {
            message_bytes: 9,
            ..Limits::default()
        };
        let read = |bytes: &str, key| Recorded::parse(bytes.as_bytes(), &small, key);
        assert_eq!(read(&written, "news"), Ok(recorded));
        let reason = |bytes: &str, key| read(bytes, key).unwrap_err().reason;
        assert_eq!(reason(&written, "blog"), Reason::DomainMismatch);
        assert_eq!(
            reason(&written.replace("r1", ""), "news"),
            Reason::InvalidField
        );
        let large = written.replace("fresh", &"x".repeat(MAX_BYTES));
        assert_eq!(reason(&large, "news"), Reason::TooLarge);
    }
}
