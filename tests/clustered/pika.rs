//! A publisher in another language: tests/clients/pika_publish.py.

use std::io::Write;
use std::process::{Command, Stdio};

use super::services::variable;

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/clients/pika_publish.py"
);

/// Publishes these bodies with pika, each with its domain as routing key. It waits for the exchange
/// by itself, as any publisher may.
#[track_caller]
pub(crate) fn publish_with_pika<'a>(url: &str, bodies: impl Iterator<Item = &'a str>) {
    let mut python = Command::new(variable("KINDRED_TEST_PYTHON"))
        .args([SCRIPT, url])
        .stdin(Stdio::piped())
        .spawn()
        .expect("Python");
    let mut lines = python.stdin.take().expect("its standard input");
    for body in bodies {
        writeln!(lines, "{body}").expect("it reads");
    }
    drop(lines);
    let ended = python.wait().expect("its own child");
    assert!(ended.success(), "{ended}");
}
