//! Whether a file of measured numbers still says what the program would measure.

use std::path::Path;
use std::process::Command;

use super::digest;
use super::file::{Evidence, Provenance};
use super::manifest::Entry;

/// How far a file is from what would be measured now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    /// Inputs and sources are those of the file.
    Fresh,
    /// Inputs are those of the file; these sources are not. Most changes of code move no number, so this is said and does not fail a check.
    Older(Vec<String>),
    /// These inputs are not those of the file.
    Stale(Vec<String>),
    /// There is no file.
    Missing,
}

impl State {
    /// One word for tables.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Older(_) => "older",
            Self::Stale(_) => "stale",
            Self::Missing => "missing",
        }
    }

    /// Whether the docs must not rely on the file.
    pub(crate) fn fails(&self) -> bool {
        matches!(self, Self::Stale(_) | Self::Missing)
    }
}

/// The state of an entry, and whether its data could be looked at.
pub(crate) struct Looked {
    pub(crate) state: State,
    /// Data files that are not here, so that nothing is known of them.
    pub(crate) unseen: usize,
}

/// Compares a file with what would be measured now.
pub(crate) fn look(root: &Path, entry: &Entry, path: &Path) -> anyhow::Result<Looked> {
    let inputs = entry.inputs(root)?;
    let unseen = inputs.data.values().filter(|digest| digest.is_none()).count();
    if !path.exists() {
        return Ok(Looked { state: State::Missing, unseen });
    }
    let evidence = match Evidence::read(path) {
        Ok(evidence) => evidence,
        Err(error) => return Ok(Looked { state: State::Stale(vec![format!("{error:#}")]), unseen }),
    };
    let Provenance { command, seeds, version, kept, inputs: files, data, sources, .. } = evidence.provenance;
    let mut reasons = Vec::new();
    let now = format!("acclimate {}", entry.arguments()?.join(" "));
    if command != now || seeds != entry.seed_list() {
        reasons.push(format!("it was made by `{command}`"));
    }
    if kept != entry.keep {
        reasons.push("it keeps other metrics or settings".to_owned());
    }
    if version != env!("CARGO_PKG_VERSION") {
        reasons.push(format!("it was measured with version {version}"));
    }
    let names = |now: Vec<&String>, then: Vec<&String>| {
        let mut all = [now, then].concat();
        all.sort();
        all.dedup();
        all.into_iter().cloned().collect::<Vec<_>>()
    };
    let changed = names(inputs.files.keys().collect(), files.keys().collect());
    let changed = changed.into_iter().filter(|file| inputs.files.get(file) != files.get(file));
    reasons.extend(changed.map(|file| format!("{file} has changed")));
    let changed = names(inputs.data.keys().collect(), data.keys().collect());
    let changed = changed.into_iter().filter(|file| match (inputs.data.get(file), data.get(file)) {
        (Some(None), Some(_)) => false,
        (Some(now), then) => now.as_ref() != then,
        (None, _) => true,
    });
    reasons.extend(changed.map(|file| format!("{file} has changed")));
    if !reasons.is_empty() {
        return Ok(Looked { state: State::Stale(reasons), unseen });
    }
    let today = digest::sources(root)?;
    let differ: Vec<String> =
        names(today.keys().collect(), sources.keys().collect()).into_iter().filter(|name| today.get(name) != sources.get(name)).collect();
    Ok(Looked { state: if differ.is_empty() { State::Fresh } else { State::Older(differ) }, unseen })
}

/// How many commits have changed the sources since the file was last committed; `None` where git does not tell.
pub(crate) fn commits_since(root: &Path, path: &Path) -> Option<usize> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["log", "-1", "--format=%H", "--", &path.display().to_string()]).filter(|commit| !commit.is_empty())?;
    git(&["rev-list", "--count", &format!("{commit}..HEAD"), "--", "crates/*/src", "Cargo.lock"])?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::evidence;
    use super::*;

    const FILES: [(&str, &str); 5] = [
        ("Cargo.lock", "x"),
        ("crates/model/src/lib.rs", "fn f() {}"),
        ("examples/e.toml", "dataset = \"d.toml\""),
        ("examples/d.toml", "[interactions]\nfiles = [\"log.csv\"]"),
        ("examples/log.csv", "a,b"),
    ];

    fn write(root: &Path, file: &str, text: &str) {
        std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        std::fs::write(root.join(file), text).unwrap();
    }

    #[test]
    fn a_file_is_stale_by_its_inputs_and_older_by_its_sources() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        FILES.iter().for_each(|(file, text)| write(root, file, text));
        let entry: Entry = toml::from_str("experiments = [\"examples/e.toml\"]\nseeds = 3").unwrap();
        let path = root.join("e.json");
        let state = |entry: &Entry| look(root, entry, &path).unwrap().state;
        assert_eq!(state(&entry), State::Missing);
        let mut evidence = evidence(&[], &[]);
        let inputs = entry.inputs(root).unwrap();
        let provenance = &mut evidence.provenance;
        provenance.command = "acclimate compare examples/e.toml --seeds 3".into();
        provenance.version = env!("CARGO_PKG_VERSION").into();
        provenance.data = inputs.whole_data().unwrap();
        provenance.inputs = inputs.files;
        provenance.sources = digest::sources(root).unwrap();
        evidence.write(&path).unwrap();
        assert_eq!(state(&entry), State::Fresh);
        for (file, text) in FILES {
            write(root, file, &format!("{text}\n"));
            let expected = match file {
                "Cargo.lock" => State::Older(vec!["Cargo.lock".into()]),
                "crates/model/src/lib.rs" => State::Older(vec!["model".into()]),
                "examples/log.csv" => State::Stale(vec!["log.csv has changed".into()]),
                _ => State::Stale(vec![format!("{file} has changed")]),
            };
            assert_eq!(state(&entry), expected, "{file}");
            assert_eq!(expected.fails(), matches!(expected, State::Stale(_)));
            write(root, file, text);
        }
        let more_seeds = toml::from_str("experiments = [\"examples/e.toml\"]\nseeds = 5").unwrap();
        assert!(matches!(&state(&more_seeds), State::Stale(reasons) if reasons[0].contains("--seeds 3`")));
        let other_keep = toml::from_str("experiments = [\"examples/e.toml\"]\nseeds = 3\nkeep = { metrics = [\"auc\"] }").unwrap();
        assert!(matches!(state(&other_keep), State::Stale(_)));
        // Data that is not here says nothing.
        std::fs::remove_file(root.join("examples/log.csv")).unwrap();
        let looked = look(root, &entry, &path).unwrap();
        assert_eq!((looked.state, looked.unseen), (State::Fresh, 1));
    }
}
