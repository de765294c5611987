//! The `acclimate` command.

mod command;

use std::io::Write;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments = command::Arguments::parse();
    if let Err(error) = command::run(arguments) {
        // Whoever reads the output has seen enough.
        if command::is_closed_output(&error) {
            return;
        }
        // Messages name their cause themselves; the chain would repeat it.
        let _ = writeln!(std::io::stderr(), "error: {error}");
        std::process::exit(command::exit_code(&error));
    }
}
