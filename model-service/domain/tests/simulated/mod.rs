//! What all simulations share: the dice, a model of a domain's tables, and what is right.

pub(crate) mod dice;
pub(crate) mod reference;
pub(crate) mod tables;
