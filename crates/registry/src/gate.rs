//! The gate: whether a patch is shown to be no worse than its base, before it may serve.
//!
//! `gain = value(patch) - value(base)`, signed so that larger is better, on rows that neither was chosen by. Users are drawn with replacement; both are measured
//! on the same draws. With `low` the end of the gain's one-sided interval, the patch passes where `low >= -margin`, on all rows and in each protected slice. As
//! each must pass, more slices never let more through. It fails closed: what can not be judged is `ungated`, and that is no promotion.

use std::fmt;

use acclimate_eval::{Bootstrap, EvaluationQueries, EvaluationRows, Goal, Metric, Preflight, Sample, Statistic};
use serde::{Deserialize, Serialize};

use crate::RegistryError;

/// What the gate says. The order is that in which one outweighs the others: the worst of all slices is the patch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Shown to be no worse than the base by more than the margin.
    Promoted,
    /// It can not be judged, or nobody has asked.
    Ungated,
    /// Not shown to be as good as the base less the margin.
    Rejected,
    /// Better than honest patches are, or the measurement itself is not to be believed.
    Suspicious,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Promoted => "promoted",
            Self::Ungated => "ungated",
            Self::Rejected => "rejected",
            Self::Suspicious => "suspicious",
        })
    }
}

/// What a patch must show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateConfig {
    /// The metric that decides.
    pub metric: Metric,
    /// How much worse than the base a patch may be, in units of the metric. Raising it lets patches through that cost something; 0.002 by default.
    pub margin: f64,
    /// How sure it must be that it is not: the share of draws that may not lie below. Above 0.5; raising it asks for more rows; 0.95 by default.
    pub confidence: f64,
    /// A gain above this is not believed, for it is what leaked labels look like; 0.2 by default.
    pub most_gain: f64,
    /// Fewest users of a slice; with fewer it is not judged; 30 by default.
    pub least_users: usize,
    /// Number of draws.
    pub draws: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for GateConfig {
    fn default() -> Self {
        let metric = Metric::LogLoss(acclimate_eval::Scope::Pooled);
        Self { metric, margin: 0.002, confidence: 0.95, most_gain: 0.2, least_users: 30, draws: 1000, seed: 7 }
    }
}

/// Held-out rows as base and patch have scored them, one entry a row.
#[derive(Clone, Copy, Debug)]
pub struct Paired<'a> {
    /// What the base says.
    pub base: &'a [f32],
    /// What the base says when it is asked again: the same bits, or nothing here is believed.
    pub base_again: &'a [f32],
    /// What the patch says.
    pub patch: &'a [f32],
    /// What happened; none where base and patch do not score rows but give the rank of what happened, from 1.
    pub labels: Option<&'a [f32]>,
    /// Whose row it is.
    pub users: &'a [u32],
    /// Protected slices: a name, and whether each row is in it.
    pub slices: &'a [(String, Vec<bool>)],
}

/// What the gate found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateReport {
    /// The worst of all below.
    pub verdict: Verdict,
    /// What was asked.
    pub config: GateConfig,
    /// All rows, then each protected slice.
    pub slices: Vec<SliceReport>,
    /// What is wrong with the measurement as a whole.
    pub doubts: Vec<String>,
}

/// What the gate found in a slice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SliceReport {
    /// Its name; `all` for all rows.
    pub slice: String,
    /// Rows.
    pub rows: usize,
    /// Users with rows.
    pub users: usize,
    /// The gain, larger is better; none where the metric is undefined.
    pub gain: Option<f64>,
    /// The end of its one-sided interval.
    pub low: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
    /// Why, where it is not promoted.
    pub reason: Option<String>,
}

/// Name of the slice of all rows.
const ALL: &str = "all";
/// Share of draws on which the metric may be undefined.
const UNDEFINED: f64 = 0.05;

impl GateConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`RegistryError::GateSetting`] and [`RegistryError::Gate`].
    pub fn validate(&self) -> Result<(), RegistryError> {
        let setting = |what, value, allowed| Err(RegistryError::GateSetting { what, value, allowed });
        if !(self.margin >= 0.0 && self.margin.is_finite()) {
            return setting("margin", self.margin, "0 and more");
        }
        if !(self.confidence > 0.5 && self.confidence < 1.0) {
            return setting("confidence", self.confidence, "between 0.5 and 1, both excluded");
        }
        if !(self.most_gain > 0.0 && self.most_gain.is_finite()) {
            return setting("most_gain", self.most_gain, "above 0");
        }
        if self.least_users < 2 {
            return setting("least_users", self.least_users as f64, "2 and more");
        }
        Ok(self.bootstrap().validate()?)
    }

    /// An interval with the same tail on both sides, of which the lower end is used.
    fn bootstrap(&self) -> Bootstrap {
        Bootstrap { draws: self.draws, seed: self.seed, level: 2.0 * self.confidence - 1.0 }
    }

    /// Judges a patch. `preflight` is what was checked of the data and the base; without it, or with one that has looked at no setting,
    /// nothing is promoted.
    ///
    /// ```
    /// use acclimate_registry::{GateConfig, Paired, Verdict};
    /// let users: Vec<u32> = (0..200).collect();
    /// let labels: Vec<f32> = users.iter().map(|user| (user % 2) as f32).collect();
    /// let base = vec![0.5; 200];
    /// let worse: Vec<f32> = labels.iter().map(|label| 0.55 - 0.1 * label).collect();
    /// let rows = Paired { base: &base, base_again: &base, patch: &worse, labels: Some(&labels), users: &users, slices: &[] };
    /// let report = GateConfig::default().judge(&rows, None)?;
    /// assert_eq!(report.verdict, Verdict::Rejected);
    /// # Ok::<(), acclimate_registry::RegistryError>(())
    /// ```
    ///
    /// # Errors
    /// Settings out of their range, columns of different lengths, a metric that rows do not have, unfit labels or scores of the base. A patch with unfit scores is
    /// rejected.
    pub fn judge(&self, rows: &Paired<'_>, preflight: Option<&Preflight>) -> Result<GateReport, RegistryError> {
        self.validate()?;
        let everything = vec![true; rows.users.len()];
        let all = self.slice(rows, ALL, &everything)?;
        let mut slices = vec![all];
        for (name, chosen) in rows.slices {
            slices.push(self.slice(rows, name, chosen)?);
        }
        let mut doubts = Vec::new();
        let different = rows.base.iter().zip(rows.base_again).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        if different > 0 || rows.base.len() != rows.base_again.len() {
            doubts.push(format!("the base scores {different} rows differently when it is asked again"));
        }
        if let Some(preflight) = preflight {
            doubts.extend(preflight.warnings());
            let unlike = preflight.settings.iter().filter(|setting| setting.different > 0 || setting.largest_difference != 0.0);
            doubts.extend(unlike.map(|setting| format!("preflight, {}: the base differs from itself", setting.setting)));
        }
        let of_slices = slices.iter().map(|slice| slice.verdict).max().unwrap_or(Verdict::Ungated);
        let of_measurement = match (doubts.is_empty(), preflight) {
            (false, _) => Verdict::Suspicious,
            (true, preflight) if preflight.is_none_or(|preflight| preflight.settings.is_empty()) => {
                doubts.push("no preflight was made: it says whether figures of this data can be believed".to_owned());
                Verdict::Ungated
            }
            (true, _) => Verdict::Promoted,
        };
        Ok(GateReport { verdict: of_slices.max(of_measurement), config: self.clone(), slices, doubts })
    }

    fn slice(&self, rows: &Paired<'_>, name: &str, chosen: &[bool]) -> Result<SliceReport, RegistryError> {
        let length = |what: &str, found: usize| {
            let (what, expected) = (what.to_owned(), rows.users.len());
            if found == expected { Ok(()) } else { Err(acclimate_eval::EvalError::Length { what, expected, found }) }
        };
        length("scores of the base", rows.base.len())?;
        length("scores of the patch", rows.patch.len())?;
        length("labels", rows.labels.map_or(rows.users.len(), <[f32]>::len))?;
        length(&format!("slice `{name}`"), chosen.len())?;
        let at: Vec<usize> = (0..chosen.len()).filter(|&row| chosen[row]).collect();
        let take = |values: &[f32]| at.iter().map(|&row| values[row]).collect::<Vec<f32>>();
        let mut owners: Vec<u32> = at.iter().map(|&row| rows.users[row]).collect();
        let of_rows = owners.clone();
        owners.sort_unstable();
        owners.dedup();
        let report = |gain, low, verdict, reason| SliceReport {
            slice: name.to_owned(),
            rows: at.len(),
            users: owners.len(),
            gain,
            low,
            verdict,
            reason,
        };
        if let Some(row) = at.iter().find(|&&row| !rows.patch[row].is_finite()) {
            let reason = format!("the patch scores row {row} as {}", rows.patch[*row]);
            return Ok(report(None, None, Verdict::Rejected, Some(reason)));
        }
        if owners.len() < self.least_users {
            let reason = format!("{} users, at least {} are asked for", owners.len(), self.least_users);
            return Ok(report(None, None, Verdict::Ungated, Some(reason)));
        }
        let statistics = match rows.labels {
            Some(labels) => {
                let evaluation = EvaluationRows::new(&of_rows, &take(labels))?;
                let of = |method, scores| Statistic::of_rows(&self.metric, &evaluation, method, &take(scores));
                [of("patch", rows.patch)?, of("base", rows.base)?]
            }
            None => {
                let queries = EvaluationQueries::new(&of_rows)?;
                let of = |method, ranks| Statistic::of_ranks(&self.metric, &queries, method, &take(ranks));
                [of("patch", rows.patch)?, of("base", rows.base)?]
            }
        };
        let [patch, base] = statistics;
        let sample = |method: &str, statistic| Sample { method: method.to_owned(), seeds: vec![statistic] };
        let comparison = self.bootstrap().compare(&[sample("patch", patch), sample("base", base)])?;
        let undefined = comparison.estimates.iter().map(|estimate| estimate.undefined_draws).max().unwrap_or(0);
        let goal = self.metric.goal();
        let bounds = comparison.difference(0, 1, goal).and_then(|d| Some((d.value, d.ci_low?, d.ci_high?)));
        let Some((value, low, high)) = bounds.filter(|_| undefined as f64 <= UNDEFINED * self.draws as f64) else {
            return Ok(report(None, None, Verdict::Ungated, Some(format!("`{}` is undefined here", self.metric))));
        };
        let (gain, low) = if goal == Goal::Higher { (value, low) } else { (-value, -high) };
        let (verdict, reason) = if gain > self.most_gain {
            (Verdict::Suspicious, Some(format!("a gain of {gain:.4} is above the {} that is believed", self.most_gain)))
        } else if low >= -self.margin {
            (Verdict::Promoted, None)
        } else {
            (Verdict::Rejected, Some(format!("the gain may be as low as {low:.4}, allowed is {:.4}", -self.margin)))
        };
        Ok(report(Some(gain), Some(low), verdict, reason))
    }
}

#[cfg(test)]
mod tests;
