//! The `acclimate` command.

mod command;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments = command::Arguments::parse();
    if let Err(error) = command::run(arguments) {
        // Messages name their cause themselves; the chain would repeat it.
        eprintln!("error: {error}");
        std::process::exit(command::exit_code(&error));
    }
}
