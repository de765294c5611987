//! What was checked before the numbers of a comparison are believed, and what it says.

use serde::{Deserialize, Serialize};

use crate::suspicion::Sign;
use crate::{Metric, Verdict};

/// The checks of one base in one scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preflight {
    /// Data set.
    pub dataset: String,
    /// Scenario.
    pub scenario: String,
    /// The base that was checked: the first one, of the first seed.
    pub base: String,
    /// What it said in each setting.
    pub settings: Vec<SettingCheck>,
    /// Number of features that were looked at.
    pub features: usize,
    /// Leaks in the data.
    pub suspicious: Vec<Sign>,
    /// Of each kind of leak what comes closest to its threshold and is below it.
    pub nearest: Vec<Sign>,
}

/// What a base said about the measured rows of one setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingCheck {
    /// Setting.
    pub setting: String,
    /// Number of rows that were scored twice.
    pub rows: usize,
    /// How many of them had other bits the second time. Always 0: anything else ends the comparison.
    pub different: usize,
    /// Number of metrics in which the base was compared with itself.
    pub metrics: usize,
    /// The largest of these differences and of the ends of their intervals. Always 0.
    pub largest_difference: f64,
    /// What shuffled labels taught; none where the metric is undefined.
    pub control: Option<ShuffledControl>,
}

/// The same network after one epoch on shuffled labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShuffledControl {
    /// Rows (or targets) that it learned from.
    pub rows: usize,
    /// How many such networks were asked, each of other labels: a further one where the last has won. The figures are those of the last.
    pub shuffles: usize,
    /// The first metric of the experiment.
    pub metric: Metric,
    /// Its value.
    pub value: f64,
    /// The value of the base.
    pub base: f64,
    /// Control minus base.
    pub difference: f64,
    /// Lower end of the paired interval.
    pub ci_low: Option<f64>,
    /// Upper end of the paired interval.
    pub ci_high: Option<f64>,
    /// Whether the control is better than the base.
    pub better: Verdict,
    /// What knows no row from another, where the metric has such a constant.
    pub constant: Option<Constant>,
}

/// A prediction that is the same for all rows, or an order that is the same for all queries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constant {
    /// What it is, such as `median of the training labels`.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Whether the control is better.
    pub better: Verdict,
}

impl ShuffledControl {
    /// Whether shuffled labels taught something: the control is better than a constant, by half of what the base is or more; where the metric has no such
    /// constant, it is better than the base. A base that is itself worse than a constant loses to a control that knows nothing, so that alone proves nothing.
    /// An order of rows that nobody has learned is better or worse by luck, so this is said only when several controls agree.
    #[must_use]
    pub fn wins(&self) -> bool {
        let beats_constant = |constant: &Constant| {
            let goal = self.metric.goal();
            let [control, base, constant_badness] = [self.value, self.base, constant.value].map(|value| goal.badness(value));
            constant.better == Verdict::Yes && constant_badness - control >= 0.5 * (constant_badness - base)
        };
        self.constant.as_ref().map_or(self.better == Verdict::Yes, beats_constant)
    }

    /// The figures in words; `base` is its name.
    #[must_use]
    pub fn number(&self, base: &str) -> String {
        let Self { metric, value, difference, .. } = self;
        let shuffles = if self.shuffles > 1 { format!(", the last of {} shuffles", self.shuffles) } else { String::new() };
        let interval = match (self.ci_low, self.ci_high) {
            (Some(low), Some(high)) => format!(" [{low:+.4}, {high:+.4}]"),
            _ => String::new(),
        };
        let constant = self.constant.as_ref().map_or_else(String::new, |c| format!("; the {} has {:.4}", c.name, c.value));
        format!("{metric} {value:.4} against {:.4} of `{base}`, {difference:+.4}{interval}{constant}{shuffles}", self.base)
    }
}

impl Preflight {
    /// Takes what one look at the data found: everything suspicious, and what comes closest to it.
    pub fn take(&mut self, signs: Vec<Sign>) {
        let (suspicious, rest): (Vec<Sign>, Vec<Sign>) = signs.into_iter().partition(Sign::is_suspicious);
        self.suspicious.extend(suspicious);
        self.nearest.extend(rest.into_iter().max_by(|a, b| a.closeness().total_cmp(&b.closeness())));
    }

    /// Everything that is suspicious, one line each: leaks, then controls that win.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let place = format!("{} / {}", self.dataset, self.scenario);
        let leaks = self.suspicious.iter().map(|sign| format!("Suspicious: {place}: {}", sign.line()));
        let won = self.settings.iter().filter_map(|check| Some((check, check.control.as_ref().filter(|control| control.wins())?)));
        let controls = won.map(|(check, control)| {
            format!(
                "Suspicious: {place} / {}: a control that learned from shuffled labels wins ({}). Either labels reach models by another way than training, \
                 or the measured rows say nothing: there are too few of them, or they have nothing in common with what `{}` learned from.",
                check.setting,
                control.number(&self.base),
                self.base
            )
        });
        leaks.chain(controls).collect()
    }

    /// One line when nothing is suspicious.
    #[must_use]
    pub fn summary(&self) -> String {
        let rows: usize = self.settings.iter().map(|check| check.rows).sum();
        let metrics = self.settings.iter().map(|check| check.metrics).max().unwrap_or(0);
        let control = self.settings.iter().find_map(|check| check.control.as_ref());
        let constant =
            |c: &ShuffledControl| c.constant.as_ref().map_or_else(String::new, |c| format!("; the {} has {:.4}", c.name, c.value));
        let control = control.map_or_else(String::new, |c| format!(" ({} {:.4} against {:.4}{})", c.metric, c.value, c.base, constant(c)));
        format!(
            "Preflight of {} / {}: `{}` scores {rows} rows alike twice and differs from itself by 0 in {metrics} metrics; shuffled labels do not win{control}; \
             {}.",
            self.dataset,
            self.scenario,
            self.base,
            self.clean()
        )
    }

    /// What was looked at for leaks without finding one.
    pub(crate) fn clean(&self) -> String {
        match self.features {
            0 => "no measured row was learned from".to_owned(),
            features => format!("no leak in {features} features, and no measured row was learned from"),
        }
    }

    /// What a report notes: the warnings, or else the summary.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let warnings = self.warnings();
        if warnings.is_empty() { vec![self.summary()] } else { warnings }
    }
}
