#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kindred_domain::material::{rows_of, tombstone};
use kindred_domain::store::{
    Content, DomainRow, Liveness, RemovalStage, Removed, SettingsRow, Write,
};
use kindred_shared::event::{Delete, Event, Limits, Upsert, parse};
use kindred_shared::{DomainName, ItemId, ModelName};

use super::reader::Entry;
use super::segments::{FOLDER, list};
use super::writer::LogWriter;
use super::{EventLog, Lines, LogReader, ReadError, Retention};

const LONG: Retention = Retention {
    age: Duration::from_secs(86_400),
    bytes: 16 << 20,
};

fn domain() -> DomainName {
    DomainName::new("news.test").unwrap()
}

fn upsert(id: &str, text: &str) -> Upsert {
    let line =
        format!(r#"{{"type":"item.updated","domain":"news.test","id":"{id}","text":"{text}"}}"#);
    match parse(line.as_bytes(), &Limits::default()).unwrap() {
        Event::Upsert(upsert) => *upsert,
        other => panic!("{other:?}"),
    }
}

fn deletion(version: u64) -> Event {
    Event::Delete(Delete {
        domain: domain(),
        id: ItemId::new("a").unwrap(),
        version: Some(version),
    })
}

fn lines(versions: impl IntoIterator<Item = u64>, at: DateTime<Utc>) -> Lines {
    let mut lines = Lines::default();
    for version in versions {
        lines.add(&deletion(version), at);
    }
    lines
}

fn read(data_dir: &Path, from: Option<DateTime<Utc>>) -> Vec<Entry> {
    let mut reader = LogReader::open(data_dir, from).unwrap();
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

fn versions(entries: &[Entry]) -> Vec<u64> {
    let version = |entry: &Entry| {
        let line = entry.line.as_deref().unwrap();
        let event = parse(line, &Limits::default()).unwrap();
        event.version().unwrap()
    };
    entries.iter().map(version).collect()
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}

fn bytes(data_dir: &Path) -> u64 {
    let segments = list(&folder(data_dir)).unwrap();
    let length = |path: &PathBuf| fs::metadata(path).unwrap().len();
    segments.iter().map(|segment| length(&segment.path)).sum()
}

fn last_segment(data_dir: &Path) -> PathBuf {
    list(&folder(data_dir)).unwrap().pop().unwrap().path
}

#[tokio::test]
async fn what_is_appended_is_read_again_and_continued() {
    let place = tempfile::tempdir().unwrap();
    let missing = LogReader::open(place.path(), None).unwrap_err();
    assert!(matches!(missing, ReadError::Missing(_)), "{missing}");
    assert!(missing.to_string().contains("log_retention"), "{missing}");
    let now = Utc::now();
    for (round, expected) in [(0, 2), (1, 4)] {
        let log = EventLog::open(place.path(), LONG).unwrap();
        log.append(lines([10 * round + 1, 10 * round + 2], now))
            .await
            .unwrap();
        assert_eq!(log.trouble(), None);
        drop(log);
        let entries = read(place.path(), None);
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, (1..=expected).collect::<Vec<u64>>());
        let at = entries[0].at.unwrap();
        assert!((at - now).abs() < TimeDelta::milliseconds(2), "{at} {now}");
    }
    assert_eq!(versions(&read(place.path(), None)), [1, 2, 11, 12]);
}

#[test]
fn a_line_that_a_crash_cut_short_is_removed_and_nothing_else() {
    let now = Utc::now();
    let whole = lines(1..=3, now).text;
    let all = lines(1..=4, now).text;
    // Wherever the fourth line ends, and with what a disk may have instead of it.
    for torn in whole.len()..all.len() {
        for zeros in [0, 512] {
            let place = tempfile::tempdir().unwrap();
            drop(LogWriter::open(folder(place.path()), LONG).unwrap());
            let mut left = all[..torn].to_vec();
            left.extend(std::iter::repeat_n(0, zeros));
            fs::write(last_segment(place.path()), left).unwrap();
            assert_eq!(versions(&read(place.path(), None)), [1, 2, 3]);
            let mut writer = LogWriter::open(folder(place.path()), LONG).unwrap();
            writer.append(&lines([5], now), now).unwrap();
            let entries = read(place.path(), None);
            assert_eq!(versions(&entries), [1, 2, 3, 5], "torn at {torn}");
            assert_eq!(entries[3].number, 4);
        }
    }
}

#[test]
fn the_oldest_are_dropped_by_size() {
    let place = tempfile::tempdir().unwrap();
    let retention = Retention {
        bytes: 1 << 20,
        ..LONG
    };
    let now = Utc::now();
    let mut writer = LogWriter::open(folder(place.path()), retention).unwrap();
    for round in 0..400 {
        writer
            .append(&lines(round * 100..round * 100 + 100, now), now)
            .unwrap();
        assert!(bytes(place.path()) <= retention.bytes, "round {round}");
    }
    let left = versions(&read(place.path(), None));
    let last = *left.last().unwrap();
    assert_eq!(last, 39_999);
    assert!(left.is_sorted() && left.len() as u64 == last - left[0] + 1);
    assert!(
        bytes(place.path()) > retention.bytes / 16 * 13,
        "no more is dropped than must be: {}",
        bytes(place.path())
    );
    // Numbers go on where segments are gone.
    assert_eq!(read(place.path(), None)[0].number, left[0] + 1);
    drop(writer);
    let writer = LogWriter::open(folder(place.path()), retention).unwrap();
    assert_eq!(versions(&read(place.path(), None)), left);
    drop(writer);
}

#[test]
fn the_oldest_are_dropped_by_age_also_while_nothing_is_appended() {
    let place = tempfile::tempdir().unwrap();
    let retention = Retention {
        age: Duration::from_secs(1_600),
        ..LONG
    };
    // Times of lines have milliseconds.
    let begun = DateTime::from_timestamp(1_795_424_400, 0).unwrap();
    let after = |seconds: i64| begun + TimeDelta::seconds(seconds);
    let mut writer = LogWriter::open(folder(place.path()), retention).unwrap();
    for minute in 0..100 {
        let now = after(i64::try_from(minute).unwrap() * 60);
        writer.append(&lines([minute], now), now).unwrap();
    }
    let left = read(place.path(), None);
    let oldest = left[0].at.unwrap();
    let last = after(99 * 60);
    assert!(last - oldest <= TimeDelta::seconds(1_600 + 200), "{oldest}");
    assert!(last - oldest >= TimeDelta::seconds(1_500), "{oldest}");
    // From a time on: what is before it may be read only as far as its segment reaches.
    let some = read(place.path(), Some(after(90 * 60)));
    assert!(some.len() < left.len() && versions(&some).contains(&90));
    assert!(
        some.iter()
            .filter(|entry| entry.at >= Some(after(90 * 60)))
            .count()
            == 10
    );
    // A day later, with the first append.
    let later = after(86_400);
    writer.append(&lines([1_000], later), later).unwrap();
    assert_eq!(versions(&read(place.path(), None)), [1_000]);
}

#[test]
fn a_commit_is_logged_as_the_events_that_make_it() {
    let now = Utc::now();
    let (row, content) = rows_of(&upsert("a", "first"), 7, now);
    let (second, of_second) = rows_of(&upsert("b", "second"), 8, now);
    let gone = |id: &str, liveness| tombstone(ItemId::new(id).unwrap(), 9, liveness, now);
    let removed = |stage| DomainRow {
        domain: domain(),
        model: ModelName::new("text-2").unwrap(),
        partition: 0,
        registered_at: now,
        dirty: Some(1),
        live: 0,
        visible: 0,
        next_expiry: None,
        removal: Some(Removed {
            request: "r1".to_owned(),
            at: now,
            stage,
        }),
    };
    let mut settings = SettingsRow::default();
    settings.settings.across_languages = Some(true);
    let writes = [
        Write::Domain(removed(RemovalStage::Sweeping)),
        Write::Domain(removed(RemovalStage::Done)),
        Write::Settings(settings),
        Write::Content(row.id.clone(), content),
        Write::DeleteFeatures(row.id.clone()),
        Write::Item(row),
        Write::Content(second.id.clone(), of_second),
        Write::Item(second.clone()),
        Write::Content(ItemId::new("other").unwrap(), Content::default()),
        // Its text is not written with it: only what was derived from it changes.
        Write::Item(second),
        Write::Item(gone("c", Liveness::Deleted)),
        // The upsert before says when it expires.
        Write::Item(gone("d", Liveness::Expired)),
    ];
    let mut told = HashMap::new();
    let lines = Lines::of(&domain(), &writes, now, &mut told);
    let said: Vec<serde_json::Value> = String::from_utf8(lines.text)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let types: Vec<&str> = said
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "domain.deleted",
            "domain.configured",
            "item.updated",
            "item.updated",
            "item.deleted"
        ]
    );
    assert_eq!(lines.count, 5);
    assert_eq!(said[0]["request"], "r1");
    assert_eq!(said[1]["settings"]["across_languages"], true);
    assert_eq!(
        (&said[2]["id"], &said[2]["version"]),
        (&"a".into(), &7.into())
    );
    assert_eq!(said[2]["text"], "first");
    assert_eq!(
        (&said[3]["id"], &said[3]["version"]),
        (&"b".into(), &8.into())
    );
    assert_eq!(
        (&said[4]["id"], &said[4]["version"]),
        (&"c".into(), &9.into())
    );
    // The row of settings is also written for other reasons.
    let again = Lines::of(&domain(), &writes[2..3], now, &mut told);
    assert!(again.is_empty(), "{again:?}");
}
