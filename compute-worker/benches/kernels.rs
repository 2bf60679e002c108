//! Each kernel this CPU has, on one thread: all rows with all, and some new rows with many.
//!
//! ```text
//! cargo bench -p compute-worker
//! ```
#![allow(missing_docs)] // of what `criterion_group!` makes

use std::sync::Arc;

use compute_worker::pool;
use compute_worker::similarity::{Kernel, Options, Rows, compare, neighbours};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kindred_shared::job::{CompareTask, Floor, KEEP, Side};
use kindred_shared::{Block, BlockBuilder, Feature, ItemId, RowMask, Space};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const KERNELS: [Kernel; 4] = [
    Kernel::Avx512Vnni,
    Kernel::Avx512,
    Kernel::Avx2,
    Kernel::Scalar,
];
/// Rows compared with each other.
const ROWS: usize = 4096;
/// Rows that come to them.
const NEW: usize = 100;
/// Subjects that rows are about, so that some are near each other as texts are.
const SUBJECTS: usize = 40;
const DIMENSIONS: [usize; 3] = [100, 384, 768];

/// Rows of length 1 around some centres.
fn rows(count: usize, dimension: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut row = |scale: f32| -> Vec<f32> {
        let values = (0..dimension).map(|_| scale * (random.r#gen::<f32>() - 0.5));
        values.collect()
    };
    let centres: Vec<Vec<f32>> = (0..SUBJECTS).map(|_| row(1.0)).collect();
    let mut values = Vec::with_capacity(count * dimension);
    for at in 0..count {
        let own = row(1.5);
        let sum: Vec<f32> = own
            .iter()
            .zip(&centres[at % SUBJECTS])
            .map(|(own, centre)| own + centre)
            .collect();
        let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
        values.extend(sum.iter().map(|value| value / length));
    }
    values
}

fn all_with_all(criterion: &mut Criterion) {
    let pool = pool(1).expect("a thread");
    let mut group = criterion.benchmark_group("neighbours");
    group.sample_size(10);
    group.throughput(Throughput::Elements((ROWS * (ROWS - 1) / 2) as u64));
    for dimension in DIMENSIONS {
        let values = rows(ROWS, dimension);
        let rows = Rows::new(&values, ROWS, dimension).expect("finite rows");
        for kernel in KERNELS.into_iter().filter(|kernel| kernel.available()) {
            let options = Options {
                kernel,
                ..Options::default()
            };
            group.bench_function(BenchmarkId::new(kernel.to_string(), dimension), |bencher| {
                bencher.iter(|| pool.install(|| neighbours(&rows, &options)));
            });
        }
    }
    group.finish();
}

fn some_with_many(criterion: &mut Criterion) {
    let pool = pool(1).expect("a thread");
    let mut group = criterion.benchmark_group("compare");
    group.sample_size(10);
    group.throughput(Throughput::Elements((NEW * ROWS) as u64));
    for dimension in DIMENSIONS {
        let values = rows(ROWS + NEW, dimension);
        let (there, new) = values.split_at(ROWS * dimension);
        let task = CompareTask {
            // As long lists are: most rows want nothing that is new.
            rights: vec![side(block(there, dimension), &floor())],
            left: side(block(new, dimension), &Floor::Open),
            within_left: true,
            keep: KEEP,
        };
        for kernel in KERNELS.into_iter().filter(|kernel| kernel.available()) {
            group.bench_function(BenchmarkId::new(kernel.to_string(), dimension), |bencher| {
                bencher.iter(|| pool.install(|| compare(kernel, &task)));
            });
        }
    }
    group.finish();
}

fn floor() -> Floor {
    Floor::At(0.6, ItemId::new("i0").expect("an id"))
}

fn side(block: Block, floor: &Floor) -> Side {
    let rows = block.rows();
    Side {
        block: Arc::new(block),
        live: RowMask::all(rows),
        floors: vec![floor.clone(); rows],
    }
}

fn block(values: &[f32], dimension: usize) -> Block {
    let mut builder = BlockBuilder::new(Space::own(dimension), dimension);
    for (row, values) in values.chunks(dimension).enumerate() {
        let id = ItemId::new(&format!("{row}")).expect("an id");
        let feature = Feature::new(values.to_vec(), Vec::new(), Vec::new()).expect("finite rows");
        builder.push(id, 1, &feature);
    }
    builder.build()
}

criterion_group!(kernels, all_with_all, some_with_many);
criterion_main!(kernels);
