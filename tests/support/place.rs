//! Where a test's program keeps its data.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

/// One test with a program at a time: each uses the whole machine, and some measure.
static TURN: Mutex<()> = Mutex::new(());

/// A directory of a test's own, and the test's turn. A test holds at most one.
pub(crate) struct Place {
    directory: TempDir,
    port: u16,
    _turn: MutexGuard<'static, ()>,
}

impl Place {
    /// Waits for the turn.
    pub(crate) fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
            port: free_port(),
            _turn: turn,
        }
    }

    /// The working directory of programs started here.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory().join("data")
    }

    /// Standard error of all programs started here.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory().join("log")
    }

    /// The same at every start, so that who feeds need not know of a restart.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// Ports that the system gives to no outgoing connection by itself: one that is free stays free
/// while a program that is killed comes back to it.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// A port that was free a moment ago.
#[track_caller]
pub(crate) fn free_port() -> u16 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    let begin = (now ^ std::process::id().rotate_left(16)) as usize % PORTS.len();
    PORTS
        .cycle()
        .skip(begin)
        .take(PORTS.len())
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a port on the loopback interface")
}
