//! The `hookward` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    hookward::cli::main()
}
