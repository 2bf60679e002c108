//! Dispatch: two implementations of [`kindred_domain::dispatch`]: [`embedded`] (a bounded channel and
//! a rayon pool in this process) and, clustered, [`rabbitmq`].

pub mod embedded;
pub mod rabbitmq;

#[cfg(test)]
mod contract;
