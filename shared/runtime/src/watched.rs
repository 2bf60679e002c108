//! Values derived from files and rebuilt when the files change: certificates and their keys.

use std::fmt::{self, Display};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tracing::{info, warn};

/// The contents of the files; `None` if one cannot be read.
type Contents = Option<Vec<Vec<u8>>>;

/// A value derived from some files.
pub struct Watched<T, E> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    current: RwLock<Arc<T>>,
    seen: Mutex<Seen>,
}

/// Contents of the files that were seen before.
struct Seen {
    /// The contents from which the current value was made.
    used: Contents,
    /// The contents last reported as unusable.
    told: Contents,
}

impl<T, E: Display> Watched<T, E> {
    /// Builds the value of these files with `make`.
    ///
    /// # Errors
    /// When `make` fails now.
    pub fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Read first, so that a change in between triggers a rebuild.
        let used = contents(&files);
        let current = RwLock::new(Arc::new(make()?));
        let make = Box::new(make);
        Ok(Self {
            files,
            make,
            current,
            seen: Mutex::new(Seen { used, told: None }),
        })
    }

    /// The last value that was built.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rebuilds the value if the files have changed. Files that do not match each other, such as a certificate whose
    /// key has not been written yet, are not used and are checked again the next time. Reads files: do not call it on a
    /// thread that others wait for.
    pub fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = contents(&self.files);
        if found.is_none() || found == seen.used {
            return;
        }
        match (self.make)() {
            Ok(made) => {
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = Arc::new(made);
                let file = self.files[0].display();
                info!(%file, "the certificate has changed");
                (seen.used, seen.told) = (found, None);
            }
            Err(error) if seen.told != found => {
                warn!(%error, "the changed certificate cannot be used; the previous one stays in use");
                seen.told = found;
            }
            Err(_) => {}
        }
    }
}

fn contents(files: &[PathBuf]) -> Contents {
    files.iter().map(|file| fs::read(file).ok()).collect()
}

impl<T, E> fmt::Debug for Watched<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.files).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn number(file: PathBuf) -> Result<Watched<u32, String>, String> {
        Watched::new(vec![file.clone()], move || {
            let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
            text.parse().map_err(|_| format!("{text} is no number"))
        })
    }

    #[test]
    fn is_made_anew_of_what_can_be_used() {
        let place = TempDir::new().unwrap();
        let file = place.path().join("number");
        assert!(number(file.clone()).is_err());
        fs::write(&file, "1").unwrap();
        let watched = number(file.clone()).unwrap();
        for (written, then) in [("half", 1), ("2", 2), ("", 2), ("3", 3)] {
            fs::write(&file, written).unwrap();
            watched.look();
            assert_eq!(*watched.current(), then, "{written:?}");
        }
        fs::remove_file(&file).unwrap();
        watched.look();
        assert_eq!(*watched.current(), 3);
        // Back to the old contents.
        fs::write(&file, "3").unwrap();
        let before = watched.current();
        watched.look();
        assert!(Arc::ptr_eq(&before, &watched.current()));
    }
}
