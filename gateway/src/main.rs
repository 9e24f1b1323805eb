//! The `sluicegate` binary: hands over to the command line of the library.

use std::process::ExitCode;

/// The hot path allocates a few small objects a request; mimalloc is measurably cheaper at that than the
/// system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gateway::cli::run()
}
