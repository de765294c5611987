//! What was said as tables: a setting of some newcomers, or of several.

use acclimate_eval::{Cost, Entrant, EvaluationQueries, EvaluationRows, Kind, LabelRange, Metric, Outcome, Panel, Place, Statistic};

use super::bench::{mean, told};
use super::{Newcomers, Question};
use crate::lab::Finished;
use crate::{ExperimentError, Lab, Source};

/// What one entrant said in each setting, one run a seed.
pub(crate) struct Said {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) runs: Vec<Finished>,
}

/// What is measured: ratings, or ranks among all items and among some.
pub(crate) struct Wanted {
    pub(crate) range: Option<LabelRange>,
    /// Metrics of ratings, or of full rankings and of sampled ones.
    metrics: [Vec<Metric>; 2],
    /// What settings are chosen by.
    pub(crate) select: Metric,
    /// Candidates of sampled metrics; 0 where there are none.
    count: usize,
    scenario: &'static str,
    /// What methods are compared with beside the floors.
    control: Option<&'static str>,
}

impl Wanted {
    /// The metrics of an experiment, where `count` candidates are sampled and labels are in `range`.
    pub(crate) fn new(
        lab: &Lab<'_>,
        count: usize,
        range: Option<LabelRange>,
        (scenario, control): (&'static str, Option<&'static str>),
    ) -> Result<Self, ExperimentError> {
        let default = if range.is_some() { "rmse" } else { "mrr[full]" };
        let select = lab.experiment.select.clone().unwrap_or_else(|| default.parse().expect("a metric's own name"));
        let place = |metric: &Metric| match (range, crate::sequences::is_sampled(metric, count)) {
            (Some(_), _) if matches!(metric, Metric::Mae { .. } | Metric::Rmse { .. }) => Some(0),
            (None, Some(sampled)) => Some(usize::from(sampled)),
            _ => None,
        };
        let mut metrics = [Vec::new(), Vec::new()];
        for metric in lab.experiment.metrics.iter().chain([&select]) {
            if place(metric).is_none() {
                let these = match (range, count) {
                    (Some(_), _) => "mae and rmse".to_owned(),
                    (None, 0) => "metrics of ranks among [full], such as `mrr[full]`,".to_owned(),
                    (None, count) => format!("metrics of ranks among [full] or [sampled={count}], such as `mrr[full]`"),
                };
                return Err(lab.experiment.problem("metrics", format!("`{metric}` can not be measured here, but {these} can")));
            }
        }
        if place(&select) == Some(1) {
            return Err(lab
                .experiment
                .problem("select", format!("`{select}` ranks among a sample; choose by a full ranking, such as `mrr[full]`")));
        }
        for metric in &lab.experiment.metrics {
            metrics[place(metric).expect("checked above")].push(metric.clone());
        }
        Ok(Self { range, metrics, select, count, scenario, control })
    }

    /// The metric that settings are chosen by, higher is better, of what was said about questions.
    pub(crate) fn judge(&self, lab: &Lab<'_>, questions: &[&Question], values: &[f32]) -> Result<f64, ExperimentError> {
        let users: Vec<u32> = questions.iter().flat_map(|q| q.asked.iter().map(|_| q.user)).collect();
        let statistic = if let Some(range) = self.range {
            let labels: Vec<f32> = questions.iter().flat_map(|q| q.labels.iter().copied()).collect();
            Statistic::of_rows(&self.select, &EvaluationRows::new(&users, &labels)?.with_label_range(range), "validation", values)?
        } else {
            Statistic::of_ranks(&self.select, &EvaluationQueries::new(&users)?, "validation", values)?
        };
        let value = statistic
            .value()
            .ok_or_else(|| lab.experiment.problem("select", format!("`{}` is undefined on validation people", self.select)))?;
        Ok(-self.select.goal().badness(value))
    }

    /// A table for each setting and kind of candidates; `said` is what entrants said of each of `all`.
    pub(crate) fn outcomes(
        &self,
        lab: &Lab<'_>,
        source: &Source,
        all: &[Newcomers],
        said: Vec<Vec<Said>>,
    ) -> Result<Vec<Outcome>, ExperimentError> {
        let mut outcomes = Vec::new();
        let kinds: &[&str] = if self.range.is_some() { &["rating"] } else { &["full", "sampled"] };
        for (kind, metrics) in kinds.iter().zip(&self.metrics).filter(|(_, metrics)| !metrics.is_empty()) {
            for (newcomers, said) in all.iter().zip(&said) {
                for setting in &newcomers.settings {
                    let parts = [(newcomers, &said[..])];
                    outcomes.push(self.outcome(
                        lab,
                        source,
                        (&format!("{}{}", newcomers.name, setting.suffix), &setting.suffix, kind),
                        &parts,
                        metrics,
                    )?);
                }
            }
            if all.len() > 1 {
                let parts: Vec<(&Newcomers, &[Said])> = all.iter().zip(said.iter().map(Vec::as_slice)).collect();
                outcomes.push(self.outcome(lab, source, ("both", "", kind), &parts, metrics)?);
            }
        }
        if let Some(first) = outcomes.first_mut() {
            first.notes.extend(all.iter().flat_map(|newcomers| newcomers.notes.iter().cloned()));
        }
        Ok(outcomes)
    }

    /// One table: a setting of some newcomers, or of all, whose people count apart.
    fn outcome(
        &self,
        lab: &Lab<'_>,
        source: &Source,
        (name, suffix, kind): (&str, &str, &str),
        parts: &[(&Newcomers, &[Said])],
        metrics: &[Metric],
    ) -> Result<Outcome, ExperimentError> {
        let (mut users, mut labels, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (newcomers, _)) in parts.iter().enumerate() {
            let setting = newcomers.settings.iter().find(|s| s.suffix == suffix).expect("a setting of all of them");
            let mut rows = Vec::new();
            for question in newcomers.asked(lab.measure, setting) {
                // Sampled metrics leave out people with too few candidates.
                let counts = kind != "sampled" || question.sampled.len() == self.count;
                rows.extend(question.asked.iter().map(|_| counts));
                if counts {
                    users.extend(question.asked.iter().map(|_| question.user * parts.len() as u32 + at as u32));
                    labels.extend(question.labels.iter().copied());
                }
            }
            kept.push(rows);
        }
        if users.is_empty() {
            let problem = format!("`count` = {} is more than any person of {name} has; ask for fewer here and in [sampled=N]", self.count);
            return Err(lab.experiment.problem("[scenario] negatives", problem));
        }
        let mut panel = Panel::new(
            Place { dataset: source.dataset.name.clone(), scenario: self.scenario.into(), setting: name.into() },
            lab.experiment.bootstrap,
        );
        let references: Vec<&str> = self.control.into_iter().chain(lab.experiment.references.iter().map(String::as_str)).collect();
        panel = panel.with_references(&references);
        for at in 0..parts[0].1.len() {
            let first = &parts[0].1[at];
            let run = |seed: usize| -> Vec<f32> {
                let of_part = |((newcomers, said), kept): (&(&Newcomers, &[Said]), &Vec<bool>)| {
                    let wanted = format!("{}{suffix}|{kind}", newcomers.name);
                    let finished = &said[at].runs[seed];
                    let values = finished.predictions.iter().find(|p| p.setting == wanted).map_or(&[][..], |p| &p.values);
                    values.iter().zip(kept).filter(|(_, kept)| **kept).map(|(value, _)| *value).collect::<Vec<f32>>()
                };
                parts.iter().zip(&kept).flat_map(of_part).collect()
            };
            let settings = || -> Vec<_> {
                parts.iter().flat_map(|(newcomers, said)| told(newcomers, parts.len(), &said[at].runs[0].settings)).collect()
            };
            let entrant = if first.kind == Kind::Floor {
                Entrant::deterministic(&first.name, first.kind, run(0)).with_settings(vec![settings()])
            } else {
                let runs = lab.seeds.iter().enumerate().map(|(at, &seed)| (seed, run(at))).collect();
                let costs: Vec<Cost> = parts.iter().flat_map(|(_, said)| said[at].runs.iter().map(|run| run.cost)).collect();
                let entrant = Entrant::trained(&first.name, first.kind, runs, mean(&costs));
                match self.control {
                    Some(control) if control != first.name => entrant.on(control),
                    _ => entrant,
                }
            };
            panel = panel.enter(entrant);
        }
        Ok(if let Some(range) = self.range {
            panel.on_rows(&EvaluationRows::new(&users, &labels)?.with_label_range(range), metrics)?
        } else {
            panel.on_ranks(&EvaluationQueries::new(&users)?, metrics)?
        })
    }
}
