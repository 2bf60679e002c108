//! Files as NumPy and others write them, and invalid files.

use proptest::prelude::*;

use super::*;

/// A `.npy` file of a version, from header and data.
fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x93];
    bytes.extend(b"NUMPY");
    bytes.extend([version, 0]);
    let length = header.len();
    if version == 1 {
        bytes.extend(u16::try_from(length).unwrap().to_le_bytes());
    } else {
        bytes.extend(u32::try_from(length).unwrap().to_le_bytes());
    }
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn header(descr: &str, fortran: bool, shape: &str) -> String {
    let fortran = if fortran { "True" } else { "False" };
    format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}   \n")
}

fn floats(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn fvecs(rows: &[&[f32]]) -> Vec<u8> {
    let row = |row: &&[f32]| [(row.len() as i32).to_le_bytes().to_vec(), floats(row)].concat();
    rows.iter().flat_map(row).collect()
}

fn read(format: Format, bytes: &[u8]) -> Result<Matrix, VectorsError> {
    Matrix::from_bytes(bytes.to_vec(), format, false)
}

#[track_caller]
fn reads(format: Format, bytes: &[u8], rows: usize, values: &[f32]) {
    let matrix = read(format, bytes).unwrap();
    assert_eq!((matrix.rows, &matrix.values[..]), (rows, values));
}

#[track_caller]
fn refuses(format: Format, bytes: &[u8], words: &[&str]) {
    let refused = read(format, bytes).unwrap_err().to_string();
    for word in words {
        assert!(refused.contains(word), "{word:?} in {refused:?}");
    }
}

const SIX: [f32; 6] = [1.0, -2.5, 3.0, 0.0, 0.125, 6.0];

#[test]
fn every_version_type_and_order_of_npy() {
    for version in 1..=3 {
        let file = npy(version, &header("<f4", false, "(2, 3)"), &floats(&SIX));
        reads(Format::Npy, &file, 2, &SIX);
    }
    let big: Vec<u8> = SIX.iter().flat_map(|value| value.to_be_bytes()).collect();
    reads(
        Format::Npy,
        &npy(1, &header(">f4", false, "(2, 3)"), &big),
        2,
        &SIX,
    );
    let double = |value: &f32| f64::from(*value).to_le_bytes();
    let doubles: Vec<u8> = SIX.iter().flat_map(double).collect();
    reads(
        Format::Npy,
        &npy(1, &header("<f8", false, "(3, 2)"), &doubles),
        3,
        &SIX,
    );
    let halves: Vec<u8> = [0x3c00_u16, 0xc100, 0x4200, 0x8000, 0x3000, 0x4600]
        .iter()
        .flat_map(|bits| bits.to_le_bytes())
        .collect();
    reads(
        Format::Npy,
        &npy(1, &header("<f2", false, "(2, 3)"), &halves),
        2,
        &SIX,
    );
    let columns = npy(1, &header("<f4", true, "(2, 3)"), &floats(&SIX));
    reads(Format::Npy, &columns, 2, &[1.0, 3.0, 0.125, -2.5, 0.0, 6.0]);
}

#[test]
fn headers_as_others_write_them() {
    let others = [
        r#"{"shape":(2L,3L),"fortran_order":False,"descr":"<f4"}"#,
        "{'shape': (2, 3), 'descr': '<f4', 'fortran_order': False,}\n",
    ];
    for header in others {
        reads(Format::Npy, &npy(1, header, &floats(&SIX)), 2, &SIX);
    }
    for header in [
        "",
        "{",
        "{}",
        "{'descr': '<f4'}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 99999999999999999999)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 6}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)} x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}",
        "{'descr': '<f4, 'fortran_order': False, 'shape': (2, 3)}",
    ] {
        let bytes = npy(1, header, &floats(&SIX));
        let refused = read(Format::Npy, &bytes).unwrap_err();
        let by_header = matches!(refused, VectorsError::Header(_));
        assert!(by_header, "{header}: {refused}");
    }
}

#[test]
fn arrays_that_are_no_rows_of_floats() {
    let file = |descr: &str, shape: &str| npy(1, &header(descr, false, shape), &floats(&SIX));
    refuses(
        Format::Npy,
        &file("<f4", "(6,)"),
        &["(6,)", "two dimensions"],
    );
    refuses(Format::Npy, &file("<f4", "(1, 2, 3)"), &["(1, 2, 3)"]);
    refuses(Format::Npy, &file("<f4", "()"), &["()"]);
    for descr in ["<i4", "|u1", "<c8", "<f16", "f4", "", "é4"] {
        refuses(Format::Npy, &file(descr, "(2, 3)"), &[descr, "float32"]);
    }
    let record = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,), }";
    refuses(Format::Npy, &npy(1, record, &floats(&SIX)), &["record"]);
    let empty = npy(1, &header("<f4", false, "(6, 0)"), &[]);
    refuses(Format::Npy, &empty, &["0 values", "4096"]);
    let long = npy(1, &header("<f4", false, "(1, 4097)"), &floats(&[0.5; 4097]));
    refuses(Format::Npy, &long, &["4097 values", "4096"]);
}

#[test]
fn sizes_that_do_not_fit() {
    let whole = npy(1, &header("<f4", false, "(2, 3)"), &floats(&SIX));
    for end in 0..whole.len() {
        assert!(
            read(Format::Npy, &whole[..end]).is_err(),
            "cut off at {end}"
        );
    }
    let more = [&whole[..], &[0]].concat();
    refuses(Format::Npy, &more, &["bytes", "header"]);
    let huge = header("<f8", false, "(18446744073709551615, 4096)");
    refuses(Format::Npy, &npy(1, &huge, &[]), &["bytes"]);
    refuses(Format::Npy, &npy(4, "", &[]), &["4.0"]);
    refuses(Format::Npy, b"PK\x03\x04 something else", &["NUMPY"]);
    let endless = [&b"\x93NUMPY\x02\0"[..], &[255; 4]].concat();
    refuses(Format::Npy, &endless, &["65536"]);
}

#[test]
fn no_rows_at_all() {
    reads(Format::Fvecs, &[], 0, &[]);
    reads(
        Format::Npy,
        &npy(1, &header("<f4", false, "(0, 3)"), &[]),
        0,
        &[],
    );
    reads(
        Format::Npy,
        &npy(1, &header("<f4", true, "(0, 0)"), &[]),
        0,
        &[],
    );
}

#[test]
fn rows_with_their_length() {
    let whole = fvecs(&[&SIX[..3], &SIX[3..]]);
    reads(Format::Fvecs, &whole, 2, &SIX);
    for end in (1..whole.len()).filter(|end| end % 16 != 0) {
        let row = if end < 16 { "row 0" } else { "row 1" };
        refuses(Format::Fvecs, &whole[..end], &[row, "cut off"]);
    }
    refuses(
        Format::Fvecs,
        &fvecs(&[&SIX, &SIX, &SIX[..4]]),
        &["row 2", "4 values", "6"],
    );
    refuses(
        Format::Fvecs,
        &fvecs(&[&SIX[..2], &SIX[..1], &SIX[..3]]),
        &["row 1", "1 values"],
    );
    refuses(Format::Fvecs, &[0; 12], &["row 0", "0 values"]);
    refuses(Format::Fvecs, &[255; 12], &["row 0", "-1 values"]);
    refuses(Format::Fvecs, &fvecs(&[&[0.5; 4097]]), &["4097", "4096"]);
}

#[test]
fn values_that_are_none() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = SIX;
        values[4] = bad;
        let words = ["row 1", "column 1", &bad.to_string()];
        let rows = npy(1, &header("<f4", false, "(2, 3)"), &floats(&values));
        refuses(Format::Npy, &rows, &words);
        let columns = npy(1, &header("<f4", true, "(3, 2)"), &floats(&values));
        refuses(Format::Npy, &columns, &words);
        refuses(Format::Fvecs, &fvecs(&[&values[..3], &values[3..]]), &words);
    }
    let doubles: Vec<u8> = [1.0, 1e200]
        .iter()
        .flat_map(|v: &f64| v.to_le_bytes())
        .collect();
    for fortran in [false, true] {
        let file = npy(1, &header("<f8", fortran, "(1, 2)"), &doubles);
        refuses(Format::Npy, &file, &["row 0", "column 1", "1e200"]);
    }
}

#[test]
fn the_first_of_several_bad_rows_is_named() {
    // More than one piece, with one bad value in each.
    let rows = 40_000;
    let mut values = vec![0.5_f32; rows * 4];
    for row in [39_000, 20_001, 7] {
        values[row * 4 + 2] = f32::NAN;
    }
    let shape = format!("({rows}, 4)");
    let file = npy(1, &header("<f4", false, &shape), &floats(&values));
    refuses(Format::Npy, &file, &["row 7,", "column 2"]);
}

#[test]
fn a_name_says_the_format() {
    assert_eq!(Format::of(Path::new("a.b/c.NPY")).unwrap(), Format::Npy);
    assert_eq!(Format::of(Path::new("c.fvecs")).unwrap(), Format::Fvecs);
    assert!(Format::of(Path::new("npy")).is_err());
    assert!(Format::of(Path::new("c.bvecs")).is_err());
}

#[test]
fn a_file_and_a_pipe_are_read_alike() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.fvecs");
    let rows: Vec<Vec<f32>> = (0..5000)
        .map(|row| (0..33).map(|k| (row * 33 + k) as f32).collect())
        .collect();
    let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
    let bytes = fvecs(&rows);
    std::fs::write(&path, &bytes).unwrap();
    let matrix = Matrix::read(&path, false).unwrap();
    assert_eq!((matrix.rows, matrix.dimension), (5000, 33));
    assert_eq!(matrix.values, rows.concat());
    assert_eq!(matrix, read(Format::Fvecs, &bytes).unwrap());
}

proptest! {
    #[test]
    fn rows_become_as_long_as_one(
        values in proptest::collection::vec(proptest::num::f32::NORMAL, 1..40),
    ) {
        let shape = format!("(1, {})", values.len());
        let file = npy(1, &header("<f4", false, &shape), &floats(&values));
        let unit = Matrix::from_bytes(file, Format::Npy, true).unwrap().values;
        let length: f64 = unit.iter().map(|&value| f64::from(value).powi(2)).sum();
        prop_assert!((length - 1.0).abs() < 1e-6, "{length}");
    }

    #[test]
    fn rows_and_columns_give_the_same(
        rows in 1..5000_usize,
        dimension in 1..6_usize,
        first in 0..100_u8,
    ) {
        let at = |row: usize, column: usize| (row * 7 + column + usize::from(first)) as f32;
        let by_rows: Vec<f32> =
            (0..rows).flat_map(|row| (0..dimension).map(move |column| at(row, column))).collect();
        let by_columns: Vec<f32> =
            (0..dimension).flat_map(|column| (0..rows).map(move |row| at(row, column))).collect();
        let shape = format!("({rows}, {dimension})");
        let one = npy(1, &header("<f4", false, &shape), &floats(&by_rows));
        let other = npy(2, &header("<f4", true, &shape), &floats(&by_columns));
        prop_assert_eq!(read(Format::Npy, &one).unwrap(), read(Format::Npy, &other).unwrap());
    }

    #[test]
    fn no_bytes_make_it_panic(
        start in prop_oneof![Just(&b""[..]), Just(&b"\x93NUMPY\x01\0"[..])],
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        text in "[{}(),:'a-z0-9<>LTF \n]{0,60}",
    ) {
        let _ = read(Format::Fvecs, &bytes);
        let _ = read(Format::Npy, &[start, &bytes].concat());
        let _ = read(Format::Npy, &npy(1, &text, &bytes));
    }
}

#[test]
fn rows_of_zeros_have_no_direction() {
    let file = npy(
        1,
        &header("<f4", false, "(2, 2)"),
        &floats(&[0.0, 0.0, 0.0, -4e30]),
    );
    let unit = Matrix::from_bytes(file, Format::Npy, true).unwrap();
    assert_eq!(unit.values, [0.0, 0.0, 0.0, -1.0]);
}
