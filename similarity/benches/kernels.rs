//! Each kernel that this CPU has, on one thread: all rows with all rows, and a few new rows with
//! many.
//!
//! ```text
//! cargo bench -p kindred-similarity
//! ```
#![allow(missing_docs)] // of what `criterion_group!` makes

use std::sync::atomic::AtomicBool;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kindred_similarity::{
    Kernel, Options, RowMask, RowRef, Rows, Side, Table, TableBuilder, Task, compare, neighbours,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Rows compared with each other.
const ROWS: usize = 4096;
/// New rows, compared with all the others.
const NEW: usize = 100;
/// Candidates kept per row.
const KEEP: usize = 64;
/// Topics that rows cluster around, so that some are close to each other as texts are.
const SUBJECTS: usize = 40;
const DIMENSIONS: [usize; 3] = [100, 384, 768];

/// Rows of length 1 around a few centres.
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
    let pool = pool();
    let mut group = criterion.benchmark_group("neighbours");
    group.sample_size(10);
    group.throughput(Throughput::Elements((ROWS * (ROWS - 1) / 2) as u64));
    for dimension in DIMENSIONS {
        let values = rows(ROWS, dimension);
        let rows = Rows::new(&values, ROWS, dimension).expect("finite rows");
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.available()) {
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
    let pool = pool();
    let mut group = criterion.benchmark_group("compare");
    group.sample_size(10);
    group.throughput(Throughput::Elements((NEW * ROWS) as u64));
    for dimension in DIMENSIONS {
        let values = rows(ROWS + NEW, dimension);
        let (there, new) = values.split_at(ROWS * dimension);
        let (there, new) = (table(there, dimension), table(new, dimension));
        let live = [&there, &new].map(|table| RowMask::all(table.rows()));
        let task = Task {
            // Typical of full lists: most rows want nothing new.
            rights: vec![side(&there, &live[0], 0.6)],
            left: side(&new, &live[1], f32::MIN_POSITIVE),
            within_left: true,
            keep: KEEP,
        };
        let by_row = |a: RowRef, b: RowRef| a.cmp(&b);
        let never = AtomicBool::new(false);
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.available()) {
            group.bench_function(BenchmarkId::new(kernel.to_string(), dimension), |bencher| {
                bencher.iter(|| pool.install(|| compare(kernel, &task, &by_row, &never)));
            });
        }
    }
    group.finish();
}

fn pool() -> ThreadPool {
    let pool = ThreadPoolBuilder::new().num_threads(1);
    pool.build().expect("a thread")
}

fn side<'a>(table: &'a Table, live: &'a RowMask, floor: f32) -> Side<'a> {
    Side {
        table,
        live,
        floors: vec![floor; table.rows()],
        apart: Vec::new(),
    }
}

fn table(values: &[f32], dimension: usize) -> Table {
    let mut builder = TableBuilder::new(dimension);
    for row in values.chunks(dimension) {
        builder.push(row, &[], &[]).expect("finite rows");
    }
    builder.build()
}

criterion_group!(kernels, all_with_all, some_with_many);
criterion_main!(kernels);
