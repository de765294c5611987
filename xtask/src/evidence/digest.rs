//! Digests of files and of the program's sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

/// SHA-256 of some bytes, in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A digest of the sources of each crate that decides results, and of the locked dependencies. Tests inside these files count as well: the digest says
/// where to look, it is no proof that a number would change.
pub(crate) fn sources(root: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut sources = BTreeMap::from([("Cargo.lock".to_owned(), short(&read(&root.join("Cargo.lock"))?))]);
    for folder in entries(&root.join("crates"))? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut all = Vec::new();
        for file in files(&folder.join("src"))? {
            let path = file.strip_prefix(&folder).unwrap_or(&file).display().to_string();
            all.extend(format!("{path} {}\n", hex(&read(&file)?)).into_bytes());
        }
        sources.insert(name, short(&all));
    }
    Ok(sources)
}

fn short(bytes: &[u8]) -> String {
    let mut digest = hex(bytes);
    digest.truncate(16);
    digest
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("can not read {}", path.display()))
}

/// All files below a folder, sorted.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() { files.extend(self::files(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("can not read {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
