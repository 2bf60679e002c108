//! Estimates how likely a word is from its frequency rank alone.

/// Offset of the Zipf–Mandelbrot law for words of natural language.
const OFFSET: f64 = 2.7;

/// The Zipf–Mandelbrot law over `n` ranked words: p(r) = 1 / ((r + 2.7) · H), where the rank r
/// is the 0-based row number and H = Σ 1/(r + 2.7) over r = 0 … n−1, so that all p sum to 1.
///
/// Sums run from the rarest word to the most frequent, in `f64`. Logarithms come from the `libm`
/// crate, because those of the standard library differ between platforms. So the bits are the same
/// everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Zipf {
    words: usize,
    normaliser: f64,
}

impl Zipf {
    /// The law over `words` words (≥ 1).
    pub(crate) fn new(words: usize) -> Self {
        let normaliser = (0..words).rev().map(|r| 1.0 / (r as f64 + OFFSET)).sum();
        Self { words, normaliser }
    }

    /// p(r).
    pub(crate) fn probability(&self, rank: usize) -> f64 {
        1.0 / ((rank as f64 + OFFSET) * self.normaliser)
    }

    /// Inverse document frequency −ln p(r), in nats.
    pub(crate) fn idf(&self, rank: usize) -> f64 {
        libm::log((rank as f64 + OFFSET) * self.normaliser)
    }

    /// −ln p(n): an unknown word counts as the one just after the last.
    pub(crate) fn unknown_idf(&self) -> f64 {
        self.idf(self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_fall() {
        let zipf = Zipf::new(1000);
        let sum: f64 = (0..1000).map(|rank| zipf.probability(rank)).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        assert!(zipf.probability(0) > zipf.probability(1));
        for rank in [0, 7, 999] {
            let expected = -zipf.probability(rank).ln();
            assert!((zipf.idf(rank) - expected).abs() < 1e-12);
        }
        assert!(zipf.unknown_idf() > zipf.idf(999));
    }
}
