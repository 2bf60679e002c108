//! Experiments: which readers get which conditions, what they did with what they got, and what that says.
//!
//! A reader's arm follows from the experiment and the reader's name alone ([`Experiment::arm_of`]), so that every
//! instance says the same without asking another. What readers did ([`feedback`]) is counted a reader ([`tally`]);
//! what it says follows from sums over readers ([`statistics`]).

mod arms;
pub mod feedback;
pub mod statistics;
pub mod store;
pub mod tally;

pub use arms::{Arm, Experiment, MAX_ARMS, MAX_NAME_BYTES, Unfit};
