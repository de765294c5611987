//! `cargo xtask bench`: the benchmarks beside their peers.

use crate::Task;
use crate::step::shell;

pub(crate) const TASK: Task = Task {
    name: "bench",
    about: "run the benchmarks beside their PyTorch peers (needs Python with torch); --threads N, default 1",
    run: |arguments| shell(&["bash", "bench/run"], arguments, &[]),
};
