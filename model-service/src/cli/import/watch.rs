//! `--watch`: watches a source and sends its changes.
//!
//! Editors save files in many ways: by overwriting, or by writing a new file and renaming it. So
//! file-system events are only a hint that something changed: after a moment of quiet the whole
//! source is read again, and what differs is sent.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::REJECTS;
use crate::cli::exit::{CommandError, Outcome};

/// How long nothing must happen before the source is read again.
const QUIET: Duration = Duration::from_millis(150);
/// The source is read after this long even if changes go on.
const LONGEST: Duration = Duration::from_secs(2);

/// The result of a round.
pub(super) struct Round {
    /// Directories of the source.
    pub(super) directories: Vec<PathBuf>,
    /// The message about it; `None`: nothing changed.
    pub(super) words: Option<String>,
}

/// Calls `round` whenever something changed, until Ctrl-C. Rejects files, by their usual names or
/// at the path in `rejects`, are not part of the source.
///
/// # Errors
/// Those of `round`, and when the system cannot watch files.
pub(super) fn follow(
    first: Vec<PathBuf>,
    rejects: Option<PathBuf>,
    out: &mut dyn Write,
    mut round: impl FnMut() -> Result<Round, CommandError>,
) -> Outcome {
    let in_words =
        |error: notify::Error| CommandError::failed(format!("files cannot be watched: {error}"));
    let (tell, told) = channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let is_change = |event: &Event| matters(event, rejects.as_deref());
        if event.as_ref().map_or(true, is_change) {
            // The receiver is gone only at the end.
            let _ = tell.send(());
        }
    })
    .map_err(in_words)?;
    let mut watched = BTreeSet::new();
    watch(&mut watcher, &mut watched, first).map_err(in_words)?;
    writeln!(out, "watching {} folders until Ctrl-C", watched.len())?;
    out.flush()?;
    loop {
        // Changes made before a folder was watched are found by reading once more.
        loop {
            // A folder that was deleted and created again has to be watched again.
            for directory in &watched {
                let _ = watcher.watch(directory, RecursiveMode::NonRecursive);
            }
            let found = round()?;
            if let Some(words) = found.words {
                writeln!(out, "{words}")?;
                out.flush()?;
            }
            if !watch(&mut watcher, &mut watched, found.directories).map_err(in_words)? {
                break;
            }
        }
        wait(&told)?;
    }
}

/// Whether an event may mean that a file of the source changed. Reading changes none.
fn matters(event: &Event, rejects: Option<&Path>) -> bool {
    let name_of = |path: &Path| path.file_name().map(OsStr::to_owned);
    let is_of_rejects = |path: &PathBuf| {
        let name = name_of(path);
        let usual = name
            .as_ref()
            .is_some_and(|name| name.as_encoded_bytes().ends_with(REJECTS.as_bytes()));
        usual || (name.is_some() && name == rejects.and_then(name_of))
    };
    if !event.paths.is_empty() && event.paths.iter().all(is_of_rejects) {
        return false;
    }
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

/// Watches exactly these directories; returns whether one was new.
fn watch(
    watcher: &mut RecommendedWatcher,
    watched: &mut BTreeSet<PathBuf>,
    directories: Vec<PathBuf>,
) -> notify::Result<bool> {
    watched.retain(|known| directories.contains(known));
    let mut is_new = false;
    for directory in directories {
        if watched.contains(&directory) {
            continue;
        }
        match watcher.watch(&directory, RecursiveMode::NonRecursive) {
            Ok(()) => {
                watched.insert(directory);
                is_new = true;
            }
            // It was deleted meanwhile; its parent is watched.
            Err(_) if !directory.exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(is_new)
}

/// Waits until something happens, and then until it is quiet.
fn wait(told: &Receiver<()>) -> Result<(), CommandError> {
    let ended = || CommandError::failed("watching files ended unexpectedly");
    told.recv().map_err(|_| ended())?;
    let began = Instant::now();
    while began.elapsed() < LONGEST {
        match told.recv_timeout(QUIET) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => return Err(ended()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, ModifyKind, RemoveKind};

    #[test]
    fn reading_is_no_change() {
        let of = |kind| matters(&Event::new(kind), None);
        assert!(!of(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!of(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(of(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(of(EventKind::Create(CreateKind::File)));
        assert!(of(EventKind::Modify(ModifyKind::Any)));
        assert!(of(EventKind::Remove(RemoveKind::File)));
    }

    #[test]
    fn what_is_rejected_is_written_beside_the_source() {
        let of = |paths: &[&str]| {
            let mut event = Event::new(EventKind::Modify(ModifyKind::Any));
            event.paths = paths.iter().map(PathBuf::from).collect();
            matters(&event, Some(Path::new("elsewhere/bad.txt")))
        };
        assert!(of(&[]) && of(&["a.md"]) && of(&["bad.md", "bad.txt"]));
        assert!(!of(&["x/import.rejects.ndjson"]) && !of(&["x/bad.txt"]));
    }

    #[test]
    fn a_burst_is_one_change() {
        let (tell, told) = channel();
        for _ in 0..100 {
            tell.send(()).expect("it is heard");
        }
        wait(&told).expect("something happened");
        assert!(told.try_recv().is_err(), "all of it is over");
        drop(tell);
        assert!(wait(&told).is_err(), "nobody watches");
    }
}
