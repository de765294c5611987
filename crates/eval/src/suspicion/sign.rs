//! One statistic with its threshold, and what it means.

use serde::{Deserialize, Serialize};

/// A way in which labels reach a model that will not be there later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leak {
    /// A feature tells the label of its own row.
    LabelCopy,
    /// A feature was computed from measured labels.
    FutureRate,
    /// Measured rows were learned from.
    SharedRows,
}

/// What one look found: suspicious when the statistic reaches the threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sign {
    /// What was looked for.
    pub leak: Leak,
    /// The feature; none for shared rows.
    pub feature: Option<String>,
    /// Whose rate the feature would be (`item`, `user`, a feature that groups), or whose value a history would hold.
    pub of: Option<String>,
    /// Where it was found: `validation` or `measured` rows.
    pub part: String,
    /// What the statistic is.
    pub measure: String,
    /// Its value.
    pub statistic: f64,
    /// Suspicious from here.
    pub threshold: f64,
    /// Rows, or for a rate groups, that it was computed from.
    pub count: usize,
}

impl Sign {
    /// Whether the statistic reaches the threshold.
    #[must_use]
    pub fn is_suspicious(&self) -> bool {
        self.statistic >= self.threshold
    }

    /// 1 at the threshold: what makes signs of several kinds comparable.
    #[must_use]
    pub fn closeness(&self) -> f64 {
        self.statistic / self.threshold
    }

    /// What was looked at, such as "`ctr` as a rate of `item`".
    #[must_use]
    pub fn what(&self) -> String {
        let feature = self.feature.as_deref().unwrap_or_default();
        match (self.leak, &self.of) {
            (Leak::LabelCopy, None) => format!("feature `{feature}`"),
            (Leak::LabelCopy, Some(of)) => format!("feature `{feature}`, by whether it holds the row's own `{of}`"),
            (Leak::FutureRate, of) => format!("feature `{feature}` as a rate of each {}", of.as_deref().unwrap_or_default()),
            (Leak::SharedRows, _) => "rows that stand in two parts".to_owned(),
        }
    }

    /// The statistic in words, with its threshold.
    #[must_use]
    pub fn number(&self) -> String {
        let Self { statistic, threshold, measure, part, count, .. } = self;
        match self.leak {
            Leak::LabelCopy => format!("{measure} {statistic:.3} on {count} {part} rows, suspicious from {threshold:.2}"),
            Leak::FutureRate => format!("{measure} {statistic:.3} in {count} groups, suspicious from {threshold:.2}"),
            Leak::SharedRows => {
                format!("{measure} {:.2} % of {count} {part} rows, suspicious from {:.1} %", 100.0 * statistic, 100.0 * threshold)
            }
        }
    }

    /// The usual causes and what to do.
    #[must_use]
    pub fn causes(&self) -> &'static str {
        match self.leak {
            Leak::LabelCopy => {
                "It tells the label by itself, inside each domain, user and item. Usual causes: a copy of the label, or a value that is filled in after \
                 the outcome (a duration, a status, missing for one outcome). Leave it out, or take its value from before the outcome."
            }
            Leak::FutureRate => {
                "It knows by how much the measured labels of a group differ by chance, which only these labels tell. Usual cause: a rate or count of \
                 labels over a time that includes the measured rows. Compute it from training rows only."
            }
            Leak::SharedRows => {
                "Measured rows were learned from. Usual causes: a file that is read twice, a join that repeats rows, repeated rows with a random split. \
                 Remove the repetitions from the log."
            }
        }
    }

    /// All of it as one line.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}: {}. {}", self.what(), self.number(), self.causes())
    }
}
