//! Configuration keys as flags, made from the table of keys.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};

use crate::config::{FILE_NAME, FILE_VARIABLE, Flags, KEYS, Key, Scope};

const HEADING: &str = "Configuration";
const FILE: &str = "config";

/// Flags of the keys up to a scope, and `--config`.
macro_rules! key_flags {
    ($(#[$meta:meta])* $name:ident, $widest:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default)]
        pub(crate) struct $name(pub(crate) Flags);

        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                augment(command, $widest)
            }

            fn augment_args_for_update(command: Command) -> Command {
                augment(command, $widest)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
                Ok(Self(read(matches, $widest)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
                self.0 = self.0.clone().and_then(read(matches, $widest));
                Ok(())
            }
        }
    };
}

key_flags! {
    /// All keys.
    StandaloneFlags, Scope::Standalone
}

key_flags! {
    /// Keys of a service that lives in a temporary directory.
    ServiceFlags, Scope::Service
}

key_flags! {
    /// Keys that mean something to a client.
    ClientFlags, Scope::Everywhere
}

fn applying(widest: Scope) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.scope <= widest)
}

fn augment(command: Command, widest: Scope) -> Command {
    let file = Arg::new(FILE)
        .long(FILE)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help_heading(HEADING)
        .help(format!(
            "Configuration file [default: {FILE_NAME} if it is there] [env: {FILE_VARIABLE}]"
        ));
    applying(widest).fold(command.arg(file), |command, key| {
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

fn read(matches: &ArgMatches, widest: Scope) -> Flags {
    Flags {
        file: matches.get_one::<PathBuf>(FILE).cloned(),
        values: applying(widest)
            .filter_map(|key| {
                let text = matches.get_one::<String>(key.name)?;
                Some((key.name, text.clone()))
            })
            .collect(),
    }
}
