//! What is measured for the docs, and from which files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::digest;
use super::file::Kept;

const VARIABLE: &str = "ACCLIMATE_DATA";

/// `docs/evidence/evidence.toml`: entries by name.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Manifest(pub(crate) BTreeMap<String, Entry>);

/// One measurement.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// The experiment files that it depends on, seen from the repository's root.
    experiments: Vec<String>,
    /// The command without seeds; default: `compare` and the experiment file.
    command: Option<String>,
    /// Number of training seeds.
    pub(crate) seeds: u64,
    /// What is kept of the report.
    #[serde(default)]
    pub(crate) keep: Kept,
}

/// What an entry reads, with digests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Inputs {
    /// Experiment files and data-set files, by their path from the root.
    pub(crate) files: BTreeMap<String, String>,
    /// Data files, by their path as the data-set file writes it. `None`: not here.
    pub(crate) data: BTreeMap<String, Option<String>>,
}

/// The keys of the two TOML files that name other files.
#[derive(Deserialize)]
struct Names {
    dataset: Option<String>,
    interactions: Option<Table>,
    #[serde(default)]
    users: Vec<Table>,
    #[serde(default)]
    items: Vec<Table>,
}

#[derive(Deserialize)]
struct Table {
    files: Vec<String>,
}

impl Manifest {
    /// Reads the manifest.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let path = root.join("docs/evidence/evidence.toml");
        toml::from_str(&read(&path)?).with_context(|| path.display().to_string())
    }

    /// The entry of a name.
    pub(crate) fn entry(&self, name: &str) -> anyhow::Result<&Entry> {
        let names = || self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.0.get(name).with_context(|| format!("docs/evidence/evidence.toml has no entry `{name}`; there are {}", names()))
    }
}

impl Entry {
    /// The arguments of the program, and nothing of where its output goes.
    pub(crate) fn arguments(&self) -> anyhow::Result<Vec<String>> {
        let line = match (&self.command, &self.experiments[..]) {
            (Some(command), _) => command.clone(),
            (None, [experiment]) => format!("compare {experiment}"),
            _ => bail!("an entry without `command` needs exactly one file in `experiments`"),
        };
        let words = line.split(' ').map(str::to_owned);
        Ok(words.chain(["--seeds".to_owned(), self.seeds.to_string()]).collect())
    }

    /// The training seeds.
    pub(crate) fn seed_list(&self) -> Vec<u64> {
        (1..=self.seeds).collect()
    }

    /// Digests of everything that it reads, as it is now.
    pub(crate) fn inputs(&self, root: &Path) -> anyhow::Result<Inputs> {
        let mut inputs = Inputs::default();
        for experiment in &self.experiments {
            let text = read(&root.join(experiment))?;
            let names: Names = toml::from_str(&text).with_context(|| experiment.clone())?;
            inputs.files.insert(experiment.clone(), digest::hex(text.as_bytes()));
            let Some(dataset) = names.dataset else { continue };
            let dataset = format!("{}/{dataset}", Path::new(experiment).parent().unwrap_or(Path::new("")).display());
            let text = read(&root.join(&dataset))?;
            let names: Names = toml::from_str(&text).with_context(|| dataset.clone())?;
            let folder = Path::new(&dataset).parent().unwrap_or(Path::new("")).to_owned();
            inputs.files.insert(dataset, digest::hex(text.as_bytes()));
            for file in names.interactions.iter().chain(&names.users).chain(&names.items).flat_map(|table| &table.files) {
                inputs.data.insert(file.clone(), found(root, &folder, file).map(|bytes| digest::hex(&bytes)));
            }
        }
        Ok(inputs)
    }
}

impl Inputs {
    /// Digests of the data files, all of which must be here.
    pub(crate) fn whole_data(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let missing: Vec<&str> = self.data.iter().filter(|(_, digest)| digest.is_none()).map(|(file, _)| file.as_str()).collect();
        ensure!(missing.is_empty(), "{} can not be read: set {VARIABLE} to the folder that holds the data sets", missing.join(", "));
        Ok(self.data.iter().filter_map(|(file, digest)| Some((file.clone(), digest.clone()?))).collect())
    }
}

/// The bytes of a data file, where it is here.
fn found(root: &Path, folder: &Path, file: &str) -> Option<Vec<u8>> {
    let path = match file.strip_prefix(&format!("${{{VARIABLE}}}/")) {
        Some(rest) => PathBuf::from(std::env::var_os(VARIABLE)?).join(rest),
        None => root.join(folder).join(file),
    };
    std::fs::read(path).ok()
}

/// A text with the variable in place of the folder that it holds.
pub(crate) fn without_folder(text: &str) -> String {
    match std::env::var(VARIABLE) {
        Ok(folder) if !folder.is_empty() => text.replace(folder.trim_end_matches('/'), &format!("${{{VARIABLE}}}")),
        _ => text.to_owned(),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("can not read {}", path.display()))
}
