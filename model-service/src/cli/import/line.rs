//! Turns a record into a line of a batch, and finds its domain.

use kindred_shared::DomainName;
use kindred_shared::event::{Members, Reason, whole_characters, without_mark};

use super::split::{EXCERPT, Fault, MAX_RECORD, Record};

/// A line ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The domain.
    pub(crate) domain: DomainName,
    /// One line of JSON, without a line end.
    pub(crate) text: Vec<u8>,
}

/// Why a record is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The stable reason code.
    pub(crate) reason: Reason,
    /// What is wrong, and what would be right.
    pub(crate) detail: String,
}

/// Values for events that omit them.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    /// The domain of events without one.
    pub(crate) domain: Option<DomainName>,
}

/// Turns a record into a line.
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
    let text = std::str::from_utf8(without_mark(&record.text))
        .map_err(|error| refuse(Reason::InvalidJson, format!("not UTF-8: {error}")))?;
    if !text.starts_with('{') {
        return Err(refuse(
            Reason::InvalidJson,
            "an event is a JSON object, {…}".to_owned(),
        ));
    }
    let readable = whole_characters(text);
    let mut members = Members::read(&readable)
        .map_err(|error| refuse(Reason::InvalidJson, format!("not JSON: {error}")))?;
    let mut filled = text.as_bytes().to_vec();
    let domain = match members.take("domain") {
        Some(member) => {
            let name = member.text().ok_or_else(|| {
                refuse(Reason::InvalidDomain, "domain must be a string".to_owned())
            })?;
            DomainName::new(&name)
                .map_err(|error| refuse(Reason::InvalidDomain, error.to_string()))?
        }
        None => {
            let domain = defaults.domain.clone().ok_or_else(|| {
                refuse(
                    Reason::MissingField,
                    "the event names no domain; add one, or set one for all with --domain"
                        .to_owned(),
                )
            })?;
            add_domain(&mut filled, &domain);
            domain
        }
    };
    Ok(Line {
        domain,
        text: one_line(filled),
    })
}

/// Appends the domain to an object: the last value counts, even after a `null` of that name, and
/// the rest stays untouched.
fn add_domain(object: &mut Vec<u8>, domain: &DomainName) {
    while let Some(byte) = object.pop() {
        if byte == b'}' {
            break;
        }
    }
    let is_empty = object[1..].trim_ascii().is_empty();
    let separator = if is_empty { "" } else { "," };
    object.extend_from_slice(format!("{separator}\"domain\":\"{domain}\"}}").as_bytes());
}

/// Replaces line breaks between the tokens of an element by spaces; valid JSON has no other line
/// breaks.
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
    fn what_is_not_read_may_be_anything() {
        let deep = format!("{}{}", "[".repeat(400), "]".repeat(400));
        let odd = format!(r#""size":1e400,"tree":{deep},"title":"\ud83d","\udc00":1"#);
        for (text, line) in [
            (
                format!(r#"{{"domain":"a",{odd}}}"#),
                format!(r#"{{"domain":"a",{odd}}}"#),
            ),
            (
                format!("\u{feff}{{{odd} }} "),
                format!(r#"{{{odd} ,"domain":"d"}}"#),
            ),
            (
                format!(r#"{{"domain":"b","domain":"a",{odd}}}"#),
                format!(r#"{{"domain":"b","domain":"a",{odd}}}"#),
            ),
        ] {
            let record = Record {
                line: 1,
                text: text.clone().into_bytes(),
                fault: None,
            };
            let defaults = Defaults {
                domain: Some(DomainName::new("d").unwrap()),
            };
            let got = prepare(&record, &defaults).unwrap();
            assert_eq!(String::from_utf8(got.text).unwrap(), line);
            let expected = if line.contains("\"a\"") { "a" } else { "d" };
            assert_eq!(got.domain.as_str(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_no_server_can_take() {
        let table = [
            ("{", Reason::InvalidJson),
            ("[1]", Reason::InvalidJson),
            ("\"x\"", Reason::InvalidJson),
            (r#"{"a":1}{"#, Reason::InvalidJson),
            (r#"{"domain":"a","domain":"b c"}"#, Reason::InvalidDomain),
            (r#"{"domain":"a","size":1e}"#, Reason::InvalidJson),
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
