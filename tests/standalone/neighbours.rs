//! `kindred neighbours`: files in and out, against a brute force in `f64`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::place::Place;
use crate::support::program::{kindred, run};
use crate::support::random::Random;

const ROWS: usize = 700;
const DIMENSION: usize = 37;
const K: usize = 20;
/// How far an `f32` sum of so few products may be from the `f64` one.
const ROUNDING: f64 = 1e-4;

struct Data {
    rows: Vec<Vec<f32>>,
}

impl Data {
    fn new(name: &str) -> Self {
        let mut random = Random::of_test(name);
        let mut row = || (0..DIMENSION).map(|_| random.unit() as f32 - 0.5).collect();
        Self {
            rows: (0..ROWS).map(|_| row()).collect(),
        }
    }

    fn npy(&self, path: &Path) {
        let shape = (self.rows.len(), self.rows.first().map_or(0, Vec::len));
        let mut bytes = npy_header("<f4", &format!("({}, {})", shape.0, shape.1));
        bytes.extend(
            self.rows
                .concat()
                .iter()
                .flat_map(|value| value.to_le_bytes()),
        );
        fs::write(path, bytes).unwrap();
    }

    fn fvecs(&self, path: &Path) {
        let mut bytes = Vec::new();
        for row in &self.rows {
            bytes.extend((row.len() as i32).to_le_bytes());
            bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
        }
        fs::write(path, bytes).unwrap();
    }

    fn score(&self, left: usize, right: usize, cosine: bool) -> f64 {
        let dot = |left: &[f32], right: &[f32]| -> f64 {
            let products = left
                .iter()
                .zip(right)
                .map(|(&a, &b)| f64::from(a) * f64::from(b));
            products.sum()
        };
        let (left, right) = (&self.rows[left], &self.rows[right]);
        let length = if cosine {
            (dot(left, left) * dot(right, right)).sqrt()
        } else {
            1.0
        };
        dot(left, right) / length
    }

    /// Ids and scores of every row are those of the brute force, up to rounding.
    #[track_caller]
    fn check(&self, lines: &[Vec<(usize, f64)>], cosine: bool, least: f64) {
        assert_eq!(lines.len(), self.rows.len());
        for (row, line) in lines.iter().enumerate() {
            let others = (0..self.rows.len()).filter(|&other| other != row);
            let mut best: Vec<f64> = others
                .map(|other| self.score(row, other, cosine))
                .filter(|&score| score >= least)
                .collect();
            best.sort_by(|a, b| b.total_cmp(a));
            best.truncate(K);
            assert_eq!(line.len(), best.len(), "row {row}");
            for (&(id, score), best) in line.iter().zip(best) {
                assert!(id != row, "row {row} is its own neighbour");
                let own = self.score(row, id, cosine);
                assert!(
                    (own - score).abs() < ROUNDING,
                    "row {row}: {id}, {score}, {own}"
                );
                assert!(
                    (best - score).abs() < ROUNDING,
                    "row {row}: {id}, {score}, {best}"
                );
            }
            let ordered = |pair: &[(usize, f64)]| {
                pair[0].1 > pair[1].1 || (pair[0].1 == pair[1].1 && pair[0].0 < pair[1].0)
            };
            assert!(line.windows(2).all(ordered), "row {row}: {line:?}");
        }
    }
}

fn npy_header(descr: &str, shape: &str) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes
}

/// Ids and scores, line by line.
fn lines(text: &[u8]) -> Vec<Vec<(usize, f64)>> {
    let text = std::str::from_utf8(text).unwrap();
    let line = |(row, line): (usize, &str)| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["id"], json!(row));
        let neighbours = line["neighbours"].as_array().unwrap();
        let pair = |one: &Value| {
            let id = usize::try_from(one["id"].as_u64().unwrap()).unwrap();
            (id, one["score"].as_f64().unwrap())
        };
        neighbours.iter().map(pair).collect()
    };
    text.lines().enumerate().map(line).collect()
}

/// The values of a `.npy` file of 4-byte numbers, and its shape.
fn array(path: &Path) -> (String, Vec<[u8; 4]>) {
    let bytes = fs::read(path).unwrap();
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!((10 + length) % 64, 0, "data is aligned");
    let header = String::from_utf8(bytes[10..10 + length].to_vec()).unwrap();
    (header, bytes[10 + length..].as_chunks::<4>().0.to_vec())
}

#[track_caller]
fn done(place: &Place, arguments: &[&str]) -> Output {
    let output = run(place.directory(), &[&["neighbours"], arguments].concat());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {words}");
    output
}

/// What it says on standard error when it refuses.
#[track_caller]
fn refused(place: &Place, arguments: &[&str], code: i32) -> String {
    let output = run(place.directory(), &[&["neighbours"], arguments].concat());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
    words
}

fn here(place: &Place, name: &str) -> PathBuf {
    place.directory().join(name)
}

#[test]
fn lines_are_the_exact_neighbours_from_every_kernel_and_format() {
    let place = Place::new();
    let data = Data::new("neighbours");
    data.npy(&here(&place, "in.npy"));
    data.fvecs(&here(&place, "in.fvecs"));
    let output = done(
        &place,
        &["--vectors", "in.npy", "--k", "20", "-o", "out.ndjson"],
    );
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("out.ndjson") && said.contains("700 rows of 37 values"),
        "{said}"
    );
    let written = fs::read(here(&place, "out.ndjson")).unwrap();
    data.check(&lines(&written), false, f64::NEG_INFINITY);

    let mut ran = 0;
    for kernel in ["scalar", "avx2", "avx512", "avx512vnni"] {
        let arguments = [
            "--vectors",
            "in.fvecs",
            "-k",
            "20",
            "--threads",
            "3",
            "-o",
            "-",
        ];
        let flags = ["neighbours", "--kernel", kernel];
        let output = run(place.directory(), &[&flags[..], &arguments].concat());
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            assert!(words.contains("this CPU cannot run"), "{words}");
            continue;
        }
        ran += 1;
        assert!(output.stdout == written, "{kernel} gives other lines");
        assert!(
            words.contains(&format!("kernel={kernel}")),
            "the log says which ran: {words}"
        );
        assert!(words.contains("threads=3"), "{words}");
    }
    assert!(ran > 0);
}

#[test]
fn cosines_a_least_score_and_rows_of_zeros() {
    let place = Place::new();
    let mut data = Data::new("cosine");
    data.npy(&here(&place, "in.npy"));
    let vectors = ["--vectors", "in.npy"];
    let output = done(&place, &[&vectors[..], &["--cosine", "-o", "-"]].concat());
    data.check(&lines(&output.stdout), true, f64::NEG_INFINITY);
    // Almost every row has fewer than K so near.
    let least = ["--cosine", "--min-score", "0.5", "-o", "-"];
    let output = done(&place, &[&vectors[..], &least].concat());
    data.check(&lines(&output.stdout), true, 0.5);
    data.rows[3] = vec![0.0; DIMENSION];
    data.npy(&here(&place, "in.npy"));
    let output = done(&place, &[&vectors[..], &["--cosine", "-o", "-"]].concat());
    let zeros: Vec<(usize, f64)> = (0..=K).filter(|&id| id != 3).map(|id| (id, 0.0)).collect();
    assert_eq!(lines(&output.stdout)[3], zeros);
}

#[test]
fn arrays_have_the_ids_and_scores_of_the_lines() {
    let place = Place::new();
    let mut data = Data::new("arrays");
    data.rows.truncate(7);
    data.npy(&here(&place, "in.npy"));
    let vectors = ["--vectors", "in.npy", "--k", "9", "-o"];
    let output = done(&place, &[&["--json"], &vectors[..], &["all.npy"]].concat());
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["output"], json!(["all.ids.npy", "all.scores.npy"]));
    assert_eq!((&summary["rows"], &summary["k"]), (&json!(7), &json!(9)));
    let output = done(&place, &[&vectors[..], &["-"]].concat());
    let (header, ids) = array(&here(&place, "all.ids.npy"));
    assert!(
        header.contains("'<u4'") && header.contains("(7, 9)"),
        "{header}"
    );
    let (header, scores) = array(&here(&place, "all.scores.npy"));
    assert!(
        header.contains("'<f4'") && header.contains("(7, 9)"),
        "{header}"
    );
    for (row, line) in lines(&output.stdout).iter().enumerate() {
        assert_eq!(line.len(), 6, "all others, those with scores below 0 too");
        for at in 0..9 {
            let id = u32::from_le_bytes(ids[row * 9 + at]);
            let score = f32::from_le_bytes(scores[row * 9 + at]);
            match line.get(at) {
                Some(&(expected, value)) => {
                    assert_eq!(id as usize, expected);
                    assert_eq!(score, value as f32, "digits give the same float again");
                }
                None => assert!(id == u32::MAX && score.is_nan()),
            }
        }
    }
}

#[test]
fn memory_is_as_promised() {
    const ROWS: usize = 60_000;
    // Long lists, so that a second copy of them would not fit.
    const LONG: &str = "100";
    const VALUES: usize = 100;
    let place = Place::new();
    let peak = |rows: usize| {
        let mut random = Random::of_test("memory");
        let mut bytes = npy_header("<f4", &format!("({rows}, {VALUES})"));
        bytes.extend((0..rows * VALUES).flat_map(|_| (random.unit() as f32 - 0.5).to_le_bytes()));
        fs::write(here(&place, "in.npy"), bytes).unwrap();
        let flags = [
            "--json",
            "--vectors",
            "in.npy",
            "-k",
            LONG,
            "--threads",
            "2",
            "-o",
            "out.ndjson",
        ];
        let summary: Value = serde_json::from_slice(&done(&place, &flags).stdout).unwrap();
        // Some systems do not say.
        summary["peak_memory_bytes"].as_u64()
    };
    if let (Some(base), Some(peak)) = (peak(2), peak(ROWS)) {
        let promise = (ROWS * VALUES * size_of::<f32>() * 3 / 2 + ROWS * 1200) as u64;
        let taken = peak - base;
        assert!(taken <= promise, "{taken} bytes, {promise} are promised");
    }
}

#[test]
fn none_one_and_two_rows() {
    let place = Place::new();
    let mut data = Data::new("few");
    for (rows, expected) in [(2, [1, 1].as_slice()), (1, &[0]), (0, &[])] {
        data.rows.truncate(rows);
        data.npy(&here(&place, "in.npy"));
        data.fvecs(&here(&place, "in.fvecs"));
        for file in ["in.npy", "in.fvecs"] {
            let output = done(&place, &["--vectors", file, "-o", "-"]);
            let found: Vec<usize> = lines(&output.stdout).iter().map(Vec::len).collect();
            assert_eq!(found, expected, "{rows} rows in {file}");
        }
        done(&place, &["--vectors", "in.npy", "-o", "out.npy"]);
        let (header, ids) = array(&here(&place, "out.ids.npy"));
        assert!(header.contains(&format!("({rows}, 20)")), "{header}");
        assert_eq!(ids.len(), rows * 20);
    }
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_written() {
    let place = Place::new();
    let mut data = Data::new("wrong");
    let vectors = ["--vectors", "in.npy", "-o", "out.ndjson"];
    assert!(refused(&place, &vectors, 2).contains("in.npy"));
    data.npy(&here(&place, "in.npy"));
    let whole = fs::read(here(&place, "in.npy")).unwrap();
    fs::write(here(&place, "in.npy"), &whole[..whole.len() - 1]).unwrap();
    assert!(refused(&place, &vectors, 1).contains("bytes"));
    data.rows[600][36] = f32::NAN;
    data.npy(&here(&place, "in.npy"));
    let words = refused(&place, &vectors, 1);
    assert!(
        words.contains("in.npy: row 600, column 36 is NaN"),
        "{words}"
    );
    data.rows[600].pop();
    data.fvecs(&here(&place, "in.fvecs"));
    let words = refused(&place, &["--vectors", "in.fvecs", "-o", "-"], 1);
    assert!(words.contains("row 600 has 36 values"), "{words}");

    for (flags, word) in [
        (&["-k", "1001"][..], "1000"),
        (&["-k", "0"], "1..=1000"),
        (&["--min-score", "nan"], "number"),
        (&["--kernel", "magic"], "auto"),
        (&["--threads", "many"], "whole number"),
        (&["--nearest"], "--nearest"),
    ] {
        let words = refused(&place, &[&vectors[..], flags].concat(), 2);
        assert!(words.contains(word), "{words}");
    }
    for output in ["out.txt", ".npy", "none/out.ndjson"] {
        refused(&place, &["--vectors", "in.npy", "-o", output], 2);
    }
    let left: Vec<_> = fs::read_dir(place.directory()).unwrap().collect();
    assert_eq!(left.len(), 2, "the two inputs: {left:?}");
}

#[test]
fn pipes_on_both_sides() {
    let place = Place::new();
    let data = Data::new("pipes");
    data.npy(&here(&place, "in.npy"));
    std::os::unix::fs::symlink("/dev/stdin", here(&place, "pipe.npy")).unwrap();
    let mut feeder = Command::new("cat")
        .arg(here(&place, "in.npy"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = kindred(place.directory())
        .args(["neighbours", "--vectors", "pipe.npy", "-o", "/dev/stdout"])
        .stdin(feeder.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(feeder.wait().unwrap().success());
    let summary = "/dev/stdout: 20 nearest";
    let text = String::from_utf8(output.stdout).unwrap();
    let (found, said) = text.split_at(text.find(summary).unwrap());
    assert!(said.lines().count() == 1);
    data.check(&lines(found.as_bytes()), false, f64::NEG_INFINITY);
    // A reader that has seen enough is no failure.
    let mut early = kindred(place.directory())
        .args(["neighbours", "--vectors", "in.npy", "-o", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(early.stdout.take());
    assert!(early.wait().unwrap().success());
}
