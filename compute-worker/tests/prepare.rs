//! From published vectors to vectors that are looked up.
#![allow(clippy::unwrap_used)] // a test may panic

use std::fmt::Write;
use std::fs;

use compute_worker::word_vectors::prepare::{
    PrepareError, PrepareOptions, Prepared, Progress, Quantizer, prepare,
};
use compute_worker::word_vectors::{Filter, Format, WordVectors};
use tempfile::TempDir;

/// Vectors whose first two values are far from zero, as GloVe text.
fn glove(words: usize, dimension: usize) -> String {
    let mut text = String::new();
    for word in 0..words {
        let digits = word.to_string();
        text.extend(digits.bytes().map(|b| char::from(b - b'0' + b'a')));
        for k in 0..dimension {
            let shared = if k < 2 { 5.0 } else { 0.0 };
            let value = ((word * 31 + k * 17 + word * k) as f32).sin() + shared;
            write!(text, " {value}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn run(dir: &TempDir, text: &str, options: &PrepareOptions) -> Result<Prepared, PrepareError> {
    let input = dir.path().join("in.txt");
    fs::write(&input, text).unwrap();
    prepare(&input, &dir.path().join("out.fifu"), options, &mut |_| {})
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn plain_and_quantised_files_are_alike_and_can_be_prepared_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = PrepareOptions {
        quantizer: Quantizer::None,
        words: 500,
        ..PrepareOptions::default()
    };
    let prepared = run(&dir, &glove(600, 12), &options).unwrap();
    let out = dir.path().join("out.fifu");
    assert_eq!((prepared.words, prepared.dimension), (500, 12));
    assert_eq!(prepared.format, Format::Text);
    assert_eq!(prepared.bytes, fs::metadata(&out).unwrap().len());
    let plain = WordVectors::open(&out).unwrap();
    assert_eq!(plain.len(), 500);
    assert_eq!((plain.rank("a"), plain.rank("bab")), (Some(0), Some(101)));
    for k in 0..12 {
        let sum: f32 = (0..500).map(|rank| plain.vector(rank)[k]).sum();
        assert!(sum.abs() < 1e-2, "value {k} has mean {sum}/500");
    }

    options.quantizer = Quantizer::Product(6);
    let again = dir.path().join("again.fifu");
    let mut steps = Vec::new();
    let input = dir.path().join("in.txt");
    prepare(&input, &again, &options, &mut |step| steps.push(step)).unwrap();
    assert!(steps.contains(&Progress::Quantizing));
    let quantised = WordVectors::open(&again).unwrap();
    let sum: f32 = (0..500)
        .map(|rank| cosine(plain.vector(rank), quantised.vector(rank)))
        .sum();
    assert!(sum / 500.0 > 0.9, "{sum}/500");

    options.quantizer = Quantizer::None;
    let third = dir.path().join("third.fifu");
    let prepared = prepare(&again, &third, &options, &mut |_| {}).unwrap();
    assert_eq!(prepared.words, 500);
    assert_eq!(prepared.format, Format::Finalfusion);
    for entry in fs::read_dir(dir.path()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(!name.to_string_lossy().ends_with(".part"), "{name:?}");
    }
}

#[test]
fn refusals_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let options = PrepareOptions::default();
    let letters = PrepareOptions {
        filter: Filter::Alphabetic,
        ..PrepareOptions::default()
    };
    let (long, short, few) = (glove(300, 12), glove(300, 3), glove(30, 25));
    for (text, options, words) in [
        (
            &*long,
            &options,
            "do not divide 12 values; choose one of pq1, pq2, pq3, pq4, pq6, pq12,",
        ),
        (&*short, &options, "components"),
        (&*few, &options, "30 words are too few"),
        ("", &options, "in.txt: no word"),
        ("1 0.1 0.2 0.3 0.4 0.5\n", &letters, "no word passed"),
    ] {
        let error = run(&dir, text, options).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let missing = dir.path().join("missing.txt");
    let out = dir.path().join("out.fifu");
    let error = prepare(&missing, &out, &options, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("missing.txt"), "{error}");
    assert!(!out.exists());

    let input = dir.path().join("in.txt");
    fs::write(&input, glove(300, 25)).unwrap();
    let nowhere = dir.path().join("no/such/folder/en.fifu");
    let plain = PrepareOptions {
        quantizer: Quantizer::None,
        ..PrepareOptions::default()
    };
    let error = prepare(&input, &nowhere, &plain, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
}

#[test]
fn quantisers_have_names() {
    for name in ["pq25", "pq50", "none"] {
        assert_eq!(name.parse::<Quantizer>().unwrap().to_string(), name);
    }
    assert_eq!(Quantizer::default(), Quantizer::Product(25));
    for name in ["pq0", "pq", "int8", ""] {
        assert!(name.parse::<Quantizer>().is_err(), "{name:?}");
    }
}
