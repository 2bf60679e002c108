//! Experiments: which readers get which conditions, what they did with the answers, and what follows from that.
//!
//! A reader's arm depends only on the experiment and the reader's name ([`Experiment::arm_of`]), so all instances agree
//! without asking each other. What readers did ([`feedback`]) is counted per reader ([`tally`]); results are computed
//! from sums over readers ([`statistics`]).

mod arms;
pub mod feedback;
pub mod statistics;
pub mod store;
pub mod tally;

pub use arms::{Arm, Experiment, MAX_ARMS, MAX_NAME_BYTES, Unfit};
