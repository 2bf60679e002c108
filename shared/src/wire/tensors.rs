//! Named columns of numbers in the safetensors format.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use super::{WireError, damaged};

/// The metadata entry that holds everything but numbers.
const META: &str = "kindred";

/// Collects columns.
#[derive(Default)]
pub(super) struct Writer {
    columns: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl Writer {
    pub(super) fn bytes(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        let shape = vec![bytes.len()];
        self.columns.push((name.into(), Dtype::U8, shape, bytes));
    }

    pub(super) fn u16s(&mut self, name: &str, values: impl Iterator<Item = u16>) {
        self.numbers(name, Dtype::U16, 2, values.flat_map(u16::to_le_bytes));
    }

    pub(super) fn u32s(&mut self, name: &str, values: impl Iterator<Item = u32>) {
        self.numbers(name, Dtype::U32, 4, values.flat_map(u32::to_le_bytes));
    }

    pub(super) fn u64s(&mut self, name: &str, values: impl Iterator<Item = u64>) {
        self.numbers(name, Dtype::U64, 8, values.flat_map(u64::to_le_bytes));
    }

    pub(super) fn f32s(&mut self, name: &str, values: impl Iterator<Item = f32>) {
        self.numbers(name, Dtype::F32, 4, values.flat_map(f32::to_le_bytes));
    }

    /// Texts, concatenated, and the end of each.
    pub(super) fn texts<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a str>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for text in values {
            bytes.extend_from_slice(text.as_bytes());
            ends.push(u32::try_from(bytes.len()).expect("texts of a block are below 4 GiB"));
        }
        self.bytes(name, bytes);
        self.u32s(&format!("{name}_ends"), ends.into_iter());
    }

    fn numbers(&mut self, name: &str, dtype: Dtype, size: usize, bytes: impl Iterator<Item = u8>) {
        let bytes: Vec<u8> = bytes.collect();
        let shape = vec![bytes.len() / size];
        self.columns.push((name.to_owned(), dtype, shape, bytes));
    }

    /// All columns and the metadata. Equal columns give equal bytes.
    pub(super) fn finish(self, meta: String) -> Vec<u8> {
        let views = self.columns.iter().map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes)
                .expect("a column's shape is that of its bytes");
            (name.as_str(), view)
        });
        let meta = HashMap::from([(META.to_owned(), meta)]);
        serialize(views, Some(meta)).expect("names are distinct and it writes to memory")
    }
}

/// Checked access to columns.
pub(super) struct TensorReader<'a> {
    tensors: SafeTensors<'a>,
    meta: String,
}

impl<'a> TensorReader<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, WireError> {
        let unreadable = |error| damaged(format!("not in the safetensors format: {error}"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
        let meta = header
            .metadata()
            .as_ref()
            .and_then(|entries| entries.get(META))
            .ok_or_else(|| damaged("the metadata entry `kindred` is missing"))?
            .clone();
        let tensors = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        Ok(Self { tensors, meta })
    }

    pub(super) fn meta<T: serde::de::DeserializeOwned>(&self) -> Result<T, WireError> {
        serde_json::from_str(&self.meta).map_err(|error| damaged(format!("metadata: {error}")))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    pub(super) fn bytes(&self, name: &str) -> Result<&'a [u8], WireError> {
        self.column(name, Dtype::U8)
    }

    pub(super) fn u16s(&self, name: &str) -> Result<Vec<u16>, WireError> {
        let (values, _) = self.column(name, Dtype::U16)?.as_chunks();
        Ok(values
            .iter()
            .map(|bytes| u16::from_le_bytes(*bytes))
            .collect())
    }

    pub(super) fn u32s(&self, name: &str) -> Result<Vec<u32>, WireError> {
        let (values, _) = self.column(name, Dtype::U32)?.as_chunks();
        Ok(values
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes))
            .collect())
    }

    /// The number of values in a column.
    pub(super) fn count_of_u32s(&self, name: &str) -> Result<usize, WireError> {
        Ok(self.column(name, Dtype::U32)?.len() / size_of::<u32>())
    }

    pub(super) fn u64s(&self, name: &str) -> Result<Vec<u64>, WireError> {
        let (values, _) = self.column(name, Dtype::U64)?.as_chunks();
        Ok(values
            .iter()
            .map(|bytes| u64::from_le_bytes(*bytes))
            .collect())
    }

    pub(super) fn f32s(&self, name: &str) -> Result<Vec<f32>, WireError> {
        let (values, _) = self.column(name, Dtype::F32)?.as_chunks();
        Ok(values
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect())
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'a str>, WireError> {
        let bytes = self.bytes(name)?;
        let spans = spans(name, &self.u32s(&format!("{name}_ends"))?, bytes.len())?;
        spans
            .into_iter()
            .map(|span| {
                std::str::from_utf8(&bytes[span])
                    .map_err(|_| damaged(format!("`{name}` is not UTF-8")))
            })
            .collect()
    }

    fn column(&self, name: &str, dtype: Dtype) -> Result<&'a [u8], WireError> {
        let tensor = self
            .tensors
            .tensor(name)
            .map_err(|error| damaged(error.to_string()))?;
        if tensor.dtype() == dtype {
            Ok(tensor.data())
        } else {
            Err(damaged(format!("`{name}` is of type {:?}", tensor.dtype())))
        }
    }
}

/// The ranges that end at `ends` and together cover `length` values.
pub(super) fn spans(
    name: &str,
    ends: &[u32],
    length: usize,
) -> Result<Vec<std::ops::Range<usize>>, WireError> {
    let mut start = 0;
    let mut spans = Vec::with_capacity(ends.len());
    for end in ends {
        let end = *end as usize;
        if end < start || end > length {
            return Err(damaged(format!("a row of `{name}` ends before it starts")));
        }
        spans.push(start..end);
        start = end;
    }
    if start == length {
        Ok(spans)
    } else {
        Err(damaged(format!("`{name}` has values beyond its rows")))
    }
}
