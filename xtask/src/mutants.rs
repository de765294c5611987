//! `cargo xtask mutants`: plants faults one at a time in a copy of the tree and lists those that no test notices.
//!
//! The faults stand in `xtask/mutants/*.toml`. They are written by hand: most of what can go wrong silently in a training step is a statement that is
//! missing, a term left out of a sum or the wrong one of two buffers, which tools that swap operators and replace whole bodies do not plant.
//! Everything happens below `target/mutants`; the tree itself is only read. What has changed since the last time is all that is built again.

mod faults;
mod tree;

use std::time::Instant;

use anyhow::{bail, ensure};

use crate::{Task, root};
use faults::{Fault, read};
use tree::{Outcome, Tree};

pub(crate) const TASK: Task = Task {
    name: "mutants",
    about: "plants the faults of xtask/mutants one at a time in a copy of the tree and lists those that no test notices (long)\n\
            --only TEXT: those whose file or description contains it; --list: what there is",
    run: |arguments| crate::said(run(arguments)),
};

fn run(arguments: &[String]) -> anyhow::Result<bool> {
    let root = root();
    let all = read(&root)?;
    let faults: Vec<&Fault> = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => all.iter().collect(),
        ["--list"] => {
            all.iter().for_each(|fault| println!("{fault}"));
            return Ok(true);
        }
        ["--only", text] => all.iter().filter(|fault| fault.to_string().contains(text)).collect(),
        _ => bail!("unknown arguments {}; there are --only TEXT and --list", arguments.join(" ")),
    };
    ensure!(!faults.is_empty(), "no fault's file or description contains `{}`", arguments[1]);
    let tree = Tree::copy(&root)?;
    let mut tests: Vec<&String> = faults.iter().flat_map(|fault| &fault.tests).collect();
    tests.sort();
    tests.dedup();
    for tests in tests {
        println!("== without a fault: cargo test {tests}");
        ensure!(tree.test(tests)? == Outcome::Passed, "`cargo test {tests}` fails without a fault");
    }
    let mut survivors = Vec::new();
    for (i, fault) in faults.iter().enumerate() {
        let began = Instant::now();
        let noticed = plant(&tree, fault)?;
        let said = noticed.as_ref().map_or_else(|| "SURVIVED".to_owned(), |tests| format!("noticed by {tests}"));
        println!("{:>3} of {}, {:>4} s  {fault}: {said}", i + 1, faults.len(), began.elapsed().as_secs());
        if noticed.is_none() {
            survivors.push(fault);
        }
    }
    println!("{} faults, {} noticed, {} survived", faults.len(), faults.len() - survivors.len(), survivors.len());
    survivors.iter().for_each(|fault| println!("  {fault}"));
    Ok(survivors.is_empty())
}

/// Plants a fault, runs its tests and takes it out again; the tests that fail first.
fn plant(tree: &Tree, fault: &Fault) -> anyhow::Result<Option<String>> {
    let planted = tree.plant(fault)?;
    for tests in &fault.tests {
        match tree.test(tests)? {
            Outcome::Passed => {}
            Outcome::Failed => return Ok(Some(tests.clone())),
            Outcome::NotBuilt => bail!("the tests do not build with this fault: {fault}"),
        }
    }
    drop(planted);
    Ok(None)
}
