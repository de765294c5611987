//! Mutates files of a registry and gives them to their readers: `cargo xtask fuzz manifest|alias|routes|patch|adapter|signature|segment --seconds N --seed S`.
//!
//! Seeds are the files of `corpus/TARGET` and of the fixtures. A reader may refuse, and must neither panic nor accept what it should not: see [`Target`]. What is
//! wrong is written to `corpus/TARGET`, where every later run begins with it.

mod harness;
mod mutate;
mod seeds;
mod target;

use std::process::ExitCode;

use target::Target;

fn main() -> ExitCode {
    harness::run::<Target>()
}
