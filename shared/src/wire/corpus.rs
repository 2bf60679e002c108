//! Messages that earlier programs wrote, byte for byte: every later program must be able to read them.
//!
//! `testdata/wire/protocol-1` was written by the last program whose messages did not name their protocol. These files
//! never change. A new protocol gets its own directory: run this test with `KINDRED_TEST_REWRITE=1`, which writes
//! missing files of the current protocol and overwrites none.

#![allow(clippy::unwrap_used)] // a test may panic

use std::path::PathBuf;
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Map, Value, json};

use super::tests::{block, job};
use super::*;
use crate::feature::Feature;
use crate::job::{CompareReply, ExtractTask, Floor, Job, JobRefusal, Reply, Task, TermCounts};
use crate::name::{DomainName, ItemId, Space};
use kindred_similarity::{Candidate, Found, RowRef};

/// Protocols whose messages are kept.
const KEPT: [u32; 1] = [1];

fn file(protocol: u32, name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/wire");
    directory.join(format!("protocol-{protocol}")).join(name)
}

#[track_caller]
fn kept(protocol: u32, name: &str) -> Vec<u8> {
    let path = file(protocol, name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn extract() -> Job {
    let terms = |words: &[(&str, u32)]| words.iter().map(|(w, n)| ((*w).into(), *n)).collect();
    Job {
        domain: DomainName::new("news.example").unwrap(),
        task: Task::Extract(Arc::new(ExtractTask {
            space: Space::stored("words-1/de"),
            rows: vec![
                TermCounts {
                    id: ItemId::new("ü/1").unwrap(),
                    terms: terms(&[("maus", 2), ("zaun", 1)]),
                },
                TermCounts {
                    id: ItemId::new("b").unwrap(),
                    terms: terms(&[]),
                },
            ],
        })),
    }
}

fn features() -> Vec<Feature> {
    vec![
        Feature::new(vec![0.6, 0.8], vec![], vec![]).unwrap(),
        Feature::new(vec![], vec![3, 900], vec![0.8, 0.6]).unwrap(),
        Feature::zero(),
    ]
}

fn comparison() -> CompareReply {
    let candidate = |side, row, score| Candidate {
        row: RowRef { side, row },
        score,
    };
    let found = |row, candidates, dropped| Found {
        row,
        candidates,
        dropped,
    };
    CompareReply {
        pairs: 72,
        found: vec![
            found(
                RowRef { side: 0, row: 1 },
                vec![candidate(1, 0, 0.75), candidate(0, 2, 1e-41)],
                Some(candidate(1, 3, 0.25)),
            ),
            found(RowRef { side: 1, row: 3 }, vec![], None),
        ],
    }
}

fn refusal() -> JobRefusal {
    JobRefusal {
        reason: MALFORMED_JOB.to_owned(),
        detail: "terms that do not ascend".to_owned(),
    }
}

fn replies() -> Vec<(&'static str, EncodedReply)> {
    let failed = Reply::Failed("rows are not equally long".to_owned());
    vec![
        ("extracted", encode_reply(&Reply::Extracted(features()))),
        ("compared", encode_reply(&Reply::Compared(comparison()))),
        ("failed", encode_reply(&failed)),
        (
            "unknown-model",
            encode_reply(&Reply::UnknownModel("words-9".to_owned())),
        ),
        ("refused", encode_reply(&Reply::Refused(refusal()))),
        ("missing-blocks", missing_blocks(&[[7; 16], [9; 16]])),
    ]
}

/// Every kind of message in its current format.
fn written() -> Vec<(String, Vec<u8>)> {
    let inline = encode_job(&job(), &|_| None).unwrap();
    let named = |block: &Arc<crate::block::Block>| Some(hash_of(&encode_block(block)));
    let named = encode_job(&job(), &named).unwrap();
    let extract = encode_job(&extract(), &|_| None).unwrap();
    let jobs = [
        ("extract", extract),
        ("compare-inline", inline),
        ("compare-named", named),
    ];
    let jobs = jobs.map(|(name, job)| (format!("{name}.job"), job.body));
    let replies = replies().into_iter();
    let replies = replies.map(|(name, reply)| (format!("{name}.reply"), reply.body));
    jobs.into_iter().chain(replies).collect()
}

/// The message as a newer program may write it: with an additional field and column.
fn with_more(body: &[u8]) -> Vec<u8> {
    let more = |text: &[u8]| {
        let mut fields: Map<String, Value> = serde_json::from_slice(text).ok()?;
        fields.insert("newer".to_owned(), json!({"of": [7]}));
        serde_json::to_string(&fields).ok()
    };
    if let Some(json) = more(body) {
        return json.into_bytes();
    }
    let (_, header) = SafeTensors::read_metadata(body).unwrap();
    let mut entries = header.metadata().clone().unwrap();
    let meta = more(entries["kindred"].as_bytes()).unwrap();
    entries.insert("kindred".to_owned(), meta);
    entries.insert("newer".to_owned(), "7".to_owned());
    let column = TensorView::new(Dtype::F64, vec![1], &[0; 8]).unwrap();
    let tensors = SafeTensors::deserialize(body).unwrap().tensors();
    let views = tensors.into_iter().chain([("newer".to_owned(), column)]);
    safetensors::serialize(views, Some(entries)).unwrap()
}

/// A message as written, and with additions.
#[track_caller]
fn both(protocol: u32, name: &str) -> [Vec<u8>; 2] {
    let body = kept(protocol, name);
    let newer = with_more(&body);
    assert_ne!(body, newer);
    [body, newer]
}

#[test]
fn every_kind_of_message_is_kept() {
    for (name, bytes) in written() {
        let path = file(1, &name);
        if std::env::var_os("KINDRED_TEST_REWRITE").is_some() && !path.exists() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        kept(1, &name);
    }
}

#[test]
fn jobs_of_every_protocol_are_read() {
    for protocol in KEPT {
        for body in both(protocol, "extract.job") {
            let read = parse_job(JobKind::Extract, &body).unwrap();
            let read = read.assemble(|_| None).unwrap();
            let (Task::Extract(read), Task::Extract(wanted)) = (&read.task, &extract().task) else {
                panic!("{read:?}");
            };
            assert_eq!((&read.space, &read.rows), (&wanted.space, &wanted.rows));
        }
        let names = ["compare-inline.job", "compare-named.job"];
        for (name, body) in names
            .iter()
            .flat_map(|name| both(protocol, name).map(|body| (name, body)))
        {
            let read = parse_job(JobKind::Compare, &body).unwrap();
            let blocks = [Arc::new(block(9, 3)), Arc::new(block(4, 3))];
            let named = |hash: &BlockHash| {
                let is_it = |one: &&Arc<_>| hash_of(&encode_block(one)) == *hash;
                blocks.iter().find(is_it).map(Arc::clone)
            };
            let read = read.assemble(named).unwrap();
            let (Task::Compare(read), Task::Compare(wanted)) = (&read.task, &job().task) else {
                panic!("{read:?}");
            };
            assert_eq!(
                (read.within_left, read.keep),
                (wanted.within_left, wanted.keep)
            );
            assert_eq!(read.rights.len(), wanted.rights.len());
            let sides = [&read.left].into_iter().chain(&read.rights);
            let wanted = [&wanted.left].into_iter().chain(&wanted.rights);
            for (side, wanted) in sides.zip(wanted) {
                assert_eq!(
                    (&side.live, &side.floors),
                    (&wanted.live, &wanted.floors),
                    "{name}"
                );
                assert_eq!(encode_block(&side.block), encode_block(&wanted.block));
            }
        }
        assert!(matches!(&job().task, Task::Compare(task)
            if task.left.floors.contains(&Floor::Closed)));
    }
}

#[test]
fn replies_of_every_protocol_are_read() {
    for protocol in KEPT {
        for (name, now) in replies() {
            for body in both(protocol, &format!("{name}.reply")) {
                check_reply(name, decode_reply(now.kind, &body).unwrap());
            }
        }
    }
}

#[track_caller]
fn check_reply(name: &str, read: DecodedReply) {
    match (name, read) {
        ("extracted", DecodedReply::Reply(Reply::Extracted(read))) => {
            assert_eq!(read, features());
        }
        ("compared", DecodedReply::Reply(Reply::Compared(read))) => {
            assert_eq!(read.pairs, comparison().pairs);
            assert_eq!(read.found, comparison().found);
        }
        ("failed", DecodedReply::Reply(Reply::Failed(why))) => {
            assert_eq!(why, "rows are not equally long");
        }
        ("unknown-model", DecodedReply::Reply(Reply::UnknownModel(model))) => {
            assert_eq!(model, "words-9");
        }
        ("refused", DecodedReply::Reply(Reply::Refused(read))) => assert_eq!(read, refusal()),
        ("missing-blocks", DecodedReply::MissingBlocks(hashes)) => {
            assert_eq!(hashes, [[7; 16], [9; 16]]);
        }
        (name, read) => panic!("{name}: {read:?}"),
    }
}
