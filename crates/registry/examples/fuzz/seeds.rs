//! Files that a run begins with.

use std::path::{Path, PathBuf};

use super::harness::Fuzzed;
use super::target::Target;

/// The folder of the files that are kept.
pub(crate) fn corpus(target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name())
}

/// The files of the corpus and those of the fixtures that are of the kind, in the order of their paths.
pub(crate) fn of(target: Target) -> Vec<Vec<u8>> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut folders = vec![fixtures, corpus(target)];
    let mut paths = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.starts_with(corpus(target)) || target.is_seed(&path) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}
