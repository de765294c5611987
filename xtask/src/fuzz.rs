//! `cargo xtask fuzz`: gives mutated bytes to the readers of the registry and of the server.
//!
//! A harness is an example of the crate that it fuzzes and needs the stable toolchain only. `--canary` builds it with a planted fault and fails unless that is
//! found: a harness that finds nothing must be known to find something.

use std::process::Command;

use anyhow::{Context, bail};

use crate::Task;
use crate::step::shell;

pub(crate) const TASK: Task = Task {
    name: "fuzz",
    about: "manifest|alias|routes|patch|adapter|signature|segment [--seconds N] [--seed S]: gives mutated files to the registry's readers\n\
            score|infer|event|events [--seconds N] [--seed S]: gives mutated requests, and the log of events, to the server's readers\n\
            canary: whether it finds planted faults",
    run: |arguments| crate::said(run(arguments)),
};

/// What the server reads.
const REQUESTS: &[&str] = &["score", "infer", "event"];

/// The readers in which a fault is planted.
const PLANTED: &[&str] = &["manifest", "patch", "adapter", "segment", "infer", "event", "events"];

/// How a harness begins to say what it has found.
const FOUND: &str = "found after ";
/// Characters of what a harness says.
const LONGEST: usize = 200;

/// The command that fuzzes a target.
fn harness(target: &str) -> Vec<&'static str> {
    let (package, example) = match target {
        // The segments of a server's log of events.
        "events" => ("acclimate-serve", "fuzz_segment"),
        target if REQUESTS.contains(&target) => ("acclimate-serve", "fuzz_requests"),
        _ => ("acclimate-registry", "fuzz"),
    };
    vec!["cargo", "run", "--release", "-p", package, "--example", example]
}

fn run(arguments: &[String]) -> anyhow::Result<bool> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => bail!("say what: manifest, alias, routes, patch, adapter, signature, segment, score, infer, event, events or canary"),
        ["canary"] => {
            for target in PLANTED {
                let own: &[&str] = if *target == "events" { &[] } else { &[target] };
                let words = [&harness(target)[..], &["--features", "canary", "--"], own, &["--seconds", "60"]].concat();
                // A harness that is not built, or ends for another reason, has found nothing.
                let output = Command::new(words[0]).args(&words[1..]).output().context("cargo")?;
                let said = String::from_utf8_lossy(&output.stderr);
                let found = said.lines().find(|line| line.starts_with(FOUND));
                println!("{target}: {}", found.unwrap_or(&said).chars().take(LONGEST).collect::<String>());
                if output.status.success() || found.is_none() {
                    bail!("the fault that was planted in the reader of `{target}` was not found");
                }
            }
            println!("all {} planted faults were found", PLANTED.len());
            Ok(true)
        }
        ["events", ..] => Ok(shell(&[&harness("events")[..], &["--"]].concat(), &arguments[1..], &[])),
        [target, ..] => Ok(shell(&[&harness(target)[..], &["--"]].concat(), arguments, &[])),
    }
}
