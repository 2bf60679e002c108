//! The README and other documents name only what is there.

use std::collections::BTreeSet;

use crate::support::place::Place;
use crate::support::program::run;

const README: &str = include_str!("../../README.md");
const OPERATIONS: &str = include_str!("../../docs/OPERATIONS.md");
/// Documents whose commands are looked at, beside these two.
const OTHERS: [&str; 3] = [
    include_str!("../../docs/CLUSTER.md"),
    include_str!("../../docs/IMPORT.md"),
    include_str!("../../docs/QUALITY.md"),
];
/// Where each program names its metrics.
const METRICS: [&str; 2] = [
    include_str!("../../model-service/src/metrics.rs"),
    include_str!("../../compute-worker/src/service/status.rs"),
];

/// Names in the manual that begin like metrics and are roles of the database.
const OPERATIONS_ROLES: [&str; 1] = ["kindred_reader"];

/// The commands of its code blocks: arguments after `kindred` or `cargo run … --`.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut inside = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
            continue;
        }
        if !inside {
            continue;
        }
        for part in line.split(['|', ';']).flat_map(|part| part.split("&&")) {
            let words: Vec<&str> = part
                .split_whitespace()
                .take_while(|word| !word.starts_with('#'))
                .collect();
            let arguments = match words.as_slice() {
                [program, rest @ ..] if program.rsplit('/').next() == Some("kindred") => rest,
                ["cargo", "run", rest @ ..] => match rest.iter().position(|word| *word == "--") {
                    Some(at) => &rest[at + 1..],
                    None => continue,
                },
                _ => continue,
            };
            commands.push(arguments.iter().map(|word| (*word).to_owned()).collect());
        }
    }
    commands
}

#[test]
fn its_commands_and_flags_exist() {
    let place = Place::new();
    let of_readme = commands(README);
    assert!(!of_readme.is_empty(), "the README shows how it is started");
    for command in of_readme
        .into_iter()
        .chain(commands(OPERATIONS))
        .chain(OTHERS.into_iter().flat_map(commands))
    {
        // Words before the first flag or value that the program does not know as subcommands are
        // arguments: help of the longest known run of words is the one that counts.
        let words: Vec<&str> = command
            .iter()
            .map(String::as_str)
            .take_while(|word| !word.starts_with('-'))
            .collect();
        let help = (0..=words.len())
            .rev()
            .find_map(|known| {
                let mut arguments = words[..known].to_vec();
                arguments.push("--help");
                let output = run(place.directory(), &arguments);
                output
                    .status
                    .success()
                    .then(|| (known, String::from_utf8_lossy(&output.stdout).into_owned()))
            })
            .unwrap_or_else(|| panic!("kindred {command:?} has no help"));
        let (known, help) = help;
        assert!(
            known > 0 || words.is_empty(),
            "there is no subcommand {:?}",
            words[0]
        );
        let flags: BTreeSet<&str> = command
            .iter()
            .filter_map(|word| word.strip_prefix("--"))
            .map(|flag| flag.split_once('=').map_or(flag, |(name, _)| name))
            .filter(|flag| !flag.is_empty() && *flag != "help")
            .collect();
        for flag in flags {
            assert!(
                help.contains(&format!("--{flag}")),
                "kindred {} has no --{flag}",
                words.join(" ")
            );
        }
    }
}

#[test]
fn metrics_worth_an_alarm_exist() {
    let named: BTreeSet<&str> = OPERATIONS
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split('{').next())
        .filter(|code| code.starts_with("kindred_") && !OPERATIONS_ROLES.contains(code))
        .collect();
    assert!(named.len() > 5, "{named:?}");
    for metric in named {
        let name = metric.strip_suffix("_count").unwrap_or(metric);
        let quoted = format!("\"{name}\"");
        assert!(
            METRICS.iter().any(|source| source.contains(&quoted)),
            "there is no metric {name}"
        );
    }
}
