//! What is written reads back bit for bit; what is damaged gives an error.

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
fn a_block_on_two_sides_is_named_and_stored_once() {
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
    let job = Job {
        domain: DomainName::new("news.example").unwrap(),
        task: Task::Compare(Arc::new(task)),
    };
    let encoded = encode(&job);
    assert!(encoded.body.len() <= MAX_INLINE_BYTES);
    assert_eq!(encoded.to_store.len(), 1);
    let parts = parse_job(JobKind::Compare, &encoded.body).unwrap();
    assert_eq!(parts.wanted(), [encoded.to_store[0].hash]);
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
    let Ok(Answer::Reply(Reply::Compared(again))) = decode_reply(encoded.kind, &encoded.body)
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
