//! The `acclimate` command.
fn main() {}
