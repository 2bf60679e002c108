//! Dispatch: two implementations of [`kindred_domain::dispatch`]: [`embedded`] (a bounded channel and
//! a rayon pool in this process) and, clustered, [`rabbitmq`]; and [`understudy`], which has the second do
//! jobs, or the first while that has no workers.

pub mod embedded;
mod own_worker;
pub mod rabbitmq;
pub mod understudy;

pub use own_worker::OwnWorker;

#[cfg(test)]
mod contract;
