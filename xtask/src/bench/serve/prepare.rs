//! What is served: a base that `acclimate` has trained on the demo's data, patches of three kinds, and as many copies of them as are wanted.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::example;
use super::process::Server;

/// A network and the patches of it.
#[derive(Debug)]
pub(crate) struct Network {
    name: &'static str,
    hidden: &'static [i64],
    /// Methods of its patches, one of each kind.
    pub(crate) methods: [&'static str; 3],
}

/// The tower that `crates/plan/examples/speed.rs` has too; patches that are merged into the weights, stand beside them, and scale and shift by domain.
pub(crate) const WIDE: Network = Network { name: "wide", hidden: &[256, 128, 64], methods: ["lora", "adapter", "film"] };
/// The demo's own tower, of which memory holds tens of thousands.
pub(crate) const NARROW: Network = Network { name: "narrow", hidden: &[64, 32], methods: ["lora", "adapter", "ia3"] };

/// The domain that is new to the base.
const DOMAIN: &str = "target";

/// Files of the benchmark, and the program that made them. What lies there already is not made again.
pub(crate) struct Prepared {
    /// Of the benchmark.
    shared: PathBuf,
    /// Of the network.
    pub(crate) folder: PathBuf,
    acclimate: PathBuf,
    pub(crate) network: Network,
}

impl Prepared {
    /// Makes data, base, patches and registry.
    ///
    /// # Errors
    /// A command of `acclimate` failed; it has said why.
    pub(crate) fn make(acclimate: &Path, shared: &Path, network: Network) -> anyhow::Result<Self> {
        let folder = shared.join(network.name);
        std::fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
        let made = Self { shared: shared.to_owned(), folder, acclimate: acclimate.to_owned(), network };
        let text = |path: PathBuf| path.display().to_string();
        let (demo, base, registry) = (text(shared.join("demo")), text(made.base()), text(made.registry()));
        made.once(&made.data().join("base.toml"), &["demo", "--small", "--out", &demo])?;
        // Beside the demo's own, since it names the data set by its place.
        let experiment = made.data().join(format!("{}.toml", made.network.name));
        if !experiment.exists() {
            std::fs::write(&experiment, with_tower(&std::fs::read_to_string(made.data().join("base.toml"))?, made.network.hidden)?)?;
        }
        made.once(&made.base().join("encoder.json"), &["pretrain", &text(experiment), "--out", &base])?;
        let name = made.network.name;
        made.once(&made.registry().join("bases").join(name), &["registry", "publish", name, "--base", &base, "--root", &registry])?;
        for method in made.network.methods {
            let patch = made.folder.join(format!("{method}.safetensors"));
            let out = text(patch.clone());
            made.once(
                &patch,
                &["adapt", method, "--base", &base, "--domain", DOMAIN, "--serve", "always", "--train", "epochs=2", "--out", &out],
            )?;
            let published = made.registry().join("patches").join(method);
            made.once(&published, &["registry", "publish", method, "--base", &base, "--patch", &out, "--root", &registry])?;
            let pointer = published.join("aliases/champion.json");
            made.once(&pointer, &["registry", "promote", method, "--force", "--reason", "benchmark", "--root", &registry])?;
        }
        Ok(made)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.shared.join("demo/data")
    }

    pub(crate) fn base(&self) -> PathBuf {
        self.folder.join("base")
    }

    /// The base's values, as they were published.
    pub(crate) fn model(&self) -> PathBuf {
        self.registry().join("bases").join(self.network.name).join("v000001/model.safetensors")
    }

    fn registry(&self) -> PathBuf {
        self.folder.join("registry")
    }

    /// Runs a command of `acclimate`, unless what it makes is there.
    fn once(&self, makes: &Path, arguments: &[&str]) -> anyhow::Result<()> {
        if makes.exists() {
            return Ok(());
        }
        eprintln!("acclimate {}", arguments.join(" "));
        let status = Command::new(&self.acclimate).args(arguments).stdout(std::io::stderr()).status();
        let status = status.with_context(|| format!("{}", self.acclimate.display()))?;
        anyhow::ensure!(status.success() && makes.exists(), "`acclimate {}` did not make {}", arguments.join(" "), makes.display());
        Ok(())
    }

    /// Publishes copies of the patches under names of their own, of each kind in turn; gives their names. Those that are there stay.
    ///
    /// # Errors
    /// The program can not be built, or the registry refuses.
    pub(crate) fn copies(&self, count: usize) -> anyhow::Result<Vec<String>> {
        let program = example("copies")?;
        let output = Command::new(&program)
            .arg(self.registry())
            .arg(count.to_string())
            .args(self.network.methods)
            .stderr(Stdio::inherit())
            .output()?;
        anyhow::ensure!(output.status.success(), "{} failed", program.display());
        let names: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
        anyhow::ensure!(names.len() == count, "{} patches are there instead of {count}", names.len());
        Ok(names)
    }

    /// Publishes heads of the users that the base has learned from; gives the name of the patch.
    ///
    /// # Errors
    /// A command of `acclimate` failed; it has said why.
    pub(crate) fn heads(&self) -> anyhow::Result<&'static str> {
        let name = "heads";
        let text = |path: PathBuf| path.display().to_string();
        let (base, registry, patch) = (text(self.base()), text(self.registry()), self.folder.join("heads.safetensors"));
        let out = text(patch.clone());
        self.once(&patch, &["adapt", "bayes_head", "--base", &base, "--serve", "always", "--out", &out])?;
        let published = self.registry().join("patches").join(name);
        self.once(&published, &["registry", "publish", name, "--base", &base, "--patch", &out, "--root", &registry])?;
        let promote = |of: &'static str| ["registry", "promote", of, "--force", "--reason", "benchmark", "--root"];
        self.once(&published.join("aliases/champion.json"), &[&promote(name)[..], &[&registry]].concat())?;
        let segments = self.registry().join("segments").join("heads.users");
        self.once(&segments, &["registry", "users", name, "--base", &base, "--root", &registry])?;
        self.once(&segments.join("aliases/champion.json"), &[&promote("heads.users")[..], &[&registry]].concat())?;
        Ok(name)
    }

    /// Starts our server with so many threads that score.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn serve(&self, executors: usize) -> anyhow::Result<Server> {
        let mut command = Command::new(&self.acclimate);
        command.arg("serve").arg("--root").arg(self.registry()).args(["--listen", "127.0.0.1:0", "--patch-memory", "16384"]);
        command.arg("--catalogue").arg(self.data().join("dataset.toml")).arg("--state").arg(self.folder.join("state"));
        command.args(["--executors", &executors.to_string()]);
        Server::start(&mut command, 1, &self.folder.join("serve.log"))
    }
}

/// The demo's experiment with another tower.
fn with_tower(text: &str, hidden: &[i64]) -> anyhow::Result<String> {
    let mut experiment: toml::Table = text.parse()?;
    let backbone = experiment.get_mut("base").and_then(|base| base.get_mut("backbone")).and_then(toml::Value::as_table_mut);
    let Some(backbone) = backbone else { bail!("the demo's base.toml has no `base.backbone`") };
    backbone.insert("hidden".into(), hidden.to_vec().into());
    Ok(toml::to_string(&experiment)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tower_is_another() {
        let text = "name = \"demo\"\n[base]\nbackbone = { kind = \"dnn\", embedding = 16, hidden = [64, 32] }\n";
        let wide: toml::Table = with_tower(text, WIDE.hidden).unwrap().parse().unwrap();
        let expected: toml::Table = text.replace("[64, 32]", "[256, 128, 64]").parse().unwrap();
        assert_eq!(wide, expected);
        assert!(with_tower("name = \"demo\"", WIDE.hidden).is_err());
    }
}
