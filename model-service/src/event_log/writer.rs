//! The thread that writes the log: everything that waits, with one sync to the disk.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, Seek, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{mpsc, oneshot};

use super::Retention;
use super::lines::Lines;
use super::segments::{Line, Segment, list, next_line, time_of};
use crate::crash;

/// A segment is this part of all that is kept, so that dropping the oldest drops little more than it must.
const PARTS: u32 = 16;
/// Sizes of a segment, in bytes.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;
/// Bytes after which a group takes no more appends.
const GROUP_BYTES: usize = 4 << 20;
/// How often old segments are looked for while nothing is appended.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The log is as private as the store.
const OWN_FILE: u32 = 0o600;
const OWN_FOLDER: u32 = 0o700;

/// Lines to make durable.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) lines: Lines,
    /// What came of it; an error is the reason in words.
    pub(super) done: oneshot::Sender<Result<(), String>>,
}

/// A segment that is complete.
#[derive(Debug)]
struct Complete {
    segment: Segment,
    bytes: u64,
    /// When its last line was logged.
    until: DateTime<Utc>,
}

/// The segment that is written.
#[derive(Debug)]
struct Open {
    segment: Segment,
    file: File,
    /// Its lines; what is in the file beyond them belongs to none.
    count: u64,
    /// The bytes of these lines.
    bytes: u64,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    /// The file may have more bytes than that.
    is_doubtful: bool,
}

/// Writes the segments, and drops those that are too old or too many.
#[derive(Debug)]
pub(super) struct LogWriter {
    folder: PathBuf,
    retention: Retention,
    /// The oldest first.
    complete: VecDeque<Complete>,
    open: Open,
}

impl LogWriter {
    /// Opens a folder, creating it if missing. A line that was cut short is removed.
    pub(super) fn open(folder: PathBuf, retention: Retention) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(OWN_FOLDER)
            .create(&folder)?;
        let mut segments = list(&folder)?;
        let open = match segments.pop() {
            Some(last) => Open::reopen(last)?,
            None => Open::create(Segment::new(&folder, 1), Utc::now())?,
        };
        sync_folder(&folder)?;
        let complete = segments.into_iter().map(complete);
        let mut writer = Self {
            folder,
            retention,
            complete: complete.collect::<io::Result<_>>()?,
            open,
        };
        writer.drop_old(Utc::now())?;
        Ok(writer)
    }

    /// Works until all senders are gone and everything sent is done. `trouble`: why the last append failed.
    pub(super) fn run(
        mut self,
        mut appends: mpsc::Receiver<Append>,
        trouble: &Mutex<Option<String>>,
    ) {
        let waiting = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let Ok(waiting) = waiting else {
            tracing::error!("event_log.no_timer");
            return;
        };
        loop {
            let next =
                waiting.block_on(async { tokio::time::timeout(LOOK_EVERY, appends.recv()).await });
            let first = match next {
                Ok(Some(first)) => first,
                Ok(None) => return,
                Err(_) => {
                    if let Err(error) = self.drop_old(Utc::now()) {
                        tracing::warn!(%error, "event_log.old_segments_stay");
                    }
                    continue;
                }
            };
            let mut text = first.lines.text;
            let mut count = first.lines.count;
            let mut done = vec![first.done];
            while text.len() < GROUP_BYTES
                && let Ok(next) = appends.try_recv()
            {
                text.extend_from_slice(&next.lines.text);
                count += next.lines.count;
                done.push(next.done);
            }
            let written = self.append(&Lines { text, count }, Utc::now());
            let written = written.map_err(|error| error.to_string());
            if let Err(detail) = &written {
                tracing::error!(detail, "event_log.not_written");
            }
            let failed = written.clone().err();
            *trouble.lock().unwrap_or_else(PoisonError::into_inner) = failed;
            for done in done {
                // The caller may have gone.
                let _ = done.send(written.clone());
            }
        }
    }

    /// Makes lines durable.
    pub(super) fn append(&mut self, lines: &Lines, now: DateTime<Utc>) -> io::Result<()> {
        if lines.count == 0 {
            return Ok(());
        }
        let more = lines.text.len() as u64;
        let is_full = self.open.bytes > 0 && self.open.bytes + more > self.segment_bytes();
        if is_full || self.is_open_long(now) {
            self.begin_segment(now)?;
        }
        self.make_room(more)?;
        self.drop_old(now)?;
        self.open.append(lines, now)
    }

    fn segment_bytes(&self) -> u64 {
        let part = self.retention.bytes / u64::from(PARTS);
        part.clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end())
    }

    /// Whether the open segment has lines of so long a time that too many would be dropped too late.
    fn is_open_long(&self, now: DateTime<Utc>) -> bool {
        self.open.count > 0 && now - self.open.since > span(self.retention.age / PARTS)
    }

    fn begin_segment(&mut self, now: DateTime<Utc>) -> io::Result<()> {
        self.open.mend()?;
        let next = Segment::new(&self.folder, self.open.segment.first + self.open.count);
        let next = Open::create(next, now)?;
        sync_folder(&self.folder)?;
        let before = std::mem::replace(&mut self.open, next);
        self.complete.push_back(Complete {
            segment: before.segment,
            bytes: before.bytes,
            until: before.until,
        });
        Ok(())
    }

    /// Drops the oldest segments until this many more bytes are within the retention.
    fn make_room(&mut self, more: u64) -> io::Result<()> {
        let mut held: u64 = self.complete.iter().map(|one| one.bytes).sum();
        while held + self.open.bytes + more > self.retention.bytes
            && let Some(oldest) = self.complete.front()
        {
            held -= oldest.bytes;
            self.drop_oldest()?;
        }
        Ok(())
    }

    /// Drops segments whose last line is too old, the open one included.
    fn drop_old(&mut self, now: DateTime<Utc>) -> io::Result<()> {
        let age = span(self.retention.age);
        if self.open.count > 0 && now - self.open.until > age {
            self.begin_segment(now)?;
        }
        while let Some(oldest) = self.complete.front()
            && now - oldest.until > age
        {
            self.drop_oldest()?;
        }
        Ok(())
    }

    fn drop_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.complete.front() else {
            return Ok(());
        };
        match fs::remove_file(&oldest.segment.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        tracing::info!(
            segment = %oldest.segment.path.display(),
            bytes = oldest.bytes,
            "event_log.segment_dropped"
        );
        self.complete.pop_front();
        Ok(())
    }
}

impl Open {
    fn create(segment: Segment, now: DateTime<Utc>) -> io::Result<Self> {
        // An empty one may be left from before a crash.
        let file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(OWN_FILE)
            .open(&segment.path)?;
        Ok(Self {
            segment,
            file,
            count: 0,
            bytes: 0,
            since: now,
            until: now,
            is_doubtful: false,
        })
    }

    /// Continues a segment. What is after its last whole line is removed.
    fn reopen(segment: Segment) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(&segment.path)?;
        let length = file.metadata()?.len();
        let mut reader = BufReader::new(&file);
        let (mut count, mut bytes) = (0, 0);
        let (mut since, mut until) = (None, None);
        loop {
            match next_line(&mut reader)? {
                Line::Whole(line) => {
                    until = time_of(&line).or(until);
                    since = since.or(until);
                }
                Line::TooLong => {}
                Line::Torn | Line::End => break,
            }
            count += 1;
            bytes = reader.stream_position()?;
        }
        drop(reader);
        if bytes < length {
            tracing::warn!(
                segment = %segment.path.display(),
                bytes = length - bytes,
                "event_log.torn_line_removed"
            );
        }
        let now = Utc::now();
        let mut open = Self {
            segment,
            file,
            count,
            bytes,
            since: since.unwrap_or(now),
            until: until.unwrap_or(now),
            is_doubtful: true,
        };
        open.mend()?;
        Ok(open)
    }

    /// Removes what a failed append, or a crash, left behind the last line.
    fn mend(&mut self) -> io::Result<()> {
        if self.is_doubtful {
            self.file.set_len(self.bytes)?;
            self.file.sync_all()?;
            self.is_doubtful = false;
        }
        Ok(())
    }

    fn append(&mut self, lines: &Lines, now: DateTime<Utc>) -> io::Result<()> {
        self.mend()?;
        self.is_doubtful = true;
        self.file.seek(SeekFrom::Start(self.bytes))?;
        let (first, rest) = lines.text.split_at(lines.text.len() / 2);
        self.file.write_all(first)?;
        crash::point("event-log-torn");
        self.file.write_all(rest)?;
        crash::point("event-log-written");
        self.file.sync_data()?;
        self.is_doubtful = false;
        self.bytes += lines.text.len() as u64;
        if self.count == 0 {
            self.since = now;
        }
        self.count += lines.count;
        self.until = now;
        Ok(())
    }
}

/// A segment that an earlier run completed.
fn complete(segment: Segment) -> io::Result<Complete> {
    let about = fs::metadata(&segment.path)?;
    Ok(Complete {
        bytes: about.len(),
        until: about.modified()?.into(),
        segment,
    })
}

/// Makes the creation of files durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn span(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX)
}
