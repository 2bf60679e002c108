#![doc = include_str!("../README.md")]
//!
//! # How it works
//!
//! Approximate scores with a bounded error rule out almost all pairs; only the rest are scored exactly. There is one
//! engine: `meeting` (finds what two tiles of rows contribute to each other), `tile` and `lists` (the best candidates
//! so far). Two schedules decide which tiles meet when: `compare` (some rows with some others, with floors and masks)
//! and `self_join` (all rows with all rows). Below that are `layout`, `order`, `rotation`, `columns` and `terms` (rows
//! in the form that kernels take, and their errors), `filter` (which pairs of two tiles may matter), `strip` (the work
//! unit of a kernel), and the kernels, which tests hold to `scalar`. `table` caches layouts with their rows. `probe`
//! scores one row against several without any of that.

mod aligned;
mod all_pairs;
mod answer;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2integers;
#[cfg(target_arch = "x86_64")]
mod avx2lists;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512lists;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
mod candidates;
mod columns;
mod compare;
mod equal;
mod error;
mod filter;
mod filter_backoff;
mod found;
mod grid;
mod kernel;
mod layout;
mod lists;
mod meeting;
mod neighbours;
mod order;
mod pieces;
mod probe;
mod products;
mod rotation;
mod rows;
mod scalar;
mod self_join;
mod slices;
mod sorted;
mod steps;
mod strip;
mod table;
mod terms;
mod tile;

pub use all_pairs::all_pairs;
pub use answer::Neighbours;
pub use compare::{Compared, Side, Task, compare};
pub use error::Error;
pub use found::{Candidate, Found, RowRef};
pub use kernel::{Kernel, KernelError};
pub use neighbours::{Options, neighbours};
pub use probe::Probe;
pub use rows::{Rows, SparseRows};
pub use slices::LANES;
pub use table::{RowMask, Table, TableBuilder};
