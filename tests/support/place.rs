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

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port on the loopback interface")
        .port()
}
