//! Encoding and decoding give the same value, bit for bit; damaged bytes give an error.

#![allow(clippy::unwrap_used)] // a test may panic

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::block::{Block, BlockBuilder};
use crate::feature::Feature;
use crate::job::{
    CompareReply, CompareTask, ExtractTask, Floor, Job, KEEP, Reply, Side, Task, TermCounts,
};
use crate::name::{DomainName, ItemId, Space};
use kindred_similarity::{Candidate, Found, RowMask, RowRef};

/// Values whose bits are easily lost: both zeros, denormal, huge.
const VALUES: [f32; 6] = [0.5, -0.0, 0.0, 1e-41, f32::MAX, -1.25];

pub(super) fn block(rows: usize, dimension: usize) -> Block {
    let mut builder = BlockBuilder::new(Space::stored("words-1/en"), dimension);
    for row in 0..rows {
        let value = |at: usize| VALUES[(row + at) % VALUES.len()];
        let dense = match row % 3 {
            1 => vec![],
            _ => (0..dimension).map(value).collect(),
        };
        let terms = if dense.is_empty() {
            row % 5 + 1
        } else {
            row % 5
        };
        let ids = (0..terms as u32).map(|term| term * 7).collect();
        let feature = Feature::new(dense, ids, (0..terms).map(value).collect()).unwrap();
        builder.push(
            ItemId::new(&format!("é{row}")).unwrap(),
            row as u64,
            &feature,
        );
    }
    builder.build()
}

pub(super) fn job() -> Job {
    let id = ItemId::new("ü").unwrap();
    let mut live = RowMask::all(9);
    live.remove(3);
    let mut floors = vec![Floor::Open; 9];
    floors[1] = Floor::At(0.25, id);
    floors[2] = Floor::Closed;
    let left = Side {
        block: Arc::new(block(9, 3)),
        live,
        floors,
    };
    let right = Side {
        block: Arc::new(block(4, 3)),
        live: RowMask::all(4),
        floors: vec![],
    };
    Job {
        domain: DomainName::new("news.example").unwrap(),
        task: Task::Compare(Arc::new(CompareTask {
            left,
            within_left: true,
            rights: vec![right],
            keep: 64,
        })),
    }
}

fn encode(job: &Job) -> EncodedJob {
    encode_job(job, &|_| None).unwrap()
}

fn read(kind: JobKind, body: &[u8]) -> Result<Job, WireError> {
    parse_job(kind, body)?.assemble(|_| None)
}

#[test]
fn blocks_are_golden() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/testdata/wire/block.safetensors"
    );
    let bytes = encode_block(&block(7, 3));
    if std::env::var_os("KINDRED_TEST_REWRITE").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/wire")).unwrap();
        std::fs::write(path, &bytes).unwrap();
    }
    assert_eq!(std::fs::read(path).unwrap(), bytes);
}

#[test]
fn jobs_come_back_as_they_were() {
    let job = job();
    let encoded = encode(&job);
    assert!(encoded.to_store.is_empty());
    let again = read(JobKind::Compare, &encoded.body).unwrap();
    let (Task::Compare(task), Task::Compare(before)) = (&again.task, &job.task) else {
        panic!("{again:?}");
    };
    assert_eq!(task.left.floors, before.left.floors);
    assert_eq!(task.left.live, before.left.live);
    assert_eq!(encode(&again).body, encoded.body);
    let extract = Job {
        domain: again.domain,
        task: Task::Extract(Arc::new(ExtractTask {
            space: Space::stored("words-1/de"),
            rows: vec![TermCounts {
                id: ItemId::new("a").unwrap(),
                terms: vec![("maus".into(), 2), ("zaun".into(), 1)],
            }],
        })),
    };
    let encoded = encode(&extract);
    let again = read(JobKind::Extract, &encoded.body).unwrap();
    assert_eq!(encode(&again).body, encoded.body);
}

#[test]
fn large_blocks_are_named_and_wanted() {
    let mut large = job();
    let block = Arc::new(block(4_000, 100));
    let Task::Compare(task) = &mut large.task else {
        unreachable!("it compares");
    };
    let task = Arc::get_mut(task).unwrap();
    task.left.block = Arc::new(self::block(9, 100));
    task.rights[0] = Side {
        block: Arc::clone(&block),
        live: RowMask::all(4_000),
        floors: vec![],
    };
    let encoded = encode(&large);
    assert!(encoded.body.len() <= MAX_INLINE_BYTES);
    assert_eq!(encoded.to_store.len(), 1);
    let hash = encoded.to_store[0].hash;
    let parts = parse_job(JobKind::Compare, &encoded.body).unwrap();
    assert_eq!(parts.wanted(), [hash]);
    assert_eq!(
        parts.assemble(|_| None).unwrap_err(),
        WireError::MissingBlock(hash)
    );
    let parts = parse_job(JobKind::Compare, &encoded.body).unwrap();
    assert!(parts.assemble(|_| Some(Arc::clone(&block))).is_ok());
    let known = encode_job(&large, &|at| (at.rows() == 4_000).then_some(hash)).unwrap();
    assert!(known.to_store.is_empty());
    assert_eq!(known.body, encoded.body);
}

#[test]
fn blocks_that_are_larger_in_memory_are_named_as_well() {
    // 4 MB each, of which all but one row are padding.
    let right = |side: usize| {
        let mut builder = BlockBuilder::new(Space::stored("words-1/en"), 1_000);
        for row in 0..1_000 {
            let id = ItemId::new(&format!("{side}-{row}")).unwrap();
            builder.push(id, 1, &Feature::new(vec![], vec![1], vec![1.0]).unwrap());
        }
        Side {
            block: Arc::new(builder.build()),
            live: RowMask::all(1_000),
            floors: vec![],
        }
    };
    let mut wide = job();
    let Task::Compare(task) = &mut wide.task else {
        unreachable!("it compares");
    };
    let task = Arc::get_mut(task).unwrap();
    task.left.block = Arc::new(block(9, 1_000));
    task.rights = (0..6).map(right).collect();
    let encoded = encode(&wide);
    assert!(encoded.body.len() < MAX_INLINE_BYTES / 2);
    assert_eq!(encoded.to_store.len(), 2);
    let blocks = encoded.to_store;
    let find = |hash: &BlockHash| {
        let found = blocks.iter().find(|block| block.hash == *hash);
        found.map(|found| Arc::clone(&found.block))
    };
    let parts = parse_job(JobKind::Compare, &encoded.body).unwrap();
    assert!(parts.assemble(find).is_ok());
}

#[test]
fn what_no_model_service_asks_is_no_job() {
    let refused = |job: &Job, word: &str| {
        let body = encode_job(job, &|_| Some([7; 16])).unwrap().body;
        let block = Arc::new(block(4_096, 3));
        let read = parse_job(JobKind::Compare, &body)
            .and_then(|parts| parts.assemble(|_| Some(Arc::clone(&block))));
        let error = read.map(drop).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    let side = |floors: Vec<Floor>| Side {
        block: Arc::new(block(4_096, 3)),
        live: RowMask::all(4_096),
        floors,
    };
    let job = |left: Vec<Floor>, rights: Vec<Side>, keep| Job {
        domain: DomainName::new("news.example").unwrap(),
        task: Task::Compare(Arc::new(CompareTask {
            left: side(left),
            within_left: false,
            rights,
            keep,
        })),
    };
    refused(&job(vec![], vec![], KEEP + 1), "65 candidates per row");
    let open = || side(vec![Floor::Open; 4_096]);
    let wanted = job(vec![Floor::Open; 4_096], vec![open(), open(), open()], KEEP);
    refused(&wanted, "16384 rows want candidates");
    let silent = side(vec![]);
    let many = |count| vec![silent.clone(); count];
    refused(&job(vec![], many(MAX_SIDES), KEEP), "1025 sides");
    refused(&job(vec![], many(200), KEEP), "of work; a job may");
    let absent = br#"{"domain":"a","space":"words-1/en","rows":[{"id":"a","terms":[["x",0]]}]}"#;
    let error = parse_job(JobKind::Extract, absent).map(drop).unwrap_err();
    assert!(error.to_string().contains("a reference to a missing term"));
}

#[test]
fn what_failures_say_is_short() {
    let body = |fields: &str| format!(r#"{{"error":"{}"{fields}}}"#, "ü".repeat(100_000));
    let long = "x".repeat(1_000);
    let read = |fields: String| match decode_reply("failed", body(&fields).as_bytes()).unwrap() {
        DecodedReply::Reply(reply) => reply,
        other @ DecodedReply::MissingBlocks(_) => panic!("{other:?}"),
    };
    let Reply::Failed(error) = read(String::new()) else {
        panic!("it failed");
    };
    assert_eq!(error, "ü".repeat(4_096));
    let Reply::UnknownModel(model) = read(format!(r#","unknown_model":"{long}""#)) else {
        panic!("a model is not known");
    };
    assert_eq!(model.len(), 64);
    let Reply::Refused(refused) = read(format!(r#","refused":"{long}""#)) else {
        panic!("it is refused");
    };
    assert_eq!((refused.reason.len(), refused.detail.len()), (64, 8_192));
}

#[test]
fn blocks_that_are_not_stored_are_at_most_those_of_a_job() {
    let most = missing_blocks(&vec![[7; 16]; MAX_SIDES]);
    assert!(decode_reply(most.kind, &most.body).is_ok());
    let more = missing_blocks(&vec![[7; 16]; MAX_SIDES + 1]);
    let error = decode_reply(more.kind, &more.body).map(drop).unwrap_err();
    assert!(error.to_string().contains("1025 missing blocks"), "{error}");
    let named = some_of(&[[1; 16]; 60_000]);
    assert!(named.starts_with("60000 blocks (0101"), "{named}");
    assert!(named.len() < 200 && named.ends_with(", …)"), "{named}");
    assert!(some_of(&[[1; 16]]).starts_with("1 block ("));
}

/// A job of 4,000 rows with one block on both sides, too large to be inline.
fn one_block_on_two_sides() -> Job {
    let block = Arc::new(block(4_000, 100));
    let side = |rows: std::ops::Range<usize>| {
        let mut live = RowMask::none(4_000);
        rows.for_each(|row| live.insert(row));
        Side {
            block: Arc::clone(&block),
            live,
            floors: vec![],
        }
    };
    let task = CompareTask {
        left: side(0..1_000),
        within_left: true,
        rights: vec![side(1_000..4_000)],
        keep: 64,
    };
    Job {
        domain: DomainName::new("news.example").unwrap(),
        task: Task::Compare(Arc::new(task)),
    }
}

#[test]
fn a_block_on_two_sides_is_named_and_stored_once() {
    let encoded = encode(&one_block_on_two_sides());
    assert!(encoded.body.len() <= MAX_INLINE_BYTES);
    assert_eq!(encoded.to_store.len(), 1);
    let parts = parse_job(JobKind::Compare, &encoded.body).unwrap();
    assert_eq!(parts.wanted(), [encoded.to_store[0].hash]);
}

#[test]
fn a_block_that_another_job_stores_meanwhile_is_carried_alike_on_both_sides() {
    let job = one_block_on_two_sides();
    let hash = encode(&job).to_store[0].hash;
    let asked = std::cell::Cell::new(0);
    let stored_since = |_: &Arc<Block>| {
        asked.set(asked.get() + 1);
        (asked.get() > 1).then_some(hash)
    };
    let encoded = encode_job(&job, &stored_since).unwrap();
    assert_eq!(encoded.to_store.len(), 1);
    let parts = parse_job(JobKind::Compare, &encoded.body).unwrap();
    assert_eq!(parts.wanted(), [hash]);
}

#[test]
fn the_largest_reply_fits_a_message() {
    let candidate = Candidate {
        row: RowRef { side: 1, row: 9 },
        score: 0.5,
    };
    let found = |row: usize| Found {
        row: RowRef {
            side: 0,
            row: row as u32,
        },
        candidates: vec![candidate; KEEP],
        dropped: Some(candidate),
    };
    let reply = Reply::Compared(CompareReply {
        pairs: u64::MAX,
        found: (0..rows_per_reply(KEEP)).map(found).collect(),
    });
    let encoded = encode_reply(&reply);
    assert_eq!(encoded.kind, "compared");
    let Ok(DecodedReply::Reply(Reply::Compared(again))) = decode_reply(encoded.kind, &encoded.body)
    else {
        panic!("no comparison");
    };
    let Reply::Compared(before) = reply else {
        unreachable!("it is one");
    };
    assert!(again.found == before.found && again.pairs == before.pairs);
}

proptest! {
    #[test]
    fn blocks_come_back_bit_for_bit(rows in 0..40_usize, dimension in 1..40_usize) {
        let before = block(rows, dimension);
        let bytes = encode_block(&before);
        let again = decode_block(&bytes).unwrap();
        prop_assert_eq!(again.rows(), rows);
        for row in 0..rows {
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(again.table().dense(row)), bits(before.table().dense(row)));
            prop_assert_eq!(again.table().sparse(row).0, before.table().sparse(row).0);
            prop_assert_eq!(bits(again.table().sparse(row).1), bits(before.table().sparse(row).1));
            prop_assert_eq!((again.id(row), again.version(row)), (before.id(row), before.version(row)));
        }
        prop_assert_eq!(encode_block(&again), bytes);
    }

    #[test]
    fn damage_gives_an_error_and_never_a_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let damage = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            for (at, value) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            if cuts {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        };
        let _ = decode_block(&damage(&encode_block(&block(7, 3))));
        let _ = read(JobKind::Compare, &damage(&encode(&job()).body));
        let _ = read(JobKind::Extract, &damage(br#"{"domain":"a","space":"words-1/en","rows":[]}"#));
        let features = vec![Feature::new(vec![0.5], vec![1, 2], vec![0.5, 0.5]).unwrap(); 3];
        let reply = encode_reply(&Reply::Extracted(features));
        let _ = decode_reply(reply.kind, &damage(&reply.body));
        let candidate = Candidate { row: RowRef { side: 1, row: 2 }, score: 0.5 };
        let found = Found { row: candidate.row, candidates: vec![candidate; 3], dropped: Some(candidate) };
        let reply = encode_reply(&Reply::Compared(CompareReply { pairs: 9, found: vec![found; 3] }));
        let _ = decode_reply(reply.kind, &damage(&reply.body));
    }
}
