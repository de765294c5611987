//! What is refused before anything is trained: parts without rows or labels, metrics without a value, methods that do not fit.

use acclimate_adapt::{Groups, SourceRows, build_method};
use acclimate_data::{Dataset, LabelKind, TasksOf};
use acclimate_eval::{Metric, Statistic};
use acclimate_model::{Base, Objective};
use acclimate_train::feed::Sampling;

use super::{Offers, objective, spec};
use crate::experiment::Merge;
use crate::lab::{judging_rows, target};
use crate::{ExperimentError, Lab, Source, floors};

/// Refuses a part without rows; `of` says of what, such as ` of tab=2`.
pub(in crate::scenario) fn filled(lab: &Lab<'_>, part: &str, of: &str, rows: &[u32]) -> Result<(), ExperimentError> {
    if rows.is_empty() {
        return Err(lab.experiment.problem("[split]", format!("part `{part}` has no rows{of}; move the bounds of the split")));
    }
    Ok(())
}

/// Refuses clicks that are all alike: there is nothing to learn from them.
pub(in crate::scenario) fn learnable(
    lab: &Lab<'_>,
    source: &Source,
    (part, of): (&str, &str),
    rows: &[u32],
) -> Result<(), ExperimentError> {
    filled(lab, part, of, rows)?;
    match (source.dataset.label, all_alike(&source.dataset, rows)) {
        (LabelKind::Click, Some(label)) => {
            let problem =
                format!("part `{part}` has rows of one label only{of}: all {} are {label}; move the bounds of the split", rows.len());
            Err(lab.experiment.problem("[split]", problem))
        }
        _ => Ok(()),
    }
}

/// The label of some rows, if they have one only.
pub(in crate::scenario) fn all_alike(dataset: &Dataset, rows: &[u32]) -> Option<f32> {
    let label = |row: &u32| dataset.log.label[*row as usize];
    let first = label(rows.first()?);
    rows.iter().all(|row| label(row) == first).then_some(first)
}

/// Refuses metrics that no prediction can give a value on some rows, such as an AUC where all labels are alike, before anything is trained.
pub(in crate::scenario) fn defined<'a>(
    lab: &Lab<'_>,
    source: &Source,
    (part, of): (&str, &str),
    rows: &[u32],
    (key, metrics): (&str, impl IntoIterator<Item = &'a Metric>),
) -> Result<(), ExperimentError> {
    let judged = judging_rows(&source.dataset, rows, &source.domain_column)?;
    let any = vec![0.5_f32; rows.len()];
    for metric in metrics {
        // Those that a method may lack have a value wherever there are rows.
        if metric.is_of_some() {
            continue;
        }
        let value = Statistic::of_rows(metric, &judged, "check", &any).map_err(|e| lab.experiment.problem(key, e.to_string()))?.value();
        if value.is_none() {
            let why = all_alike(&source.dataset, rows).map(|label| format!(": the labels of its {} rows are all {label}", rows.len()));
            let why = why.unwrap_or_default();
            let problem = format!(
                "`{metric}` has no value on part `{part}`{of}{why}; move the bounds of [split], or choose a metric that needs no such rows"
            );
            return Err(lab.experiment.problem(key, problem));
        }
    }
    Ok(())
}

/// Builds every base and method once and tries every metric on one row, so that a mistake in the last is found before the first is trained.
pub(in crate::scenario) fn check_methods(lab: &Lab<'_>, source: &Source, offers: Offers) -> Result<(), ExperimentError> {
    let dataset = &source.dataset;
    if dataset.label == LabelKind::Implicit {
        let problem = "needs rows that did not succeed as well, but this data set holds positives only (`kind = \"implicit\"`); give it a \
                       label of kind click or rating, or use scenario `cold_sequence`, which ranks items";
        return Err(lab.experiment.problem("[scenario]", problem));
    }
    let of_clicks = |m: &&Metric| matches!(m, Metric::Auc(_) | Metric::Gauc { .. } | Metric::LogLoss(_) | Metric::Pcoc(_));
    if let (LabelKind::Rating { .. }, Some(metric)) =
        (dataset.label, lab.experiment.metrics.iter().chain(&lab.experiment.select).find(of_clicks))
    {
        return Err(lab.experiment.problem(
            "metrics",
            format!("`{metric}` measures clicks, but the labels here are ratings; use mae, rmse or ndcg@K[gain=linear]"),
        ));
    }
    if let (LabelKind::Click, Some(metric)) = (dataset.label, lab.experiment.metrics.iter().find(|metric| metric.is_of_some())) {
        let problem = format!("`{metric}` measures ratings, but the labels here are clicks; use log_loss or pcoc");
        return Err(lab.experiment.problem("metrics", problem));
    }
    floors::check(lab, false)?;
    let one = judging_rows(dataset, &[0], &source.domain_column)?;
    for metric in lab.experiment.metrics.iter().chain(&lab.experiment.select) {
        Statistic::of_rows(metric, &one, "check", &[0.5_f32]).map_err(|e| lab.experiment.problem("metrics", e.to_string()))?;
    }
    let known = dataset.schema();
    let names = || known.categorical.iter().chain(&known.bags).map(|f| &f.name).chain(&known.numeric);
    if let Some(name) = lab.experiment.floors.without_features.iter().flatten().find(|name| !names().any(|n| n == *name)) {
        let all = names().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(lab.experiment.problem("[floors] without_features", format!("names no feature `{name}`; there are {all}")));
    }
    let configs = lab.experiment.bases()?;
    for config in &configs {
        let problem = |problem: &str| Err(lab.experiment.problem(format!("base `{}`, objective", config.name), problem));
        match (objective(config, dataset), dataset.label) {
            (Objective::Softmax, _) => return problem("`softmax` ranks the next item of a sequence; use it in scenario `cold_sequence`"),
            (Objective::Logistic, LabelKind::Rating { .. }) => {
                return problem("`logistic` gives probabilities of clicks, but the labels here are ratings; use `squared_error`");
            }
            _ => {}
        }
        if objective(config, dataset) == Objective::Bpr {
            let problem = |problem: String| Err(lab.experiment.problem(format!("base `{}`, objective `bpr`", config.name), problem));
            if dataset.label != LabelKind::Click {
                return problem("compares clicked rows with others, but the labels here are ratings; use `squared_error`".into());
            }
            let of_probabilities = |m: &&Metric| matches!(m, Metric::LogLoss(_) | Metric::Pcoc(_));
            if let Some(metric) = lab.experiment.metrics.iter().chain(&lab.experiment.select).find(of_probabilities) {
                return problem(format!("gives an order, no probabilities: leave out `{metric}`, or use `logistic`"));
            }
        }
        Base::init(spec(config, dataset), 0)?;
        let checked = config.train.check(objective(config, dataset), &known);
        checked.map_err(|e| lab.experiment.problem(format!("base `{}`", config.name), e.to_string()))?;
    }
    let settings = lab.experiment.scenario.scenario().train_settings();
    for entry in &lab.experiment.methods {
        let config = configs.iter().find(|c| Some(&c.name) == entry.base.as_ref()).unwrap_or(&configs[0]);
        let base = Base::init(spec(config, dataset), 0)?;
        let method = build_method(&entry.name, &entry.config, target(&base));
        let method = method.map_err(|e| lab.experiment.problem(entry.entry(), e.to_string()))?;
        let problem = |problem: String| lab.experiment.problem(format!("method `{}`", entry.label()), problem);
        if (!entry.train.is_empty() || !entry.train_by_size.is_empty())
            && method.stages().is_some_and(acclimate_adapt::Stages::bring_training)
        {
            return Err(problem(
                "brings its own training; remove `train` and `train_by_size`, or list its methods in a `stack` of your own".into(),
            ));
        }
        if let Some(Merge::Of(names)) = &entry.merge
            && let Some(name) = names.iter().find(|name| !dataset.domains.contains(name))
        {
            return Err(problem(format!("`merge` names no domain `{name}`; the data set has {}", dataset.domains.join(", "))));
        }
        if entry.merge.is_some() && method.needs().source != SourceRows::None {
            return Err(problem(
                "trains on rows of the base's domains beside those of a target, and what is merged has no other; remove `merge`".into(),
            ));
        }
        if entry.merge.is_some() && (method.stages().is_some() || method.start() != acclimate_adapt::Start::Base) {
            return Err(problem("is trained in stages or from a fresh start, and what is merged must start from the base's values; choose another method, or remove `merge`".into()));
        }
        if method.needs().groups.are_tasks() && !matches!(offers, Offers::Support(_)) {
            return Err(problem(
                "adapts to the support rows of a user, which this scenario has not; use it in scenario `cold_start`".into(),
            ));
        }
        if method.needs().groups.are_requests() && dataset.log.request.is_empty() {
            return Err(problem("reads the set of a row's request, and nothing says which rows are one request; add `request` to [interactions] of the data set, a column or a rule such as `{ by = [\"user\", \"domain\"], gap = \"10m\" }` (`requests` to [simulator])".into()));
        }
        let (adapts_to, has) = match (method.needs().groups, offers) {
            (Groups::User, Offers::Support(TasksOf::Items)) => (TasksOf::Users, TasksOf::Items),
            (Groups::Item, Offers::Support(TasksOf::Users)) => (TasksOf::Items, TasksOf::Users),
            _ => (TasksOf::Users, TasksOf::Users),
        };
        if adapts_to != has {
            let [adapts_to, has] = [adapts_to, has].map(TasksOf::name);
            return Err(problem(format!(
                "adapts to {adapts_to}, and the tasks of this experiment are {has}; set `tasks.of = \"{adapts_to}\"` in [scenario], or remove the method"
            )));
        }
        if method.needs().source != SourceRows::None && offers != Offers::Sources {
            return Err(problem(
                "trains on rows of the base's domains beside those of a target, and in this scenario both are the same; use it in scenario `new_domain`".into(),
            ));
        }
        for setting in settings.iter().map(String::as_str).chain([""]) {
            let train = lab.experiment.train_config(entry, setting)?;
            train.check(base.spec.objective, &known).map_err(|e| problem(e.to_string()))?;
            Sampling::of(&train).check(base.spec.objective, method.needs()).map_err(|e| problem(e.to_string()))?;
            if method.needs().groups.are_tasks() && train.intercept == Some(true) {
                return Err(problem(
                    "training: `intercept` is fitted before a user is known, which this method has no use for; remove it".into(),
                ));
            }
        }
    }
    Ok(())
}
