//! Items to feed programs with: Debian's packages, and generated ones.

pub(crate) mod debian;
pub(crate) mod event;
pub(crate) mod generated;
pub(crate) mod history;
pub(crate) mod stream;
