//! The log of a domain: every change with who made it, once and in order, whatever is killed.

use std::time::Duration;

use kindred_api::domain::DomainAnswer;
use kindred_api::log::{LogAnswer, LogLine};
use kindred_api::model::{ModelAnswer, ModelState};
use kindred_api::path;
use model_service::crash::LOG_POINTS;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::deadline::wait_for;
use crate::support::place::Place;
use crate::support::program::{Kindred, Start, run};

const DOMAIN: &str = "log.test";
const QUIET: Duration = Duration::from_secs(120);

#[track_caller]
fn log_after(client: &Client, after: &str) -> LogAnswer {
    let path = format!("{}?after={after}", path::log(DOMAIN));
    client.get(&path).with_status(200).read()
}

/// The whole log.
#[track_caller]
fn log(client: &Client) -> Vec<LogLine> {
    let (mut all, mut next) = (Vec::new(), "0".to_owned());
    loop {
        let page = log_after(client, &next);
        if page.entries.is_empty() {
            return all;
        }
        assert_ne!(page.next, next);
        next = page.next;
        all.extend(page.entries);
    }
}

fn put_settings(client: &Client, settings: &Value) -> u16 {
    client
        .put(&path::domain(DOMAIN), &settings.to_string())
        .status
}

fn put_item(client: &Client, id: &str) {
    let body = json!({"text": "Sleepers run again from spring on.", "language": "en"});
    let item = path::item(DOMAIN, id);
    client.put(&item, &body.to_string()).with_status(202);
}

fn arms() -> String {
    let arms = [("a", 0.5), ("b", 0.5)].map(|(name, share)| json!({"name": name, "share": share}));
    json!({"arms": arms, "salt": "s"}).to_string()
}

#[test]
fn says_who_changed_what_and_goes_with_the_domain() {
    let place = Place::beside_others();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    client.get(&path::log(DOMAIN)).with_status(404);
    assert_eq!(put_settings(client, &json!({"window": "20ms"})), 201);
    put_item(client, "i");
    client.wait_quiet(QUIET);
    // What changes nothing is no change.
    assert_eq!(put_settings(client, &json!({"window": "20ms"})), 200);
    assert_eq!(put_settings(client, &json!({"languages": ["de"]})), 409);
    assert_eq!(put_settings(client, &json!({"max_age": 60})), 200);
    let model = path::model(DOMAIN, "other");
    let kind = json!({"kind": "words-1"}).to_string();
    client.put(&model, &kind).with_status(201);
    client.put(&model, &kind).with_status(200);
    wait_for("the model is ready", QUIET, || {
        let answer: ModelAnswer = client.get(&model).with_status(200).read();
        (answer.state == ModelState::Ready)
            .then_some(())
            .ok_or(format!("{answer:?}"))
    });
    let activate = path::activate(DOMAIN, "other");
    client.post(&activate, &json!({})).with_status(200);
    client
        .delete(&path::model(DOMAIN, "text-2"))
        .with_status(204);
    let experiment = path::experiment(DOMAIN, "fewer");
    client.put(&experiment, &arms()).with_status(201);
    client.put(&experiment, &arms()).with_status(200);
    client.delete(&experiment).with_status(200);
    client.delete(&experiment).with_status(200);

    let told = log(client);
    let of =
        |name: &str, kind: &str, state: &str| json!({"name": name, "kind": kind, "state": state});
    let run: Value = serde_json::from_str(&arms()).unwrap();
    let run = json!({"name": "fewer", "salt": "s", "arms": run["arms"]});
    let expected = [
        (
            "-",
            "settings.changed",
            json!({"window": null}),
            json!({"window": "20ms"}),
        ),
        (
            "-",
            "settings.changed",
            json!({"window": "20ms", "max_age": null}),
            json!({"window": null, "max_age": 60}),
        ),
        (
            "-",
            "model.added",
            Value::Null,
            of("other", "words-1", "building"),
        ),
        (
            "kindred",
            "model.ready",
            of("other", "words-1", "building"),
            of("other", "words-1", "ready"),
        ),
        (
            "-",
            "model.activated",
            of("text-2", "text-2", "active"),
            of("other", "words-1", "active"),
        ),
        (
            "-",
            "model.deleted",
            of("text-2", "text-2", "ready"),
            Value::Null,
        ),
        ("-", "experiment.begun", Value::Null, run.clone()),
        ("-", "experiment.ended", run, Value::Null),
    ];
    let found = told.iter().map(|line| {
        let LogLine {
            by,
            what,
            before,
            after,
            ..
        } = line.clone();
        (by, what, before, after)
    });
    let found: Vec<_> = found.collect();
    let expected =
        expected.map(|(by, what, before, after)| (by.to_owned(), what.to_owned(), before, after));
    assert_eq!(found, expected);
    let ats: Vec<&str> = told.iter().map(|line| line.at.as_str()).collect();
    assert!(ats.is_sorted(), "{ats:?}");

    // It lasts, and goes on where one stopped.
    kindred.kill_9();
    let kindred = Kindred::start(&place, &Start::default());
    let client = kindred.client();
    assert_eq!(log(client), told);
    let first = log_after(client, "0");
    assert_eq!(log_after(client, &first.next).entries, []);
    assert_eq!(put_settings(client, &json!({"max_age": 61})), 200);
    let more = log_after(client, &first.next).entries;
    assert_eq!(more.len(), 1, "{more:?}");
    assert_eq!(more[0].after, json!({"max_age": 61}));
    let wrong = format!("{}?after=soon", path::log(DOMAIN));
    let problem = client.get(&wrong).with_status(400).json();
    assert_eq!(problem["field"], "after");

    let url = format!("http://127.0.0.1:{}", place.port());
    let output = run_log(&place, &url, &[]);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), told.len() + 1, "{output}");
    assert!(
        lines[1].contains("max_age - → 60, window 20ms → -"),
        "{output}"
    );
    assert!(
        lines[3].contains("kindred") && lines[3].contains("model.ready"),
        "{output}"
    );
    let json: LogAnswer = serde_json::from_str(&run_log(&place, &url, &["--json"])).unwrap();
    assert_eq!(json.entries.len(), told.len() + 1);
    let rest = run_log(&place, &url, &["--after", &first.next]);
    assert_eq!(rest.lines().count(), 1, "{rest}");

    // A domain of that name later has a log of its own, which whoever followed the first one reads whole.
    client.delete(&path::domain(DOMAIN)).with_status(202);
    client.get(&path::log(DOMAIN)).with_status(404);
    put_item(client, "i");
    assert_eq!(log(client), []);
    assert_eq!(put_settings(client, &json!({"max_age": 5})), 200);
    let anew = log(client);
    assert_eq!(anew.len(), 1, "{anew:?}");
    assert_eq!(
        (&anew[0].before, &anew[0].after),
        (&json!({"max_age": null}), &json!({"max_age": 5}))
    );
    assert_eq!(log_after(client, &json.next).entries, anew);
    kindred.stop();
}

#[track_caller]
fn run_log(place: &Place, url: &str, more: &[&str]) -> String {
    let arguments = [&["domain", "log", DOMAIN, "--url", url], more].concat();
    let output = run(place.directory(), &arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn names_the_key_that_asked() {
    let place = Place::beside_others();
    let data = place.data_dir().display().to_string();
    let create = ["keys", "create", "--grant", "admin", "--data-dir", &data];
    let made = run(place.directory(), &create);
    assert!(made.status.success(), "{made:?}");
    let secret = String::from_utf8(made.stdout).expect("text");
    let kindred = Kindred::start(&place, &Start::default());
    let admin = kindred.client().with_key(secret.trim_end());
    let key = |grants: &[&str]| {
        let body = json!({ "grants": grants });
        let made = admin.post(path::KEYS, &body).with_status(201).json();
        let text = |name: &str| made[name].as_str().expect("text").to_owned();
        (text("id"), kindred.client().with_key(&text("secret")))
    };
    let (name, manager) = key(&["manage:log.*"]);
    let (_, reader) = key(&["read:log.*", "write:log.*"]);
    assert_eq!(put_settings(&manager, &json!({"max_age": 60})), 201);
    manager
        .put(&path::experiment(DOMAIN, "fewer"), &arms())
        .with_status(201);
    assert_eq!(put_settings(&admin, &json!({})), 200);
    let told = log(&manager);
    let by: Vec<&str> = told.iter().map(|line| line.by.as_str()).collect();
    assert_eq!(by[..2], [name.as_str(), &name]);
    assert!(by.len() == 3 && by[2] != name && by[2] != "-", "{by:?}");
    let text = serde_json::to_string(&told).expect("JSON");
    assert!(!text.contains("kk_"), "{text}");
    reader.get(&path::log(DOMAIN)).with_status(403);
    kindred.client().get(&path::log(DOMAIN)).with_status(401);
    kindred.stop();
}

/// What the log says the window is; that each change begins where the one before ended.
#[track_caller]
fn window(told: &[LogLine]) -> Value {
    let changes = told.iter().filter(|line| line.what == "settings.changed");
    changes.fold(Value::Null, |window, line| {
        assert_eq!(line.before, json!({ "window": window }), "{told:?}");
        line.after["window"].clone()
    })
}

#[test]
fn has_each_change_once_wherever_it_dies() {
    let points = ["before-store", "after-store", "after-ack"];
    let points = points.iter().chain(LOG_POINTS);
    for (point, passing) in points.flat_map(|point| [1, 3, 4].map(|passing| (point, passing))) {
        println!("{point}:{passing}");
        let place = Place::beside_others();
        let start = Start {
            crash_at: Some(format!("{point}:{passing}")),
            ..Start::default()
        };
        let mut kindred = Kindred::start(&place, &start);
        let client = kindred.client().clone();
        let mut acknowledged = Vec::new();
        let experiment = path::experiment(DOMAIN, "fewer");
        // A window and an experiment, again and again.
        let died = (0..20).find(|n| {
            let settings = json!({"window": format!("{}ms", n + 20)});
            let put = client.try_put(&path::domain(DOMAIN), &settings.to_string());
            let is_done = put.is_ok_and(|answer| answer.status < 300);
            if is_done {
                acknowledged.push(settings["window"].clone());
            }
            let changed = if n % 2 == 0 {
                client.try_put(&experiment, &arms())
            } else {
                client.try_delete(&experiment)
            };
            !is_done || changed.is_err()
        });
        assert!(died.is_some(), "{point} was not passed {passing} times");
        wait_for("it dies", QUIET, || {
            kindred.died().ok_or("it runs".to_owned())
        });
        drop(kindred);

        let kindred = Kindred::start(&place, &Start::default());
        let client = kindred.client();
        if client.get(&path::domain(DOMAIN)).status == 404 {
            assert_eq!(acknowledged, Vec::<Value>::new());
            continue;
        }
        let told = log(client);
        let domain: DomainAnswer = client.get(&path::domain(DOMAIN)).with_status(200).read();
        let set = domain.settings.and_then(|set| set.window);
        assert_eq!(window(&told), json!(set), "{point} {told:?}");
        let logged = told.iter().map(|line| &line.after["window"]);
        let logged: Vec<&Value> = logged.collect();
        for window in &acknowledged {
            let times = logged.iter().filter(|found| **found == window).count();
            assert_eq!(times, 1, "{point}: {window} in {told:?}");
        }
        // Experiments too: one after the other, and the last one as it is.
        let experiments = told
            .iter()
            .filter(|line| line.what.starts_with("experiment."));
        let words: Vec<&str> = experiments.map(|line| line.what.as_str()).collect();
        for (n, word) in words.iter().enumerate() {
            let expected = ["experiment.begun", "experiment.ended"][n % 2];
            assert_eq!(*word, expected, "{point} {told:?}");
        }
        let found = client.get(&experiment);
        let runs = found.status == 200 && found.json().get("ended").is_none();
        assert_eq!(words.len() % 2 == 1, runs, "{point} {told:?}");

        // And it goes on.
        assert_eq!(put_settings(client, &json!({"window": "7ms"})), 200);
        assert_eq!(window(&log(client)), "7ms");
        kindred.stop();
    }
}
