//! Where RabbitMQ and Cassandra are, as `tests/run` says; and killing them.

use std::future::Future;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;

/// Longest any single request of a test to a service may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// Waits for a future; clients of both services live on this runtime.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime")
        })
        .block_on(future)
}

/// A variable that `tests/run` sets.
#[track_caller]
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set; see tests/services/up, or use tests/run"))
}

/// A name that no other test of this machine has now: letters, digits and underscores.
pub(crate) fn own_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!(
        "t{}_{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A service that was started for the tests.
pub(crate) struct Control(PathBuf);

impl Control {
    pub(crate) fn of_broker() -> Self {
        Self(variable("KINDRED_TEST_BROKER_CONTROL").into())
    }

    pub(crate) fn of_database() -> Self {
        Self(variable("KINDRED_TEST_DATABASE_CONTROL").into())
    }

    /// `kill -9`; returns when it is gone.
    #[track_caller]
    pub(crate) fn kill(&self) {
        self.run("kill");
    }

    /// Stops it gracefully; returns when it is gone.
    #[track_caller]
    pub(crate) fn stop(&self) {
        self.run("stop");
    }

    /// Starts it again; returns when it answers.
    #[track_caller]
    pub(crate) fn start(&self) {
        self.run("start");
    }

    /// Has the broker without one of its plugins, until what is returned is dropped.
    #[track_caller]
    pub(crate) fn without<'a>(&'a self, plugin: &'static str) -> Without<'a> {
        self.tell(&["disable", plugin]);
        Without {
            control: self,
            plugin,
        }
    }

    /// Freezes it with everything in its hands, until what is returned is dropped.
    #[track_caller]
    pub(crate) fn freeze(&self) -> Frozen {
        let told = Command::new(&self.0)
            .arg("pid")
            .output()
            .expect("the control script");
        let pid = String::from_utf8_lossy(&told.stdout).trim().to_owned();
        assert!(!pid.is_empty(), "{} runs", self.0.display());
        signal("STOP", &pid);
        Frozen { pid }
    }

    #[track_caller]
    fn run(&self, action: &str) {
        self.tell(&[action]);
    }

    #[track_caller]
    fn tell(&self, words: &[&str]) {
        let done = Command::new(&self.0)
            .args(words)
            .status()
            .expect("the control script");
        assert!(done.success(), "{} {words:?}: {done}", self.0.display());
    }
}

/// A broker without a plugin; it has it again when this is dropped.
pub(crate) struct Without<'a> {
    control: &'a Control,
    plugin: &'static str,
}

impl Drop for Without<'_> {
    fn drop(&mut self) {
        self.control.tell(&["enable", self.plugin]);
    }
}

/// A service that is frozen; goes on when dropped.
pub(crate) struct Frozen {
    pid: String,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("CONT", &self.pid);
    }
}

fn signal(signal: &str, pid: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{signal}"), pid])
        .status()
        .expect("the command kill");
    assert!(sent.success(), "{pid} has ended");
}
