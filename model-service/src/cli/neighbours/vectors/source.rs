//! Random access to the bytes of a file, from any thread.

use std::fs::File;
use std::io::{self, Read};
#[cfg(unix)]
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes with random access.
pub(super) enum Source {
    /// A file of this many bytes.
    #[cfg(unix)]
    File(File, u64),
    /// Bytes read from a pipe.
    Memory(Vec<u8>),
}

impl Source {
    /// Opens a file. What cannot be read at random, such as a pipe, is read whole.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        #[cfg(unix)]
        {
            let facts = file.metadata()?;
            if facts.is_file() {
                return Ok(Self::File(file, facts.len()));
            }
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }

    /// Length in bytes.
    pub(super) fn length(&self) -> u64 {
        match self {
            #[cfg(unix)]
            Self::File(_, length) => *length,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Fills `place` with the bytes at `offset`.
    ///
    /// # Errors
    /// Also when there are fewer.
    pub(super) fn read_at(&self, offset: u64, place: &mut [u8]) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Self::File(file, _) => file.read_exact_at(place, offset),
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let found = bytes
                    .get(start..)
                    .and_then(|bytes| bytes.get(..place.len()))
                    .ok_or(io::ErrorKind::UnexpectedEof)?;
                place.copy_from_slice(found);
                Ok(())
            }
        }
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Memory(bytes)
    }
}
