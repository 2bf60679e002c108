//! Starting, asking, and stopping programs under test.

pub(crate) mod client;
pub(crate) mod deadline;
pub(crate) mod documents;
pub(crate) mod feed;
pub(crate) mod lock;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod random;
pub(crate) mod script;
