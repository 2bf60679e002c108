//! Configuration flags: every key is a flag, generated from the declarations of the keys.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::section::Key;
use super::{FILE_NAME, FILE_VARIABLE, keys};

const HEADING: &str = "Configuration";
const FILE: &str = "config";

/// The configuration given on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// The file to read (`--config`).
    pub file: Option<PathBuf>,
    /// Keys and the text of their values; later ones override earlier ones.
    pub values: Vec<(&'static str, String)>,
}

impl Flags {
    /// Combines two sets of flags; `later` overrides `self`.
    #[must_use]
    pub fn and_then(mut self, later: Self) -> Self {
        self.file = later.file.or(self.file);
        self.values.extend(later.values);
        self
    }
}

/// Adds `--config` and a flag for every `wanted` key to a command.
pub fn augment(command: Command, wanted: impl Fn(&Key) -> bool) -> Command {
    let file = Arg::new(FILE)
        .long(FILE)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help_heading(HEADING)
        .help(format!(
            "Configuration file [default: {FILE_NAME} if it exists] [env: {FILE_VARIABLE}]"
        ));
    let wanted = keys().filter(|key| wanted(key));
    wanted.fold(command.arg(file), |command, key| {
        command.arg(
            Arg::new(key.name)
                .long(key.flag())
                .value_name("VALUE")
                .action(ArgAction::Set)
                .allow_hyphen_values(true)
                .help_heading(HEADING)
                .help(help(key)),
        )
    })
}

fn help(key: &Key) -> String {
    let default = if key.default.is_empty() {
        String::new()
    } else {
        format!(" [default: {}]", key.default)
    };
    format!(
        "{} Expects {}.{default} [env: {}]",
        key.help,
        key.expects,
        key.variable()
    )
}

/// Reads the flags of a command made by [`augment`] with the same keys.
pub fn read(matches: &ArgMatches, wanted: impl Fn(&Key) -> bool) -> Flags {
    Flags {
        file: matches.get_one::<PathBuf>(FILE).cloned(),
        values: keys()
            .filter(|key| wanted(key))
            .filter_map(|key| {
                let text = matches.get_one::<String>(key.name)?;
                Some((key.name, text.clone()))
            })
            .collect(),
    }
}
