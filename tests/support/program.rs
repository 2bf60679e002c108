//! A running `kindred standalone`.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use super::client::Client;
use super::deadline::wait_for;
use super::place::Place;

/// The program as the test profile built it.
const PROGRAM: &str = env!("CARGO_BIN_EXE_kindred");
/// Longest a start may take, the loading of a dirty store not counted.
const START: Duration = Duration::from_secs(60);
/// Longest a drain may take (CONTRACT: 10 s), and the time to notice it.
const STOP: Duration = Duration::from_secs(11);
/// What a crash point kills with.
const SIGKILL: i32 = 9;

/// How to start it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Start {
    pub(crate) threads: Option<usize>,
    /// `50ms`; the default is the program's.
    pub(crate) window: Option<&'static str>,
    /// `1s`; the default is the program's.
    pub(crate) idle_after: Option<&'static str>,
    /// `KINDRED_TEST_CRASH_AT`.
    pub(crate) crash_at: Option<String>,
    /// Largest file it may write, in units of 512 bytes.
    pub(crate) largest_file: Option<u32>,
}

/// A started program; killed when dropped.
pub(crate) struct Kindred {
    child: Child,
    client: Client,
    log: PathBuf,
}

/// `kindred` with nothing of the caller's configuration.
pub(crate) fn kindred(directory: &Path) -> Command {
    clean(Command::new(PROGRAM), directory)
}

fn clean(mut command: Command, directory: &Path) -> Command {
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("KINDRED_") {
            command.env_remove(key);
        }
    }
    command.current_dir(directory).stdin(Stdio::null());
    command
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
            if let Some(status) = kindred.child.try_wait().expect("its own child") {
                panic!("kindred ended at start: {status}\n{}", kindred.last_words());
            }
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
        command
            .arg("standalone")
            .args(["--listen", &format!("127.0.0.1:{}", place.port())])
            .arg("--data-dir")
            .arg(place.data_dir());
        if let Some(threads) = how.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        if let Some(window) = how.window {
            command.args(["--window", window]);
        }
        if let Some(idle_after) = how.idle_after {
            command.args(["--idle-after", idle_after]);
        }
        if let Some(point) = &how.crash_at {
            command.env("KINDRED_TEST_CRASH_AT", point);
        }
        let log = append(&place.log());
        let child = command
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        Self {
            child,
            client: Client::new(place.port()),
            log: place.log(),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// `kill -9`.
    #[track_caller]
    pub(crate) fn kill_9(mut self) {
        if let Some(status) = self.child.try_wait().expect("its own child") {
            panic!("ended before its kill: {status}\n{}", self.last_words());
        }
        self.child.kill().expect("its own child");
        self.child.wait().expect("its own child");
    }

    /// Whether it died by `SIGKILL`, which a crash point does to itself. `None`: it still runs.
    #[track_caller]
    pub(crate) fn died(&mut self) -> Option<()> {
        let status = self.child.try_wait().expect("its own child")?;
        assert_eq!(
            status.signal(),
            Some(SIGKILL),
            "ended otherwise: {status}\n{}",
            self.last_words()
        );
        Some(())
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ended(&mut self, limit: Duration) -> ExitStatus {
        wait_for("kindred ends", limit, || {
            self.child
                .try_wait()
                .expect("its own child")
                .ok_or_else(|| "running".to_owned())
        })
    }

    /// `SIGTERM`, and asserts that it drains and exits 0 in time.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        let signalled = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.child.id())])
            .status()
            .expect("a shell");
        assert!(signalled.success(), "ended before its SIGTERM");
        let status = self.ended(STOP);
        assert_eq!(
            status.code(),
            Some(0),
            "after SIGTERM\n{}",
            self.last_words()
        );
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Kindred {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the program's log ends:\n{}", self.last_words());
        }
        // Both fail only when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("a log in the test's own directory")
}
