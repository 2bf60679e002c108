//! Sources of records: a file, standard input, or bytes in memory; gzipped or not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::gzip::{Ahead, Gunzip};

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// One input.
pub(crate) struct Source {
    /// Its name in messages and in the rejects file.
    pub(crate) name: String,
    /// Its path, if it is a file.
    pub(crate) path: Option<PathBuf>,
    /// Its size in bytes as stored, compressed or not; `None`: unknown.
    pub(crate) size: Option<u64>,
    input: Box<dyn Read + Send>,
}

impl Source {
    /// A file; `-` is standard input.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self {
                name: "-".to_owned(),
                path: None,
                size: None,
                input: Box::new(io::stdin()),
            });
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::other("is a directory, not a file"));
        }
        Ok(Self {
            name: path.display().to_string(),
            path: Some(path.to_owned()),
            // A pipe or a device has a length of 0 and still something to read.
            size: metadata.is_file().then_some(metadata.len()),
            input: Box::new(file),
        })
    }

    /// Bytes in memory.
    pub(crate) fn bytes(name: &str, bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self {
            name: name.to_owned(),
            path: None,
            size: Some(bytes.as_ref().len() as u64),
            input: Box::new(Cursor::new(bytes)),
        }
    }

    /// The input unpacked; `taken` counts the bytes read as stored. `is_followed` is set when
    /// something else follows the end of the gzip data.
    pub(crate) fn reader(
        self,
        taken: Arc<AtomicU64>,
        is_followed: &Arc<AtomicBool>,
    ) -> io::Result<Box<dyn BufRead + Send>> {
        let input = self.input;
        let counted = BufReader::with_capacity(BUFFER, Counted { input, taken });
        let mut ahead = Ahead::new(counted);
        Ok(if ahead.is_gzip()? {
            let unpacked = Gunzip::new(ahead, Arc::clone(is_followed));
            Box::new(BufReader::with_capacity(BUFFER, unpacked))
        } else {
            Box::new(ahead)
        })
    }
}

struct Counted {
    input: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
