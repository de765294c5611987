//! `cargo xtask fuzz`: gives mutated files to the readers of the registry.
//!
//! The harness is an example of the crate that it fuzzes and needs the stable toolchain only. `--canary` builds it with a planted fault and fails unless that is
//! found: a harness that finds nothing must be known to find something.

use anyhow::bail;

use crate::Task;
use crate::step::shell;

pub(crate) const TASK: Task = Task {
    name: "fuzz",
    about: "manifest|alias|routes|patch|adapter|signature|segment [--seconds N] [--seed S]: gives mutated files to the registry's readers\n\
            canary: whether it finds a planted fault",
    run: |arguments| crate::said(run(arguments)),
};

const HARNESS: &[&str] = &["cargo", "run", "--release", "-p", "acclimate-registry", "--example", "fuzz"];

fn run(arguments: &[String]) -> anyhow::Result<bool> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => bail!("say what: manifest, alias, routes, patch, adapter, signature, segment or canary"),
        ["canary"] => {
            for target in ["manifest", "patch", "adapter"] {
                let words = [HARNESS, &["--features", "canary", "--", target, "--seconds", "60"]].concat();
                if shell(&words, &[], &[]) {
                    bail!("the fault that was planted in the reader of `{target}` was not found");
                }
            }
            println!("every planted fault was found");
            Ok(true)
        }
        _ => Ok(shell(&[HARNESS, &["--"]].concat(), arguments, &[])),
    }
}
