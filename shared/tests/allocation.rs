//! Parsing a message allocates at most a fixed multiple of its size plus a budget for the values of a job's blocks,
//! whatever the message claims about itself.
#![allow(clippy::unwrap_used)] // a test may panic

use std::sync::{Arc, Mutex, PoisonError};

use kindred_shared::job::{
    CompareReply, CompareTask, ExtractTask, Floor, Job, KEEP, Reply, Side, Task, TermCounts,
};
use kindred_shared::wire::{
    EncodedReply, JobKind, decode_block, decode_reply, encode_block, encode_job, encode_reply,
    missing_blocks, parse_job,
};
use kindred_shared::{Block, BlockBuilder, DomainName, Feature, ItemId, Space};
use kindred_similarity::{Candidate, Found, RowMask, RowRef};
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Per byte of a message: two bytes of JSON may become a row or a text of several dozen bytes.
const FOR_EACH_BYTE: usize = 64;
/// Allowed however short the message is.
const ANYWAY: usize = 64 << 10;
/// Budget for the values of a job's inline blocks.
const VALUES: usize = 16 << 20;
/// Budget for the values of a single block.
const BLOCK: usize = 4 << 20;

/// One measurement at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Peak memory during some work, beyond what was allocated before.
fn peak<T>(work: impl FnOnce() -> T) -> usize {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let done = work();
    let peak = ALLOCATOR.peak_usage();
    drop(done);
    peak.saturating_sub(before)
}

#[track_caller]
fn within<T>(bytes: &[u8], values: usize, work: impl FnOnce() -> T) {
    let (peak, most) = (peak(work), values + ANYWAY + FOR_EACH_BYTE * bytes.len());
    assert!(
        peak <= most,
        "{peak} bytes for a message of {}, of at most {most}",
        bytes.len()
    );
}

fn block(rows: usize, dimension: usize) -> Block {
    let mut builder = BlockBuilder::new(Space::stored("words-1/en"), dimension);
    for row in 0..rows {
        let dense = match row % 2 {
            0 => vec![0.5; dimension],
            _ => vec![],
        };
        let feature = Feature::new(dense, vec![1, 9], vec![0.5, 0.25]).unwrap();
        builder.push(ItemId::new(&format!("i{row}")).unwrap(), 1, &feature);
    }
    builder.build()
}

fn compare(rows: usize) -> Job {
    let side = || Side {
        block: Arc::new(block(rows, 3)),
        live: RowMask::all(rows),
        floors: vec![Floor::At(0.25, ItemId::new("ü").unwrap()); rows],
    };
    Job {
        domain: DomainName::new("news.example").unwrap(),
        task: Task::Compare(Arc::new(CompareTask {
            left: side(),
            within_left: true,
            rights: vec![side(), side()],
            keep: KEEP,
        })),
    }
}

fn extract(rows: usize) -> Job {
    let rows = (0..rows).map(|row| TermCounts {
        id: ItemId::new(&format!("i{row}")).unwrap(),
        terms: vec![("maus".into(), 2), ("zaun".into(), 1)],
    });
    Job {
        domain: DomainName::new("news.example").unwrap(),
        task: Task::Extract(Arc::new(ExtractTask {
            space: Space::stored("words-1/de"),
            rows: rows.collect(),
        })),
    }
}

fn replies(rows: usize) -> Vec<EncodedReply> {
    let candidate = Candidate {
        row: RowRef { side: 1, row: 2 },
        score: 0.5,
    };
    let found = Found {
        row: candidate.row,
        candidates: vec![candidate; 3],
        dropped: Some(candidate),
    };
    let features = vec![Feature::new(vec![0.5], vec![1, 2], vec![0.5, 0.5]).unwrap(); rows];
    let compared = CompareReply {
        pairs: 9,
        found: vec![found; rows],
    };
    vec![
        encode_reply(&Reply::Extracted(features)),
        encode_reply(&Reply::Compared(compared)),
        encode_reply(&Reply::Failed("no".repeat(rows))),
        missing_blocks(&vec![[7; 16]; rows]),
    ]
}

/// The message with the numbers in its header changed.
fn saying(body: &[u8], change: &dyn Fn(&mut Map<String, Value>)) -> Vec<u8> {
    let (_, header) = SafeTensors::read_metadata(body).unwrap();
    let mut entries = header.metadata().clone().unwrap();
    let mut meta: Map<String, Value> = serde_json::from_str(&entries["kindred"]).unwrap();
    change(&mut meta);
    entries.insert("kindred".to_owned(), Value::Object(meta).to_string());
    let tensors = SafeTensors::deserialize(body).unwrap();
    let views: Vec<(String, TensorView<'_>)> = tensors.tensors();
    safetensors::serialize(views, Some(entries)).unwrap()
}

/// An edit of a job's description.
type Edit<'a> = dyn Fn(&mut Map<String, Value>) + 'a;

#[test]
fn declared_numbers_allocate_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let inline = encode_job(&compare(3), &|_| None).unwrap().body;
    let named = encode_job(&compare(3), &|_| Some([7; 16])).unwrap().body;
    let sides = |rows: u64, count: usize| {
        json!(vec![
            json!({"rows": rows, "hash": "07070707070707070707070707070707"});
            count
        ])
    };
    let wild: [&Edit<'_>; 6] = [
        &|meta| drop(meta.insert("keep".to_owned(), json!(16_777_216))),
        &|meta| drop(meta.insert("keep".to_owned(), json!(u64::MAX))),
        &|meta| drop(meta.insert("sides".to_owned(), sides(u64::MAX, 3))),
        &|meta| drop(meta.insert("sides".to_owned(), sides(4_097, 3))),
        &|meta| drop(meta.insert("sides".to_owned(), sides(1, 1_025))),
        &|meta| drop(meta.insert("sides".to_owned(), json!([]))),
    ];
    for body in [&inline, &named] {
        for (at, change) in wild.iter().enumerate() {
            let body = saying(body, change);
            within(&body, 0, || {
                assert!(parse_job(JobKind::Compare, &body).is_err(), "{at}");
            });
        }
    }
    // A block may claim that its dense parts are longer than those of any feature, or that all of its rows are as large
    // as the few that have a dense part.
    let small = encode_block(&block(3, 3));
    for dimension in [4_097, 16_777_216, u64::MAX] {
        let wild = saying(&small, &|meta| {
            meta.insert("dimension".to_owned(), json!(dimension));
        });
        within(&wild, 0, || {
            let read = decode_block(&wild).map(drop).unwrap_err().to_string();
            assert!(read.contains("at most 4096"), "{read}");
        });
    }
    let sparse = {
        let mut builder = BlockBuilder::new(Space::stored("words-1/en"), 0);
        for row in 0..4_096 {
            let feature = Feature::new(vec![], vec![1], vec![1.0]).unwrap();
            builder.push(ItemId::new(&format!("{row}")).unwrap(), 1, &feature);
        }
        encode_block(&builder.build())
    };
    let wide = saying(&sparse, &|meta| {
        meta.insert("dimension".to_owned(), json!(4_096));
    });
    within(&wide, 0, || {
        let read = decode_block(&wide).map(drop).unwrap_err().to_string();
        assert!(read.contains("4096 rows of 67141632 bytes"), "{read}");
    });
    let fine = saying(&sparse, &|meta| {
        meta.insert("dimension".to_owned(), json!(240));
    });
    within(&fine, BLOCK, || assert!(decode_block(&fine).is_ok()));
}

/// Such a job of 117 kB once made a worker allocate 9.6 GB.
#[test]
fn many_small_blocks_that_are_large_in_memory_are_refused() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let feature = Feature::new(vec![], vec![1], vec![1.0]).unwrap();
    let block = |side: usize| {
        let mut builder = BlockBuilder::new(Space::stored("words-1/en"), 3);
        for row in 0..200 {
            let id = ItemId::new(&format!("{side}-{row}")).unwrap();
            builder.push(id, 1, &feature);
        }
        let small = encode_block(&builder.build());
        saying(&small, &|meta| {
            meta.insert("dimension".to_owned(), json!(4_096));
        })
    };
    let blocks: Vec<(String, Vec<u8>)> = (0..16)
        .map(|side| (format!("block.{side}"), block(side)))
        .collect();
    let views = blocks.iter().map(|(name, bytes)| {
        let view = TensorView::new(safetensors::Dtype::U8, vec![bytes.len()], bytes);
        (name.as_str(), view.unwrap())
    });
    let meta = json!({
        "domain": "news.example", "within_left": false, "keep": 64,
        "sides": vec![json!({"rows": 200}); blocks.len()],
    });
    let meta = [("kindred".to_owned(), meta.to_string())].into();
    let body = safetensors::serialize(views, Some(meta)).unwrap();
    assert!(body.len() < 117_000, "{}", body.len());
    within(&body, VALUES, || {
        let read = parse_job(JobKind::Compare, &body).map(drop);
        let read = read.unwrap_err().to_string();
        assert!(read.contains("than a job may carry"), "{read}");
    });
}

#[test]
fn many_tiny_things_take_a_multiple_of_their_bytes() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let many = |of: &str| vec![of; 20_000].join(",");
    let rows = |rows: &str| format!(r#"{{"domain":"a","space":"b","rows":[{rows}]}}"#);
    for row in [r#"{"id":"a","terms":[]}"#, r#"{"id":"","terms":[]}"#] {
        let body = rows(&many(row)).into_bytes();
        within(&body, 0, || parse_job(JobKind::Extract, &body));
    }
    let terms = format!(r#"{{"id":"a","terms":[{}]}}"#, many(r#"["",1]"#));
    let body = rows(&terms).into_bytes();
    within(&body, 0, || parse_job(JobKind::Extract, &body));
    let body = format!(r#"{{"hashes":[{}]}}"#, many(r#""""#)).into_bytes();
    within(&body, 0, || decode_reply("missing-blocks", &body));

    let sides = format!(
        r#"{{"domain":"a","within_left":true,"keep":64,"sides":[{}]}}"#,
        many(r#"{"rows":0}"#)
    );
    let columns: Vec<String> = (0..20_000).map(|n| format!("{n}")).collect();
    let views = columns.iter().map(|name| {
        let view = TensorView::new(safetensors::Dtype::U8, vec![0], &[]);
        (name.as_str(), view.unwrap())
    });
    let meta = [("kindred".to_owned(), sides)].into();
    let body = safetensors::serialize(views, Some(meta)).unwrap();
    within(&body, 0, || parse_job(JobKind::Compare, &body));
    within(&body, 0, || decode_block(&body));
    within(&body, 0, || decode_reply("compared", &body));
}

/// Changes some bytes, one of them often to its maximum, and sometimes truncates the end.
fn damage() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, Option<prop::sample::Index>)>
{
    let byte = prop_oneof![any::<u8>(), Just(0xff), Just(0), b'0'..=b'9'];
    (
        prop::collection::vec((any::<prop::sample::Index>(), byte), 1..8),
        prop::option::of(any::<prop::sample::Index>()),
    )
}

proptest! {
    #[test]
    fn damaged_messages_allocate_no_more_than_whole_ones_may(
        (changes, cut) in damage(),
        rows in 1..40_usize,
    ) {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let damaged = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            for (at, value) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        };
        for job in [compare(rows), extract(rows)] {
            for stored in [None, Some([7; 16])] {
                let job = encode_job(&job, &|_| stored).unwrap();
                for body in [damaged(&job.body), job.body] {
                    within(&body, VALUES, || {
                        let parts = parse_job(job.kind, &body).ok()?;
                        parts.assemble(|_| None).ok()
                    });
                }
            }
        }
        let body = damaged(&encode_block(&block(rows, 5)));
        within(&body, BLOCK, || decode_block(&body));
        for reply in replies(rows) {
            for body in [damaged(&reply.body), reply.body] {
                within(&body, 0, || decode_reply(reply.kind, &body));
            }
        }
    }
}
