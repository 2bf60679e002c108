//! From a record to a line of a batch: which domain it is for.

use kindred_shared::DomainName;
use kindred_shared::event::Reason;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::split::{EXCERPT, Fault, MAX_RECORD, Record};

/// A line ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Whom it is for.
    pub(crate) domain: DomainName,
    /// One line of JSON, without its end.
    pub(crate) text: Vec<u8>,
}

/// Why a record is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The stable word.
    pub(crate) reason: Reason,
    /// What is wrong and what would be right.
    pub(crate) detail: String,
}

/// What import reads of an event; the server checks the rest.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    domain: Option<&'a RawValue>,
}

/// What is filled in where an event says nothing.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    /// The domain of events without one.
    pub(crate) domain: Option<DomainName>,
}

/// Makes a line of a record.
pub(crate) fn prepare(record: &Record, defaults: &Defaults) -> Result<Line, Unreadable> {
    if let Some(fault) = record.fault {
        return Err(match fault {
            Fault::TooLong => refuse(
                Reason::TooLarge,
                format!(
                    "an event is at most {MAX_RECORD} bytes; shorten its text (only its first {EXCERPT} bytes are kept here)"
                ),
            ),
            Fault::OpenArray => refuse(
                Reason::InvalidJson,
                "the array ends before its closing bracket; the file may be cut off".to_owned(),
            ),
            Fault::AfterArray => refuse(
                Reason::InvalidJson,
                "something follows the end of the array; use one array or NDJSON".to_owned(),
            ),
        });
    }
    let text = std::str::from_utf8(&record.text)
        .map_err(|error| refuse(Reason::InvalidJson, format!("not UTF-8: {error}")))?;
    if !text.starts_with('{') {
        return Err(refuse(
            Reason::InvalidJson,
            "an event is a JSON object, {…}".to_owned(),
        ));
    }
    let head: Head<'_> = serde_json::from_str(text)
        .map_err(|error| refuse(Reason::InvalidJson, format!("not JSON: {error}")))?;

    let domain = match &head.domain {
        Some(raw) => {
            let name: String = serde_json::from_str(raw.get())
                .map_err(|_| refuse(Reason::InvalidDomain, "domain must be a string".to_owned()))?;
            DomainName::new(&name)
                .map_err(|error| refuse(Reason::InvalidDomain, error.to_string()))?
        }
        None => defaults.domain.clone().ok_or_else(|| {
            refuse(
                Reason::MissingField,
                "there is no domain; add one, or name one for all with --domain".to_owned(),
            )
        })?,
    };
    let mut missing = Vec::new();
    if head.domain.is_none() {
        missing.push(("domain", format!("\"{domain}\"")));
    }
    Ok(Line {
        domain,
        text: one_line(fill_in(text, &missing)?),
    })
}

/// Adds members to an object. A member that is there as `null` is replaced.
fn fill_in(text: &str, members: &[(&str, String)]) -> Result<Vec<u8>, Unreadable> {
    if members.is_empty() {
        return Ok(text.as_bytes().to_vec());
    }
    if members
        .iter()
        .any(|(name, _)| text.contains(&format!("\"{name}\"")))
    {
        // Perhaps only in a text; telling is what the slow way is for.
        let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)
            .map_err(|error| refuse(Reason::InvalidJson, format!("not JSON: {error}")))?;
        for (name, value) in members {
            let value = serde_json::from_str(value).unwrap_or_default();
            object.insert((*name).to_owned(), value);
        }
        return Ok(serde_json::Value::Object(object).to_string().into_bytes());
    }
    let rest = &text[1..];
    let mut filled = vec![b'{'];
    for (at, (name, value)) in members.iter().enumerate() {
        let separator = if at == 0 { "" } else { "," };
        filled.extend_from_slice(format!("{separator}\"{name}\":{value}").as_bytes());
    }
    if !rest.trim_ascii_start().starts_with('}') {
        filled.push(b',');
    }
    filled.extend_from_slice(rest.as_bytes());
    Ok(filled)
}

/// Line breaks between the tokens of an element become spaces; valid JSON has no others.
fn one_line(mut text: Vec<u8>) -> Vec<u8> {
    for byte in &mut text {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    text
}

fn refuse(reason: Reason, detail: String) -> Unreadable {
    Unreadable { reason, detail }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    fn prepared(text: &str, domain: Option<&str>) -> Result<(String, serde_json::Value), Reason> {
        let record = Record {
            line: 1,
            text: text.as_bytes().to_vec(),
            fault: None,
        };
        let defaults = Defaults {
            domain: domain.map(|name| DomainName::new(name).unwrap()),
        };
        prepare(&record, &defaults)
            .map(|line| {
                let text = String::from_utf8(line.text).unwrap();
                assert!(!text.contains('\n'));
                (
                    line.domain.to_string(),
                    serde_json::from_str(&text).unwrap(),
                )
            })
            .map_err(|unreadable| unreadable.reason)
    }

    #[test]
    fn fills_in_what_is_missing() {
        use serde_json::json;
        let table = [
            (
                r#"{"domain":"a","version":1}"#,
                json!({"domain":"a","version":1}),
            ),
            (r#"{"domain":"a"}"#, json!({"domain":"a"})),
            ("{\n \"x\":1\n}", json!({"domain":"d","x":1})),
            ("{ }", json!({"domain":"d"})),
            (
                r#"{"domain":null,"version":null,"text":"the \"version\" of"}"#,
                json!({"domain":"d","version":null,"text":"the \"version\" of"}),
            ),
            (
                r#"{"domain":"a","text":"\"version\""}"#,
                json!({"domain":"a","text":"\"version\""}),
            ),
        ];
        for (text, expected) in table {
            let (domain, value) = prepared(text, Some("d")).unwrap();
            assert_eq!(value, expected, "{text}");
            assert_eq!(value["domain"], domain.as_str());
        }
    }

    #[test]
    fn refuses_what_no_server_can_take() {
        let table = [
            ("{", Reason::InvalidJson),
            ("[1]", Reason::InvalidJson),
            ("\"x\"", Reason::InvalidJson),
            (r#"{"a":1}{"#, Reason::InvalidJson),
            (r#"{"domain":"a","domain":"b"}"#, Reason::InvalidJson),
            (r#"{"id":"a"}"#, Reason::MissingField),
            (r#"{"domain":null}"#, Reason::MissingField),
            (r#"{"domain":5}"#, Reason::InvalidDomain),
            (r#"{"domain":"a b"}"#, Reason::InvalidDomain),
        ];
        for (text, reason) in table {
            assert_eq!(prepared(text, None), Err(reason), "{text}");
        }
    }
}
