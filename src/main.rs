//! The `bench` program: everything is in the library, see `infercost`.

use std::process::ExitCode;

fn main() -> ExitCode {
    infercost::cli::main()
}
