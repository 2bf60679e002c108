//! Dispatch: two implementations of [`kindred_domain::dispatch`], [`embedded`] (a bounded channel
//! and a rayon pool in this process) and the clustered [`rabbitmq`]; and [`understudy`], which lets
//! the second do jobs, or the first while the second has no workers.

pub mod embedded;
mod own_worker;
pub mod rabbitmq;
pub mod understudy;

pub use own_worker::OwnWorker;

#[cfg(test)]
mod contract;
