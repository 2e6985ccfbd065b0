//! The `bench` program: everything is in the library, see `infercost`.

use std::process::ExitCode;

use infercost::base::exhausted::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    infercost::cli::main()
}
