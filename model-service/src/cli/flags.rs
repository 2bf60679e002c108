//! Which configuration keys are flags of which commands.

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::{Flags, Key, Role, augment, read};

/// Flags for the selected keys, and `--config`.
macro_rules! key_flags {
    ($(#[$meta:meta])* $name:ident, $wanted:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default)]
        pub(crate) struct $name(pub(crate) Flags);

        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                augment(command, $wanted)
            }

            fn augment_args_for_update(command: Command) -> Command {
                augment(command, $wanted)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
                Ok(Self(read(matches, $wanted)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
                self.0 = self.0.clone().and_then(read(matches, $wanted));
                Ok(())
            }
        }
    };
}

key_flags! {
    /// All keys.
    AllFlags, |_: &Key| true
}

key_flags! {
    /// Keys of a service in a temporary directory.
    ServiceFlags, |key: &Key| key.roles.contains(&Role::Temporary)
}

key_flags! {
    /// Keys for clients.
    ClientFlags, |key: &Key| key.roles.contains(&Role::Client)
}

key_flags! {
    /// Keys for commands that compute on files.
    ToolFlags, |key: &Key| key.roles.contains(&Role::Tool)
}

key_flags! {
    /// Keys for commands that work on the broker and the database.
    OperatorFlags, |key: &Key| key.roles.contains(&Role::Operator)
}
