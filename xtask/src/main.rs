//! Project tasks: `cargo xtask check | golden | bench`.

use std::process::{Command, ExitCode};
use std::time::Instant;

const USAGE: &str = "\
cargo xtask TASK

  check    what CI runs: format, lints, docs, all tests, the demo
  golden   rewrite reference/golden/*.json (needs Python with reference/requirements.txt)
  bench    run the benchmarks beside their PyTorch peers (needs Python with torch); --threads N, default 1
";

/// A command with the environment it needs.
struct Step {
    line: &'static str,
    environment: &'static [(&'static str, &'static str)],
}

const CHECK: &[Step] = &[
    Step { line: "cargo fmt --all --check", environment: &[] },
    Step { line: "cargo clippy --release --workspace --all-targets -- -D warnings", environment: &[] },
    Step { line: "cargo doc --release --workspace --no-deps", environment: &[("RUSTDOCFLAGS", "-D warnings")] },
    Step { line: "cargo test --release --workspace", environment: &[] },
    Step { line: "cargo run --release --bin acclimate -- demo --out target/demo", environment: &[] },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("check") => CHECK.iter().all(run),
        Some("golden") => run(&Step { line: "python3 reference/run_all.py", environment: &[] }),
        Some("bench") => shell(&["bash", "bench/run"], &arguments[1..], &[]),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(step: &Step) -> bool {
    println!("== {}", step.line);
    let began = Instant::now();
    let words: Vec<&str> = step.line.split(' ').collect();
    let done = shell(&words, &[], step.environment);
    println!("== {} after {:.0} s", if done { "done" } else { "FAILED" }, began.elapsed().as_secs_f64());
    done
}

fn shell(words: &[&str], more: &[String], environment: &[(&str, &str)]) -> bool {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(more).envs(environment.iter().copied());
    command.status().is_ok_and(|status| status.success())
}
