//! `cargo xtask check`: what CI runs.

use crate::Task;
use crate::step::Step;

pub(crate) const TASK: Task =
    Task { name: "check", about: "what CI runs: format, lints, docs, all tests, the demo", run: |_| STEPS.iter().all(Step::run) };

const STEPS: &[Step] = &[
    Step { line: "cargo fmt --all --check", environment: &[] },
    Step { line: "cargo clippy --release --workspace --all-targets -- -D warnings", environment: &[] },
    Step { line: "cargo doc --release --workspace --no-deps", environment: &[("RUSTDOCFLAGS", "-D warnings")] },
    Step { line: "cargo test --release --workspace", environment: &[] },
    Step { line: "cargo run --release --bin acclimate -- demo --out target/demo", environment: &[] },
];
