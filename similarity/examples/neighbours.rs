//! Times `neighbours` on the rows of a file, one line per kernel: wall-clock time, and CPU time, which other programs
//! on the machine disturb less.
//!
//! ```text
//! cargo run --release -p kindred-similarity --example neighbours -- FILE.f32 DIMENSION ROWS KEEP THREADS [KERNEL…]
//! ```
//! The file holds little-endian `f32` values, row after row; the first ROWS of them are normalised.
#![allow(clippy::print_stdout)] // that is what it is for

use std::error::Error;
use std::time::{Duration, Instant};

use kindred_similarity::{Kernel, Options, Rows, neighbours};
use rayon::ThreadPoolBuilder;

/// Runs per kernel, alternating with the other kernels; the fastest counts.
const ROUNDS: usize = 3;

/// CPU time used by the threads of this process, where the system reports it.
fn processor_time() -> Option<Duration> {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        total += stat.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(total))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, dimension, count, keep, threads, kernels @ ..] = &arguments[..] else {
        return Err("FILE.f32 DIMENSION ROWS KEEP THREADS [KERNEL…]".into());
    };
    let (dimension, count): (usize, usize) = (dimension.parse()?, count.parse()?);
    let bytes = std::fs::read(file)?;
    let (values, _) = bytes.as_chunks::<4>();
    let values = values.iter().map(|value| f32::from_le_bytes(*value));
    let mut values: Vec<f32> = values.take(count * dimension).collect();
    for row in values.chunks_mut(dimension.max(1)) {
        let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        row.iter_mut()
            .for_each(|value| *value /= norm.max(f32::MIN_POSITIVE));
    }
    let rows = Rows::new(&values, count, dimension)?;
    let mut kernels: Vec<Kernel> = kernels
        .iter()
        .map(|k| k.parse())
        .collect::<Result<_, _>>()?;
    if kernels.is_empty() {
        kernels.push(Kernel::Auto);
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads.parse()?)
        .build()?;
    let mut fastest = vec![(Duration::MAX, Duration::MAX); kernels.len()];
    for _ in 0..ROUNDS {
        for (&kernel, fastest) in kernels.iter().zip(&mut fastest) {
            let keep = keep.parse()?;
            let options = Options {
                keep,
                kernel,
                ..Options::default()
            };
            let (start, before) = (Instant::now(), processor_time());
            let found = pool.install(|| neighbours(&rows, &options))?;
            let (wall, after) = (start.elapsed(), processor_time());
            assert_eq!(
                Ok(found.kernel()),
                kernel.chosen(),
                "the kernel asked for runs"
            );
            let used = after.zip(before).map(|(after, before)| after - before);
            fastest.0 = wall.min(fastest.0);
            fastest.1 = used.unwrap_or(wall).min(fastest.1);
        }
    }
    let pairs = count as f64 * (count as f64 - 1.0) / 2.0;
    for (kernel, (wall, processor)) in kernels.iter().zip(fastest) {
        let rate = pairs / wall.as_secs_f64() / 1e6;
        println!(
            "{kernel}: {count} rows in {wall:.1?}, processor {processor:.1?}, {rate:.0} million pairs a second"
        );
    }
    Ok(())
}
