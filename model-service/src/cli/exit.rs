//! How a command ends.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Meaning of the exit code. `--help` shows [`EXIT_CODES`]; scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// 0: success.
    Done = 0,
    /// 1: it failed.
    Failed = 1,
    /// 2: the command line or the configuration is invalid; nothing was started.
    Usage = 2,
    /// 3: finished, but some lines or events were rejected (`import`, `publish`, `replay`).
    SomeRejected = 3,
    /// 4: no such domain or item.
    NotFound = 4,
    /// 5: the server cannot be reached.
    Unreachable = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The exit codes, explained.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  invalid command line or configuration
  3  finished, but some lines or events were rejected (import, publish, replay)
  4  no such domain or item (similar, status)
  5  the server cannot be reached";

/// Why a command ends early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// What the exit code says.
    pub exit: Exit,
    /// The message for people, printed on standard error; empty: none.
    pub message: String,
}

impl CommandError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error of writing to standard output. A closed pipe (`kindred … | head`) is not a failure.
impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::new(Exit::Done, "")
        } else {
            Self::failed(format!("standard output cannot be written: {error}"))
        }
    }
}

impl From<crate::config::ConfigError> for CommandError {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<crate::config::SecretError> for CommandError {
    fn from(error: crate::config::SecretError) -> Self {
        Self::usage(error.to_string())
    }
}

/// How a command ended.
pub type Outcome = Result<Exit, CommandError>;
