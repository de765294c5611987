//! `cargo xtask bench`: the benchmarks beside their peers.

mod serve;

use crate::Task;
use crate::step::shell;

pub(crate) const TASK: Task = Task {
    name: "bench",
    about: "run the benchmarks beside their PyTorch peers (needs Python with torch); --threads N, default 1\n\
            serve [--json FILE] [--only http,mixed,residents,paths,plan,trees]: the server under load (ACCLIMATE_BENCH_PYTHON for its peers)",
    run: |arguments| match arguments.split_first() {
        Some((first, rest)) if first == "serve" => crate::said(serve::run(rest)),
        _ => shell(&["bash", "bench/run"], arguments, &[]),
    },
};
