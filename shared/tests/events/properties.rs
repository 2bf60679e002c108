//! Properties of every event and of arbitrary bytes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kindred_shared::event::{
    Delete, Event, Limits, MAX_VECTOR, MAX_VECTORS, MAX_VERSION, Reason, Upsert, UpsertKind, parse,
    parse_for, parse_item,
};
use kindred_shared::{DomainName, ItemId, VectorName};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

fn domain() -> impl Strategy<Value = DomainName> {
    let name = "[A-Za-z0-9._-]{1,128}".prop_filter("not a step of a path", |name| {
        !matches!(name.as_str(), "." | "..")
    });
    name.prop_map(|name| DomainName::new(&name).unwrap())
}

fn id() -> impl Strategy<Value = ItemId> {
    r"[^\p{Cc}]{1,64}".prop_map(|id| ItemId::new(&id).unwrap())
}

fn version() -> impl Strategy<Value = Option<u64>> {
    option::of(prop_oneof![Just(0), Just(MAX_VERSION), 0..=MAX_VERSION])
}

fn text() -> impl Strategy<Value = Option<String>> {
    option::of(any::<String>())
}

fn time() -> impl Strategy<Value = Option<DateTime<Utc>>> {
    // The years 0000 to 9999, the range of RFC 3339.
    let seconds = -62_167_219_200_i64..=253_402_300_799;
    option::of((seconds, 0..1_000_000_000_u32)).prop_map(|time| {
        time.map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).unwrap())
    })
}

fn vector() -> impl Strategy<Value = Option<Vec<f32>>> {
    use proptest::num::f32::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    option::of(vec(POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO, 1..40)).prop_map(|vector| {
        vector.map(|mut vector| {
            if vector.iter().all(|&value| value == 0.0) {
                vector[0] = 0.1;
            }
            vector
        })
    })
}

fn vectors() -> impl Strategy<Value = BTreeMap<VectorName, Vec<f32>>> {
    let name = "[a-z0-9-]{1,56}".prop_filter("not the item's own", |name| name != "own");
    let name = name.prop_map(|name| VectorName::new(&name).unwrap());
    let one = vector().prop_map(|vector| vector.unwrap_or_else(|| vec![1.0]));
    btree_map(name, one, 0..MAX_VECTORS)
}

fn upsert() -> impl Strategy<Value = Event> {
    let names = (prop::bool::ANY, domain(), id(), version());
    let texts = (
        text(),
        text(),
        text(),
        text(),
        option::of("[a-z]{2,3}"),
        text(),
    );
    let rest = (
        btree_set(any::<String>(), 0..4),
        time(),
        time(),
        time(),
        prop::bool::ANY,
        (vector(), vectors()),
        btree_map(any::<String>(), any::<String>(), 0..4),
    );
    (names, texts, rest).prop_map(|(names, texts, rest)| {
        let (created, domain, id, version) = names;
        let (title, text, url, image, language, group) = texts;
        let (categories, published_at, publish_at, expires_at, hidden, vectors, attributes) = rest;
        let (vector, vectors) = vectors;
        let publish_at =
            publish_at.filter(|at| expires_at.is_none_or(|expires_at| *at < expires_at));
        let no_vector = vector.is_none() && vectors.is_empty();
        let nothing = title.is_none() && text.is_none() && no_vector;
        Event::Upsert(Box::new(Upsert {
            kind: if created {
                UpsertKind::Created
            } else {
                UpsertKind::Updated
            },
            domain,
            id,
            title: if nothing { Some(String::new()) } else { title },
            text,
            url,
            image,
            language,
            group,
            categories,
            published_at,
            publish_at,
            expires_at,
            hidden,
            version,
            vector,
            vectors,
            attributes,
        }))
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => upsert(),
        1 => (domain(), id(), version()).prop_map(|(domain, id, version)| Event::Delete(Delete {
            domain,
            id,
            version
        })),
    ]
}

/// Parses by every entry point; a refusal must have a message.
fn check_every_way(bytes: &[u8]) -> Result<(), TestCaseError> {
    let limits = Limits::default();
    let domain = DomainName::new("a").unwrap();
    let id = ItemId::new("b").unwrap();
    let read = [
        parse_for(bytes, &limits, "a"),
        parse_item(bytes, &limits, &domain, &id),
        parse(bytes, &limits),
    ];
    for refusal in read.iter().filter_map(|read| read.as_ref().err()) {
        prop_assert!(!refusal.detail.is_empty());
        prop_assert!(refusal.detail.len() < 1000, "{}", refusal.detail);
        prop_assert!(!refusal.detail.contains(char::is_control));
        prop_assert!(refusal.field.as_deref() != Some(""));
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(event in event()) {
        let json = event.to_json();
        prop_assert_eq!(parse(json.as_bytes(), &Limits::default()), Ok(event.clone()), "{}", &json);
        let key = event.domain().as_str();
        prop_assert_eq!(parse_for(json.as_bytes(), &Limits::default(), key), Ok(event.clone()));
        if let Event::Upsert(_) = event {
            let put = parse_item(json.as_bytes(), &Limits::default(), event.domain(), event.id().expect("about an item"));
            prop_assert_eq!(put, Ok(event));
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..300)) {
        check_every_way(&bytes)?;
    }

    #[test]
    fn events_with_bytes_overwritten_are_answered(
        event in event(),
        edits in vec((any::<prop::sample::Index>(), prop_oneof![
            any::<u8>(),
            prop::sample::select(b"{}[]\",:\\0-9eE.nutf".to_vec()),
        ]), 1..8),
    ) {
        let mut bytes = event.to_json().into_bytes();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check_every_way(&bytes)?;
    }

    #[test]
    fn events_with_any_value_in_a_field_are_answered(
        event in event(),
        field in prop::sample::select(vec![
            "type", "domain", "id", "title", "text", "url", "language", "group", "categories",
            "published_at", "publish_at", "image", "expires_at", "hidden", "version", "vector", "vectors", "attributes",
            "new",
        ]),
        value in any_json(),
    ) {
        let mut written: Value = serde_json::from_str(&event.to_json()).unwrap();
        written[field] = value;
        check_every_way(written.to_string().as_bytes())?;
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

#[test]
fn vectors_up_to_the_longest_are_taken() {
    let event = |length: usize| {
        let vector = vec![0.5; length];
        json!({"type": "item.created", "domain": "a", "id": "b", "vector": vector}).to_string()
    };
    let read = |length| parse(event(length).as_bytes(), &Limits::default());
    assert!(read(MAX_VECTOR).is_ok());
    let refusal = read(MAX_VECTOR + 1).unwrap_err();
    assert_eq!(refusal.reason, Reason::InvalidVector);
    assert!(refusal.detail.contains("4097"), "{}", refusal.detail);
}

#[test]
fn vectors_are_named_and_few() {
    let read = |fields: Value| {
        let mut event = json!({"type": "item.created", "domain": "a", "id": "b"});
        event
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        parse(event.to_string().as_bytes(), &Limits::default())
    };
    let taken = |fields: Value| match read(fields) {
        Ok(Event::Upsert(upsert)) => (upsert.vector, upsert.vectors),
        other => panic!("{other:?}"),
    };
    let named = |count: usize| -> serde_json::Map<String, Value> {
        (0..count)
            .map(|n| (format!("v{n}"), json!([n, 1])))
            .collect()
    };
    let (own, all) = taken(json!({"vectors": named(8)}));
    assert_eq!((own, all.len()), (None, 8));
    // `vector` is the one named `own`.
    let own = Some(vec![1.0, 2.0]);
    assert_eq!(
        taken(json!({"vectors": {"own": [1, 2], "x": null}})),
        (own, BTreeMap::new())
    );
    let (own, all) = taken(json!({"vector": [1], "vectors": named(7)}));
    assert_eq!((own, all.len()), (Some(vec![1.0]), 7));
    assert_eq!(
        taken(json!({"title": "t", "vectors": null})),
        (None, BTreeMap::new())
    );

    for (fields, reason, field) in [
        (json!({"vectors": named(9)}), Reason::TooLarge, "vectors"),
        (
            json!({"vector": [1], "vectors": named(8)}),
            Reason::TooLarge,
            "vectors",
        ),
        (json!({"vectors": [[1]]}), Reason::InvalidVector, "vectors"),
        (
            json!({"vectors": {"Clip": [1]}}),
            Reason::InvalidVector,
            "vectors.Clip",
        ),
        (
            json!({"vectors": {"": [1]}}),
            Reason::InvalidVector,
            "vectors.",
        ),
        (
            json!({"vectors": {"a": 1}}),
            Reason::InvalidVector,
            "vectors.a",
        ),
        (
            json!({"vectors": {"a": []}}),
            Reason::InvalidVector,
            "vectors.a",
        ),
        (
            json!({"vectors": {"a": [0, -0.0]}}),
            Reason::InvalidVector,
            "vectors.a",
        ),
        (
            json!({"vectors": {"a": [1, 1e39]}}),
            Reason::InvalidVector,
            "vectors.a[1]",
        ),
        (
            json!({"vectors": {"a": [1, null]}}),
            Reason::InvalidVector,
            "vectors.a[1]",
        ),
        (
            json!({"vectors": {"a": vec![1; MAX_VECTOR + 1]}}),
            Reason::InvalidVector,
            "vectors.a",
        ),
        (
            json!({"vector": [1], "vectors": {"own": [1]}}),
            Reason::InvalidVector,
            "vectors.own",
        ),
        (
            json!({"vectors": {}}),
            Reason::MissingField,
            "title, text, vector",
        ),
    ] {
        let refusal = read(fields.clone()).unwrap_err();
        let found = (refusal.reason, refusal.field.as_deref());
        assert_eq!(found, (reason, Some(field)), "{fields}: {refusal}");
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for open in ["[", "{\"a\":"] {
        let bytes = open.repeat(100_000);
        let refusal = parse(bytes.as_bytes(), &Limits::default()).unwrap_err();
        assert_eq!(refusal.reason, Reason::InvalidJson);
    }
}
