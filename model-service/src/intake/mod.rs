//! Intake: two implementations of [`kindred_domain::intake`], [`embedded`] (a bounded channel fed
//! by HTTP) and the clustered [`rabbitmq`].

pub mod embedded;
pub mod rabbitmq;

#[cfg(test)]
mod contract;
