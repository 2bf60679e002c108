//! How a compute worker makes itself known: a header on each of its replies, and a greeting now and
//! then, so that one without work is known too.

use std::fmt;

use lapin::types::{AMQPValue, FieldTable};

/// Name of the header that holds a [`WorkerCard`].
pub const WORKER_HEADER: &str = "worker";

/// Type of a message that answers no job: a worker only says that it is there.
pub const GREETING: &str = "worker.greeting";

const NAME: &str = "name";
const KERNEL: &str = "kernel";
const THREADS: &str = "threads";
const JOBS_DONE: &str = "jobs_done";

/// Most bytes of a name or kernel that is believed.
const MAX_WORD_BYTES: usize = 255;

/// What a worker says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCard {
    /// Its name, unique while it runs: host and process id.
    pub name: String,
    /// The kernel it compares with.
    pub kernel: String,
    /// Its threads.
    pub threads: u32,
    /// Jobs it answered since it started, this one included.
    pub jobs_done: u64,
}

impl WorkerCard {
    /// As the value of [`WORKER_HEADER`]: a table, readable in the management UI.
    pub fn to_value(&self) -> AMQPValue {
        let mut table = FieldTable::default();
        table.insert(
            NAME.into(),
            AMQPValue::LongString(self.name.as_str().into()),
        );
        table.insert(
            KERNEL.into(),
            AMQPValue::LongString(self.kernel.as_str().into()),
        );
        table.insert(THREADS.into(), AMQPValue::LongUInt(self.threads));
        let jobs_done = i64::try_from(self.jobs_done).unwrap_or(i64::MAX);
        table.insert(JOBS_DONE.into(), AMQPValue::LongLongInt(jobs_done));
        AMQPValue::FieldTable(table)
    }

    /// From the value of [`WORKER_HEADER`]; `None` when it is not one.
    pub fn from_value(value: &AMQPValue) -> Option<Self> {
        let table = value.as_field_table()?.inner();
        let word = |key: &str| {
            let bytes = table.get(key)?.as_long_string()?.as_bytes();
            let word = std::str::from_utf8(bytes).ok()?;
            (!word.is_empty() && word.len() <= MAX_WORD_BYTES).then(|| word.to_owned())
        };
        Some(Self {
            name: word(NAME)?,
            kernel: word(KERNEL)?,
            threads: table.get(THREADS)?.as_long_uint()?,
            jobs_done: u64::try_from(table.get(JOBS_DONE)?.as_long_long_int()?).ok()?,
        })
    }
}

impl fmt::Display for WorkerCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}, {} threads, {} jobs done)",
            self.name, self.kernel, self.threads, self.jobs_done
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    fn card() -> WorkerCard {
        WorkerCard {
            name: "box-7".to_owned(),
            kernel: "avx2".to_owned(),
            threads: 4,
            jobs_done: 12,
        }
    }

    #[test]
    fn is_read_back_as_written() {
        assert_eq!(WorkerCard::from_value(&card().to_value()), Some(card()));
    }

    #[test]
    fn what_is_no_card_is_not_read() {
        let nameless = WorkerCard {
            name: String::new(),
            ..card()
        };
        let endless = WorkerCard {
            kernel: "k".repeat(MAX_WORD_BYTES + 1),
            ..card()
        };
        for value in [
            AMQPValue::Boolean(true),
            AMQPValue::FieldTable(FieldTable::default()),
            nameless.to_value(),
            endless.to_value(),
        ] {
            assert_eq!(WorkerCard::from_value(&value), None);
        }
    }
}
