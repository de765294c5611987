//! The lists of faults.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;

/// The faults of one area.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    /// What is run for every fault, in order, until one fails: arguments of `cargo test --release`.
    tests: Vec<String>,
    fault: Vec<Fault>,
}

/// One fault.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) file: PathBuf,
    /// Text that occurs once in the file.
    pub(super) find: String,
    pub(super) replace: String,
    /// What goes wrong with it.
    why: String,
    /// Tests that are tried before those of the list: those that should notice.
    #[serde(default)]
    pub(super) tests: Vec<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}

/// The faults of every list, each with its list's tests after its own.
///
/// # Errors
/// The text of a fault is not found once: the code has moved on, and the fault must be written anew.
pub(super) fn read(root: &Path) -> anyhow::Result<Vec<Fault>> {
    let folder = root.join("xtask/mutants");
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    let (mut faults, mut lost) = (Vec::new(), Vec::new());
    for file in &files {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let list: List = toml::from_str(&text).with_context(|| file.display().to_string())?;
        for mut fault in list.fault {
            let source = std::fs::read_to_string(root.join(&fault.file)).with_context(|| fault.to_string())?;
            let found = source.matches(fault.find.as_str()).count();
            if found != 1 || fault.find == fault.replace {
                lost.push(format!("{fault}: its text is found {found} times"));
            }
            fault.tests.extend(list.tests.iter().cloned());
            faults.push(fault);
        }
    }
    ensure!(lost.is_empty(), "the code has moved on; write these faults anew:\n  {}", lost.join("\n  "));
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_can_be_planted() {
        let faults = read(&crate::root()).unwrap();
        assert!(faults.len() > 30 && faults.iter().all(|fault| !fault.tests.is_empty()));
    }
}
