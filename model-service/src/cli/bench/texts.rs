//! Generates texts to measure with, the same in every run.

use std::collections::HashMap;

/// Where the words and their frequencies come from.
const SAMPLE: &str = include_str!("../../../demo/courier.ndjson");
/// Subjects to write about; each has its own favourite words.
const SUBJECTS: u64 = 64;
/// One in this many words is the subject's own.
const SUBJECT_WORD_EVERY: u64 = 3;
const LEAST_WORDS: u64 = 60;
const MOST_WORDS: u64 = 120;

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every platform.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `below` − 1; the bias of the remainder does not matter here.
    pub(super) fn below(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }
}

/// Makes texts of English words whose frequencies follow Zipf's law.
pub(super) struct Texts {
    words: Vec<String>,
    /// Sums of 1 / (rank + 2.7), ascending.
    sums: Vec<f64>,
}

impl Texts {
    pub(super) fn new() -> Self {
        let mut counts: HashMap<String, u32> = HashMap::new();
        for word in SAMPLE
            .split(|c: char| !c.is_alphabetic())
            .filter(|word| word.len() > 1)
        {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
        let mut words: Vec<(u32, String)> = counts.into_iter().map(|(w, n)| (n, w)).collect();
        words.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let words: Vec<String> = words.into_iter().map(|(_, word)| word).collect();
        let sums = (0..words.len())
            .scan(0.0, |sum, rank| {
                *sum += 1.0 / (rank as f64 + 2.7);
                Some(*sum)
            })
            .collect();
        Self { words, sums }
    }

    /// Title and text number `n`.
    pub(super) fn text(&self, n: u64) -> (String, String) {
        let mut numbers = Numbers(n.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let subject = numbers.below(SUBJECTS);
        let count = LEAST_WORDS + numbers.below(MOST_WORDS - LEAST_WORDS + 1);
        let mut make = |count: u64| {
            let words: Vec<&str> = (0..count)
                .map(|_| self.word(&mut numbers, subject))
                .collect();
            words.join(" ")
        };
        (make(6), make(count))
    }

    fn word(&self, numbers: &mut Numbers, subject: u64) -> &str {
        let of_subject = numbers.below(SUBJECT_WORD_EVERY) == 0;
        let total = self.sums.last().copied().unwrap_or_default();
        let share = (numbers.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut rank = self.sums.partition_point(|sum| *sum < share * total);
        if of_subject {
            // Each subject has its own order of the words.
            rank = (rank + 1) * (2 * subject as usize + 101) % self.words.len().max(1);
        }
        self.words
            .get(rank.min(self.words.len().saturating_sub(1)))
            .map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_same_every_time_and_differ_from_one_another() {
        let (texts, again) = (Texts::new(), Texts::new());
        assert!(texts.words.len() > 2_000);
        for n in 0..200 {
            let (title, text) = texts.text(n);
            assert_eq!((&title, &text), (&again.text(n).0, &again.text(n).1));
            assert_ne!(text, texts.text(n + 1).1);
            let count = text.split(' ').count() as u64;
            assert!((LEAST_WORDS..=MOST_WORDS).contains(&count));
        }
    }
}
