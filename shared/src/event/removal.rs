//! The event that removes a domain with all of its items. Kindred's HTTP interface publishes it, so that it is ordered
//! among the domain's item events; publishers of items do not send it.

use serde::{Deserialize, Serialize};

use crate::event::configure::{NOBODY, checked};
use crate::event::{Limits, Refusal};
use crate::name::DomainName;

/// The event's type.
pub const REMOVED: &str = "domain.deleted";

/// Removes a domain with everything that is stored of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The domain.
    pub domain: DomainName,
    /// Names the request: 1 to 64 bytes. A repeated request takes effect once, whatever happened in between.
    pub request: String,
}

impl Removal {
    /// Parses an event that came with a routing key, which must be its domain.
    ///
    /// # Errors
    /// A [`Refusal`] that names what is wrong.
    pub fn parse(bytes: &[u8], limits: &Limits, routing_key: &str) -> Result<Self, Refusal> {
        checked(bytes, limits, routing_key, |this: &Self| {
            (&this.domain, &this.request, NOBODY)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;
    use crate::event::configure::MAX_REQUEST_BYTES;
    use crate::event::{Event, Reason};

    #[test]
    fn is_read_back_as_written_and_checked() {
        let removal = Removal {
            domain: DomainName::new("news").unwrap(),
            request: "r1".to_owned(),
        };
        let written = Event::Remove(removal.clone()).to_json();
        let read = |bytes: &str, key| Removal::parse(bytes.as_bytes(), &Limits::default(), key);
        assert_eq!(read(&written, "news"), Ok(removal));
        let reason = |bytes: &str, key| read(bytes, key).unwrap_err().reason;
        assert_eq!(reason(&written, "blog"), Reason::DomainMismatch);
        assert_eq!(reason("{}", "news"), Reason::InvalidJson);
        let long = written.replace("r1", &"r".repeat(MAX_REQUEST_BYTES + 1));
        assert_eq!(reason(&long, "news"), Reason::InvalidField);
    }
}
