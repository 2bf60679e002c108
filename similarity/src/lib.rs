#![doc = include_str!("../README.md")]
//!
//! # How it works
//!
//! Approximate scores whose error is bounded rule out almost all pairs, and only the rest is scored.
//! There is one engine: `meeting` (what two tiles of rows have for each other), `tile` and `lists` (the best
//! so far). Two schedules say which tiles meet when: `rectangle` (some rows with some others, with floors
//! and masks) and `circle` (all rows with all). Below that: `layout`, `order`, `rotation`, `columns` and
//! `terms` (rows as the kernels want them, and how far off they are), `filter` (what two tiles may have in
//! common), `strip` (what a kernel is asked), and the kernels, each held to `scalar` by tests. `table`
//! keeps layouts with their rows. `probe` scores one row with some, without any of that.

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
mod circle;
mod columns;
mod crowd;
mod equal;
mod error;
mod filter;
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
mod rectangle;
mod rotation;
mod rows;
mod scalar;
mod slices;
mod sorted;
mod steps;
mod strip;
mod table;
mod terms;
mod tile;

pub use all_pairs::all_pairs;
pub use answer::Neighbours;
pub use error::Error;
pub use found::{Candidate, Found, RowRef};
pub use kernel::{Kernel, KernelError};
pub use neighbours::{Options, neighbours};
pub use probe::Probe;
pub use rectangle::{Compared, Side, Task, compare};
pub use rows::{Rows, SparseRows};
pub use slices::LANES;
pub use table::{RowMask, Table, TableBuilder};
