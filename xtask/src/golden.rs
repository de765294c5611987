//! `cargo xtask golden`: the files that tests compare with, written anew by the reference programs.

use crate::Task;
use crate::step::Step;

pub(crate) const TASK: Task = Task {
    name: "golden",
    about: "rewrite reference/golden/*.json (needs Python with reference/requirements.txt)",
    run: |_| Step { line: "python3 reference/run_all.py", environment: &[] }.run(),
};
