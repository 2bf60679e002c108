//! `neighbours` of every kernel against the definition: every pair scored by the reference, sorted.
#![no_main]

use input::{Bytes, canonical};
use kindred_similarity::{Kernel, Neighbours, Options, Rows, SparseRows, neighbours};
use libfuzzer_sys::fuzz_target;
use rayon::ThreadPoolBuilder;

mod input;

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let dimension = 1 + bytes.below(70);
    let count = bytes.below(130);
    let keep = bytes.below(count + 3);
    let threads = 1 + bytes.below(2);
    let min_score = match bytes.below(4) {
        0 => Some(bytes.value()),
        _ => None,
    };
    let sparse = bytes.below(3) == 0;
    // Few different rows: many ties.
    let kinds = 1 + bytes.below(count.max(1));
    let patterns: Vec<Vec<f32>> = (0..kinds)
        .map(|_| (0..dimension).map(|_| bytes.value()).collect())
        .collect();
    let dense: Vec<f32> = (0..count)
        .flat_map(|row| patterns[row * 7 % kinds].iter().copied())
        .collect();
    let (mut offsets, mut ids, mut weights) = (vec![0], Vec::new(), Vec::new());
    for _ in 0..count {
        let mut id = 0;
        for _ in 0..if sparse { bytes.below(4) } else { 0 } {
            id += 1 + bytes.below(5) as u32;
            ids.push(id);
            weights.push(bytes.value());
        }
        offsets.push(ids.len());
    }
    let rows = Rows::new(&dense, count, dimension).expect("finite values");
    let rows = if sparse {
        let sparse = SparseRows {
            offsets: &offsets,
            ids: &ids,
            weights: &weights,
        };
        rows.with_sparse(sparse).expect("ascending ids")
    } else {
        rows
    };
    let score = |left: usize, right: usize| {
        let row = |at: usize| &dense[at * dimension..(at + 1) * dimension];
        let terms = |at: usize| {
            let span = offsets[at]..offsets[at + 1];
            (&ids[span.clone()], &weights[span])
        };
        canonical(
            row(left),
            row(right),
            sparse.then(|| (terms(left), terms(right))),
        )
    };
    let expected: Vec<Vec<(u32, u32)>> = (0..count)
        .map(|row| {
            let others = (0..count).filter(|&other| other != row);
            let mut all: Vec<(f32, u32)> = others
                .map(|other| (score(row, other), other as u32))
                .filter(|(score, _)| !score.is_nan() && min_score.is_none_or(|min| *score >= min))
                .collect();
            all.sort_by(|a, b| b.0.partial_cmp(&a.0).expect("no NaN").then(a.1.cmp(&b.1)));
            all.truncate(keep);
            all.into_iter()
                .map(|(score, id)| (id, score.to_bits()))
                .collect()
        })
        .collect();
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("threads");
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.available()) {
        let options = Options {
            keep,
            min_score,
            kernel,
            ..Options::default()
        };
        let found: Neighbours = pool
            .install(|| neighbours(&rows, &options))
            .expect("it runs");
        for (row, expected) in expected.iter().enumerate() {
            let (ids, scores) = found.of(row);
            let got: Vec<(u32, u32)> = ids
                .iter()
                .zip(scores)
                .map(|(&id, score)| (id, score.to_bits()))
                .collect();
            assert_eq!(&got, expected, "{kernel}, row {row}");
        }
    }
});
