//! Locks that tests share: between threads of one program and between programs, since each test may run in a process
//! of its own, beside others.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// Released when dropped, and by the system when the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// What a test holds while it runs.
#[derive(Debug)]
pub(crate) struct Turn {
    _turn: Lock,
    /// Held by who is alone, or waits to be: those that come later wait behind it.
    _gate: Option<Lock>,
}

/// Where tests keep what they share: a directory of this build.
pub(crate) fn shared_directory() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

impl Lock {
    /// Waits until nobody else holds the lock of this name.
    #[track_caller]
    pub(crate) fn exclusive(name: &str) -> Self {
        let file = open(name);
        file.lock().expect("a lock");
        Self { _file: file }
    }

    /// Waits until nobody holds the lock of this name exclusively.
    #[track_caller]
    pub(crate) fn shared(name: &str) -> Self {
        let file = open(name);
        file.lock_shared().expect("a lock");
        Self { _file: file }
    }

    /// `None` if somebody else holds the lock of this name.
    #[track_caller]
    pub(crate) fn try_exclusive(name: &str) -> Option<Self> {
        let file = open(name);
        file.try_lock().is_ok().then_some(Self { _file: file })
    }
}

impl Turn {
    /// Waits until no other test has a turn.
    pub(crate) fn alone() -> Self {
        let gate = Lock::exclusive("gate");
        Self {
            _turn: Lock::exclusive("turn"),
            _gate: Some(gate),
        }
    }

    /// Waits until no test is alone, or waits to be.
    pub(crate) fn beside_others() -> Self {
        let _gate = Lock::shared("gate");
        Self {
            _turn: Lock::shared("turn"),
            _gate: None,
        }
    }
}

#[track_caller]
fn open(name: &str) -> File {
    let path: PathBuf = shared_directory().join("locks").join(name);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).expect("a directory for locks");
    }
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .expect("a lock's file")
}
