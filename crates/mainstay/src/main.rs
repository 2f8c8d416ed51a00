//! The `mainstay` binary: an allocator, and the command line.

/// Idle connections give their buffers back, and with this allocator the pages follow.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    mainstay::cli::main()
}
