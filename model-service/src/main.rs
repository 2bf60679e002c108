//! The program `kindred`.

use std::process::ExitCode;

/// Returns memory to the system after a burst (docs/decisions/0007-jemalloc.md).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    model_service::cli::main()
}
