//! The library on its own: finds which of some words are nearest to each other.
//!
//! ```text
//! cargo run --release -p compute-worker --example words
//! ```
#![allow(clippy::print_stdout)] // that is what it is for

use std::error::Error;

use compute_worker::pool;
use compute_worker::word_vectors::Vectors;
use kindred_similarity::{Options, Rows, neighbours};

const WORDS: [&str; 18] = [
    "glacier", "ice", "snow", "valley", "mountain", "river", "court", "judge", "law", "lawyer",
    "trial", "verdict", "bread", "oven", "flour", "butter", "cheese", "kitchen",
];

fn main() -> Result<(), Box<dyn Error>> {
    let vectors = Vectors::builtin();
    let english = vectors.get("en").ok_or("English is compiled in")?;
    // Row after row in one slice. Each row is scaled to length 1 here, so that scores are cosines.
    let mut values = Vec::new();
    for word in WORDS {
        let rank = english.rank(word).ok_or("a common word")?;
        let row = english.vector(rank);
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        values.extend(row.iter().map(|value| value / length));
    }
    let rows = Rows::new(&values, WORDS.len(), english.dimension())?;
    let options = Options {
        keep: 3,
        ..Options::default()
    };
    // All work runs on the pool that installs it; 0 means every core.
    let found = pool(0)?.install(|| neighbours(&rows, &options))?;
    for (row, word) in WORDS.iter().enumerate() {
        let (ids, scores) = found.of(row);
        let near: Vec<String> = ids
            .iter()
            .zip(scores)
            .map(|(&id, score)| format!("{} {score:.2}", WORDS[id as usize]))
            .collect();
        println!("{word}: {}", near.join(", "));
    }
    Ok(())
}
