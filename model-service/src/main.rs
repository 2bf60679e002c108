//! The program `kindred`.

use std::process::ExitCode;

fn main() -> ExitCode {
    model_service::cli::main()
}
