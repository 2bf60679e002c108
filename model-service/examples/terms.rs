//! The terms of texts, as extraction counts them: what tables of word pieces are made with.
//!
//! `cargo run -p model-service --example terms < texts > terms` reads an object a line, `{"language", "title",
//! "text"}`, and answers each with `[[term, frequency], …]`. With `--fold` it reads `{"language", "text"}` and
//! answers with the text folded, as one string.

use std::io::{self, BufWriter, Read, Write};

use kindred_shared::Folding;
use model_service::preprocessing::{Preprocessor, Usual};
use rayon::prelude::*;
use serde::Deserialize;

/// Lines that are worked on together.
const CHUNK: usize = 4_096;

#[derive(Deserialize)]
struct Line {
    language: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    text: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let fold = std::env::args().nth(1).is_some_and(|flag| flag == "--fold");
    // No language is detected: each line says its own.
    let preprocessor = Preprocessor::new(&[], "en")?;
    let mut input = String::new();
    io::stdin().read_to_string(&mut input)?;
    let lines: Vec<&str> = input.lines().collect();
    let mut out = BufWriter::new(io::stdout().lock());
    for chunk in lines.chunks(CHUNK) {
        let answer = |line: &&str| -> serde_json::Result<String> {
            let line: Line = serde_json::from_str(line)?;
            if fold {
                return serde_json::to_string(&Folding::of(&line.language).fold(&line.text));
            }
            let language = Some(line.language.as_str());
            let read = preprocessor.preprocess(
                Some(&line.title),
                Some(&line.text),
                language,
                Usual::default(),
            );
            serde_json::to_string(&read.terms)
        };
        let answers: Vec<String> = chunk.par_iter().map(answer).collect::<Result<_, _>>()?;
        for answer in answers {
            writeln!(out, "{answer}")?;
        }
    }
    out.flush()?;
    Ok(())
}
