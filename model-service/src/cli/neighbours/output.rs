//! Where results go. A file appears whole or not at all: it is written under a temporary name in
//! the same directory and then renamed. It is not synced, since results can be computed again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tempfile::NamedTempFile;

use crate::cli::exit::CommandError;

/// The value of `-o`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// `-`: NDJSON on standard output.
    Standard,
    /// NDJSON to a file.
    Ndjson(PathBuf),
    /// Two arrays to two files.
    Arrays { ids: PathBuf, scores: PathBuf },
}

impl FromStr for Output {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let path = PathBuf::from(name);
        if name == "-" {
            Ok(Self::Standard)
        } else if let Some(stem) = name.strip_suffix(".npy")
            && path.file_stem().is_some_and(|stem| stem != ".npy")
        {
            Ok(Self::Arrays {
                ids: format!("{stem}.ids.npy").into(),
                scores: format!("{stem}.scores.npy").into(),
            })
        } else if name.ends_with(".ndjson") || is_device(&path) {
            Ok(Self::Ndjson(path))
        } else {
            Err("expected a name that ends in .ndjson or .npy, or - for standard output".to_owned())
        }
    }
}

/// Whether the path exists and is not a regular file: a pipe, `/dev/null`.
fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|facts| !facts.is_file() && !facts.is_dir())
}

impl Output {
    /// The files it creates.
    pub(super) fn files(&self) -> Vec<&Path> {
        match self {
            Self::Standard => Vec::new(),
            Self::Ndjson(path) => vec![path],
            Self::Arrays { ids, scores } => vec![ids, scores],
        }
    }

    /// Checks early whether its files can be created.
    pub(super) fn check(&self) -> Result<(), CommandError> {
        for path in self.files() {
            if !is_device(path) {
                beside(path).map_err(|error| CommandError::usage(words(path, &error)))?;
            }
        }
        Ok(())
    }
}

/// Creates a file with what `write` writes.
pub(super) fn write_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CommandError> {
    let written = || {
        if is_device(path) {
            return write(&mut File::options().write(true).open(path)?);
        }
        let (mut file, place) = beside(path)?;
        write(file.as_file_mut())?;
        file.persist(place).map_err(|error| error.error)?;
        Ok(())
    };
    written().map_err(|error: io::Error| {
        // A closed pipe: the reader has seen enough.
        if error.kind() == io::ErrorKind::BrokenPipe {
            error.into()
        } else {
            CommandError::failed(words(path, &error))
        }
    })
}

/// An empty temporary file in the directory of `path`, and the final path: the target if `path` is
/// a link.
fn beside(path: &Path) -> io::Result<(NamedTempFile, PathBuf)> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = match place.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    let mut named = tempfile::Builder::new();
    named.prefix(".kindred-").suffix(".partial");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The mode of any new file; the process's umask applies.
        named.permissions(fs::Permissions::from_mode(0o666));
    }
    Ok((named.tempfile_in(directory)?, place))
}

fn words(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_written() {
        let arrays = Output::Arrays {
            ids: "a/b.ids.npy".into(),
            scores: "a/b.scores.npy".into(),
        };
        assert_eq!("a/b.npy".parse(), Ok(arrays));
        assert_eq!("b.ndjson".parse(), Ok(Output::Ndjson("b.ndjson".into())));
        assert_eq!("-".parse(), Ok(Output::Standard));
        for name in ["", "b", "b.json", ".npy", "a/.npy", "b.npz"] {
            assert!(name.parse::<Output>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.ndjson");
        fs::write(&path, "old").unwrap();
        let failed = write_file(&path, |out| {
            out.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(failed.unwrap_err().message.contains("x.ndjson"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        write_file(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "no leftovers"
        );
    }
}
