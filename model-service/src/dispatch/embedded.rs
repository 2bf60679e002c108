//! The embedded twin.
