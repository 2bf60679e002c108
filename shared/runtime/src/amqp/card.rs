//! Encodes a worker's card as a header value.

use kindred_shared::worker::WorkerCard;
use lapin::types::{AMQPValue, FieldTable};

const NAME: &str = "name";
const KERNEL: &str = "kernel";
const THREADS: &str = "threads";
const JOBS_DONE: &str = "jobs_done";

/// Longest name or kernel, in bytes, that is accepted.
const MAX_WORD_BYTES: usize = 255;

/// A card as the value of [`WORKER_HEADER`](kindred_shared::worker::WORKER_HEADER): a table, readable in the management
/// UI.
pub fn card_to_value(card: &WorkerCard) -> AMQPValue {
    let mut table = FieldTable::default();
    table.insert(
        NAME.into(),
        AMQPValue::LongString(card.name.as_str().into()),
    );
    table.insert(
        KERNEL.into(),
        AMQPValue::LongString(card.kernel.as_str().into()),
    );
    table.insert(THREADS.into(), AMQPValue::LongUInt(card.threads));
    let jobs_done = i64::try_from(card.jobs_done).unwrap_or(i64::MAX);
    table.insert(JOBS_DONE.into(), AMQPValue::LongLongInt(jobs_done));
    AMQPValue::FieldTable(table)
}

/// The card in the value of [`WORKER_HEADER`](kindred_shared::worker::WORKER_HEADER); `None` when it is not one.
pub fn card_from_value(value: &AMQPValue) -> Option<WorkerCard> {
    let table = value.as_field_table()?.inner();
    let word = |key: &str| {
        let bytes = table.get(key)?.as_long_string()?.as_bytes();
        let word = std::str::from_utf8(bytes).ok()?;
        (!word.is_empty() && word.len() <= MAX_WORD_BYTES).then(|| word.to_owned())
    };
    Some(WorkerCard {
        name: word(NAME)?,
        kernel: word(KERNEL)?,
        threads: table.get(THREADS)?.as_long_uint()?,
        jobs_done: u64::try_from(table.get(JOBS_DONE)?.as_long_long_int()?).ok()?,
    })
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
        assert_eq!(card_from_value(&card_to_value(&card())), Some(card()));
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
            card_to_value(&nameless),
            card_to_value(&endless),
        ] {
            assert_eq!(card_from_value(&value), None);
        }
    }
}
