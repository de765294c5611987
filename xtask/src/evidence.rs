//! `cargo xtask evidence`: the measured numbers of the docs, as files.
//!
//! `docs/evidence/evidence.toml` lists what is measured; `docs/evidence/NAME.json` is what came out, with everything that decides it. A file is
//!
//! - *fresh* where experiment, data-set file, data, seeds and version are those of today, and so are the program's sources;
//! - *older* where only sources differ: the numbers were true when they were measured, and nobody has looked since;
//! - *stale* where an input differs, *missing* where there is no file. Both fail `--check`.

mod digest;
mod file;
mod manifest;
mod report;
mod state;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::step::shell;
use crate::{Task, root};

#[cfg(test)]
pub(crate) use file::tests;
pub(crate) use file::{Evidence, Number, Place, Span};
use manifest::{Entry, Manifest};
use state::{State, commits_since, look};

pub(crate) const TASK: Task = Task {
    name: "evidence",
    about: "which files of docs/evidence are fresh, older, stale or missing; --check fails on the last two\n\
            NAME ... measures and writes these, --all everything that is not fresh, one after the other (needs ACCLIMATE_DATA)",
    run: |arguments| crate::said(run(arguments)),
};

fn run(arguments: &[String]) -> anyhow::Result<bool> {
    let root = root();
    let manifest = Manifest::read(&root)?;
    let names = || manifest.0.keys().cloned();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => table(&root, &manifest).map(|_| true),
        ["--check"] => table(&root, &manifest),
        ["--all"] => {
            let mut wanted = Vec::new();
            for name in names() {
                if look(&root, manifest.entry(&name)?, &path(&root, &name))?.state != State::Fresh {
                    wanted.push(name);
                }
            }
            measure_all(&root, &manifest, &wanted)
        }
        ref given => {
            if let Some(unknown) = given.iter().find(|name| name.starts_with('-')) {
                bail!("unknown argument {unknown}; there are --check and --all");
            }
            measure_all(&root, &manifest, arguments)
        }
    }
}

/// The file of a name.
pub(crate) fn path(root: &Path, name: &str) -> PathBuf {
    root.join("docs/evidence").join(format!("{name}.json"))
}

/// A line for each entry that is not fresh, for those who rely on the files.
pub(crate) fn warnings(root: &Path) -> anyhow::Result<Vec<String>> {
    let manifest = Manifest::read(root)?;
    let mut warnings = Vec::new();
    for (name, entry) in &manifest.0 {
        let looked = look(root, entry, &path(root, name))?;
        if looked.state.fails() {
            warnings.push(line(root, name, &looked));
        }
    }
    Ok(warnings)
}

/// Prints the state of each entry; whether the docs may rely on all of them.
fn table(root: &Path, manifest: &Manifest) -> anyhow::Result<bool> {
    let mut good = true;
    for (name, entry) in &manifest.0 {
        let looked = look(root, entry, &path(root, name))?;
        println!("{}", line(root, name, &looked));
        good &= !looked.state.fails();
    }
    Ok(good)
}

fn line(root: &Path, name: &str, looked: &state::Looked) -> String {
    let mut reasons = match &looked.state {
        State::Fresh => Vec::new(),
        State::Older(crates) => {
            let commits = commits_since(root, &path(root, name));
            let ago = commits.filter(|&n| n > 0).map_or_else(String::new, |n| format!(", {n} commits of code ago"));
            vec![format!("measured with other sources of {}{ago}", crates.join(", "))]
        }
        State::Stale(reasons) => reasons.clone(),
        State::Missing => vec![format!("measure it with `cargo xtask evidence {name}`")],
    };
    if looked.unseen > 0 {
        reasons.push(format!("{} data files are not here, so they were not looked at", looked.unseen));
    }
    format!("{name:28} {:8} {}", looked.state.word(), reasons.join("; ")).trim_end().to_owned()
}

fn measure_all(root: &Path, manifest: &Manifest, names: &[String]) -> anyhow::Result<bool> {
    for name in names {
        manifest.entry(name)?;
    }
    for (at, name) in names.iter().enumerate() {
        println!("== {name} ({} of {})", at + 1, names.len());
        measure(root, name, manifest.entry(name)?).with_context(|| name.clone())?;
    }
    Ok(true)
}

/// Runs an experiment and keeps what the docs may show of it.
fn measure(root: &Path, name: &str, entry: &Entry) -> anyhow::Result<()> {
    let look_around = || Ok::<_, anyhow::Error>((entry.inputs(root)?, digest::sources(root)?));
    let before = look_around()?;
    let (inputs, sources) = &before;
    let data = inputs.whole_data()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    // One selection of packages for every build: another one would build the tensor library again.
    ensure!(shell(&["cargo", "build", "--release", "--workspace", "--bins"], &[], &[]), "the program can not be built");
    let folder = target.join("evidence").join(name);
    let known = folder.join("sources");
    let text = format!("{sources:?}\n");
    // Finished runs of other sources are other runs.
    if folder.exists() && std::fs::read_to_string(&known).ok().as_ref() != Some(&text) {
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&known, text)).with_context(|| folder.display().to_string())?;
    let arguments = entry.arguments()?;
    let json = folder.join("evidence.json");
    let mut command = Command::new(target.join("release/acclimate"));
    command.current_dir(root).args(&arguments).arg("--out").arg(&folder).arg("--json").arg(&json);
    let status = command.status().context("the program does not start")?;
    ensure!(status.success(), "the program ended with {status}; the same command goes on where it stopped");
    ensure!(before == look_around()?, "experiment, data or sources changed while it ran; give the same command again");
    let text = std::fs::read_to_string(&json).with_context(|| json.display().to_string())?;
    let mut report: report::Report = serde_json::from_str(&text).with_context(|| json.display().to_string())?;
    // Where the data lay is nobody's business.
    report.notes.iter_mut().for_each(|note| *note = manifest::without_folder(note));
    for input in &report.inputs {
        let same = |(path, digest): (&String, &String)| path.ends_with(&format!("/{}", input.file)) && *digest == input.sha256;
        ensure!(inputs.files.iter().any(same), "the report was made from another {}", input.file);
    }
    let environment = &report.environment;
    ensure!(environment.seeds == entry.seed_list(), "the report has seeds {:?}", environment.seeds);
    let provenance = file::Provenance {
        command: format!("acclimate {}", arguments.join(" ")),
        seeds: environment.seeds.clone(),
        version: environment.version.clone(),
        processor: environment.processor.clone(),
        bootstrap: environment.bootstrap.clone(),
        kept: entry.keep.clone(),
        inputs: inputs.files.clone(),
        data,
        sources: sources.clone(),
    };
    let path = path(root, name);
    Evidence::of(&report, provenance).write(&path)?;
    println!("{}: {} KB", path.display(), std::fs::metadata(&path)?.len().div_ceil(1000));
    Ok(())
}
