//! A running program, whichever it is.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use super::deadline::wait_for;

/// Longest a drain may take (CONTRACT: 10 s), and the time to notice it.
const STOP: Duration = Duration::from_secs(11);
/// What a crash point kills with.
const SIGKILL: i32 = 9;
/// Lines of a log's end that are shown.
const LAST_WORDS: usize = 40;

/// A started program; killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it. What it says is appended to `log`.
    pub(crate) fn spawn(name: &str, mut command: Command, log: &Path) -> Self {
        let file = append(log);
        let child = command
            .stdout(file.try_clone().expect("a second handle of the log"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of memory that it holds now, as Linux counts them.
    #[track_caller]
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("a process of Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib.and_then(|kib| kib.parse().ok()).expect("a number");
        kib << 10
    }

    /// How it ended, if it did.
    pub(crate) fn exit(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its own child")
    }

    /// Asserts that it runs.
    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.exit() {
            panic!("{} ended: {status}\n{}", self.name, self.last_words());
        }
    }

    /// `kill -9`.
    #[track_caller]
    pub(crate) fn kill_9(mut self) {
        self.assert_running();
        self.child.kill().expect("its own child");
        self.child.wait().expect("its own child");
    }

    /// Whether it died by `SIGKILL`, which a crash point does to itself. `None`: it still runs.
    #[track_caller]
    pub(crate) fn died(&mut self) -> Option<()> {
        let status = self.exit()?;
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
        let what = format!("{} ends", self.name);
        wait_for(&what, limit, || {
            self.exit().ok_or_else(|| "running".to_owned())
        })
    }

    /// `SIGTERM`, and asserts that it drains and exits 0 in time.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        let status = self.ended(STOP);
        assert_eq!(
            status.code(),
            Some(0),
            "after SIGTERM\n{}",
            self.last_words()
        );
    }

    /// Sends a signal, by the name that `kill` knows.
    #[track_caller]
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([format!("-{signal}"), self.id().to_string()])
            .status()
            .expect("the command kill");
        assert!(sent.success(), "{} ended before its {signal}", self.name);
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of {} ends:\n{}", self.name, self.last_words());
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
