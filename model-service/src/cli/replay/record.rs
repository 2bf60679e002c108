//! An entry of a log: a message of the stream, or a line of a file.

use std::borrow::Cow;

use kindred_shared::DomainName;
use kindred_shared::event::{
    CONFIGURED, Configure, Event, Limits, MODELLED, Modelled, RECORDED, REMOVED, Reason, Recorded,
    Refusal, Removal, parse, parse_for,
};
use serde::Deserialize;

/// An entry, in its place.
#[derive(Debug)]
pub(super) struct Record {
    /// Its place in the log: the offset in the stream, or the number of the line. Places rise.
    pub(super) place: u64,
    /// Its domain, as far as that is known.
    pub(super) domain: Option<DomainName>,
    pub(super) said: Said,
}

/// What an entry says.
#[derive(Debug)]
pub(super) enum Said {
    /// An event of an item.
    Item(Event),
    /// New settings of the domain.
    Settings(Box<Configure>),
    /// The domain was deleted.
    Removal,
    /// Something about its models or experiments.
    Other,
    /// It cannot be read.
    Unreadable(Unreadable),
}

/// Why an entry cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// A stable word.
    pub(super) reason: &'static str,
    /// What is wrong.
    pub(super) detail: String,
}

impl From<Refusal> for Unreadable {
    fn from(refusal: Refusal) -> Self {
        Self {
            reason: refusal.reason.word(),
            detail: refusal.detail,
        }
    }
}

/// A message of the stream.
pub(super) struct Message<'a> {
    pub(super) key: &'a str,
    /// Its type.
    pub(super) kind: Option<&'a str>,
    /// Whether the user of the model services sent it, as the broker has verified.
    pub(super) is_ours: bool,
    pub(super) body: &'a [u8],
}

impl Record {
    /// A message of the stream; read as model services read it.
    pub(super) fn of_message(place: u64, message: &Message<'_>, limits: &Limits) -> Self {
        Self {
            place,
            domain: DomainName::new(message.key).ok(),
            said: of_message(message, limits).unwrap_or_else(unreadable),
        }
    }

    /// A line of a file; `None`: it is too long.
    pub(super) fn of_line(place: u64, line: Option<&[u8]>, limits: &Limits) -> Self {
        let said = match line {
            Some(line) => of_line(line, limits),
            None => Err(Refusal::new(Reason::TooLarge, None, "the line is too long")),
        };
        let (domain, said) = match said {
            Ok((domain, said)) => (Some(domain), said),
            Err(refusal) => (None, unreadable(refusal)),
        };
        Self {
            place,
            domain,
            said,
        }
    }
}

fn unreadable(refusal: Refusal) -> Said {
    Said::Unreadable(refusal.into())
}

fn of_message(message: &Message<'_>, limits: &Limits) -> Result<Said, Refusal> {
    let (key, body) = (message.key, message.body);
    let Some(kind @ (CONFIGURED | MODELLED | RECORDED | REMOVED)) = message.kind else {
        return parse_for(body, limits, key).map(Said::Item);
    };
    if !message.is_ours {
        let detail = format!("a message of type {kind} that the model services' user did not send");
        return Err(Refusal::new(Reason::UnknownType, Some("type"), detail));
    }
    Ok(match kind {
        CONFIGURED => Said::Settings(Box::new(Configure::parse(body, limits, key)?)),
        MODELLED => {
            Modelled::parse(body, limits, key)?;
            Said::Other
        }
        RECORDED => {
            Recorded::parse(body, limits, key)?;
            Said::Other
        }
        _ => {
            Removal::parse(body, limits, key)?;
            Said::Removal
        }
    })
}

/// What tells events about a domain from those about items.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    domain: Option<Cow<'a, str>>,
}

fn of_line(line: &[u8], limits: &Limits) -> Result<(DomainName, Said), Refusal> {
    // A line says more than its event did: when it was logged, and its version.
    let limits = &Limits {
        message_bytes: usize::MAX,
        ..*limits
    };
    let head: Head<'_> = serde_json::from_slice(line)
        .map_err(|error| Refusal::new(Reason::InvalidJson, None, error.to_string()))?;
    let key = head.domain.as_deref().unwrap_or_default();
    Ok(match head.r#type.as_deref() {
        Some(CONFIGURED) => {
            let configure = Configure::parse(line, limits, key)?;
            (
                configure.domain.clone(),
                Said::Settings(Box::new(configure)),
            )
        }
        Some(REMOVED) => (Removal::parse(line, limits, key)?.domain, Said::Removal),
        _ => {
            let event = parse(line, limits)?;
            (event.domain().clone(), Said::Item(event))
        }
    })
}
