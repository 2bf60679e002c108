//! The pure core: decisions about one domain, without clock, I/O, threads or tokio.

pub mod list;
pub mod slot;
