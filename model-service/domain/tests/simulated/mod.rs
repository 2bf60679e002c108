//! Shared by all simulations: the random generator, a model of a domain's tables, and the expected results.

pub(crate) mod dice;
pub(crate) mod log;
pub(crate) mod reference;
pub(crate) mod tables;
