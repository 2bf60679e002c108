//! A running `kindred standalone`.

use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::deadline::wait_for;
use super::place::Place;
use super::process::Process;

/// The program as the test profile built it.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kindred");
/// Longest a start may take, the loading of a dirty store not counted.
pub(crate) const START: Duration = Duration::from_secs(60);

/// How to start it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Start {
    pub(crate) threads: Option<usize>,
    /// `50ms`; the default is the program's.
    pub(crate) window: Option<&'static str>,
    /// `1s`; the default is the program's.
    pub(crate) idle_after: Option<&'static str>,
    /// `1MiB`; the default is the program's.
    pub(crate) memory: Option<&'static str>,
    /// `KINDRED_TEST_CRASH_AT`.
    pub(crate) crash_at: Option<String>,
    /// Largest file it may write, in units of 512 bytes.
    pub(crate) largest_file: Option<u32>,
    /// Where it listens; the default is the place's port on the loopback interface.
    pub(crate) listen: Option<String>,
    /// Other flags.
    pub(crate) flags: Vec<String>,
}

/// A started program; killed when dropped.
pub(crate) struct Kindred {
    process: Process,
    client: Client,
}

/// `kindred` with nothing of the caller's configuration.
pub(crate) fn kindred(directory: &Path) -> Command {
    clean(Command::new(PROGRAM), directory)
}

/// A command with nothing of the caller's configuration.
pub(crate) fn clean(mut command: Command, directory: &Path) -> Command {
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("KINDRED_") {
            command.env_remove(key);
        }
    }
    command.current_dir(directory).stdin(Stdio::null());
    command
}

/// Runs a command to its end, which is this exit code: the JSON that it wrote, null if none, and its words.
#[track_caller]
pub(crate) fn ended(mut command: Command, code: i32) -> (Value, String) {
    let output = command.stderr(Stdio::piped()).output().expect("it starts");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let status = output.status;
    assert_eq!(status.code(), Some(code), "{status}: {words}");
    let told = serde_json::from_slice(&output.stdout);
    (told.unwrap_or_default(), words)
}

/// Runs `kindred` with these arguments to its end.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Output {
    kindred(directory)
        .args(arguments)
        .output()
        .expect("the program starts")
}

impl Kindred {
    /// Starts it and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(place: &Place, how: &Start) -> Self {
        let mut kindred = Self::spawn(place, how);
        wait_for("kindred is ready", START, || {
            kindred.process.assert_running();
            match kindred.client.try_get("/readyz") {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.body)),
                Err(error) => Err(error),
            }
        });
        kindred
    }

    /// Starts it and waits for nothing.
    pub(crate) fn spawn(place: &Place, how: &Start) -> Self {
        let mut command = match how.largest_file {
            None => kindred(place.directory()),
            Some(blocks) => {
                // With the signal ignored, a write past the limit is an error like a full disk's.
                let mut shell = clean(Command::new("sh"), place.directory());
                shell.args([
                    "-c",
                    &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""),
                    "sh",
                    PROGRAM,
                ]);
                shell
            }
        };
        let local = format!("127.0.0.1:{}", place.port());
        command
            .arg("standalone")
            .args(["--listen", &how.listen.clone().unwrap_or(local)])
            .arg("--data-dir")
            .arg(place.data_dir());
        command.args(&how.flags);
        if let Some(threads) = how.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        if let Some(window) = how.window {
            command.args(["--window", window]);
        }
        if let Some(idle_after) = how.idle_after {
            command.args(["--idle-after", idle_after]);
        }
        if let Some(memory) = how.memory {
            command.args(["--memory", memory]);
        }
        if let Some(point) = &how.crash_at {
            command.env("KINDRED_TEST_CRASH_AT", point);
        }
        Self {
            process: Process::spawn("kindred", command, &place.log()),
            client: Client::new(place.port()),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// `kill -9`.
    #[track_caller]
    pub(crate) fn kill_9(self) {
        self.process.kill_9();
    }

    /// Whether it died by `SIGKILL`, which a crash point does to itself. `None`: it still runs.
    #[track_caller]
    pub(crate) fn died(&mut self) -> Option<()> {
        self.process.died()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ended(&mut self, limit: Duration) -> ExitStatus {
        self.process.ended(limit)
    }

    /// `SIGTERM`, and asserts that it drains and exits 0 in time.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.process.stop();
    }

    /// Sends a signal, by the name that `kill` knows.
    #[track_caller]
    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Bytes of memory that it holds now.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes()
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        self.process.last_words()
    }
}
