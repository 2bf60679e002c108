//! The contract's definitions, written down a second time and without any speed in mind: the
//! canonical score, and neighbours by brute force in `f64`.

use std::collections::HashMap;

use kindred_shared::Feature;

/// Chains of the canonical dense product.
const CHAINS: usize = 16;

/// CONTRACT, "score": 16 fused-multiply-add chains, summed as the tree 8-4-2-1; one chain over
/// common terms, ascending; one addition.
pub(crate) fn canonical_score(a: &Feature, b: &Feature) -> f32 {
    let mut chains = [0f32; CHAINS];
    for (k, (x, y)) in a.dense().iter().zip(b.dense()).enumerate() {
        chains[k % CHAINS] = x.mul_add(*y, chains[k % CHAINS]);
    }
    let mut width = CHAINS / 2;
    while width > 0 {
        for lane in 0..width {
            chains[lane] += chains[lane + width];
        }
        width /= 2;
    }
    let mut sparse = 0f32;
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.term_ids().get(i), b.term_ids().get(j)) {
        match x.cmp(y) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                sparse = a.term_weights()[i].mul_add(b.term_weights()[j], sparse);
                i += 1;
                j += 1;
            }
        }
    }
    chains[0] + sparse
}

/// Features of one space, laid out for [`AllScores::of`].
pub(crate) struct AllScores {
    rows: usize,
    dimension: usize,
    /// `dimension` columns of `rows` values.
    columns: Vec<f64>,
    dense: Vec<f64>,
    sparse: Vec<Vec<(u32, f64)>>,
    postings: HashMap<u32, Vec<(u32, f64)>>,
}

impl AllScores {
    pub(crate) fn new(features: &[&Feature]) -> Self {
        let rows = features.len();
        let dimension = features.iter().map(|f| f.dense().len()).max().unwrap_or(0);
        let mut columns = vec![0.0; dimension * rows];
        let mut dense = vec![0.0; rows * dimension];
        let mut postings: HashMap<u32, Vec<(u32, f64)>> = HashMap::new();
        let mut sparse = Vec::with_capacity(rows);
        for (row, feature) in features.iter().enumerate() {
            for (k, &value) in feature.dense().iter().enumerate() {
                columns[k * rows + row] = f64::from(value);
                dense[row * dimension + k] = f64::from(value);
            }
            let terms: Vec<(u32, f64)> = feature
                .term_ids()
                .iter()
                .zip(feature.term_weights())
                .map(|(&id, &weight)| (id, f64::from(weight)))
                .collect();
            let number = u32::try_from(row).expect("fewer than 2^32 rows");
            for &(id, weight) in &terms {
                postings.entry(id).or_default().push((number, weight));
            }
            sparse.push(terms);
        }
        Self {
            rows,
            dimension,
            columns,
            dense,
            sparse,
            postings,
        }
    }

    /// The scores of one row with every row.
    pub(crate) fn of(&self, row: usize) -> Vec<f64> {
        let mut scores = vec![0.0; self.rows];
        let own = &self.dense[row * self.dimension..(row + 1) * self.dimension];
        for (&factor, column) in own.iter().zip(self.columns.chunks_exact(self.rows)) {
            if factor != 0.0 {
                for (score, value) in scores.iter_mut().zip(column) {
                    *score += factor * value;
                }
            }
        }
        for &(id, weight) in &self.sparse[row] {
            for &(other, other_weight) in &self.postings[&id] {
                scores[other as usize] += weight * other_weight;
            }
        }
        scores
    }
}

#[test]
fn the_canonical_score_sums_in_its_own_order() {
    // 17 values: chain 0 gets k = 0 and k = 16. In f32, 1e8 + 1 − 1e8 shows the order.
    let mut ones = vec![0.0f32; 17];
    let mut values = vec![0.0f32; 17];
    for (k, value) in [(0, 1e8), (8, 1.0), (16, -1e8)] {
        ones[k] = 1.0;
        values[k] = value;
    }
    let a = Feature::new(values, vec![1, 5], vec![0.5, 0.25]).unwrap();
    let b = Feature::new(ones, vec![5, 9], vec![2.0, 3.0]).unwrap();
    assert_eq!(canonical_score(&a, &b).to_bits(), 1.5f32.to_bits());
}
