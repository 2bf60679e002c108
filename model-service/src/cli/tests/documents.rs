//! Commands, variables and keys that documents name exist.

use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{CommandFactory, value_parser};

use super::super::Cli;
use crate::config::{Config, FILE_VARIABLE, Flags, PREFIX, TEST_PREFIX, augment, key, keys};
use crate::documents::{commands, documents};

/// Variables of tests that are not about a running program.
const OF_TESTS: &str = "KINDRED_SIMULATION_";

/// What each program says of its arguments.
fn parse(
    program: &str,
    command: clap::Command,
    arguments: &[String],
) -> Result<(), Box<clap::Error>> {
    let line = std::iter::once(program).chain(arguments.iter().map(String::as_str));
    let parsed = command.try_get_matches_from(line);
    parsed.map(|_| ()).map_err(Box::new)
}

fn kindred() -> clap::Command {
    Cli::command()
}

/// It takes every key, and nothing else.
fn compute_worker() -> clap::Command {
    augment(clap::Command::new("compute-worker"), |_| true)
}

/// The same command with any text for a value: a sentence names what belongs there, `--k N`.
fn with_any_values(command: clap::Command) -> clap::Command {
    let any = |arg: clap::Arg| match arg.get_action().takes_values() {
        true => arg.value_parser(value_parser!(OsString)),
        false => arg,
    };
    command.mut_args(any).mut_subcommands(with_any_values)
}

#[test]
fn commands_in_blocks_parse() {
    let mut parsed = 0;
    for document in documents() {
        for block in document.of("sh") {
            for command in commands(&block.text) {
                for (program, its) in [
                    ("kindred", kindred as fn() -> clap::Command),
                    ("compute-worker", compute_worker),
                ] {
                    let Some(arguments) = command.arguments_of(program) else {
                        continue;
                    };
                    if let Err(error) = parse(program, its(), arguments) {
                        panic!("{}: {}: {error}", block.place, command.words.join(" "));
                    }
                    parsed += 1;
                }
            }
        }
    }
    assert!(parsed > 30, "{parsed} commands were found");
}

/// What is wrong with a command as a sentence names it: values may be missing, and what may be left out stands in brackets.
fn wrong_in_sentence(span: &str) -> Option<String> {
    let plain = span.replace(['[', ']', '…'], " ");
    let words = plain.split_whitespace();
    // Of alternatives the first.
    let mut words = words.map(|word| word.split('|').next().unwrap_or(word).to_owned());
    let program = words.next()?;
    let command = match program.as_str() {
        "kindred" => kindred(),
        "compute-worker" => compute_worker(),
        _ => return None,
    };
    let arguments: Vec<String> = words.collect();
    let error = parse(&program, with_any_values(command), &arguments).err()?;
    let is_fine = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
    );
    (!is_fine).then(|| error.to_string())
}

#[test]
fn commands_in_sentences_parse_as_far_as_they_go() {
    let mut wrong = Vec::new();
    for document in documents() {
        for span in document.spans() {
            if let Some(error) = wrong_in_sentence(&span) {
                wrong.push(format!("{}: `{span}`: {error}", document.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_wrong_command_in_a_sentence_is_noticed() {
    for good in [
        "kindred keys create",
        "kindred agreement [KEY=VALUE…]",
        "kindred neighbours --vectors FILE [--k 20] [--threads N] -o OUT",
        "cargo build",
        "kindred_items",
    ] {
        assert_eq!(wrong_in_sentence(good), None);
    }
    for wrong in [
        "kindred key create",
        "kindred keys create --grants admin",
        "kindred neighbours --vectors FILE --threads N --neighbours K",
        "compute-worker --watch",
    ] {
        assert!(wrong_in_sentence(wrong).is_some(), "{wrong}");
    }
}

#[test]
fn variables_exist() {
    let mut seen = 0;
    for document in documents() {
        let blocks = document.blocks.iter();
        let blocks = blocks.map(|block| (block.place.clone(), block.text.clone()));
        let spans = document.spans().map(|span| (document.path.clone(), span));
        for (place, text) in blocks.chain(spans) {
            let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
            // `KINDRED_…` stands for all of them.
            for name in words.filter(|word| word.starts_with(PREFIX) && !word.ends_with('_')) {
                let is_known = name == FILE_VARIABLE
                    || [TEST_PREFIX, OF_TESTS]
                        .iter()
                        .any(|of| name.starts_with(of))
                    || keys().any(|key| key.variable() == name);
                assert!(is_known, "{place}: there is no variable {name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen} variables were found");
}

#[test]
fn files_of_configuration_are_valid() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for document in documents() {
        for block in document.of("toml") {
            let file = directory.path().join("kindred.toml");
            std::fs::write(&file, &block.text).unwrap();
            let flags = Flags {
                file: Some(file),
                ..Flags::default()
            };
            let resolved = Config::resolve(&flags, [], Path::new("/nonexistent"));
            if let Err(error) = resolved {
                panic!("{}: {error}", block.place);
            }
            seen += 1;
        }
        // `hosts = ["kindred.example"]`
        for span in document.spans() {
            let Some((name, _)) = span.split_once(" = ") else {
                continue;
            };
            if name.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                assert!(
                    key(name).is_some(),
                    "{}: `{span}`: no such key",
                    document.path
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 5, "{seen} were found");
}

#[test]
fn the_contract_names_keys_with_their_defaults() {
    let contract = include_str!("../../../../docs/CONTRACT.md");
    let (_, table) = contract
        .split_once("\n| key | meaning | default |\n")
        .expect("a table of keys");
    let rows = table.lines().skip(1).take_while(|row| row.starts_with('|'));
    let mut named = 0;
    for row in rows {
        // A bar within a cell is escaped.
        let row = row.replace(r"\|", "/");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, names, _, default, _] = cells[..] else {
            panic!("{row}");
        };
        for name in names.split('`').skip(1).step_by(2) {
            let key = key(name).unwrap_or_else(|| panic!("there is no key {name}"));
            // In words where it is none or depends on the machine.
            if let Some((value, "")) = default
                .strip_prefix('`')
                .and_then(|default| default.split_once('`'))
            {
                let [stated, known] =
                    [value, key.default].map(|text| text.trim_start_matches("./"));
                assert_eq!(stated, known, "{name}");
            }
            named += 1;
        }
    }
    assert!(named > 15, "{named} keys");
}

#[test]
fn json_is_json() {
    for document in documents() {
        for block in document.of("json") {
            let values = serde_json::Deserializer::from_str(&block.text).into_iter();
            let values: Result<Vec<serde_json::Value>, _> = values.collect();
            if let Err(error) = values {
                panic!("{}: {error}", block.place);
            }
        }
    }
}

/// The reader of commands itself.
#[test]
fn a_script_is_taken_apart_as_a_shell_does() {
    let script = "A=1 B='x y' kindred status --json  # a note\n\
                  export KINDRED_KEY=$(kindred keys create --grant admin)\n\
                  curl -d '{\"a\":\n 1}' \"http://h/$(echo 1 | tr 1 2)\" \\\n  -X PUT 2> log > out & kindred\n";
    let found = commands(script);
    let words: Vec<String> = found.iter().map(|one| one.words.join(" ")).collect();
    assert_eq!(
        words,
        [
            "kindred status --json",
            "kindred keys create --grant admin",
            "",
            "echo 1",
            "tr 1 2",
            "curl -d {\"a\":\n 1} http://h/$() -X PUT",
            "kindred"
        ]
    );
    assert_eq!(found[0].variables, ["A", "B"]);
    assert_eq!(found[2].variables, ["KINDRED_KEY"]);
    let run = commands("cargo run --release -- demo ~/blog");
    assert_eq!(
        run[0].arguments_of("kindred").unwrap(),
        ["demo".to_owned(), "~/blog".to_owned()]
    );
    assert!(run[0].keeps_running());
    assert!(!commands("target/release/kindred status")[0].keeps_running());
    let example = commands("cargo run -p compute-worker --example words");
    assert_eq!(example[0].arguments_of("kindred"), None);
}
