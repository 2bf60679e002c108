//! Where a test's program keeps its data.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use super::lock::{Lock, Turn};

/// A directory of a test's own, and the test's turn. A test holds at most one.
pub(crate) struct Place {
    directory: TempDir,
    port: u16,
    _turn: Turn,
}

impl Place {
    /// Waits until no other test has a place: for those that measure, load the whole machine, or kill
    /// what others stand on.
    pub(crate) fn new() -> Self {
        Self::with(Turn::alone())
    }

    /// Waits until none wants the machine for itself.
    pub(crate) fn beside_others() -> Self {
        Self::with(Turn::beside_others())
    }

    fn with(turn: Turn) -> Self {
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

/// A port that was free a moment ago, and that no other running test was given.
#[track_caller]
pub(crate) fn free_port() -> u16 {
    /// Held until the process ends: a test may start its program again at any time.
    static GIVEN: Mutex<Vec<Lock>> = Mutex::new(Vec::new());
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    let begin = (now ^ std::process::id().rotate_left(16)) as usize % PORTS.len();
    // By a connection that is refused: a listener would be inherited by what another thread starts just
    // then, and be there until that is another program.
    let is_free = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
    let (port, lock) = PORTS
        .cycle()
        .skip(begin)
        .take(PORTS.len())
        .find_map(|port| {
            let lock = Lock::try_exclusive(&format!("port-{port}"))?;
            is_free(port).then_some((port, lock))
        })
        .expect("a port on the loopback interface");
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    given.push(lock);
    port
}
