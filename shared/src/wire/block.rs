//! Blocks as bytes: what a block store holds and small jobs carry.
//!
//! Columns: `ids`, `ids_ends`, `versions`; `has_dense` (a byte a row) and `dense` (rows that have
//! one, unpadded); `sparse_ends`, `term_ids`, `term_weights`. The metadata holds the space and the
//! dimension. The same rows give the same bytes, so equal blocks have equal hashes.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::tensors::{Reader, Writer, spans};
use super::{BlockHash, WireError, damaged};
use kindred_similarity::LANES;

use crate::block::{Block, BlockBuilder, MAX_ROWS};
use crate::feature::Feature;
use crate::name::{ItemId, Space};

/// Most bytes a decoded block's dense part may take, padding included: 64 MiB. Far above what a
/// block has; it keeps a damaged dimension from asking for all memory.
const MAX_DENSE_BYTES: usize = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Meta {
    format: u32,
    space: Space,
    dimension: usize,
}

/// Version of the format written.
const FORMAT: u32 = 1;

/// The hash that names encoded bytes.
pub fn hash_of(bytes: &[u8]) -> BlockHash {
    xxh3_128(bytes).to_be_bytes()
}

/// A block as bytes. Takes time in proportion to its size: not for an async thread.
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

/// Reads what [`encode_block`] wrote: the same block, bit for bit.
///
/// # Errors
/// [`WireError::Damaged`] when a rule of the format is broken.
pub fn decode_block(bytes: &[u8]) -> Result<Block, WireError> {
    let columns = Reader::open(bytes)?;
    let meta: Meta = columns.meta()?;
    if meta.format != FORMAT {
        return Err(damaged(format!("block format {}", meta.format)));
    }
    let ids = columns.texts("ids")?;
    let versions = columns.u64s("versions")?;
    if ids.len() > MAX_ROWS {
        return Err(damaged(format!("{} rows", ids.len())));
    }
    let dense_bytes = meta
        .dimension
        .checked_next_multiple_of(LANES)
        .and_then(|stride| stride.checked_mul(4 * ids.len().max(1)));
    if dense_bytes.is_none_or(|bytes| bytes > MAX_DENSE_BYTES) {
        return Err(damaged(format!("dimension {}", meta.dimension)));
    }
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

/// Writes features as columns. `any_length`: dense parts may differ in length.
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

/// Reads what [`write_features`] wrote. `dimension`: of every dense part; `None`: any length.
pub(super) fn read_features(
    columns: &Reader<'_>,
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
