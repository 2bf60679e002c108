//! Measures of ranked answers and of scores, with confidence intervals. Pure.

/// Bootstrap samples per interval.
const SAMPLES: usize = 1_000;
/// The share of samples on either side of an interval, which holds the middle 95 %.
const TAIL: f64 = 0.025;

/// A mean or a correlation, with its 95 % interval by bootstrap (percentiles of 1,000 samples).
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(super) struct Measured {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// Number of questions or pairs it was computed from.
    pub of: usize,
}

/// Normalised discounted cumulated gain of the first ten answers (Järvelin and Kekäläinen, 2002,
/// with linear gain): Σ gain / log₂(rank + 1), divided by that of the best possible order. `gains`:
/// of the answers, in order; `best`: the highest possible gains, in any order. `None` when nothing
/// has a gain.
pub(super) fn ndcg10(gains: &[f64], best: &[f64]) -> Option<f64> {
    let discounted = |gains: &[f64]| -> f64 {
        let ranks = (2..12).map(f64::from);
        gains
            .iter()
            .zip(ranks)
            .map(|(gain, rank)| gain / rank.log2())
            .sum()
    };
    let mut best = best.to_vec();
    best.sort_by(|a, b| b.total_cmp(a));
    let ideal = discounted(&best);
    (ideal > 0.0).then(|| discounted(gains) / ideal)
}

/// Whether one of the first five answers is relevant: 1 or 0.
pub(super) fn hit5(relevant: &[bool]) -> f64 {
    f64::from(u8::from(relevant.iter().take(5).any(|hit| *hit)))
}

/// The share of the `wanted` relevant items that are in the first ten answers.
pub(super) fn recall10(relevant: &[bool], wanted: usize) -> f64 {
    let found = relevant.iter().take(10).filter(|hit| **hit).count();
    found as f64 / wanted.max(1) as f64
}

/// 1 / rank of the first relevant answer; 0 without one.
pub(super) fn reciprocal_rank(relevant: &[bool]) -> f64 {
    let first = relevant.iter().position(|hit| *hit);
    first.map_or(0.0, |at| 1.0 / (at + 1) as f64)
}

/// Pearson's correlation of pairs of values; `None` when one side is constant.
pub(super) fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    let count = pairs.len() as f64;
    let (sum_x, sum_y) = pairs
        .iter()
        .fold((0.0, 0.0), |(x, y), pair| (x + pair.0, y + pair.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        let (dx, dy) = (x - mean_x, y - mean_y);
        xy += dx * dy;
        xx += dx * dx;
        yy += dy * dy;
    }
    (xx > 0.0 && yy > 0.0).then(|| xy / (xx * yy).sqrt())
}

/// Spearman's correlation: Pearson's of ranks; equal values share their mean rank.
pub(super) fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let ranked: Vec<(f64, f64)> = ranks(&x).into_iter().zip(ranks(&y)).collect();
    pearson(&ranked)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let mean = before as f64 + (equal.len() + 1) as f64 / 2.0;
        for at in equal {
            ranks[*at] = mean;
        }
        before += equal.len();
    }
    ranks
}

/// The mean of values, one per question; `None` without any.
pub(super) fn mean(values: &[f64]) -> Option<Measured> {
    measured(values, |values| {
        Some(values.iter().sum::<f64>() / values.len() as f64)
    })
}

/// A correlation of pairs; `None` where it is undefined.
pub(super) fn correlation(
    pairs: &[(f64, f64)],
    of: impl Fn(&[(f64, f64)]) -> Option<f64>,
) -> Option<Measured> {
    measured(pairs, of)
}

fn measured<T: Copy>(values: &[T], of: impl Fn(&[T]) -> Option<f64>) -> Option<Measured> {
    if values.is_empty() {
        return None;
    }
    let value = of(values)?;
    let mut random = Random(1);
    let mut samples = Vec::with_capacity(SAMPLES);
    let mut sample = Vec::with_capacity(values.len());
    for _ in 0..SAMPLES {
        sample.clear();
        sample.extend((0..values.len()).map(|_| values[random.below(values.len())]));
        samples.extend(of(&sample));
    }
    samples.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let last = samples.len().saturating_sub(1) as f64;
        samples
            .get((share * last).round() as usize)
            .copied()
            .unwrap_or(value)
    };
    Some(Measured {
        value,
        low: at(TAIL),
        high: at(1.0 - TAIL),
        of: values.len(),
    })
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers on every machine.
pub(super) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `count`, which is not 0.
    pub(super) fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-9, "{found} is not {wanted}");
    }

    #[test]
    fn measures_of_answers_are_those_of_the_books() {
        // (3 + 2/log₂3 + 0 + 1/log₂5) / (3 + 2/log₂3 + 1/2)
        let ndcg = ndcg10(&[3.0, 2.0, 0.0, 1.0], &[1.0, 3.0, 2.0]).unwrap();
        let dcg = 3.0 + 2.0 / 3f64.log2() + 1.0 / 5f64.log2();
        near(ndcg, dcg / (3.0 + 2.0 / 3f64.log2() + 0.5));
        assert_eq!(ndcg10(&[0.0], &[]), None);
        let twelve = vec![1.0; 12];
        near(ndcg10(&twelve, &twelve).unwrap(), 1.0);
        let relevant = [false, false, true, false, true, true];
        near(hit5(&relevant), 1.0);
        near(hit5(&relevant[..2]), 0.0);
        near(recall10(&relevant, 6), 0.5);
        near(reciprocal_rank(&relevant), 1.0 / 3.0);
        near(reciprocal_rank(&[]), 0.0);
    }

    #[test]
    fn correlations_are_those_of_the_books() {
        let pairs = [(1.0, 2.0), (2.0, 4.0), (3.0, 5.0), (4.0, 4.0), (5.0, 5.0)];
        near(pearson(&pairs).unwrap(), 6.0 / (10.0f64 * 6.0).sqrt());
        // Ranks of the second: 1, 2.5, 4.5, 2.5, 4.5.
        near(spearman(&pairs).unwrap(), 7.0 / (10.0f64 * 9.0).sqrt());
        assert_eq!(pearson(&[(1.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(pearson(&[]), None);
    }

    #[test]
    fn intervals_hold_the_value_and_shrink_with_more_questions() {
        let values = |count: usize| -> Vec<f64> { (0..count).map(|n| (n % 4) as f64).collect() };
        let few = mean(&values(40)).unwrap();
        let many = mean(&values(4_000)).unwrap();
        for one in [few, many] {
            near(one.value, 1.5);
            assert!(one.low < 1.5 && 1.5 < one.high, "{one:?}");
        }
        assert!(many.high - many.low < (few.high - few.low) / 5.0);
        assert_eq!(mean(&values(40)), Some(few), "the same each time");
        assert_eq!(mean(&[]), None);
    }
}
