//! Precedence, refusals and display.
#![allow(clippy::unwrap_used)] // a test may panic

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kindred_similarity::Kernel;
use proptest::prelude::*;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect()
}

fn flags(pairs: &[(&'static str, &str)]) -> Flags {
    Flags {
        file: None,
        values: pairs
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
    }
}

/// A directory with a `kindred.toml` of this text; without the file if the text is empty.
fn directory(file: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    if !file.is_empty() {
        std::fs::write(directory.path().join(FILE_NAME), file).unwrap();
    }
    directory
}

#[test]
fn defaults_are_the_documented_ones() {
    let nowhere = directory("");
    let (config, origins) = Config::resolve(&Flags::default(), env(&[]), nowhere.path()).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.store.data_dir, Path::new("./kindred-data"));
    assert_eq!(config.domains.window, Duration::from_millis(250));
    assert_eq!(
        (config.domains.window_events, config.compute.threads),
        (1000, 0)
    );
    assert_eq!(config.compute.kernel, Kernel::Auto);
    let languages = config.texts.languages.join(",");
    assert!(
        languages.starts_with("en,de,fr,es,it,pt,nl,sv,af,ak,am,"),
        "{languages}"
    );
    assert_eq!(config.texts.languages.len(), 70);
    assert_eq!(config.texts.default_language, "en");
    assert!(config.domains.auto_register && config.texts.vectors.is_empty());
    assert_eq!(config.domains.partitions, 1);
    assert_eq!(
        config.events.limits(),
        kindred_shared::event::Limits::default()
    );
    assert_eq!(config.domains.idle_after, Duration::from_secs(600));
    assert_eq!(config.domains.memory, MemorySize::Share(50));
    assert_eq!(config.compute.job_deadline, Duration::from_secs(30));
    assert_eq!(
        config.broker.amqp_url.expose(),
        "amqp://guest:guest@127.0.0.1:5672/%2f"
    );
    assert_eq!(config.database.cql_nodes, ["127.0.0.1:9042"]);
    assert_eq!(
        (
            config.database.cql_keyspace.as_str(),
            config.database.cql_replication
        ),
        ("kindred", 1)
    );
    assert_eq!(config.database.login(), None);
    assert!(!config.database.cql_allow_periodic);
    assert_eq!(
        (&config.http.advertise, config.http.worker_listen),
        (&None, None)
    );
    assert!(config.domains.check_standalone(&origins).is_ok());
    for (entry, key) in config.entries(&origins).iter().flatten().zip(keys()) {
        assert_eq!(
            (entry.value.as_str(), entry.origin.as_str()),
            (key.secrecy.shown(key.default).as_str(), "default"),
            "{} is shown as its default is written",
            key.name
        );
    }
}

#[test]
fn later_places_win() {
    // file, environment, flag → value, origin
    type Row = (
        &'static str,
        Option<&'static str>,
        Option<&'static str>,
        usize,
        &'static str,
    );
    let table: &[Row] = &[
        ("", None, None, 1000, "default"),
        ("window_events = 2", None, None, 2, "file "),
        (
            "window_events = 2",
            Some("3"),
            None,
            3,
            "variable KINDRED_WINDOW_EVENTS",
        ),
        (
            "window_events = 2",
            Some("3"),
            Some("4"),
            4,
            "flag --window-events",
        ),
        (
            "window_events = 2",
            None,
            Some("4"),
            4,
            "flag --window-events",
        ),
        ("", Some("3"), Some("4"), 4, "flag --window-events"),
        ("window_events = \"5\"", None, None, 5, "file "),
    ];
    for (file, variable, flag, value, origin) in table {
        let directory = directory(file);
        let variables = variable.map(|v| ("KINDRED_WINDOW_EVENTS", v));
        let given = flag.map(|v| ("window_events", v));
        let (config, origins) = Config::resolve(
            &flags(given.as_slice()),
            env(variables.as_slice()),
            directory.path(),
        )
        .unwrap();
        assert_eq!(config.domains.window_events, *value);
        let from = origins.of("window_events").to_string();
        assert!(from.starts_with(origin), "{from} is {origin}");
    }
}

#[test]
fn a_named_file_must_be_there_and_the_flag_names_it_before_the_variable() {
    let directory = directory("threads = 1");
    std::fs::write(directory.path().join("a.toml"), "threads = 2").unwrap();
    std::fs::write(directory.path().join("b.toml"), "threads = 3").unwrap();
    let threads = |flag: Option<&str>, variable: &[(&str, &str)]| {
        let flags = Flags {
            file: flag.map(PathBuf::from),
            values: vec![],
        };
        Config::resolve(&flags, env(variable), directory.path()).map(|(c, _)| c.compute.threads)
    };
    assert_eq!(threads(None, &[]), Ok(1));
    assert_eq!(threads(None, &[(FILE_VARIABLE, "a.toml")]), Ok(2));
    assert_eq!(threads(Some("b.toml"), &[(FILE_VARIABLE, "a.toml")]), Ok(3));
    let refused = threads(Some("none.toml"), &[]).unwrap_err().to_string();
    assert!(refused.contains("none.toml") && refused.contains("cannot be read"));
}

#[test]
fn refusals_name_the_key_the_place_and_the_remedy() {
    // file, environment, flags → parts of the refusal's message
    type Pairs = &'static [(&'static str, &'static str)];
    let table: &[(&str, Pairs, Pairs, &[&str])] = &[
        (
            "windw = '1s'",
            &[],
            &[],
            &["kindred.toml", "`windw`", "did you mean `window`"],
        ),
        ("data-dir = 'x'", &[], &[], &["`data-dir`", "`data_dir`"]),
        (
            "zzzzzzzzzzzz = 1",
            &[],
            &[],
            &["`zzzzzzzzzzzz`", "`kindred config`"],
        ),
        ("a = = 1", &[], &[], &["kindred.toml", "is not TOML"]),
        (
            "window = 1.5",
            &[],
            &[],
            &["window", "1.5", "kindred.toml", "250ms"],
        ),
        ("window = 250", &[], &[], &["window", "file ", "250ms"]),
        (
            "",
            &[("KINDRED_LISTN", "x")],
            &[],
            &["KINDRED_LISTN", "`KINDRED_LISTEN`"],
        ),
        (
            "",
            &[("KINDRED_window", "1s")],
            &[],
            &["KINDRED_window", "`KINDRED_WINDOW`"],
        ),
        (
            "",
            &[("KINDRED_WINDOW", "soon")],
            &[],
            &["window = \"soon\"", "variable KINDRED_WINDOW", "250ms"],
        ),
        (
            "",
            &[],
            &[("listen", "here")],
            &["listen = \"here\"", "flag --listen", "127.0.0.1:8080"],
        ),
        ("", &[], &[("window", "2h")], &["window", "1m"]),
        (
            "",
            &[],
            &[("window_events", "0")],
            &["window_events", "1 to 100000"],
        ),
        ("", &[], &[("kernel", "magic")], &["kernel", "auto"]),
        (
            "",
            &[("KINDRED_AMQP_URL", "http://u:hunter2@host")],
            &[],
            &["amqp_url = \"http://u:***@host\"", "amqp://user"],
        ),
        ("", &[], &[("cql_nodes", "")], &["cql_nodes", "db1:9042"]),
        ("", &[], &[("cql_nodes", "a,:1")], &["cql_nodes"]),
        ("", &[], &[("cql_nodes", "a:x")], &["cql_nodes"]),
        ("", &[], &[("cql_nodes", "::1")], &["cql_nodes"]),
        ("", &[], &[("cql_keyspace", "a-b")], &["cql_keyspace"]),
        ("", &[], &[("cql_keyspace", "Kindred")], &["lower case"]),
        ("", &[], &[("cql_replication", "0")], &["cql_replication"]),
        ("", &[], &[("cql_user", "u")], &["cql_password", "cql_user"]),
        (
            "cql_password = 'hunter2'",
            &[],
            &[],
            &["cql_user = \"\"", "cql_password has one"],
        ),
        ("", &[], &[("advertise", "host")], &["advertise", "a port"]),
        ("", &[], &[("worker_listen", "x")], &["worker_listen"]),
        (
            "",
            &[],
            &[("languages", "en,en")],
            &["languages", "each once"],
        ),
        (
            "",
            &[],
            &[("default_language", "xx")],
            &["default_language", "one of languages"],
        ),
        ("", &[], &[("vectors", "de")], &["vectors", "language=path"]),
        (
            "",
            &[],
            &[("vectors", "xx=x")],
            &["vectors", "xx=x", "languages"],
        ),
        (
            "",
            &[],
            &[("auto_register", "maybe")],
            &["auto_register", "true or false"],
        ),
        (
            "",
            &[],
            &[("max_text", "2MiB")],
            &["max_text", "max_message (1MiB)"],
        ),
        ("", &[], &[("max_text", "many")], &["max_text", "256KiB"]),
        (
            "",
            &[],
            &[("log_format", "xml")],
            &["log_format", "text or json"],
        ),
    ];
    for (file, variables, given, words) in table {
        let directory = directory(file);
        let refused = Config::resolve(&flags(given), env(variables), directory.path())
            .unwrap_err()
            .to_string();
        for word in *words {
            assert!(refused.contains(word), "{refused:?} has {word:?}");
        }
    }
}

#[test]
fn variables_of_tests_and_of_others_are_not_configuration() {
    let nowhere = directory("");
    let variables = env(&[
        ("KINDRED_TEST_CRASH", "1"),
        ("HOME", "/"),
        ("KINDREDX", "1"),
    ]);
    assert!(Config::resolve(&Flags::default(), variables, nowhere.path()).is_ok());
}

#[test]
fn lists_come_from_arrays_and_from_commas() {
    let directory = directory("languages = ['en', 'de']\nvectors = ['de=a/de.fifu', 'en=b.fifu']");
    let (config, _) = Config::resolve(&Flags::default(), env(&[]), directory.path()).unwrap();
    assert_eq!(config.texts.languages, ["en", "de"]);
    assert_eq!(config.texts.vectors.len(), 2);
    assert_eq!(config.texts.vectors[0].language, "de");
    assert_eq!(config.texts.vectors[0].path, Path::new("a/de.fifu"));
}

#[test]
fn hosts_are_read_with_and_without_a_port() {
    let nowhere = directory("");
    let nodes = |text: &str| {
        Config::resolve(&flags(&[("cql_nodes", text)]), env(&[]), nowhere.path())
            .map(|(config, _)| config.database.cql_nodes.join(" "))
    };
    let table = [
        ("db", "db:9042"),
        ("db-1.internal:1, 10.0.0.1", "db-1.internal:1 10.0.0.1:9042"),
        ("[::1],[::2]:7", "[::1]:9042 [::2]:7"),
    ];
    for (text, read) in table {
        assert_eq!(nodes(text), Ok(read.to_owned()));
    }
}

#[test]
fn others_are_told_an_address_that_they_can_use() {
    let nowhere = directory("");
    let advertised = |pairs: &[(&'static str, &str)], bound: &str| {
        let (config, _) = Config::resolve(&flags(pairs), env(&[]), nowhere.path()).unwrap();
        config.http.advertised(bound.parse().unwrap(), "box")
    };
    assert_eq!(advertised(&[], "10.0.0.1:8080"), "10.0.0.1:8080");
    assert_eq!(advertised(&[], "0.0.0.0:8080"), "box:8080");
    assert_eq!(advertised(&[], "[::]:8080"), "box:8080");
    let given = [("advertise", "lb.internal:80")];
    assert_eq!(advertised(&given, "10.0.0.1:8080"), "lb.internal:80");
}

#[test]
fn secrets_are_nowhere_to_be_seen() {
    let nowhere = directory("");
    let variables = env(&[
        ("KINDRED_AMQP_URL", "amqps://u:hunter2@host/v"),
        ("KINDRED_CQL_USER", "u"),
        ("KINDRED_CQL_PASSWORD", "hunter2"),
    ]);
    let (config, origins) = Config::resolve(&Flags::default(), variables, nowhere.path()).unwrap();
    let seen = format!("{config:?} {:?}", config.entries(&origins));
    assert!(!seen.contains("hunter2") && seen.contains("amqps://u:***@host/v"));
    assert_eq!(config.database.login(), Some(("u", "hunter2")));
}

#[test]
fn every_key_has_a_role_and_listen_does_not_apply_to_the_worker() {
    for key in keys() {
        assert!(!key.roles.is_empty(), "{}", key.name);
        let both = ["threads", "kernel", "vectors", "encoders"].contains(&key.name);
        let working = key.roles.contains(&Role::ComputeWorker);
        assert!(!both || working, "{}", key.name);
    }
    let roles = key("listen").unwrap().roles;
    assert!(!roles.contains(&Role::ComputeWorker));
}

#[test]
fn standalone_has_one_partition() {
    let nowhere = directory("");
    let (config, origins) = Config::resolve(
        &Flags::default(),
        env(&[("KINDRED_PARTITIONS", "4")]),
        nowhere.path(),
    )
    .unwrap();
    let refused = config
        .domains
        .check_standalone(&origins)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("partitions = \"4\"") && refused.contains("KINDRED_PARTITIONS"));
}

#[test]
fn memory_is_a_size_or_a_share_of_what_there_is() {
    let read = |text| values::memory_size(text, 1 << 20);
    assert_eq!(read("512MiB"), Some(MemorySize::Bytes(512 << 20)));
    assert_eq!(read("2GB"), Some(MemorySize::Bytes(2_000_000_000)));
    for share in ["1%", "50 %", "100%"] {
        let read = read(share).unwrap();
        let shown = values::show_memory_size(&read);
        assert_eq!(values::memory_size(&shown, 1 << 20), Some(read), "{share}");
        assert!(
            (1..=crate::memory::available()).contains(&read.bytes()),
            "{share}"
        );
    }
    for no in ["", "%", "0%", "101%", "-5%", "1.5GiB", "1023KiB", "half"] {
        assert_eq!(read(no), None, "{no}");
    }
}

proptest! {
    #[test]
    fn sizes_are_read_back_as_shown(bytes in 1_usize..8 << 20) {
        prop_assert_eq!(values::size(&values::show_size(&bytes), 1, 8 << 20), Some(bytes));
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,24}") {
        for key in keys() {
            let _ = Config::resolve(
                &Flags { file: None, values: vec![(key.name, text.clone())] },
                env(&[]),
                Path::new("/nonexistent"),
            );
        }
    }
}
