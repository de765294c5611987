//! The experiment file: one data set, one scenario, bases, methods, floors and metrics.

mod method;
mod overlay;

use std::path::{Path, PathBuf};

use acclimate_adapt::find_method;
use acclimate_data::{SimulatorConfig, SplitConfig};
use acclimate_eval::floor::FloorsConfig;
use acclimate_eval::floor::classes::ClassFloorsConfig;
use acclimate_eval::{Bootstrap, Metric};
use acclimate_model::{BackboneConfig, Objective};
use acclimate_train::TrainConfig;
use serde::{Deserialize, Serialize};

pub use method::{Every, Merge, MethodEntry};
pub use overlay::overlay;

use crate::ExperimentError;
use crate::scenario::ScenarioConfig;
use crate::scenario::cold_start::RowsOf;
use crate::scores::EntrantConfig;
use crate::state::StateMode;

/// A whole experiment file. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Name in reports and of the output folder.
    pub name: String,
    /// The data-set file, seen from the experiment file's folder. Either this or `simulator`.
    pub dataset: Option<PathBuf>,
    /// Simulated data with known click probabilities, which give every table a ceiling.
    pub simulator: Option<SimulatorConfig>,
    /// How the log is cut into parts; the simulator brings its own.
    pub split: Option<SplitConfig>,
    /// Which rows are known to histories and statistics: those of training (`frozen`, the default), those as old as they will be for measured rows
    /// (`aged`), or all of an earlier time (`moving`).
    #[serde(default)]
    pub state: StateMode,
    /// Number of training seeds; default 1. The command line's `--seeds` goes first.
    #[serde(default = "one")]
    pub seeds: u64,
    /// What is adapted to.
    pub scenario: ScenarioConfig,
    /// The base that methods start from; none in scenarios whose methods start from nothing.
    #[serde(default)]
    pub base: BaseConfig,
    /// Further bases, each with its own name.
    #[serde(default, rename = "variant")]
    pub variants: Vec<VariantConfig>,
    /// Training keys that all methods share; each method's own `train` goes first.
    #[serde(default)]
    pub train: toml::Table,
    /// The methods, in report order.
    #[serde(default, rename = "method")]
    pub methods: Vec<MethodEntry>,
    /// Methods, by their names in reports, that all others are compared with as well, with paired intervals; the bases and the best floor always are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// Predictions made elsewhere, judged in the same table.
    #[serde(default, rename = "entrant")]
    pub entrants: Vec<EntrantConfig>,
    /// The metrics, in report order.
    pub metrics: Vec<Metric>,
    /// The metric on validation rows that early stopping looks at; default `auc` for clicks, `rmse` for ratings, `mrr[full]` for sequences.
    pub select: Option<Metric>,
    /// Which floors are printed, and their settings.
    #[serde(default)]
    pub floors: FloorsConfig,
    /// How intervals are made.
    #[serde(default)]
    pub bootstrap: Bootstrap,
    /// The file this was read from; relative paths start at its folder.
    #[serde(skip)]
    pub path: PathBuf,
    /// The text of the file, for the report.
    #[serde(skip)]
    pub text: String,
}

fn one() -> u64 {
    1
}

/// The base: a network, what it is trained for, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseConfig {
    /// Name in reports; default `base`.
    #[serde(default = "base_name")]
    pub name: String,
    /// The network.
    pub backbone: BackboneConfig,
    /// What it is trained for; default: logistic for clicks, squared error for ratings.
    pub objective: Option<Objective>,
    /// How it is trained.
    #[serde(default)]
    pub train: TrainConfig,
    /// By which error its best epoch is chosen; default its own. A key of `[base]` only, variants share it.
    #[serde(default)]
    pub choose: Choose,
    /// Which training rows it learns from, in scenario `cold_start`; default the scenario's `base_rows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowsOf>,
}

impl Default for BaseConfig {
    /// What stands where there is no base: never trained.
    fn default() -> Self {
        let backbone = toml::from_str("kind = 'dnn'").expect("a kind with defaults");
        Self { name: base_name(), backbone, objective: None, train: TrainConfig::default(), choose: Choose::default(), rows: None }
    }
}

/// By which error on validation rows the best epoch of a base is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choose {
    /// Its own, unadapted.
    #[default]
    Unadapted,
    /// That after adaptation to the support rows of each validation task, by the first method that starts from it and has not been trained itself. Scenario
    /// `cold_start` only.
    Adapted,
}

fn base_name() -> String {
    "base".into()
}

/// Another base: what it does not say, it takes from `[base]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantConfig {
    /// Name in reports.
    pub name: String,
    /// Its network.
    pub backbone: Option<BackboneConfig>,
    /// Training keys that differ.
    #[serde(default)]
    pub train: toml::Table,
    /// Which training rows it learns from, in scenario `cold_start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowsOf>,
}

impl Experiment {
    /// Reads and checks an experiment file.
    ///
    /// # Errors
    /// The file is missing, is not TOML, has an unknown key or method, or contradicts itself.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ExperimentError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| ExperimentError::Read { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    /// Checks the text of an experiment file that lies (or would lie) at `path`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, path: impl Into<PathBuf>) -> Result<Self, ExperimentError> {
        let path = path.into();
        if text.parse::<toml::Table>().is_ok_and(|t| t.contains_key("interactions")) {
            let problem = "belongs to a data-set file; name an experiment file, whose `dataset` this may be, or train a base on it with `acclimate pretrain`";
            return Err(ExperimentError::Config { file: path, entry: "[interactions]".into(), problem: problem.into() });
        }
        if text.parse::<toml::Table>().is_err() && path.extension().is_some_and(|extension| extension != "toml") {
            let problem = "is no experiment; for a table, `acclimate init` writes a data-set file and an experiment";
            return Err(ExperimentError::Config { file: path, entry: "the file".into(), problem: problem.into() });
        }
        let mut experiment: Self =
            toml::from_str(text).map_err(|source| ExperimentError::Syntax { file: path.clone(), source: Box::new(source) })?;
        experiment.path = path;
        experiment.text = text.to_owned();
        let given = |key: &str| text.parse::<toml::Table>().is_ok_and(|table| table.contains_key(key));
        match (experiment.scenario.scenario().needs_base(), given("base") || given("variant")) {
            (true, false) => {
                return Err(experiment
                    .problem("[base]", "is missing; say which network methods start from, such as `backbone = { kind = \"dnn\" }`"));
            }
            (false, true) => {
                let problem =
                    format!("does not go with scenario `{}`, whose methods start from no network; remove it", experiment.scenario.name());
                return Err(experiment.problem("[base]", problem));
            }
            _ => {}
        }
        experiment.validate()?;
        Ok(experiment)
    }

    /// All bases in report order, with what variants inherit filled in.
    ///
    /// # Errors
    /// An unknown or ill-typed key in a variant's `train`.
    pub fn bases(&self) -> Result<Vec<BaseConfig>, ExperimentError> {
        let mut bases = vec![self.base.clone()];
        for variant in &self.variants {
            let inherited = toml::Table::try_from(&self.base.train).expect("configs are plain data");
            let train = overlay(&inherited, &variant.train).try_into::<TrainConfig>();
            let train = train.map_err(|e| self.problem(format!("variant `{}`, train", variant.name), with_key(&e)))?;
            let backbone = variant.backbone.clone().unwrap_or_else(|| self.base.backbone.clone());
            bases.push(BaseConfig {
                name: variant.name.clone(),
                backbone,
                objective: self.base.objective,
                train,
                choose: self.base.choose,
                rows: variant.rows.or(self.base.rows),
            });
        }
        Ok(bases)
    }

    /// The training config of a method in a setting such as `n=100`: defaults, then `[train]`, then the method's `train`, then its
    /// `train_by_size` of that setting.
    ///
    /// # Errors
    /// An unknown or ill-typed key.
    pub fn train_config(&self, method: &MethodEntry, setting: &str) -> Result<TrainConfig, ExperimentError> {
        let mut keys = overlay(&self.train, &method.train);
        if let Some(by_size) = method.train_by_size.get(setting) {
            keys = overlay(&keys, by_size);
        }
        let config =
            keys.try_into::<TrainConfig>().map_err(|e| self.problem(format!("method `{}`, train", method.label()), with_key(&e)))?;
        self.check_train(format!("method `{}`", method.label()), &config)?;
        Ok(config)
    }

    fn check_train(&self, entry: String, config: &TrainConfig) -> Result<(), ExperimentError> {
        if config.steps == Some(0) {
            return Err(self.problem(entry, "training: `steps` must be at least 1; leave it out to train for whole epochs"));
        }
        config.validate().map_err(|e| self.problem(entry, e.to_string()))
    }

    /// An error about an entry of this file.
    #[must_use]
    pub fn problem(&self, entry: impl Into<String>, problem: impl Into<String>) -> ExperimentError {
        ExperimentError::Config { file: self.path.clone(), entry: entry.into(), problem: problem.into() }
    }

    fn validate(&self) -> Result<(), ExperimentError> {
        match (&self.dataset, &self.simulator, &self.split) {
            (None, None, _) => return Err(self.problem("dataset", "is missing; name a data-set file, or add a [simulator] table")),
            (Some(_), Some(_), _) => return Err(self.problem("dataset", "and [simulator] exclude each other; remove one")),
            (Some(_), None, None) => return Err(self.problem("[split]", "is missing; say how the log is cut into parts")),
            (None, Some(_), Some(_)) => {
                return Err(self.problem("[split]", "does not go with [simulator], which brings its own; remove it"));
            }
            _ => {}
        }
        if matches!(self.name.as_str(), "" | "." | "..") || self.name.contains(['/', '\\']) {
            return Err(self.problem("name", "becomes the name of a folder: it must not be empty, `.` or `..`, or hold a slash"));
        }
        if self.simulator.is_some() && !self.entrants.is_empty() {
            return Err(self.problem("[[entrant]]", "does not go with [simulator], whose rows nobody else has scored; remove it"));
        }
        if self.metrics.is_empty() {
            return Err(self.problem("metrics", "is empty; name at least one metric"));
        }
        if self.metrics[0].is_of_some() {
            let problem =
                format!("begins with `{}`, which some methods have no value of; begin with one of all, such as `rmse`", self.metrics[0]);
            return Err(self.problem("metrics", problem));
        }
        if let Some(metric) = self.select.as_ref().filter(|metric| metric.is_of_some()) {
            let problem = format!("is `{metric}`, which some methods have no value of; choose by one of all, such as `rmse`");
            return Err(self.problem("select", problem));
        }
        if let Some(metric) = self.metrics.iter().find(|metric| metric.is_of_some())
            && !matches!(self.scenario, ScenarioConfig::ColdStart(_))
        {
            let problem = format!("names `{metric}`, which is measured in scenario `cold_start` only; remove it");
            return Err(self.problem("metrics", problem));
        }
        if self.seeds == 0 {
            return Err(self.problem("seeds", "must be at least 1"));
        }
        if matches!(self.split, Some(SplitConfig::HeldOutDomain { .. })) && !matches!(self.scenario, ScenarioConfig::NewDomain(_)) {
            let problem = "kind `held_out_domain` is for scenario `new_domain`; name the kind that stands in its `then`, and leave domains out with \
                           `unseen` of [scenario]";
            return Err(self.problem("[split]", problem));
        }
        let bases = self.bases()?;
        let mut names: Vec<&str> = bases.iter().map(|b| b.name.as_str()).collect();
        names.extend(self.methods.iter().map(MethodEntry::label));
        names.extend(self.entrants.iter().map(|entrant| entrant.name.as_str()));
        if let Some(name) = names.iter().enumerate().find_map(|(i, n)| names[..i].contains(n).then_some(n)) {
            return Err(self.problem(format!("`{name}`"), "is the name of two entries; give one of them a `label`"));
        }
        if let Some(name) = self.references.iter().find(|&name| !names.contains(&name.as_str()) && !is_taken(name)) {
            let problem = format!("names no entry and no floor `{name}`; entries are {}", names.join(", "));
            return Err(self.problem("references", problem));
        }
        if names.iter().any(|name| name.trim().is_empty()) {
            return Err(self.problem("label", "is empty; leave it out to use the method's name"));
        }
        if let Some(name) = names.iter().find(|&&name| is_taken(name)) {
            return Err(self.problem(format!("`{name}`"), "is the name of a floor or of the ceiling in reports; choose another"));
        }
        let has_rows =
            self.base.rows.is_some() || self.variants.iter().any(|v| v.rows.is_some()) || self.methods.iter().any(|m| m.rows.is_some());
        if has_rows && !matches!(self.scenario, ScenarioConfig::ColdStart(_)) {
            return Err(self.problem(
                "rows",
                "says of a base or a method whether it learns from tasks or from all rows, which is for scenario `cold_start`; remove it",
            ));
        }
        if self.base.choose == Choose::Adapted && !matches!(self.scenario, ScenarioConfig::ColdStart(_)) {
            return Err(self
                .problem("[base] choose", "`adapted` is for scenario `cold_start`, where validation users have support rows; remove it"));
        }
        self.floors.validate().map_err(|e| self.problem("[floors]", e.to_string()))?;
        self.bootstrap.validate().map_err(|e| self.problem("bootstrap", e.to_string()))?;
        for base in &bases {
            self.check_train(format!("base `{}`", base.name), &base.train)?;
        }
        let scenario = self.scenario.scenario();
        scenario.check(self)?;
        let settings = scenario.train_settings();
        for method in self.methods.iter().filter(|_| scenario.needs_base()) {
            find_method(&method.name).map_err(|e| self.problem("[[method]] name", e.to_string()))?;
            if let Some(base) = method.base.as_ref().filter(|&b| !bases.iter().any(|known| known.name == *b)) {
                let known: Vec<_> = bases.iter().map(|b| b.name.as_str()).collect();
                let problem = format!("names no base `{base}`; there are {}", known.join(", "));
                return Err(self.problem(format!("method `{}`, base", method.label()), problem));
            }
            self.train_config(method, "")?;
            for setting in method.train_by_size.keys() {
                if !settings.contains(setting) {
                    let known = if settings.is_empty() { "none here".to_owned() } else { settings.join(", ") };
                    let problem = format!("names no setting `{setting}`; there are {known}");
                    return Err(self.problem(format!("method `{}`, train_by_size", method.label()), problem));
                }
                self.train_config(method, setting)?;
            }
            if method.each_domain && !matches!(self.scenario, ScenarioConfig::MultiDomain(_)) {
                let problem = "is for scenario `multi_domain`, where the base knows every domain; remove it";
                return Err(self.problem(format!("method `{}`, each_domain", method.label()), problem));
            }
            if method.merge.is_some() && !matches!(self.scenario, ScenarioConfig::NewDomain(_)) {
                let problem = "is for scenario `new_domain`, where a domain may have no rows of its own; remove it";
                return Err(self.problem(format!("method `{}`, merge", method.label()), problem));
            }
            if method.support.is_some() && !matches!(self.scenario, ScenarioConfig::ColdStart(_)) {
                let problem = "is for scenario `cold_start`, where users have support rows; remove it";
                return Err(self.problem(format!("method `{}`, support", method.label()), problem));
            }
        }
        Ok(())
    }
}

/// An error in a table that was laid together, with the key.
fn with_key(error: &toml::de::Error) -> String {
    error.to_string().trim_end().replace('\n', " ")
}

/// Whether reports use the name for something else.
pub(crate) fn is_taken(name: &str) -> bool {
    let floors = FloorsConfig::default();
    let (pointwise, ranking, classes) = (floors.pointwise(), floors.ranking(), ClassFloorsConfig::default().floors());
    let floor_names = || pointwise.iter().map(|f| f.name()).chain(ranking.iter().map(|f| f.name())).chain(classes.iter().map(|f| f.name()));
    let is_floor = |name: &str| floor_names().any(|floor| floor == name);
    // Floors that read features are named after the base whose features they read: `logistic_regression[wide]`.
    let of_a_base = name.strip_suffix(']').and_then(|name| name.split_once('[')).is_some_and(|(floor, _)| is_floor(floor));
    name == "bayes"
        || name == crate::scenario::online::BIAS_PER_EVENT
        || is_floor(name)
        || of_a_base
        || crate::scenario::bridge::floor_names().chain(crate::scenario::fresh_users::floor_names()).any(|floor| floor == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str =
        "name = 'x'\nmetrics = ['auc']\n[simulator]\n[scenario]\nkind = 'multi_domain'\n[base]\nbackbone = { kind = 'dnn' }\n";

    fn error(text: &str) -> String {
        Experiment::parse(text, "x.toml").unwrap_err().to_string()
    }

    #[test]
    fn keys_are_layered() {
        let text = format!(
            "{MINIMAL}[train]\nepochs = 3\nbatch = 7\n[[method]]\nname = 'adapter'\ntrain = {{ epochs = 4, optimizer = {{ rate = 0.5 }} }}\ntrain_by_size.all = {{ optimizer = {{ epsilon = 0.1 }} }}\n"
        );
        let experiment = Experiment::parse(&text, "x.toml").unwrap();
        let config = experiment.train_config(&experiment.methods[0], "all").unwrap();
        assert_eq!((config.epochs, config.batch, config.optimizer.rate, config.optimizer.epsilon), (4, 7, 0.5, 0.1));
    }

    #[test]
    fn a_table_of_another_kind_replaces() {
        let schedules = |over: &str| {
            let text = format!(
                "{MINIMAL}[train]\nschedule = {{ kind = 'cosine', warmup = 0.2, floor = 0.1 }}\n[[method]]\nname = 'adapter'\ntrain = {{ schedule = {over} }}\n"
            );
            let experiment = Experiment::parse(&text, "x.toml").unwrap();
            toml::to_string(&experiment.train_config(&experiment.methods[0], "").unwrap().schedule).unwrap()
        };
        assert!(schedules("{ kind = 'cosine', warmup = 0.3 }").contains("floor = 0.1"));
        let linear = schedules("{ kind = 'linear', warmup = 0.2 }");
        assert!(linear.contains("linear") && !linear.contains("floor"), "{linear}");
    }

    #[test]
    fn mistakes_are_named() {
        assert!(error(&MINIMAL.replace("metrics", "metric")).contains("unknown field `metric`"));
        assert!(error(&format!("{MINIMAL}[[method]]\nname = 'adaptor'\n")).contains("no method is called `adaptor`"));
        assert!(error(&format!("{MINIMAL}[[method]]\nname = 'adapter'\ntrain = {{ epoch = 1 }}\n")).contains("unknown field `epoch`"));
        assert!(error(&format!("{MINIMAL}[[method]]\nname = 'adapter'\nbase = 'big'\n")).contains("names no base `big`; there are base"));
        assert!(
            error(&format!("{MINIMAL}[[method]]\nname = 'adapter'\n[[method]]\nname = 'adapter'\n")).contains("give one of them a `label`")
        );
        assert!(error(&MINIMAL.replace("[simulator]\n", "")).contains("name a data-set file"));
        assert!(error(&MINIMAL.replace("'auc'", "'auk'")).contains("auk"));
    }
}
