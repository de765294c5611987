//! Scores from elsewhere: predictions of a model in production or of another library, judged in the same table.
//!
//! They are read as a data set is, with the score in the place of the label: from a column of the log, or from a file of their own in which a score
//! belongs to the row of the same user and item (and time, where the file has one).

use std::collections::HashMap;
use std::path::PathBuf;

use acclimate_data::{Dataset, DatasetConfig, InteractionsConfig, LabelConfig, LabelType, RawDataset, TimeConfig};
use acclimate_eval::{Entrant, Kind, Metric};
use serde::{Deserialize, Serialize};

use crate::{Experiment, ExperimentError};

/// An entry `[[entrant]]`: predictions that somebody else has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntrantConfig {
    /// Name in reports.
    pub name: String,
    /// Column of the score: of `file`, or without a file of the log itself. Default `score`.
    #[serde(default = "score")]
    pub column: String,
    /// A file with scores, seen from the experiment file's folder.
    pub file: Option<PathBuf>,
    /// Column of the user's id in `file`; default: as in the log.
    pub user: Option<String>,
    /// Column of the item's id in `file`; default: as in the log.
    pub item: Option<String>,
    /// What stands between two fields of `file`; default a comma, or a tab where its name ends in `.tsv`.
    pub delimiter: Option<String>,
    /// Column of the time in `file`, needed only where a user meets an item several times with different scores; default none.
    pub time: Option<TimeConfig>,
}

fn score() -> String {
    "score".into()
}

/// Scores of the log's rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Name in reports.
    pub name: String,
    /// One a row of the log; NaN where there is none.
    pub of_row: Vec<f32>,
    /// Every score of a user for an item, also of pairs that the log does not have: what ranks a catalogue. Empty for a column of the log.
    pub of_pair: HashMap<(u32, u32), f32>,
}

/// A file of scores as a data set.
#[derive(Serialize)]
struct ScoresFile<'a> {
    name: &'a str,
    interactions: Interactions<'a>,
}

#[derive(Serialize)]
struct Interactions<'a> {
    files: [&'a PathBuf; 1],
    user: &'a String,
    item: &'a String,
    delimiter: Option<&'a String>,
    time: Option<&'a TimeConfig>,
    label: &'a LabelConfig,
}

/// The key of a score in a file.
type Key<'a> = (&'a str, &'a str, Option<i64>);

impl Scores {
    /// Reads the scores of an entry for the rows of a data set.
    ///
    /// # Errors
    /// A file or column that is not there, a value that is no number, or a row with two different scores.
    pub fn read(
        experiment: &Experiment,
        entry: &EntrantConfig,
        config: &DatasetConfig,
        dataset: &Dataset,
    ) -> Result<Self, ExperimentError> {
        let problem = |problem: String| experiment.problem(format!("entrant `{}`", entry.name), problem);
        let log = &config.interactions;
        let label = LabelConfig {
            column: Some(entry.column.clone()),
            kind: LabelType::Rating,
            min: Some(f32::MIN),
            max: Some(f32::MAX),
            positive: None,
        };
        let Some(file) = &entry.file else {
            let only =
                DatasetConfig { features: Vec::new(), attributes: Vec::new(), users: Vec::new(), items: Vec::new(), ..config.clone() };
            let (raw, _) = RawDataset::read(&DatasetConfig { interactions: InteractionsConfig { label, ..log.clone() }, ..only })?;
            let of_row = raw.dataset().log.label.clone();
            if of_row.len() != dataset.log.len() {
                let (found, rows) = (of_row.len(), dataset.log.len());
                return Err(problem(format!("column `{}` gives {found} rows, the log has {rows}; every row needs a score", entry.column)));
            }
            return Ok(Self { name: entry.name.clone(), of_row, of_pair: HashMap::new() });
        };
        // What the log's own keys say of files is not meant for this one.
        let text = ScoresFile {
            name: &entry.name,
            interactions: Interactions {
                files: [file],
                user: entry.user.as_ref().unwrap_or(&log.user),
                item: entry.item.as_ref().unwrap_or(&log.item),
                delimiter: entry.delimiter.as_ref(),
                time: entry.time.as_ref(),
                label: &label,
            },
        };
        let text = toml::to_string(&text).map_err(|e| problem(e.to_string()))?;
        let scores = DatasetConfig::parse(&text, &experiment.path)?;
        let (raw, _) = RawDataset::read(&scores)?;
        let found = raw.dataset();
        let mut by_key: HashMap<Key<'_>, f32> = HashMap::with_capacity(found.log.len());
        for row in 0..found.log.len() {
            let (user, item) = (&found.users[found.log.user[row].at()], &found.items[found.log.item[row].at()]);
            let (key, score) = ((user.as_str(), item.as_str(), found.log.time.get(row).copied()), found.log.label[row]);
            if by_key.insert(key, score).is_some_and(|other| other != score) {
                return Err(problem(format!(
                    "gives user `{user}` and item `{item}` two different scores; add the key `time` if the file has one"
                )));
            }
        }
        let of_row = (0..dataset.log.len()).map(|row| {
            let (user, item) = (&dataset.users[dataset.log.user[row].at()], &dataset.items[dataset.log.item[row].at()]);
            let time = entry.time.as_ref().and_then(|_| dataset.log.time.get(row).copied());
            by_key.get(&(user.as_str(), item.as_str(), time)).copied().unwrap_or(f32::NAN)
        });
        let of_row = of_row.collect();
        let number = |names: &'_ [String]| names.iter().zip(0..).map(|(name, i)| (name.clone(), i)).collect::<HashMap<String, u32>>();
        let (users, items) = (number(&dataset.users), number(&dataset.items));
        let pair = |((user, item, _), &score): (&Key<'_>, &f32)| Some(((*users.get(*user)?, *items.get(*item)?), score));
        let of_pair = by_key.iter().filter_map(pair).collect();
        Ok(Self { name: entry.name.clone(), of_row, of_pair })
    }

    /// The entrant on some rows.
    ///
    /// # Errors
    /// A row without a score, or scores that are no probabilities where a metric needs them.
    pub fn entrant(&self, experiment: &Experiment, dataset: &Dataset, rows: &[u32]) -> Result<Entrant<f32>, ExperimentError> {
        let problem = |problem: String| experiment.problem(format!("entrant `{}`", self.name), problem);
        let values: Vec<f32> = rows.iter().map(|&row| self.of_row[row as usize]).collect();
        if let Some(at) = values.iter().position(|v| v.is_nan()) {
            let (count, row) = (values.iter().filter(|v| v.is_nan()).count(), rows[at] as usize);
            let (user, item) = (&dataset.users[dataset.log.user[row].at()], &dataset.items[dataset.log.item[row].at()]);
            return Err(problem(format!(
                "has no score for {count} of {} measured rows, the first of user `{user}` and item `{item}`; every measured row needs one",
                rows.len()
            )));
        }
        let of_probabilities = |m: &&Metric| matches!(m, Metric::LogLoss(_) | Metric::Pcoc(_));
        if let (Some(metric), Some(&value)) =
            (experiment.metrics.iter().find(of_probabilities), values.iter().find(|v| !(0.0..=1.0).contains(*v)))
        {
            return Err(problem(format!(
                "holds {value}, but `{metric}` needs probabilities from 0 to 1; convert the scores, or leave the metric out"
            )));
        }
        Ok(Entrant::deterministic(&self.name, Kind::Control, values))
    }
}
