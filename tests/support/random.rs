//! A small deterministic generator, so that a failing run can be replayed.

/// Numbers that follow from a seed (SplitMix64: Steele, Lea, Flood 2014).
pub(crate) struct Random(u64);

impl Random {
    /// The generator of a test: seeded with `KINDRED_TEST_SEED`, or always the same. `what` keeps
    /// the streams of two uses apart.
    pub(crate) fn of_test(what: &str) -> Self {
        let seed = match std::env::var("KINDRED_TEST_SEED") {
            Ok(text) => text
                .parse()
                .expect("KINDRED_TEST_SEED is a whole number of 64 bits"),
            Err(_) => 20_261_123,
        };
        println!("{what}: KINDRED_TEST_SEED={seed}");
        Self::new(seed ^ xxhash_rust::xxh3::xxh3_64(what.as_bytes()))
    }

    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 … n − 1. The bias of the remainder is far below what any test here could see.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "nothing to choose from");
        usize::try_from(self.next() % n as u64).expect("less than n")
    }

    /// [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}
