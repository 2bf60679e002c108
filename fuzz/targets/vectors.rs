//! Files of vectors: no bytes make the reader panic, and what it reads is finite and in shape.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vectors::{Format, Matrix};

#[path = "../../model-service/src/cli/neighbours/vectors/mod.rs"]
#[allow(dead_code)] // files are not opened here
mod vectors;

fuzz_target!(|data: &[u8]| {
    let Some((&first, data)) = data.split_first() else {
        return;
    };
    let format = if first & 1 == 0 {
        Format::Npy
    } else {
        Format::Fvecs
    };
    // Half of the time behind a magic word, which a fuzzer takes long to find.
    let mut bytes = Vec::new();
    if first & 2 == 0 && format == Format::Npy {
        bytes.extend(b"\x93NUMPY\x01\x00");
        bytes.extend((data.len().min(118) as u16).to_le_bytes());
    }
    bytes.extend(data);
    if let Ok(matrix) = Matrix::from_bytes(bytes, format, first & 4 == 0) {
        assert_eq!(matrix.values.len(), matrix.rows * matrix.dimension);
        assert!(matrix.values.iter().all(|value| value.is_finite()));
    }
});
