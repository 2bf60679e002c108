//! The byte format of blocks, for block stores and inline in small jobs.
//!
//! Columns: `ids`, `ids_ends`, `versions`; `has_dense` (a byte per row) and `dense` (the rows that have one, unpadded);
//! `sparse_ends`, `term_ids`, `term_weights`. The metadata holds the space and the dimension. Equal rows give equal
//! bytes, so equal blocks have equal hashes.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::tensors::{TensorReader, Writer, spans};
use super::{BlockHash, WireError, damaged};
use kindred_similarity::LANES;

use crate::block::{Block, BlockBuilder, MAX_BYTES, MAX_ROWS};
use crate::event::MAX_VECTOR;
use crate::feature::Feature;
use crate::name::{ItemId, Space};

#[derive(Serialize, Deserialize)]
struct Meta {
    format: u32,
    space: Space,
    dimension: usize,
}

/// Version of the format that is written.
const FORMAT: u32 = 1;

/// The hash that names encoded bytes.
pub fn hash_of(bytes: &[u8]) -> BlockHash {
    xxh3_128(bytes).to_be_bytes()
}

/// Encodes a block. Takes time in proportion to its size: do not call it on an async thread.
pub fn encode_block(block: &Block) -> Vec<u8> {
    let features: Vec<Feature> = (0..block.rows()).map(|row| block.feature(row)).collect();
    let mut columns = Writer::default();
    columns.texts("ids", (0..block.rows()).map(|row| block.id(row).as_str()));
    columns.u64s("versions", (0..block.rows()).map(|row| block.version(row)));
    write_features(&mut columns, &features, false);
    let meta = Meta {
        format: FORMAT,
        space: block.space().clone(),
        dimension: block.dimension(),
    };
    columns.finish(serde_json::to_string(&meta).expect("plain fields write to memory"))
}

/// Decodes the output of [`encode_block`] into the same block, bit for bit.
///
/// # Errors
/// [`WireError::Damaged`] when a rule of the format is broken.
pub fn decode_block(bytes: &[u8]) -> Result<Block, WireError> {
    let mut left = usize::MAX;
    decode_block_within(bytes, &mut left)
}

/// The same for a block whose values must fit the remaining budget `left`, from which their size is subtracted.
pub(super) fn decode_block_within(bytes: &[u8], left: &mut usize) -> Result<Block, WireError> {
    let columns = TensorReader::open(bytes)?;
    let meta: Meta = columns.meta()?;
    if meta.format != FORMAT {
        return Err(damaged(format!("block format {}", meta.format)));
    }
    let size = checked_size(&columns, &meta)?;
    *left = left
        .checked_sub(size)
        .ok_or_else(|| damaged("more values in its blocks than a job may carry"))?;
    let ids = columns.texts("ids")?;
    let versions = columns.u64s("versions")?;
    let features = read_features(&columns, Some(meta.dimension))?;
    if versions.len() != ids.len() || features.len() != ids.len() {
        return Err(damaged("columns of different length"));
    }
    let mut builder = BlockBuilder::new(meta.space, meta.dimension);
    for ((id, version), feature) in ids.iter().zip(versions).zip(&features) {
        if feature.is_zero() {
            return Err(damaged("a zero feature in a block"));
        }
        let id = ItemId::new(id).map_err(|error| damaged(error.to_string()))?;
        builder.push(id, version, feature);
    }
    Ok(builder.build())
}

/// Bytes of a block's values in memory, where rows without a dense part take as much as those with one. Refuses sizes
/// that no block has, whatever the block claims.
fn checked_size(columns: &TensorReader<'_>, meta: &Meta) -> Result<usize, WireError> {
    let rows = columns.bytes("has_dense")?.len();
    if rows > MAX_ROWS {
        return Err(damaged(format!(
            "{rows} rows; at most {MAX_ROWS} are allowed"
        )));
    }
    let dimension = meta.dimension;
    if dimension > MAX_VECTOR {
        return Err(damaged(format!(
            "dense parts of {dimension} values; at most {MAX_VECTOR} are allowed"
        )));
    }
    let terms = columns.count_of_u32s("term_ids")?;
    let size = 4 * (rows * dimension.next_multiple_of(LANES) + 2 * terms);
    if rows > 1 && size > MAX_BYTES {
        return Err(damaged(format!(
            "{rows} rows of {size} bytes; at most {MAX_BYTES} are allowed"
        )));
    }
    Ok(size)
}

/// Writes features as columns. `any_length` allows dense parts of different lengths.
pub(super) fn write_features(columns: &mut Writer, features: &[Feature], any_length: bool) {
    let count = |length: usize| u32::try_from(length).expect("values of a message fit u32");
    let has_dense = |feature: &Feature| u8::from(!feature.dense().is_empty());
    columns.bytes("has_dense", features.iter().map(has_dense).collect());
    let mut end = 0;
    let ends: Vec<u32> = features
        .iter()
        .map(|feature| {
            end += feature.term_ids().len();
            count(end)
        })
        .collect();
    columns.u32s("sparse_ends", ends.into_iter());
    if any_length {
        let mut end = 0;
        let ends: Vec<u32> = features
            .iter()
            .map(|feature| {
                end += feature.dense().len();
                count(end)
            })
            .collect();
        columns.u32s("dense_ends", ends.into_iter());
    }
    let values = |part: fn(&Feature) -> &[f32]| features.iter().flat_map(part).copied();
    columns.f32s("dense", values(Feature::dense));
    columns.f32s("term_weights", values(Feature::term_weights));
    columns.u32s(
        "term_ids",
        features.iter().flat_map(Feature::term_ids).copied(),
    );
}

/// Reads the output of `write_features`. `dimension` is that of every dense part; `None` allows any length.
pub(super) fn read_features(
    columns: &TensorReader<'_>,
    dimension: Option<usize>,
) -> Result<Vec<Feature>, WireError> {
    let has_dense = columns.bytes("has_dense")?;
    let dense = columns.f32s("dense")?;
    let (term_ids, term_weights) = (columns.u32s("term_ids")?, columns.f32s("term_weights")?);
    let sparse = spans("term_ids", &columns.u32s("sparse_ends")?, term_ids.len())?;
    let dense_spans = match dimension {
        Some(dimension) => fixed_spans(has_dense, dimension, dense.len())?,
        None => spans("dense", &columns.u32s("dense_ends")?, dense.len())?,
    };
    if sparse.len() != has_dense.len()
        || dense_spans.len() != has_dense.len()
        || term_weights.len() != term_ids.len()
    {
        return Err(damaged("columns of different length"));
    }
    dense_spans
        .into_iter()
        .zip(sparse)
        .map(|(dense_span, terms)| {
            Feature::new(
                dense[dense_span].to_vec(),
                term_ids[terms.clone()].to_vec(),
                term_weights[terms].to_vec(),
            )
            .map_err(|error| damaged(error.to_string()))
        })
        .collect()
}

fn fixed_spans(
    has_dense: &[u8],
    dimension: usize,
    length: usize,
) -> Result<Vec<std::ops::Range<usize>>, WireError> {
    let with = has_dense.iter().filter(|flag| **flag != 0).count();
    if with.checked_mul(dimension) != Some(length) || (with > 0 && dimension == 0) {
        return Err(damaged("`dense` is not rows × dimension"));
    }
    let mut start = 0;
    Ok(has_dense
        .iter()
        .map(|flag| {
            let end = start + if *flag == 0 { 0 } else { dimension };
            std::mem::replace(&mut start, end)..end
        })
        .collect())
}
