#![allow(clippy::unwrap_used)] // a test may panic

use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{TimeZone, Utc};
use kindred_shared::event::{CONFIGURED, Event, Limits, MAX_VERSION, MODELLED, REMOVED, parse};
use kindred_shared::{DomainName, ItemId};

use super::Present;
use super::judge::{Judge, SettingsRule, Step};
use super::pace::Pace;
use super::plan::Plan;
use super::record::{Message, Record, Said};
use super::since::Since;
use super::state::{State, Task};
use super::target::Target;
use super::versions::{FIRST, Versions};
use crate::cli::state_file::StateFile;

fn name(domain: &str) -> DomainName {
    DomainName::new(domain).unwrap()
}

fn event(line: &str) -> Event {
    parse(line.as_bytes(), &Limits::default()).unwrap()
}

fn put(id: &str, version: Option<u64>) -> String {
    let version = version.map_or_else(String::new, |version| format!(r#","version":{version}"#));
    format!(r#"{{"type":"item.updated","domain":"news","id":"{id}","title":"t"{version}}}"#)
}

/// A message to the domain `news`, of the model services' own user.
fn message(place: u64, kind: Option<&str>, body: &str) -> Record {
    let message = Message {
        key: "news",
        kind,
        is_ours: true,
        body: body.as_bytes(),
    };
    Record::of_message(place, &message, &Limits::default())
}

fn settings(request: &str, settings: &str) -> String {
    format!(r#"{{"domain":"news","request":"{request}","settings":{settings}}}"#)
}

fn plan_of(records: impl IntoIterator<Item = Record>, undelete: bool) -> Plan {
    let mut plan = Plan::new(None, undelete);
    records.into_iter().for_each(|record| plan.add(record));
    plan
}

#[test]
fn a_beginning_is_start_a_time_or_a_date() {
    let at = |h, m| Since::Time(Utc.with_ymd_and_hms(2026, 11, 23, h, m, 0).unwrap());
    for (text, expected) in [
        ("start", Since::Start),
        ("2026-11-23T09:00:00Z", at(9, 0)),
        (" 2026-11-23T09:30:00.000+01:30", at(8, 0)),
        ("2026-11-23", at(0, 0)),
    ] {
        let since = Since::parse(text).unwrap();
        assert_eq!(since, expected, "{text}");
        assert_eq!(Since::parse(&since.to_string()), Ok(since), "{text}");
    }
    for refused in [
        "",
        "now",
        "Start",
        "yesterday",
        "2h",
        "2026-13-01",
        "2026-11-23 09:00",
        "1969-12-31",
    ] {
        let words = Since::parse(refused).unwrap_err();
        assert!(words.contains("2026-11-23T09:00:00Z"), "{words}");
    }
}

#[test]
fn what_has_a_slash_is_a_directory() {
    assert_eq!(
        Target::parse("rebuilt"),
        Ok(Target::Keyspace("rebuilt".to_owned()))
    );
    assert_eq!(
        Target::parse("./rebuilt/"),
        Ok(Target::DataDir("./rebuilt/".into()))
    );
    let words = Target::parse("kindred-data").unwrap_err();
    assert!(words.contains("./kindred-data"), "{words}");
    let file = |text: &str| Target::parse(text).unwrap().state_file();
    assert_eq!(file("rebuilt"), Path::new("rebuilt.replay.json"));
    assert_eq!(
        file("/data/rebuilt/"),
        Path::new("/data/rebuilt.replay.json")
    );
}

#[test]
fn events_without_a_version_get_one_that_rises_with_their_place_and_is_the_same_each_time() {
    let events = [
        put("a", None),
        put("a", None),
        // A counter of a publisher, as when the event was accepted, is older than any time.
        put("b", None),
        put("b", Some(7)),
        // Above the version that came before.
        put("c", Some(1_795_424_400_000)),
        put("c", None),
        put("c", Some(1_795_424_400_000)),
        put("d", Some(MAX_VERSION)),
        put("d", None),
    ];
    let assign = |from: usize| {
        let mut versions = Versions::default();
        let mut given = Vec::new();
        for (place, line) in events.iter().enumerate().skip(from) {
            let mut event = event(line);
            versions.assign(&mut event, place as u64);
            given.push(event.version().unwrap());
        }
        given
    };
    let time = 1_795_424_400_000;
    let expected = [
        FIRST,
        FIRST + 1,
        FIRST + 2,
        7,
        time,
        time + 1,
        time,
        MAX_VERSION,
        MAX_VERSION,
    ];
    assert_eq!(assign(0), expected);
    // Where the beginning of the log is gone, places stay.
    assert_eq!(assign(1)[..3], expected[1..4]);
    let now = u64::try_from(Utc::now().timestamp_millis()).unwrap();
    assert!(FIRST + 100_000_000_000 < now, "below what an owner gives");
    let mut patch = event(r#"{"type":"item.patched","domain":"news","id":"a","url":"u"}"#);
    Versions::default().assign(&mut patch, 3);
    assert_eq!(patch.version(), Some(FIRST + 3));
    let mut gone = event(r#"{"type":"item.deleted","domain":"news","id":"a"}"#);
    Versions::default().assign(&mut gone, 4);
    assert_eq!(gone.version(), Some(FIRST + 4));
}

#[test]
fn the_rate_is_kept_and_a_pause_is_not_made_up_for() {
    let mut pace = Pace::new(NonZeroU32::new(10));
    let begun = Instant::now();
    let ms = Duration::from_millis;
    assert_eq!(pace.take(begun), Duration::ZERO);
    assert_eq!(pace.take(begun), ms(100));
    assert_eq!(pace.take(begun + ms(100)), ms(100));
    // A short delay is caught up with.
    assert_eq!(pace.take(begun + ms(500)), Duration::ZERO);
    assert_eq!(pace.take(begun + ms(500)), Duration::ZERO);
    // A minute is not.
    let later = begun + Duration::from_secs(60);
    assert_eq!(pace.take(later), Duration::ZERO);
    assert_eq!(pace.take(later), ms(100));
    let mut unpaced = Pace::new(None);
    assert_eq!(unpaced.take(begun) + unpaced.take(begun), Duration::ZERO);
}

#[test]
fn messages_are_read_as_model_services_read_them() {
    let reason = |record: Record| match record.said {
        Said::Unreadable(why) => why.reason,
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        message(0, None, &put("a", None)).said,
        Said::Item(_)
    ));
    assert_eq!(reason(message(0, None, "no json")), "invalid-json");
    assert_eq!(reason(message(0, None, "{}")), "missing-field");
    let elsewhere = put("a", None).replace("news", "blog");
    assert_eq!(reason(message(0, None, &elsewhere)), "domain-mismatch");
    let removal = r#"{"domain":"news","request":"r"}"#;
    assert!(matches!(
        message(0, Some(REMOVED), removal).said,
        Said::Removal
    ));
    // A publisher cannot make a domain's past vanish.
    let forged = Message {
        key: "news",
        kind: Some(REMOVED),
        is_ours: false,
        body: removal.as_bytes(),
    };
    let forged = Record::of_message(0, &forged, &Limits::default());
    assert_eq!(reason(forged), "unknown-type");
}

#[test]
fn lines_are_read_with_or_without_a_time_and_torn_ones_are_counted() {
    let said = |line: &str| Record::of_line(1, Some(line.as_bytes()), &Limits::default());
    let record = said(&put("a", Some(3)).replacen('{', r#"{"at":"2026-11-23T09:00:00.000Z","#, 1));
    assert_eq!(record.domain, Some(name("news")));
    assert!(matches!(&record.said, Said::Item(event) if event.version() == Some(3)));
    let typed = |kind: &str, line: &str| line.replacen('{', &format!(r#"{{"type":"{kind}","#), 1);
    let configured = said(&typed(CONFIGURED, &settings("log", r#"{"window":"1s"}"#)));
    assert!(matches!(&configured.said, Said::Settings(configure)
        if configure.settings["window"] == "1s"));
    let removed = said(&typed(REMOVED, r#"{"domain":"news","request":"r"}"#));
    assert!(matches!(removed.said, Said::Removal));
    for torn in ["", "\0\0\0", r#"{"type":"item.updated","domain":"ne"#] {
        assert!(matches!(said(torn).said, Said::Unreadable(_)), "{torn:?}");
    }
    let too_long = Record::of_line(1, None, &Limits::default());
    assert!(matches!(too_long.said, Said::Unreadable(why) if why.reason == "too-large"));
}

#[test]
fn only_what_came_after_the_last_deletion_of_its_domain_is_replayed() {
    let removal = r#"{"domain":"news","request":"r"}"#;
    let records = || {
        [
            message(0, Some(CONFIGURED), &settings("r0", r#"{"window":"2s"}"#)),
            message(1, None, &put("a", Some(1))),
            message(2, Some(REMOVED), removal),
            message(3, None, &put("b", Some(2))),
        ]
    };
    let steps = |undelete| {
        let plan = plan_of(records(), undelete);
        assert_eq!(plan.events, 4);
        let mut judge = Judge::new(&plan, None, 0);
        judge.settings = SettingsRule::InOrder;
        records().map(|record| match judge.judge(record) {
            Step::Apply(event) => event.id().map_or("settings".to_owned(), ItemId::to_string),
            other => format!("{other:?}"),
        })
    };
    assert_eq!(steps(false), ["Deleted", "Deleted", "Deleted", "b"]);
    assert_eq!(steps(true), ["settings", "a", "Deleted", "b"]);
    assert!(plan_of(records(), false).settings.is_empty());
}

#[test]
fn settings_of_a_domain_that_is_there_stay() {
    let plan = plan_of([], false);
    let record = || message(0, Some(CONFIGURED), &settings("r0", r#"{"window":"2s"}"#));
    let step = |rule, present: &[&str]| {
        let mut judge = Judge::new(&plan, None, 0);
        judge.settings = rule;
        judge.present = present
            .iter()
            .map(|domain| name(domain))
            .collect::<Present>();
        judge.judge(record())
    };
    assert!(matches!(step(SettingsRule::InOrder, &[]), Step::Apply(_)));
    assert!(matches!(
        step(SettingsRule::InOrder, &["news"]),
        Step::SettingsLeft
    ));
    assert!(matches!(step(SettingsRule::Never, &[]), Step::SettingsLeft));
    let models = r#"{"domain":"news","request":"r","name":"m","change":"activate"}"#;
    let models = message(1, Some(MODELLED), models);
    if let Said::Unreadable(why) = &models.said {
        panic!("{why:?}");
    }
}

#[test]
fn settings_that_were_stored_come_first_and_quotas_last() {
    let records = || {
        let line = |place, line: &str| {
            let line = line.replacen('{', &format!(r#"{{"type":"{CONFIGURED}","#), 1);
            Record::of_line(place, Some(line.as_bytes()), &Limits::default())
        };
        [
            Record::of_line(1, Some(put("a", Some(1)).as_bytes()), &Limits::default()),
            line(
                2,
                &settings("log", r#"{"across_languages":true,"max_items":5}"#),
            ),
        ]
    };
    let plan = plan_of(records(), false);
    let mut judge = Judge::new(&plan, None, 0);
    judge.settings = SettingsRule::First(plan.settings);
    let [first, second] = records();
    let Step::Apply(event) = judge.judge(first) else {
        panic!("it is applied");
    };
    let Some(Event::Configure(before)) = judge.settings_before(&event) else {
        panic!("settings come first");
    };
    assert_eq!(
        before.settings.keys().collect::<Vec<_>>(),
        ["across_languages"]
    );
    assert_eq!(judge.settings_before(&event), None);
    assert!(matches!(judge.judge(second), Step::Done));
    let after = judge.settings_after();
    let [Event::Configure(after)] = &after[..] else {
        panic!("{after:?}");
    };
    assert_eq!(after.settings["max_items"], 5);
    assert_ne!(after.request, before.request);
}

#[test]
fn a_resumed_replay_gives_the_same_versions() {
    let records = || {
        [
            message(0, None, &put("a", Some(1_795_424_400_000))),
            message(1, None, &put("a", None)),
            message(2, None, "dead"),
        ]
    };
    let versions = |next| {
        let mut judge = Judge::new(&plan_of(records(), false), None, next);
        records().map(|record| match judge.judge(record) {
            Step::Apply(event) => event.version(),
            _ => None,
        })
    };
    let all = versions(0);
    assert_eq!(all[1], Some(1_795_424_400_001));
    assert_eq!(versions(1), [None, all[1], None]);
    assert_eq!(versions(2), [None, None, None]);
}

#[test]
fn a_state_is_taken_up_by_the_same_task_alone() {
    let place = tempfile::tempdir().unwrap();
    let file = StateFile::new(place.path().join("x.replay.json"));
    let task = |into: &str| Task {
        log: "log".to_owned(),
        from: "start".to_owned(),
        domain: None,
        into: into.to_owned(),
        undelete: false,
    };
    let missing = State::load(&file, &task("a")).unwrap_err();
    assert!(missing.message.contains("does not exist"), "{missing}");
    let mut state = State::begin(task("a"));
    state.next = 17;
    state.present = Some([name("news")].into());
    file.save(&state).unwrap();
    let loaded = State::load(&file, &task("a")).unwrap();
    assert_eq!(loaded.next, 17);
    assert_eq!(loaded.present, state.present);
    let other = State::load(&file, &task("b")).unwrap_err();
    assert!(other.message.contains("another replay"), "{other}");
    file.remove().unwrap();
    file.remove().unwrap();
}
