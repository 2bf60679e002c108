//! kindred.
fn main() {}
