//! Measures how long pieces of work take on one thread, per kernel, to check the estimates in `kindred_shared::effort`.
//!
//! `cargo run --release -p compute-worker --example pieces`
//!
//! The rows are synthetic: 100 dense values around one of 40 centres, and 25 terms, frequent ones more often. Their
//! lists are either empty, so that everything is wanted, or have a sixty-fourth best candidate from a part of the rows.
#![allow(clippy::print_stdout)] // that is what it is for

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use compute_worker::models::Models;
use compute_worker::word_vectors::Vectors;
use compute_worker::{Worker, pool};
use kindred_shared::block::MAX_ROWS;
use kindred_shared::job::{CompareTask, ExtractTask, Floor, Job, KEEP, Side, Task, TermCounts};
use kindred_shared::{Block, BlockBuilder, DomainName, Feature, ItemId, Space, effort};
use kindred_similarity::{Kernel, RowMask};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const DIMENSION: usize = 100;
const CENTRES: usize = 40;
const TERMS: usize = 25;
const ROUNDS: usize = 7;
/// Sorted, as terms must be.
const WORDS: [&str; 12] = [
    "bread", "butter", "cheese", "court", "glacier", "judge", "kitchen", "lawyer", "mountain",
    "river", "snow", "valley",
];

fn main() {
    let pool = Arc::new(pool(1).expect("a thread"));
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let centres: Vec<Vec<f32>> = (0..CENTRES).map(|_| values(&mut random)).collect();
    let [left, right] = [0, 1].map(|of| block(&mut random, &centres, of));
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.available()) {
        let worker = Worker::new(
            Models::new(Arc::new(Vectors::none())),
            kernel,
            Arc::clone(&pool),
        );
        for (what, known) in [("empty lists", 0), ("full lists", MAX_ROWS / 2)] {
            let floors = floors(kernel, &left, &right, known);
            for rows in [100, effort::PIECE_PAIRS / MAX_ROWS] {
                let task = Task::Compare(Arc::new(CompareTask {
                    left: side(&left, rows, vec![Floor::Open; MAX_ROWS]),
                    within_left: false,
                    rights: vec![side(&right, MAX_ROWS, floors.clone())],
                    keep: KEEP,
                }));
                measure(&worker, &format!("{kernel}, {rows} rows, {what}"), task);
            }
        }
    }
    let models = Models::new(Arc::new(Vectors::builtin()));
    let worker = Worker::new(models, Kernel::Auto, pool);
    let none: Vec<String> = (0..60).map(|at| format!("no{at:05}")).collect();
    let words = WORDS.map(str::to_owned).to_vec();
    for (what, terms) in [("terms", none), ("words", words)] {
        let terms: Vec<(Box<str>, u32)> = terms.iter().map(|term| ((**term).into(), 1)).collect();
        let row = |n| TermCounts {
            id: id(n),
            terms: terms.clone(),
        };
        let rows = effort::PIECE_TERM_BYTES / effort::of_terms(&row(0));
        let task = ExtractTask {
            space: Space::stored("words-1/en"),
            rows: (0..rows).map(row).collect(),
        };
        let what = format!("features of {} {what}", rows * terms.len());
        measure(&worker, &what, Task::Extract(Arc::new(task)));
    }
}

/// Runs a task several times; prints the least time it took, and the estimate.
fn measure(worker: &Worker, what: &str, task: Task) {
    let estimate = effort::of(&task);
    let job = Job {
        domain: DomainName::new("pieces").expect("a plain name"),
        task,
    };
    let times = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        worker.perform(&job);
        begun.elapsed()
    });
    let least = times.min().unwrap_or_default();
    println!("{what}: {least:.1?}, estimated {estimate:.1?}");
}

fn id(n: usize) -> ItemId {
    ItemId::new(&format!("i{n}")).expect("a plain id")
}

fn values(random: &mut ChaCha8Rng) -> Vec<f32> {
    (0..DIMENSION)
        .map(|_| random.gen_range(-1.0..1.0))
        .collect()
}

fn block(random: &mut ChaCha8Rng, centres: &[Vec<f32>], of: usize) -> Arc<Block> {
    let mut builder = BlockBuilder::new(Space::stored("words-1/en"), DIMENSION);
    for row in 0..MAX_ROWS {
        let centre = &centres[random.gen_range(0..CENTRES)];
        let dense = values(random)
            .iter()
            .zip(centre)
            .map(|(a, b)| a + b)
            .collect();
        let dense = scaled(dense, 0.5);
        let mut terms: Vec<u32> = (0..TERMS)
            .map(|_| 20_000_f64.powf(random.r#gen::<f64>()) as u32)
            .collect();
        terms.sort_unstable();
        terms.dedup();
        let weights = scaled(
            terms.iter().map(|term| (1.0 + *term as f32).ln()).collect(),
            0.75,
        );
        let feature = Feature::new(dense, terms, weights).expect("finite and ascending");
        builder.push(id(of * MAX_ROWS + row), 1, &feature);
    }
    Arc::new(builder.build())
}

fn scaled(values: Vec<f32>, length: f32) -> Vec<f32> {
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.iter().map(|value| value * length / norm).collect()
}

fn side(block: &Arc<Block>, rows: usize, floors: Vec<Floor>) -> Side {
    let mut live = RowMask::none(MAX_ROWS);
    (0..rows).for_each(|row| live.insert(row));
    Side {
        block: Arc::clone(block),
        live,
        floors,
    }
}

/// The floors of a block's rows after they have met `rows` rows of another block.
fn floors(kernel: Kernel, met: &Arc<Block>, block: &Arc<Block>, rows: usize) -> Vec<Floor> {
    let mut floors = vec![Floor::Open; MAX_ROWS];
    if rows == 0 {
        return floors;
    }
    let task = CompareTask {
        left: side(block, MAX_ROWS, vec![Floor::Open; MAX_ROWS]),
        within_left: false,
        rights: vec![side(met, rows, vec![])],
        keep: KEEP,
    };
    let compared = task.compare(kernel, &AtomicBool::new(false));
    for found in compared.expect("the kernel runs here").found {
        if let Some(last) = found.candidates.last() {
            let id = met.id(last.row.row as usize).clone();
            floors[found.row.row as usize] = Floor::At(last.score, id);
        }
    }
    floors
}
