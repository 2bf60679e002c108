//! Comparisons with every kernel, floors, masks and several right sides, against every pair scored one by
//! one: whoever ranks at or above a row's floor and among its best is found, and nobody else.
#![no_main]

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use input::Bytes;
use kindred_shared::job::{CompareTask, Floor, Side};
use kindred_shared::{BlockBuilder, Feature, ItemId, Space};
use kindred_similarity::{Kernel, RowMask, RowRef};
use libfuzzer_sys::fuzz_target;
use rayon::ThreadPoolBuilder;

mod input;

fn item(number: usize) -> ItemId {
    ItemId::new(&format!("{number:03}")).expect("an id")
}

fn side(bytes: &mut Bytes<'_>, dimension: usize, first: usize) -> Side {
    let rows = 1 + bytes.below(40);
    let mut builder = BlockBuilder::new(Space::own(dimension), dimension);
    for row in 0..rows {
        // Values near each other: many equal scores.
        let values: Vec<f32> = (0..dimension)
            .map(|_| f32::from(bytes.byte() % 7) / 4.0 - 0.5)
            .collect();
        let weights: Vec<f32> = (0..bytes.below(3)).map(|_| bytes.value() % 4.0).collect();
        let ids = (0..weights.len() as u32).map(|id| id * 3).collect();
        let feature = Feature::new(values, ids, weights).expect("a feature");
        builder.push(item(first + row), 1, &feature);
    }
    let mut live = RowMask::all(rows);
    let mut floors = Vec::new();
    for row in 0..rows {
        if bytes.below(8) == 0 {
            live.remove(row);
        }
        floors.push(match bytes.below(6) {
            0 => Floor::Closed,
            1 => Floor::At(f32::from(bytes.byte()) / 64.0, item(bytes.below(150))),
            _ => Floor::Open,
        });
    }
    Side {
        block: Arc::new(builder.build()),
        live,
        floors,
    }
}

/// Best first: score descending, id ascending.
fn rank(a: &(f32, ItemId), b: &(f32, ItemId)) -> Ordering {
    b.0.partial_cmp(&a.0)
        .expect("no NaN")
        .then_with(|| a.1.cmp(&b.1))
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let dimension = 1 + bytes.below(40);
    let keep = 1 + bytes.below(20);
    let within_left = bytes.below(2) == 0;
    let left = side(&mut bytes, dimension, 0);
    let rights: Vec<Side> = (0..bytes.below(3))
        .map(|number| side(&mut bytes, dimension, 50 + 50 * number))
        .collect();
    let task = CompareTask {
        left,
        within_left,
        rights,
        keep,
    };
    let side_of = |side: u16| match side {
        0 => &task.left,
        side => &task.rights[usize::from(side) - 1],
    };
    let rows = |side: u16| {
        let of = side_of(side);
        (0..of.block.rows())
            .filter(|&row| of.live.contains(row))
            .map(move |row| RowRef {
                side,
                row: row as u32,
            })
    };
    let pool = ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .expect("threads");
    let sides = 0..=task.rights.len() as u16;
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.available()) {
        let compared = pool.install(|| task.compare(kernel, &AtomicBool::new(false)));
        let reply = compared.expect("it runs");
        for row in sides.clone().flat_map(rows) {
            let own = side_of(row.side);
            let others = sides.clone().filter(|&other| match (row.side, other) {
                (0, 0) => within_left,
                (0, _) | (_, 0) => true,
                _ => false,
            });
            let mut best: Vec<(f32, ItemId)> = others
                .flat_map(rows)
                .filter(|other| *other != row)
                .map(|other| {
                    let of = side_of(other.side);
                    // The pair in the order in which it is defined does not matter: products commute.
                    let score = own.block.table().score(
                        row.row as usize,
                        of.block.table(),
                        other.row as usize,
                    );
                    (score, of.block.id(other.row as usize).clone())
                })
                .filter(|one| {
                    let floor = own.floors.get(row.row as usize).unwrap_or(&Floor::Closed);
                    one.0 > 0.0
                        && match floor {
                            Floor::Open => true,
                            Floor::At(score, id) => {
                                rank(one, &(*score, id.clone())) != Ordering::Greater
                            }
                            Floor::Closed => false,
                        }
                })
                .collect();
            best.sort_by(rank);
            best.truncate(keep);
            let found = reply.found.iter().find(|found| found.row == row);
            let got: Vec<(f32, ItemId)> = found
                .iter()
                .flat_map(|found| &found.candidates)
                .map(|one| {
                    let of = side_of(one.row.side);
                    (one.score, of.block.id(one.row.row as usize).clone())
                })
                .collect();
            assert_eq!(got.len(), best.len(), "{kernel}, {row:?}");
            for (got, best) in got.iter().zip(&best) {
                assert_eq!(
                    (got.0.to_bits(), &got.1),
                    (best.0.to_bits(), &best.1),
                    "{kernel}, {row:?}"
                );
            }
        }
    }
});
