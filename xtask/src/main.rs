//! Project tasks: `cargo xtask check | golden | bench | docs | evidence | fuzz | soak | mutants`. A task is one file and one line in [`TASKS`].

mod bench;
mod check;
mod docs;
mod evidence;
mod fuzz;
mod golden;
mod mutants;
mod soak;
mod step;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Something that `cargo xtask NAME` does.
struct Task {
    name: &'static str,
    /// What it does, for the list of tasks.
    about: &'static str,
    /// Does it with the arguments after the name; whether it went well. What went wrong has been said by then.
    run: fn(&[String]) -> bool,
}

const TASKS: &[Task] = &[check::TASK, golden::TASK, bench::TASK, docs::TASK, evidence::TASK, fuzz::TASK, soak::TASK, mutants::TASK];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = arguments.first().and_then(|name| TASKS.iter().find(|task| task.name == name));
    let Some(task) = named else {
        eprintln!("cargo xtask TASK\n");
        for task in TASKS {
            let lines = task.about.replace('\n', "\n            ");
            eprintln!("  {:8}  {lines}", task.name);
        }
        return ExitCode::from(2);
    };
    if (task.run)(&arguments[1..]) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Says what went wrong; whether all is well.
fn said(result: anyhow::Result<bool>) -> bool {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        false
    })
}
