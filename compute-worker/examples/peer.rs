//! Runs comparisons on command, one at a time, for `tests/peers`, which times them in turns with other programs.
//!
//! ```text
//! cargo run --release -p compute-worker --example peer -- THREADS
//! ```
//! Reads one command per line from standard input and writes one line of JSON for each to standard output: `load FILE
//! ROWS DIMENSION` (little-endian `f32`, row after row), `neighbours KERNEL KEEP`, `save FILE` (the ids found last,
//! `u32`, KEEP per row), `resident ROWS KEEP` (builds the lists of the first ROWS rows), `insert KERNEL` (compares the
//! remaining rows with them, and updates the lists of both sides).
#![allow(clippy::print_stdout)] // that is what it is for

use std::cmp::Ordering;
use std::error::Error;
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use compute_worker::pool;
use kindred_shared::job::{CompareReply, CompareTask, Floor, Side};
use kindred_shared::{Block, BlockBuilder, Feature, ItemId, Space};
use kindred_similarity::{Neighbours, Options, RowMask, RowRef, Rows, neighbours};
use rayon::ThreadPool;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// Rows of a block.
const BLOCK_ROWS: usize = 4096;

fn main() -> Fallible<()> {
    let threads = std::env::args().nth(1).ok_or("THREADS")?.parse()?;
    let mut peer = Peer {
        pool: pool(threads)?,
        values: Vec::new(),
        dimension: 1,
        found: None,
        resident: None,
    };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let seconds = peer.obey(&words)?;
        println!("{{\"seconds\": {seconds}}}");
    }
    Ok(())
}

struct Peer {
    pool: ThreadPool,
    values: Vec<f32>,
    dimension: usize,
    found: Option<(Neighbours, usize)>,
    resident: Option<Resident>,
}

/// Rows with lists, and new rows.
struct Resident {
    task: CompareTask,
    /// Of every resident row and then of every new row, best first.
    lists: Vec<Vec<(f32, RowRef)>>,
    rows: usize,
}

impl Peer {
    /// Executes a command; returns the seconds of the measured part.
    fn obey(&mut self, words: &[&str]) -> Fallible<f64> {
        match words {
            ["load", file, rows, dimension] => {
                self.dimension = dimension.parse()?;
                let count = rows.parse::<usize>()? * self.dimension;
                let bytes = std::fs::read(file)?;
                let (values, _) = bytes.as_chunks::<4>();
                let values = values.iter().map(|value| f32::from_le_bytes(*value));
                self.values = values.take(count).collect();
                self.found = None;
                self.resident = None;
                Ok(0.0)
            }
            ["neighbours", kernel, keep] => {
                let options = Options {
                    keep: keep.parse()?,
                    kernel: kernel.parse()?,
                    ..Options::default()
                };
                let start = Instant::now();
                let found = self.neighbours(self.rows(), &options)?;
                let seconds = start.elapsed().as_secs_f64();
                self.found = Some((found, options.keep));
                Ok(seconds)
            }
            ["save", file] => {
                let (found, keep) = self.found.as_ref().ok_or("nothing was found yet")?;
                let mut bytes = Vec::new();
                for row in 0..found.rows() {
                    let ids = found.of(row).0;
                    let none = std::iter::repeat_n(&u32::MAX, keep - ids.len());
                    bytes.extend(ids.iter().chain(none).flat_map(|id| id.to_le_bytes()));
                }
                std::fs::write(file, bytes)?;
                Ok(0.0)
            }
            ["resident", rows, keep] => {
                self.resident = Some(self.settle(rows.parse()?, keep.parse()?)?);
                Ok(0.0)
            }
            ["insert", kernel] => {
                let kernel = kernel.parse()?;
                let resident = self.resident.as_ref().ok_or("no rows are resident")?;
                let mut lists = resident.lists.clone();
                let start = Instant::now();
                let never = AtomicBool::new(false);
                let compared = self.pool.install(|| resident.task.compare(kernel, &never));
                let reply = compared?;
                resident.merge(&reply, &mut lists);
                Ok(start.elapsed().as_secs_f64())
            }
            _ => Err("no such command".into()),
        }
    }

    fn rows(&self) -> usize {
        self.values.len() / self.dimension
    }

    fn neighbours(&self, count: usize, options: &Options<'_>) -> Fallible<Neighbours> {
        let values = &self.values[..count * self.dimension];
        Ok(self.pool.install(|| {
            let rows = Rows::new(values, count, self.dimension)?;
            neighbours(&rows, options)
        })?)
    }

    /// Builds the lists of the first rows as the service has them: only scores above 0, and the last entry of a full
    /// list is its row's floor.
    fn settle(&self, count: usize, keep: usize) -> Fallible<Resident> {
        let options = Options {
            keep,
            min_score: Some(f32::MIN_POSITIVE),
            ..Options::default()
        };
        let found = self.neighbours(count, &options)?;
        let mut floors = Vec::with_capacity(count);
        let mut lists = Vec::with_capacity(self.rows());
        for row in 0..count {
            let (ids, scores) = found.of(row);
            let reference = |id: &u32| RowRef {
                side: (*id as usize / BLOCK_ROWS + 1) as u16,
                row: *id % BLOCK_ROWS as u32,
            };
            lists.push(
                scores
                    .iter()
                    .copied()
                    .zip(ids.iter().map(reference))
                    .collect(),
            );
            floors.push(if ids.len() < keep {
                Floor::Open
            } else {
                Floor::At(scores[keep - 1], item(ids[keep - 1] as usize)?)
            });
        }
        lists.resize(self.rows(), Vec::new());
        let mut rights = Vec::new();
        for start in (0..count).step_by(BLOCK_ROWS) {
            let end = count.min(start + BLOCK_ROWS);
            rights.push(Side {
                block: self.block(start..end)?,
                live: RowMask::all(end - start),
                floors: floors[start..end].to_vec(),
            });
        }
        let new = self.rows() - count;
        let left = Side {
            block: self.block(count..self.rows())?,
            live: RowMask::all(new),
            floors: vec![Floor::Open; new],
        };
        Ok(Resident {
            task: CompareTask {
                left,
                within_left: true,
                rights,
                keep,
            },
            lists,
            rows: count,
        })
    }

    fn block(&self, rows: std::ops::Range<usize>) -> Fallible<Arc<Block>> {
        let mut builder = BlockBuilder::new(Space::own(self.dimension), self.dimension);
        for row in rows {
            let values = &self.values[row * self.dimension..(row + 1) * self.dimension];
            let feature = Feature::new(values.to_vec(), Vec::new(), Vec::new())?;
            builder.push(item(row)?, 1, &feature);
        }
        Ok(Arc::new(builder.build()))
    }
}

fn item(row: usize) -> Fallible<ItemId> {
    // Padded, so that ids sort like row numbers.
    Ok(ItemId::new(&format!("{row:010}"))?)
}

impl Resident {
    fn merge(&self, reply: &CompareReply, lists: &mut [Vec<(f32, RowRef)>]) {
        for found in &reply.found {
            let row = found.row.row as usize;
            let list = match found.row.side {
                0 => &mut lists[self.rows + row],
                side => &mut lists[(usize::from(side) - 1) * BLOCK_ROWS + row],
            };
            for candidate in &found.candidates {
                let (score, row) = (candidate.score, candidate.row);
                let place = list.partition_point(|&(other, its)| {
                    let by_score = score.total_cmp(&other);
                    by_score.then_with(|| self.id(its).cmp(self.id(row))) == Ordering::Less
                });
                if place < self.task.keep {
                    list.truncate(self.task.keep - 1);
                    list.insert(place, (score, row));
                }
            }
        }
    }

    fn id(&self, row: RowRef) -> &ItemId {
        let side = match row.side {
            0 => &self.task.left,
            side => &self.task.rights[usize::from(side) - 1],
        };
        side.block.id(row.row as usize)
    }
}
