//! Where records come from: a file, standard input, bytes at hand; packed with gzip or not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

/// Bytes read at once.
const BUFFER: usize = 256 << 10;
/// What a gzip file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// One input.
pub(crate) struct Source {
    /// What it is called in messages and in the rejects file.
    pub(crate) name: String,
    /// The file it is, if it is one.
    pub(crate) path: Option<PathBuf>,
    /// Its size in bytes as it lies there, packed or not; `None`: not known.
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

    /// Bytes at hand.
    pub(crate) fn bytes(name: &str, bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self {
            name: name.to_owned(),
            path: None,
            size: Some(bytes.as_ref().len() as u64),
            input: Box::new(Cursor::new(bytes)),
        }
    }

    /// The input unpacked; `taken` counts the bytes taken as they lie there.
    pub(crate) fn reader(self, taken: Arc<AtomicU64>) -> io::Result<Box<dyn BufRead + Send>> {
        let mut counted = BufReader::with_capacity(
            BUFFER,
            Counted {
                input: self.input,
                taken,
            },
        );
        // Two bytes may come one at a time through a pipe.
        let mut head = Vec::new();
        while head.len() < GZIP.len() {
            let mut byte = [0];
            match counted.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => head.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let packed = head == GZIP;
        let whole = Cursor::new(head).chain(counted);
        Ok(if packed {
            Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(whole)))
        } else {
            Box::new(whole)
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
