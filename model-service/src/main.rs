//! The program `kindred`.

use std::process::ExitCode;

/// Gives memory of a burst back to the system (docs/decisions/0007-jemalloc.md).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    model_service::cli::main()
}
