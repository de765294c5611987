//! A copy of the tree with builds of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::Fault;

/// A test run that takes longer has been made endless by its fault.
const LIMIT: Duration = Duration::from_mins(15);

/// What came of `cargo test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    NotBuilt,
}

/// A copy of the tree.
pub(super) struct Tree {
    folder: PathBuf,
    builds: PathBuf,
}

/// A fault in the copy; gone when this is dropped.
pub(super) struct Planted {
    path: PathBuf,
    source: String,
}

impl Drop for Planted {
    fn drop(&mut self) {
        // The next copy of the tree mends it as well.
        let _ = std::fs::write(&self.path, &self.source);
    }
}

impl Tree {
    /// Copies every file that git knows or does not ignore, where it differs: what has not changed is not built again.
    pub(super) fn copy(root: &Path) -> anyhow::Result<Self> {
        let within = root.join("target/mutants");
        let tree = Self { folder: within.join("tree"), builds: within.join("builds") };
        let listed =
            Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root).output()?;
        ensure!(listed.status.success(), "`git ls-files` fails: {}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8(listed.stdout)?;
        let files: BTreeSet<&str> = listed.split('\0').filter(|file| root.join(file).is_file()).collect();
        // A test that is gone would be found by its name.
        let kept = |path: &Path| path.strip_prefix(&tree.folder).is_ok_and(|path| path.to_str().is_some_and(|path| files.contains(path)));
        remove_others(&tree.folder, &kept)?;
        for file in files {
            let (from, to) = (std::fs::read(root.join(file))?, tree.folder.join(file));
            if std::fs::read(&to).ok().as_ref() != Some(&from) {
                std::fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
                std::fs::write(&to, from).with_context(|| to.display().to_string())?;
            }
        }
        tree.seed(&root.join("target/release"))?;
        Ok(tree)
    }

    /// Starts from dependencies that are built already: the tensor library takes minutes.
    fn seed(&self, built: &Path) -> anyhow::Result<()> {
        let release = self.builds.join("release");
        if release.exists() || !built.exists() {
            return Ok(());
        }
        std::fs::create_dir_all(&release)?;
        for part in ["deps", "build", ".fingerprint"] {
            let copied = Command::new("cp").arg("-pR").arg(built.join(part)).arg(&release).status()?;
            ensure!(copied.success(), "{} can not be copied", built.join(part).display());
        }
        Ok(())
    }

    pub(super) fn plant(&self, fault: &Fault) -> anyhow::Result<Planted> {
        let path = self.folder.join(&fault.file);
        let source = std::fs::read_to_string(&path)?;
        std::fs::write(&path, source.replacen(&fault.find, &fault.replace, 1))?;
        Ok(Planted { path, source })
    }

    /// Runs `cargo test --release` with these arguments.
    pub(super) fn test(&self, arguments: &str) -> anyhow::Result<Outcome> {
        let (options, filter) = arguments.split_once(" -- ").unwrap_or((arguments, ""));
        let cargo = |more: &[&str]| {
            let mut command = Command::new("cargo");
            command.args(["test", "--release", "--quiet"]).args(options.split_whitespace()).args(more).current_dir(&self.folder);
            command.env("CARGO_TARGET_DIR", &self.builds).env("CARGO_INCREMENTAL", "0");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        if !cargo(&["--no-run"]).status()?.success() {
            return Ok(Outcome::NotBuilt);
        }
        let mut run = cargo(&[]);
        run.arg("--").args(filter.split_whitespace());
        Ok(if within_limit(run)? { Outcome::Passed } else { Outcome::Failed })
    }
}

/// Removes the files of a folder and of those in it that are not to be kept.
fn remove_others(folder: &Path, kept: &impl Fn(&Path) -> bool) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept(&path) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Whether a command succeeds in time. It runs in a group of its own, so that an endless test ends with it.
fn within_limit(mut command: Command) -> anyhow::Result<bool> {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if began.elapsed() > LIMIT {
            // The group first; where there are none, the child alone.
            let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
            let _ = child.kill();
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
