//! A real encoder: all-MiniLM-L6-v2 with weights of 8 bits, which `tests/encoders/fetch` brings.

#![allow(clippy::unwrap_used)] // a test may panic

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kindred_encoder::{EncodeError, Encoder, OpenError, open_all};
use kindred_similarity::Kernel;
use rayon::prelude::*;

const WITHIN: Duration = Duration::from_secs(60);

const TEXTS: [&str; 6] = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A man is riding a horse.",
    "A cheetah is running behind its prey.",
    "Glaciers lose more ice in summer than snow adds in winter.",
];

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/encoders/minilm");
    assert!(folder.is_dir(), "run tests/encoders/fetch first");
    folder
}

fn minilm() -> Encoder {
    Encoder::open(&folder(), Kernel::Auto).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

/// The encoder's files in a folder of its own, with these bytes instead of one of them.
fn changed(file: &str, bytes: Option<&[u8]>) -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let own = place.path().join("minilm");
    std::fs::create_dir(&own).unwrap();
    for name in ["model.onnx", "tokenizer.json"] {
        match bytes {
            _ if name != file => {
                std::fs::hard_link(folder().join(name), own.join(name))
                    .or_else(|_| std::fs::copy(folder().join(name), own.join(name)).map(|_| ()))
                    .unwrap();
            }
            Some(bytes) => std::fs::write(own.join(name), bytes).unwrap(),
            None => {}
        }
    }
    (place, own)
}

/// Cosines of the same texts by ONNX Runtime 1.32.0 and tokenizers 0.23.3 in Python: mean over the tokens, length 1.
/// Both round at other places, so what is then rounded to 8 bits sometimes differs by one, and everything after it by as
/// much as the model's 8 bits lose. Where nothing differs, the vectors are the same.
#[test]
fn vectors_are_those_of_another_program() {
    const TOLERANCE: f64 = 0.02;
    /// The numbers are given to six places.
    const SAME: f64 = 2e-6;
    /// Texts of which nothing differs.
    const THE_SAME: [usize; 3] = [2, 4, 5];
    let encoder = minilm();
    assert_eq!((encoder.name(), encoder.dimension()), ("minilm", 384));
    let vectors = TEXTS.map(|text| encoder.encode(text, WITHIN).unwrap());
    for (row, expected) in COSINES.iter().enumerate() {
        for (column, expected) in expected.iter().enumerate() {
            let found = cosine(&vectors[row], &vectors[column]);
            let are_same = [row, column].iter().all(|text| THE_SAME.contains(text));
            let tolerance = if are_same { SAME } else { TOLERANCE };
            assert!(
                (found - expected).abs() < tolerance,
                "{row}, {column}: {found} for {expected}"
            );
        }
    }
    for (vector, expected) in vectors.iter().zip(FIRST_VALUES) {
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-6);
        for (value, expected) in vector.iter().zip(expected) {
            assert!(
                (f64::from(*value) - expected).abs() < TOLERANCE,
                "{value} for {expected}"
            );
        }
    }
}

/// If these bits change, stored features cannot be compared with new ones: the encoder's revision must change, too.
#[test]
fn bits_depend_on_nothing_but_the_text() {
    let by_kernel = Kernel::ALL.into_iter().filter(|kernel| kernel.available());
    let encoders: Vec<Encoder> = by_kernel
        .map(|kernel| Encoder::open(&folder(), kernel).unwrap())
        .collect();
    let alone = TEXTS.map(|text| encoders[0].encode(text, WITHIN).unwrap());
    for encoder in &encoders[1..] {
        // Without fused multiply-adds in hardware it takes long.
        let vector = encoder.encode(TEXTS[0], WITHIN).unwrap();
        assert_eq!(vector, alone[0], "{encoder:?}");
        assert_eq!(encoder.fingerprint(), encoders[0].fingerprint());
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let texts = TEXTS.iter().cycle().take(24).collect::<Vec<_>>();
        let together: Vec<Vec<f32>> = pool.install(|| {
            let encoded = texts.par_iter().with_max_len(1);
            encoded
                .map(|text| encoders[0].encode(text, WITHIN).unwrap())
                .collect()
        });
        for (at, vector) in together.iter().enumerate() {
            assert_eq!(*vector, alone[at % TEXTS.len()]);
        }
    }
    let bytes: Vec<u8> = alone
        .iter()
        .flatten()
        .flat_map(|value| value.to_bits().to_le_bytes())
        .collect();
    assert_eq!(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&bytes)), BITS);
    assert_eq!(format!("{:016x}", encoders[0].fingerprint()), FINGERPRINT);
}

#[test]
fn a_text_is_read_as_far_as_the_model_reads() {
    let encoder = minilm();
    let long = |words: usize, last: &str| format!("{} {last}", "glacier ".repeat(words));
    // The tokenizer's file allows 128 tokens, of which one begins the text and one ends it.
    let cut = encoder.encode(&long(126, "bread"), WITHIN).unwrap();
    assert_eq!(cut, encoder.encode(&long(126, "train"), WITHIN).unwrap());
    assert_eq!(
        cut,
        encoder.encode(&long(100_000, "train"), WITHIN).unwrap()
    );
    assert_ne!(cut, encoder.encode(&long(125, "train"), WITHIN).unwrap());
}

#[test]
fn texts_without_words_have_no_vector_and_others_no_meaning_of_their_own() {
    let encoder = minilm();
    for nothing in ["", " \n\t", "\u{200b}\u{0}"] {
        assert_eq!(
            encoder.encode(nothing, WITHIN),
            Ok(Vec::new()),
            "{nothing:?}"
        );
    }
    // What looks like a token of the model's own is text: a mark of five characters, not the end of the text.
    let marked = encoder.encode("night train [SEP] bread", WITHIN).unwrap();
    assert_ne!(marked, encoder.encode("night train", WITHIN).unwrap());
    for odd in ["🛤️", "京都の寺", "a\u{301}\u{301}", "%F0 \u{202e} \u{fffd}"] {
        assert_eq!(encoder.encode(odd, WITHIN).unwrap().len(), 384, "{odd:?}");
    }
}

#[test]
fn a_text_ends_soon_after_its_time() {
    let encoder = minilm();
    let text = "glacier ".repeat(500);
    let begun = Instant::now();
    let late = encoder.encode(&text, Duration::ZERO);
    assert_eq!(late, Err(EncodeError::Late(Duration::ZERO)));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(
        encoder.encode(&text, WITHIN).is_ok(),
        "the next one is encoded"
    );
}

#[test]
fn a_missing_file_is_named() {
    for file in ["model.onnx", "tokenizer.json"] {
        let (_place, own) = changed(file, None);
        let error = Encoder::open(&own, Kernel::Auto).unwrap_err();
        assert!(
            matches!(&error, OpenError::Unreadable { path, .. } if path.ends_with(file)),
            "{error}"
        );
    }
    let error = open_all(Path::new("/nowhere/at/all"), Kernel::Auto).unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}

#[test]
fn a_damaged_file_is_named() {
    let whole = std::fs::read(folder().join("model.onnx")).unwrap();
    let ends_early = &whole[..whole.len() / 2];
    let mut renamed = whole.clone();
    let at = renamed
        .windows(13)
        .position(|bytes| bytes == b"MatMulInteger")
        .unwrap();
    renamed[at..at + 13].copy_from_slice(b"MatMulUnknown");
    for (bytes, words) in [
        (&b""[..], "no model"),
        (b"not a model at all", ""),
        (ends_early, "damaged"),
        (&renamed, "MatMulUnknown is not known"),
    ] {
        let (_place, own) = changed("model.onnx", Some(bytes));
        let error = Encoder::open(&own, Kernel::Auto).unwrap_err();
        assert!(matches!(error, OpenError::Model { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let (_place, own) = changed("tokenizer.json", Some(b"{}"));
    let error = Encoder::open(&own, Kernel::Auto).unwrap_err();
    assert!(matches!(error, OpenError::Tokenizer { .. }), "{error}");
}

#[test]
fn encoders_are_the_folders_of_a_folder() {
    let (place, own) = changed("", None);
    std::fs::create_dir(place.path().join(".hidden")).unwrap();
    std::fs::write(place.path().join("README"), "no folder").unwrap();
    let all = open_all(place.path(), Kernel::Auto).unwrap();
    let names: Vec<&str> = all.iter().map(Encoder::name).collect();
    assert_eq!(names, ["minilm"]);
    // Another file is another encoder, even under the same name.
    let tokenizer = std::fs::read_to_string(own.join("tokenizer.json")).unwrap();
    let (_place, other) = changed("tokenizer.json", Some(format!("{tokenizer} ").as_bytes()));
    let other = Encoder::open(&other, Kernel::Auto).unwrap();
    assert_ne!(other.fingerprint(), all[0].fingerprint());

    std::fs::create_dir(place.path().join("Mini_LM")).unwrap();
    let error = open_all(place.path(), Kernel::Auto).unwrap_err();
    assert!(matches!(error, OpenError::Name { .. }), "{error}");
}

const COSINES: [[f64; 6]; 6] = [
    [1.0, 0.756_946, -0.094_15, 0.248_027, 0.180_558, -0.065_374],
    [0.756_946, 1.0, -0.040_182, 0.146_565, 0.086_448, -0.066_017],
    [-0.094_15, -0.040_182, 1.0, -0.124_56, 0.028_43, 0.040_063],
    [0.248_027, 0.146_565, -0.124_56, 1.0, 0.045_151, -0.037_69],
    [0.180_558, 0.086_448, 0.028_43, 0.045_151, 1.0, 0.032_613],
    [-0.065_374, -0.066_017, 0.040_063, -0.037_69, 0.032_613, 1.0],
];
const FIRST_VALUES: [[f64; 4]; 6] = [
    [0.031_216, 0.002_205, -0.000_112, 0.044_167],
    [0.058_641, 0.055_799, -0.014_955, -0.008_023],
    [-0.039_218, -0.028_198, -0.025_497, 0.032_401],
    [0.001_07, -0.000_623, 0.037_915, 0.025_393],
    [0.022_242, 0.105_987, -0.037_073, -0.017_387],
    [-0.056_974, 0.051_024, 0.124_102, 0.101_428],
];
/// xxh3 of all bits of the texts' vectors.
const BITS: &str = "5973757451eee71b";
const FINGERPRINT: &str = "e4d6fa995ae7d2c1";
