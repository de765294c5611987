//! Mutates requests and gives them to their readers: `cargo xtask fuzz score|infer|event --seconds N --seed S`.
//!
//! Seeds are the files of `corpus/TARGET`. A reader may refuse, and must neither panic nor read something else than a second, plainer reader of the same bytes.

#[path = "../../../registry/examples/fuzz/harness.rs"]
mod harness;
#[path = "../../../registry/examples/fuzz/mutate.rs"]
mod mutate;
mod target;

use std::process::ExitCode;

use target::Target;

fn main() -> ExitCode {
    harness::run::<Target>()
}
