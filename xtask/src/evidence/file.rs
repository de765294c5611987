//! A file of measured numbers: what the docs show of one run, and what the run was made from.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, Serializer};

use super::report;

/// `docs/evidence/NAME.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evidence {
    /// What the numbers depend on.
    pub(crate) provenance: Provenance,
    /// What is another at each run.
    pub(crate) clock: Clock,
    /// Notes of the report.
    pub(crate) notes: Vec<String>,
    /// Numbers, by where they belong.
    pub(crate) places: Vec<Place>,
}

/// What decides the numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provenance {
    /// How anybody measures them again.
    pub(crate) command: String,
    /// Training seeds.
    pub(crate) seeds: Vec<u64>,
    /// Version of the program.
    pub(crate) version: String,
    /// The host's processor: another one may round differently.
    pub(crate) processor: String,
    /// How intervals were made.
    pub(crate) bootstrap: report::Bootstrap,
    /// Which metrics and settings of the report were kept.
    pub(crate) kept: Kept,
    /// SHA-256 of the experiment files and their data-set files.
    pub(crate) inputs: BTreeMap<String, String>,
    /// SHA-256 of the data files.
    pub(crate) data: BTreeMap<String, String>,
    /// Digests of the program's sources, a crate each.
    pub(crate) sources: BTreeMap<String, String>,
}

/// What is kept of a report. `*` at the end of a setting stands for any text; an empty list keeps all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Kept {
    pub(crate) metrics: Vec<String>,
    pub(crate) settings: Vec<String>,
}

/// When the numbers were measured and what that took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Clock {
    pub(crate) started: String,
    pub(crate) seconds: f64,
    pub(crate) threads: usize,
    pub(crate) peak_memory_mib: Option<f64>,
}

/// All numbers of one place: methods are compared only inside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    pub(crate) dataset: String,
    pub(crate) scenario: String,
    pub(crate) setting: String,
    pub(crate) methods: Vec<Method>,
    pub(crate) results: Vec<Number>,
}

/// A method and what it costs there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trainable_parameters: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) patch_bytes: Option<u64>,
    /// Seconds of training, mean over seeds, to a tenth: of the machine that measured, and other the next time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) train_seconds: Option<f64>,
    /// Settings of a floor that were chosen on validation rows: one value, or one for each seed where they differ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) settings: BTreeMap<String, Vec<f64>>,
}

/// A method's value of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Number {
    pub(crate) method: String,
    pub(crate) metric: String,
    #[serde(flatten)]
    pub(crate) span: Span,
    /// The value of each seed; left out where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) per_seed: Vec<Option<f64>>,
    /// The paired difference to the best floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) over_floor: Option<Difference>,
    /// The paired difference to the base that it starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) over_base: Option<Difference>,
    /// The paired differences to other bases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) over_others: Vec<Difference>,
}

/// A value with its interval, rounded to 8 digits: what the docs print of it is rounded once more, and must come out as if from the exact value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) value: Option<f64>,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
}

/// A paired difference and what it shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Difference {
    /// With whom it is compared.
    pub(crate) to: String,
    #[serde(flatten)]
    pub(crate) span: Span,
    /// `yes`, `no` or `not shown`.
    pub(crate) better: String,
}

impl Kept {
    fn metric(&self, name: &str) -> bool {
        self.metrics.is_empty() || self.metrics.iter().any(|kept| kept == name)
    }

    fn setting(&self, name: &str) -> bool {
        let fits = |kept: &String| kept.strip_suffix('*').map_or(kept == name, |start| name.starts_with(start));
        self.settings.is_empty() || self.settings.iter().any(fits)
    }
}

impl Place {
    /// How templates name it.
    pub(crate) fn name(&self) -> String {
        format!("{} / {}", self.scenario, self.setting)
    }
}

impl Evidence {
    /// What is kept of a report.
    pub(crate) fn of(report: &report::Report, provenance: Provenance) -> Self {
        let environment = &report.environment;
        let clock = Clock {
            started: environment.started.clone(),
            seconds: environment.seconds.round(),
            threads: environment.threads,
            peak_memory_mib: environment.peak_memory_mib,
        };
        let mut places: Vec<Place> = Vec::new();
        let kept = |result: &&report::Result| provenance.kept.metric(&result.metric) && provenance.kept.setting(&result.place.setting);
        for result in report.results.iter().filter(kept) {
            let report::Place { dataset, scenario, setting } = result.place.clone();
            let same = |p: &Place| (&p.dataset, &p.scenario, &p.setting) == (&dataset, &scenario, &setting);
            let at = places.iter().position(same).unwrap_or_else(|| {
                places.push(Place { dataset, scenario, setting, methods: Vec::new(), results: Vec::new() });
                places.len() - 1
            });
            let place = &mut places[at];
            if !place.methods.iter().any(|m| m.name == result.method) {
                place.methods.push(Method {
                    name: result.method.clone(),
                    kind: result.kind.clone(),
                    trainable_parameters: result.trainable_parameters,
                    patch_bytes: result.patch_bytes,
                    train_seconds: result.train_seconds.map(|s| (10.0 * s).round() / 10.0),
                    settings: settings_of(report, result),
                });
            }
            place.results.push(Number::of(result, &report.differences));
        }
        Self { provenance, clock, notes: report.notes.clone(), places }
    }

    /// Reads a file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("can not read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no evidence file: make it again", path.display()))
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, self.to_json()?).with_context(|| format!("can not write {}", path.display()))
    }

    fn to_json(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.serialize(&mut Serializer::with_formatter(&mut bytes, Lines::default()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl Number {
    fn of(result: &report::Result, differences: &[report::Difference]) -> Self {
        let mine = |d: &&report::Difference| d.place == result.place && d.metric == result.metric && d.method == result.method;
        let kept = |difference: &report::Difference| Difference {
            to: difference.reference.clone(),
            span: Span::of(Some(difference.value), difference.ci_low, difference.ci_high),
            better: difference.better.clone(),
        };
        let found = |wanted: fn(&report::Difference) -> bool| Some(kept(differences.iter().filter(mine).find(|d| wanted(d))?));
        let others = differences.iter().filter(mine).filter(|d| !d.reference_is_best_floor && !d.reference_is_own_base);
        let per_seed = if result.seeds > 1 { &result.per_seed[..] } else { &[] };
        Self {
            method: result.method.clone(),
            metric: result.metric.clone(),
            span: Span::of(result.value, result.ci_low, result.ci_high),
            per_seed: per_seed.iter().map(|value| value.map(rounded)).collect(),
            over_floor: found(|d| d.reference_is_best_floor),
            over_base: found(|d| d.reference_is_own_base),
            over_others: others.map(kept).collect(),
        }
    }
}

impl Span {
    fn of(value: Option<f64>, low: Option<f64>, high: Option<f64>) -> Self {
        Self { value: value.map(rounded), low: low.map(rounded), high: high.map(rounded) }
    }
}

/// What a floor's settings are in a place.
fn settings_of(report: &report::Report, result: &report::Result) -> BTreeMap<String, Vec<f64>> {
    let mut settings: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for record in report.floor_settings.iter().filter(|record| record.place == result.place && record.method == result.method) {
        record.settings.iter().for_each(|chosen| settings.entry(chosen.setting.clone()).or_default().push(chosen.value));
    }
    settings.values_mut().filter(|values| values.iter().all(|value| *value == values[0])).for_each(|values| values.truncate(1));
    settings
}

fn rounded(value: f64) -> f64 {
    (value * 1e8).round() / 1e8
}

/// JSON with a line for each entry down to single results, so that a change of one number is a change of one line.
#[derive(Default)]
struct Lines {
    depth: usize,
    /// Whether the open lists and tables hold anything, innermost last.
    filled: Vec<bool>,
}

/// Root, list of places, place, its results.
const DEEPEST: usize = 4;

impl Lines {
    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled.push(false);
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        let filled = self.filled.pop().unwrap_or(false);
        self.depth -= 1;
        if filled && self.depth < DEEPEST {
            self.line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn entry<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        if let Some(filled) = self.filled.last_mut() {
            *filled = true;
        }
        if self.depth <= DEEPEST {
            self.line(writer)
        } else if first {
            Ok(())
        } else {
            writer.write_all(b" ")
        }
    }

    fn line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b" "))
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.entry(writer, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.entry(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report of one place, as `compare` writes it: a floor, a base, and a patch that is better than both.
    pub(crate) fn report() -> report::Report {
        let place = r#""dataset": "toy", "scenario": "new_domain[shop=a]""#;
        let result = |setting: &str, method: &str, kind: &str, metric: &str, value: f64, seeds: usize| {
            let (low, high) = (value - 0.01, value + 0.01);
            let per_seed = vec![value; seeds];
            format!(
                r#"{{{place}, "setting": "{setting}", "method": "{method}", "kind": "{kind}", "metric": "{metric}", "value": {value}, "ci_low": {low},
                "ci_high": {high}, "seeds": {seeds}, "per_seed": {per_seed:?}, "trainable_parameters": 1234567, "patch_bytes": null, "train_seconds": 1.5}}"#
            )
        };
        let difference = |setting: &str, method: &str, reference: &str, floor: bool, value: f64, better: &str| {
            let (low, high) = (value - 0.01, value + 0.01);
            format!(
                r#"{{{place}, "setting": "{setting}", "metric": "auc", "method": "{method}", "reference": "{reference}", "reference_is_best_floor": {floor},
                "reference_is_own_base": {}, "value": {value}, "ci_low": {low}, "ci_high": {high}, "better": "{better}"}}"#,
                !floor
            )
        };
        let mut results = Vec::new();
        let mut differences = Vec::new();
        for setting in ["n=10", "n=all"] {
            results.push(result(setting, "bias", "floor", "auc", 0.6, 1));
            results.push(result(setting, "bias", "floor", "log_loss", 0.6, 1));
            results.push(result(setting, "mean", "floor", "auc", 0.5, 1));
            results.push(result(setting, "mean", "floor", "log_loss", 0.5, 1));
            results.push(result(setting, "base", "control", "auc", 0.61, 1));
            results.push(result(setting, "film", "adaptation", "auc", 0.712_349_9, 3));
            results.push(result(setting, "film", "adaptation", "pcoc", 1.5, 3));
            differences.push(difference(setting, "base", "bias", true, 0.01, "not shown"));
            differences.push(difference(setting, "film", "bias", true, 0.11235, "yes"));
            differences.push(difference(setting, "film", "base", false, 0.10235, "yes"));
        }
        let environment = r#"{"version": "0", "seeds": [1, 2, 3], "threads": 2, "processor": "p", "peak_memory_mib": 5, "started": "now", "seconds": 1.4,
            "bootstrap": {"draws": 100, "seed": 7, "level": 0.95}}"#;
        let (results, differences) = (results.join(","), differences.join(","));
        let settings = [5.0, 5.0, 7.0].map(|value| {
            format!(r#"{{{place}, "setting": "n=10", "method": "bias", "settings": [{{"setting": "item", "value": 2}}, {{"setting": "user", "value": {value}}}]}}"#)
        });
        let settings = settings.join(",");
        let text = format!(
            r#"{{"title": "t", "inputs": [], "environment": {environment}, "notes": ["n"], "results": [{results}], "differences": [{differences}],
            "floor_settings": [{settings}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    /// What is kept of it.
    pub(crate) fn evidence(metrics: &[&str], settings: &[&str]) -> Evidence {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let provenance = Provenance {
            command: "acclimate compare examples/toy.toml --seeds 3".into(),
            seeds: vec![1, 2, 3],
            version: "0".into(),
            processor: "p".into(),
            bootstrap: report::Bootstrap { draws: 100, seed: 7, level: 0.95 },
            kept: Kept { metrics: list(metrics), settings: list(settings) },
            inputs: BTreeMap::new(),
            data: BTreeMap::new(),
            sources: BTreeMap::new(),
        };
        Evidence::of(&report(), provenance)
    }

    #[test]
    fn what_is_kept_survives_its_file() {
        let all = evidence(&[], &[]);
        assert_eq!(all.places.iter().map(Place::name).collect::<Vec<_>>(), ["new_domain[shop=a] / n=10", "new_domain[shop=a] / n=all"]);
        let film = all.places[0].results.iter().find(|number| number.method == "film").unwrap();
        assert_eq!((film.span.value, film.per_seed.len()), (Some(0.712_349_9), 3));
        assert_eq!(film.over_floor.as_ref().map(|d| (d.to.as_str(), d.better.as_str())), Some(("bias", "yes")));
        assert_eq!(film.over_base.as_ref().and_then(|d| d.span.value), Some(0.10235));
        assert!(all.places[0].results[0].per_seed.is_empty() && all.places[0].results[0].over_floor.is_none());
        let settings = |at: usize| all.places[at].methods[0].settings.clone();
        assert_eq!(settings(0), BTreeMap::from([("item".to_owned(), vec![2.0]), ("user".to_owned(), vec![5.0, 5.0, 7.0])]));
        assert!(settings(1).is_empty());
        let text = String::from_utf8(all.to_json().unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Evidence>(&text).unwrap(), all);
        // A number is a line.
        assert_eq!(text.lines().filter(|line| line.contains("\"metric\"")).count(), 14, "{text}");
        let some = evidence(&["auc"], &["n=a*"]);
        assert!(some.places.len() == 1 && some.places[0].setting == "n=all" && some.places[0].results.len() == 4);
        assert!(evidence(&[], &["n=a"]).places.is_empty());
    }
}
