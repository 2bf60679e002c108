//! The whole import of Debian's packages, and what a standalone makes of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use super::expected::Expected;
use super::stored::{self, Stored};
use kindred_api::domain::DomainAnswer;

use crate::corpus::event::Fate;
use crate::corpus::stream::{EventBatch, whole_import};
use crate::support::feed::{FEEDERS, Progress, feed};
use crate::support::lock::{Lock, shared_directory};
use crate::support::place::Place;
use crate::support::program::{Kindred, PROGRAM, Start};

/// Longest until quiet, in the dev profile on two busy cores.
pub(crate) const QUIET: Duration = Duration::from_secs(600);

/// Its events.
pub(crate) fn batches() -> &'static [EventBatch] {
    static BATCHES: OnceLock<Vec<EventBatch>> = OnceLock::new();
    BATCHES.get_or_init(whole_import)
}

/// What they come to.
pub(crate) fn expected() -> Expected {
    Expected::of(batches().iter().flat_map(|batch| &batch.events))
}

/// The store after an import that nothing disturbed, with two threads. It is made once for all tests of a build, which
/// may run in several processes; a test that has a [`Place`] must not ask for it.
pub(crate) fn undisturbed() -> Stored {
    let _lock = Lock::exclusive("undisturbed");
    let all = shared_directory().join("undisturbed");
    let own = all.join(format!("{:016x}", fingerprint()));
    let (data, complete) = (own.join("data"), own.join("complete"));
    if !complete.exists() {
        let _ = std::fs::remove_dir_all(&all);
        import_with(2, |data_dir| {
            copy(data_dir, &data).expect("room for a store");
        });
        std::fs::write(&complete, "").expect("room for a file");
    }
    stored::read(&data)
}

/// Of what decides the store: the program and the events.
fn fingerprint() -> u64 {
    let program = std::fs::metadata(PROGRAM).expect("the program");
    let modified = program.modified().expect("a time of change");
    let mut hasher = DefaultHasher::new();
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    (program.len(), since).hash(&mut hasher);
    for event in batches().iter().flat_map(|batch| &batch.events) {
        event.line.hash(&mut hasher);
    }
    hasher.finish()
}

/// Copies a directory with all files in it; what a program opened there to be asked (a socket) stays behind.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &to)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// The store of a standalone that was sent all of it and became quiet.
pub(crate) fn imported_with(threads: usize) -> Stored {
    import_with(threads, stored::read)
}

/// Sends all of it to a standalone, stops it when it is quiet, and reads its data.
fn import_with<T>(threads: usize, read: impl FnOnce(&Path) -> T) -> T {
    let batches = batches();
    let place = Place::new();
    let how = Start {
        threads: Some(threads),
        ..Start::default()
    };
    let kindred = Kindred::start(&place, &how);
    let progress = Progress::default();
    std::thread::scope(|scope| {
        for _ in 0..FEEDERS {
            scope.spawn(|| feed(kindred.client(), batches, &progress));
        }
    });
    let domains = kindred.client().wait_quiet(QUIET);
    assert_counts(&domains);
    kindred.stop();
    read(&place.data_dir())
}

/// Asserts that every domain counts what was sent.
#[track_caller]
pub(crate) fn assert_counts(domains: &[DomainAnswer]) {
    let expected = expected();
    assert_eq!(domains.len(), expected.domains().len());
    for domain in domains {
        let (shown, hidden) = (
            expected.count(domain.domain.as_str(), Fate::Shown),
            expected.count(domain.domain.as_str(), Fate::Hidden),
        );
        assert_eq!(
            (domain.visible, domain.live),
            (shown, shown + hidden),
            "visible and live items of {}",
            domain.domain.as_str()
        );
    }
}
