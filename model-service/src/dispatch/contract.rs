//! What every twin must do.
