#![doc = include_str!("../README.md")]
//!
//! # How it works
//!
//! Approximate scores whose error is bounded rule out almost all pairs, and only the rest is scored.
//! Two schedules use that, `compare` (some rows with some others, floors, lists of both sides) and
//! `neighbours` (all rows with all), each with its own plan of which tiles
//! meet when: `tile` and `best`; `engine`, `exact` (tiles without approximate scores) and `lists`. Below
//! that all is the same: `layout`, `order`, `rotation`, `columns` and `terms` (rows as the kernels want
//! them, and how far off they are), `filter` (what two tiles may have in common), `strip` (what a kernel
//! is asked), and the kernels, each held to `scalar` by tests. `laid` keeps layouts with their tables.

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
mod best;
mod columns;
mod compare;
mod crowd;
mod engine;
mod equal;
mod error;
mod exact;
mod filter;
mod kernel;
mod laid;
mod layout;
mod lists;
mod neighbours;
mod order;
mod products;
mod rotation;
mod rows;
mod scalar;
mod sorted;
mod steps;
mod strip;
mod table;
mod terms;
mod tile;

pub use compare::{Candidate, Compared, Found, RowRef, Side, Task, compare};
pub use error::Error;
pub use kernel::{Kernel, KernelError};
pub use neighbours::{Neighbours, Options, Rows, SparseRows, neighbours};
pub use table::{LANES, RowMask, Table, TableBuilder};
