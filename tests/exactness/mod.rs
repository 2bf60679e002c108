//! What must be in a store, and the check that it is: shared by the programs of tests.

pub(crate) mod check;
pub(crate) mod expected;
pub(crate) mod import;
pub(crate) mod reference;
pub(crate) mod stored;
