//! The program `compute-worker`.

use std::process::ExitCode;

fn main() -> ExitCode {
    compute_worker::service::main()
}
