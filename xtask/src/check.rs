//! `cargo xtask check`: what CI runs.

use crate::step::Step;
use crate::{Task, docs};

pub(crate) const TASK: Task = Task {
    name: "check",
    about: "what CI runs: format, lints, docs and the numbers in them, all tests, the demo",
    run: |_| (docs::TASK.run)(&["--check".to_owned()]) && STEPS.iter().all(Step::run),
};

const STEPS: &[Step] = &[
    Step { line: "cargo fmt --all --check", environment: &[] },
    Step { line: "cargo clippy --release --workspace --all-targets -- -D warnings", environment: &[] },
    Step { line: "cargo doc --release --workspace --no-deps", environment: &[("RUSTDOCFLAGS", "-D warnings")] },
    Step { line: "cargo test --release --workspace", environment: &[] },
    Step { line: "cargo run --release --bin acclimate -- demo --out target/demo", environment: &[] },
];
