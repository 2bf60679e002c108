//! The features of terms as workers make them, for comparing models in tests/quality without a service.
//!
//! `cargo run -p compute-worker --example features < terms > features` reads one object per line, `{"space", "terms":
//! [[term, frequency], …]}`, and answers each with `{"dense": […], "ids": […], "weights": […]}`.

use std::io::{self, BufRead, BufWriter, Write};
use std::sync::Arc;

use compute_worker::models::Models;
use compute_worker::word_vectors::Vectors;
use kindred_shared::job::{ExtractTask, TermCounts};
use kindred_shared::{ItemId, Space};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Line {
    space: String,
    terms: Vec<(Box<str>, u32)>,
}

#[derive(Serialize)]
struct Answer<'a> {
    dense: &'a [f32],
    ids: &'a [u32],
    weights: &'a [f32],
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let models = Models::new(Arc::new(Vectors::builtin()));
    let id = ItemId::new("line")?;
    let mut out = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let Line { space, terms } = serde_json::from_str(&line?)?;
        let row = TermCounts {
            id: id.clone(),
            terms,
        };
        let task = ExtractTask {
            space: Space::stored(&space),
            rows: vec![row],
        };
        for feature in models.extract(&task)? {
            let answer = Answer {
                dense: feature.dense(),
                ids: feature.term_ids(),
                weights: feature.term_weights(),
            };
            serde_json::to_writer(&mut out, &answer)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(())
}
