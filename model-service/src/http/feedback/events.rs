//! The events of a body: one array, or one event per line. They are read one at a time, and fields that Kindred does
//! not know take no memory.

use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;

use kindred_domain::experiment::feedback::Feedback;
use kindred_shared::event::{Reason, Refusal, whole_characters, without_mark};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Most bytes of an event's fields: names are short.
const EVENT_BYTES: usize = 64 << 10;

/// Receives each event, with its line or its place in the array, counted from 1. Nothing is read after a break.
pub(super) type Take<'a> = &'a mut dyn FnMut(u64, Result<Value, Refusal>) -> ControlFlow<()>;

/// Reads the events of a body.
///
/// # Errors
/// When the array is malformed; the events before the fault have been passed on.
pub(super) fn read_events(body: &[u8], take: Take<'_>) -> Result<(), Refusal> {
    let body = without_mark(body);
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return read_array(body, take);
    }
    for (number, line) in (1..).zip(body.split(|byte| *byte == b'\n')) {
        let is_empty = line.trim_ascii().is_empty();
        if !is_empty && take(number, read_line(line)).is_break() {
            break;
        }
    }
    Ok(())
}

fn read_array(body: &[u8], take: Take<'_>) -> Result<(), Refusal> {
    let mut is_enough = false;
    let array = Array {
        take,
        is_enough: &mut is_enough,
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = array.deserialize(&mut json).and_then(|()| json.end());
    match read {
        // Breaking off in the middle is an error for the parser.
        Err(error) if !is_enough => {
            let detail = format!("Send an array of events, or one event per line: {error}.");
            Err(Refusal::new(Reason::InvalidJson, None, detail))
        }
        _ => Ok(()),
    }
}

fn read_line(line: &[u8]) -> Result<Value, Refusal> {
    match std::str::from_utf8(line) {
        Ok(line) => read_event(line),
        Err(error) => Err(no_object(&error)),
    }
}

/// The fields of an event. A value other than a text or a number is replaced by an empty array, which is valid for no
/// field.
fn read_event(json: &str) -> Result<Value, Refusal> {
    let json = whole_characters(json);
    let mut json = serde_json::Deserializer::from_str(&json);
    let Fields { known, bytes } = json
        .deserialize_map(EventVisitor)
        .and_then(|fields| json.end().map(|()| fields))
        .map_err(|error| no_object(&error))?;
    if bytes > EVENT_BYTES {
        let detail = format!(
            "the fields of the event have {bytes} bytes; the limit is \
        {EVENT_BYTES}"
        );
        return Err(Refusal::new(Reason::TooLarge, None, detail));
    }
    Ok(Value::Object(known))
}

fn no_object(error: &dyn fmt::Display) -> Refusal {
    let detail = format!("send one JSON object per line: {error}");
    Refusal::new(Reason::InvalidJson, None, detail)
}

struct Array<'t, 'e> {
    take: Take<'t>,
    is_enough: &'e mut bool,
}

impl<'de> DeserializeSeed<'de> for Array<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Array<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        for number in 1.. {
            let Some(event) = events.next_element::<&RawValue>()? else {
                break;
            };
            if (self.take)(number, read_event(event.get())).is_break() {
                *self.is_enough = true;
                break;
            }
        }
        Ok(())
    }
}

/// The known fields of an event, and how many bytes they had.
struct Fields {
    known: Map<String, Value>,
    bytes: usize,
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Fields, A::Error> {
        let mut fields = Fields {
            known: Map::new(),
            bytes: 0,
        };
        while let Some(Name(name)) = members.next_key()? {
            if !Feedback::FIELDS.contains(&&*name) {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            let json = members.next_value::<&RawValue>()?.get();
            fields.bytes += json.len();
            let is_read = !json.starts_with(['[', '{']) && json.len() <= EVENT_BYTES;
            let value = is_read.then(|| serde_json::from_str(json).ok()).flatten();
            let value = value.unwrap_or(Value::Array(Vec::new()));
            // If a field is repeated, the last one counts.
            fields.known.insert(name.into_owned(), value);
        }
        Ok(fields)
    }
}

/// A name; borrowed unless it contains an escape.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Which events there are, and whether each is an object.
    fn numbers(body: &str) -> Vec<(u64, bool)> {
        let mut numbers = Vec::new();
        let mut take = |number, event: Result<Value, Refusal>| {
            numbers.push((number, event.is_ok()));
            ControlFlow::Continue(())
        };
        read_events(body.as_bytes(), &mut take).expect("events");
        numbers
    }

    #[test]
    fn events_are_of_an_array_or_one_a_line() {
        assert_eq!(numbers(""), []);
        assert_eq!(
            numbers("{}\n\n{\r\n {\"a\":1}\n{} {}"),
            [(1, true), (3, false), (4, true), (5, false)]
        );
        assert_eq!(numbers(" [{},\n1]"), [(1, true), (2, false)]);
        assert_eq!(numbers("\u{feff}[]"), []);
        for bad in ["[{}", "[{}] {}", "[{},]", "[{\"a\":}]"] {
            let mut take = |_: u64, _: Result<Value, Refusal>| ControlFlow::Continue(());
            let refused = read_events(bad.as_bytes(), &mut take).expect_err(bad);
            assert_eq!(refused.reason, Reason::InvalidJson, "{bad}");
        }
    }

    #[test]
    fn nothing_is_read_after_a_break() {
        // What follows is not even JSON.
        for body in ["[{},{},{},}", "{}\n{}\n{}\n{"] {
            let mut taken = 0;
            let mut take = |number, event: Result<Value, Refusal>| {
                assert!(event.is_ok());
                taken += 1;
                match number {
                    3 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            };
            assert_eq!(read_events(body.as_bytes(), &mut take), Ok(()));
            assert_eq!(taken, 3, "{body}");
        }
    }

    #[test]
    fn of_an_event_its_fields_are_read_and_nothing_else() {
        let read = |json: &str| read_event(json).expect("an object");
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let json = format!(
            r#"{{"more":{deep},"arm":{deep},"item":"\ud83d","position":3,"from":null,"at":1e400}}"#
        );
        let expected =
            json!({"arm": [], "item": "\u{fffd}", "position": 3, "from": null, "at": []});
        assert_eq!(read(&json), expected);
        assert_eq!(
            read(r#"{"arm":{"a":1},"\u0061rm":"b"}"#),
            json!({"arm": "b"})
        );
        let long = format!(r#"{{"event":"{}"}}"#, "e".repeat(EVENT_BYTES));
        let refused = read_event(&long).expect_err("too long");
        assert_eq!(refused.reason, Reason::TooLarge);
    }
}
