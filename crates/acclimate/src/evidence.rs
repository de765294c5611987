//! Which items to ask a new user about.
//!
//! MeLU's evidence candidates: an item is worth asking about if one answer moves the network far and if many can answer.
//!
//! ```text
//! score_j = (D_j / max D) (P_j / max P),   D_j = mean over rows of j of the unit error,   P_j = number of rows of j
//!
//! unit error   paper      ‖∇_θ L / |L|‖ = c ‖∇_θ s‖,   c = 2 / |s - y| (squared error), |σ(s) - y| / L (clicks)
//!              clamped    the same with an error of a tenth of the label's range at least
//!              jacobian   ‖∇_θ s‖
//! ```
//!
//! with θ the tower of the base and `|L|` held constant. As published the unit error grows without bound where the base is right, so that it favours items
//! which are predicted almost exactly; the other two do not.
//!
//! # References
//! H. Lee, J. Im, S. Jang, H. Cho, S. Chung, *MeLU: Meta-Learned User Preference Estimator for Cold-Start Recommendation*, KDD 2019.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use acclimate_data::{LabelKind, RandomStream};
use acclimate_eval::{Bootstrap, Entrant, Environment, Kind, Metric, Panel, Place, Report};
use acclimate_model::{Objective, Params};
use acclimate_train::{Scorer, Sensitivity};
use burn::tensor::Device;
use serde::Serialize;

use crate::ExperimentError;
use crate::compare::now;
use crate::evaluate::of_predictions;
use crate::host;
use crate::lab::{evaluation_rows, pretraining};
use crate::open::OpenBase;

/// How items are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// How far an answer moves the base, times how many can answer.
    #[default]
    UnitError,
    /// How many rows an item has.
    Popularity,
    /// That, times the entropy of its labels: items that many know and on which they differ.
    PopularityEntropy,
    /// Greedy D-optimal design on what goes into the base's head: items that together tell most of a user's own head, each weighed by the share of users who
    /// can answer.
    DOptimal,
    /// By chance.
    Random,
}

impl By {
    /// All rules.
    pub const ALL: [Self; 5] = [Self::UnitError, Self::Popularity, Self::PopularityEntropy, Self::DOptimal, Self::Random];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnitError => "unit_error",
            Self::Popularity => "popularity",
            Self::PopularityEntropy => "popularity_entropy",
            Self::DOptimal => "d_optimal",
            Self::Random => "random",
        }
    }
}

/// Which unit error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitError {
    /// The length of the score's gradient.
    #[default]
    Jacobian,
    /// As published.
    Paper,
    /// As published, with an error of a tenth of the label's range at least.
    Clamped,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Number of items.
    pub k: usize,
    /// How they are chosen.
    pub by: By,
    /// Which unit error.
    pub unit_error: UnitError,
    /// Seed of [`By::Random`].
    pub seed: u64,
}

/// An item to ask about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// The item's id.
    pub item: String,
    /// What it was chosen by; of a design, the gain in log-determinant when it was added.
    pub score: f64,
    /// Training rows of the item.
    pub rows: usize,
    /// Their mean label.
    pub mean_label: f64,
    /// The item.
    #[serde(skip)]
    pub index: usize,
}

/// What the training rows tell of each item.
struct Item {
    index: usize,
    rows: usize,
    mean_label: f64,
    entropy: f64,
    unit_error: f64,
    /// Mean of what goes into the head, and a 1.
    features: Vec<f64>,
}

/// The items to ask about, best first.
///
/// # Errors
/// Data without a training part, fewer items there than are asked for, or a rule that needs a plain tower on a base without one.
pub fn candidates(open: &OpenBase, request: &Request) -> Result<Vec<Candidate>, ExperimentError> {
    let items = items(open, request)?;
    chosen(open, &items, request, request.by)
}

fn chosen(open: &OpenBase, items: &[Item], request: &Request, by: By) -> Result<Vec<Candidate>, ExperimentError> {
    if request.k > items.len() {
        return Err(problem(
            open,
            format!("has {} items with training rows, fewer than the {} asked for; lower -k", items.len(), request.k),
        ));
    }
    let most = |of: fn(&Item) -> f64| items.iter().map(of).fold(f64::MIN_POSITIVE, f64::max);
    let (most_rows, most_error) = (most(|item| item.rows as f64), most(|item| item.unit_error));
    let popularity = |item: &Item| item.rows as f64 / most_rows;
    let scores: Vec<f64> = match by {
        By::UnitError => items.iter().map(|item| item.unit_error / most_error * popularity(item)).collect(),
        By::Popularity => items.iter().map(popularity).collect(),
        By::PopularityEntropy => items.iter().map(|item| popularity(item) * item.entropy).collect(),
        By::Random => (0..).zip(items).map(|(at, _)| RandomStream::new(request.seed, 0, at).unit()).collect(),
        By::DOptimal => {
            let users = open.source.dataset.users.len().max(1) as f64;
            let weights: Vec<f64> = items.iter().map(|item| (item.rows as f64 / users).min(1.0)).collect();
            let features: Vec<&[f64]> = items.iter().map(|item| &item.features[..]).collect();
            return Ok(design(&features, &weights, request.k).into_iter().map(|(at, gain)| candidate(open, &items[at], gain)).collect());
        }
    };
    let mut order: Vec<usize> = (0..items.len()).collect();
    // Equal scores: the item that stands first in the log.
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    Ok(order[..request.k].iter().map(|&at| candidate(open, &items[at], scores[at])).collect())
}

fn candidate(open: &OpenBase, item: &Item, score: f64) -> Candidate {
    let Item { index, rows, mean_label, .. } = *item;
    Candidate { item: open.source.dataset.items[index].clone(), score, rows, mean_label, index }
}

/// Greedy choice of `k` rows that raises `log det(I + Σ w_j x_j x_jᵀ)` most, with the gain of each.
///
/// `log det(A + w x xᵀ) = log det A + log(1 + w xᵀ A⁻¹ x)`, and `A⁻¹` follows by Sherman and Morrison.
fn design(rows: &[&[f64]], weights: &[f64], k: usize) -> Vec<(usize, f64)> {
    let d = rows.first().map_or(0, |row| row.len());
    let mut inverse: Vec<f64> = (0..d * d).map(|i| f64::from(u8::from(i % (d + 1) == 0))).collect();
    let mut left: Vec<usize> = (0..rows.len()).collect();
    let mut chosen = Vec::new();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for _ in 0..k.min(rows.len()) {
        let through = |row: &[f64], inverse: &[f64]| inverse.chunks_exact(d).map(|of| dot(of, row)).collect::<Vec<f64>>();
        let gain = |at: usize| (1.0 + weights[at] * dot(rows[at], &through(rows[at], &inverse))).ln();
        let best = (0..left.len()).map(|place| (place, gain(left[place]))).reduce(|a, b| if b.1 > a.1 { b } else { a });
        let (place, gain) = best.expect("rows are left");
        let at = left.remove(place);
        let ax = through(rows[at], &inverse);
        let scale = weights[at] / (1.0 + weights[at] * dot(rows[at], &ax));
        for (i, a) in ax.iter().enumerate() {
            for (j, b) in ax.iter().enumerate() {
                inverse[i * d + j] -= scale * a * b;
            }
        }
        chosen.push((at, gain));
    }
    chosen
}

/// What the training rows tell of the items that have some.
fn items(open: &OpenBase, request: &Request) -> Result<Vec<Item>, ExperimentError> {
    let (base, dataset) = (&open.saved.base, &open.source.dataset);
    if !open.has_parts() {
        return Err(problem(open, "has no training part, which items are chosen by; leave --data out".to_owned()));
    }
    let rows = open.rows("train", None)?;
    let plain = pretraining(base)?;
    let scorer = Scorer::new(base, plain.as_ref(), &Params::default(), &Device::flex());
    let found = scorer.sensitivity(dataset, &rows).ok_or_else(|| {
        problem(
            open,
            "needs a base with a plain tower, a `dnn` without norms, `interaction` and `attention`, to tell what an answer moves"
                .to_owned(),
        )
    })?;
    let errors = unit_errors(&found, base.spec.objective, dataset.label, request.unit_error);
    let width = found.features.len() / rows.len().max(1);
    let mut of_item: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    rows.iter().enumerate().for_each(|(at, &row)| of_item.entry(dataset.log.item[row as usize].at()).or_default().push(at));
    let item = |(index, places): (usize, Vec<usize>)| {
        let count = places.len() as f64;
        let mean = |of: &dyn Fn(usize) -> f64| places.iter().map(|&at| of(at)).sum::<f64>() / count;
        let label = |at: usize| dataset.log.label[rows[at] as usize];
        let mut shares: BTreeMap<u32, f64> = BTreeMap::new();
        places.iter().for_each(|&at| *shares.entry(label(at).to_bits()).or_default() += 1.0 / count);
        let features = (0..width).map(|d| mean(&|at| f64::from(found.features[at * width + d]))).chain([1.0]);
        Item {
            index,
            rows: places.len(),
            mean_label: mean(&|at| f64::from(label(at))),
            entropy: -shares.values().map(|p| p * p.ln()).sum::<f64>(),
            unit_error: mean(&|at| errors[at]),
            features: features.collect(),
        }
    };
    let mut items: Vec<Item> = of_item.into_iter().map(item).collect();
    // Features of one size, so that the prior of a design does not depend on how the network was scaled.
    for d in 0..width {
        let scale = (items.iter().map(|item| item.features[d].powi(2)).sum::<f64>() / items.len() as f64).sqrt();
        items.iter_mut().filter(|_| scale > 0.0).for_each(|item| item.features[d] /= scale);
    }
    Ok(items)
}

/// The unit error of each row; see the head of this file.
fn unit_errors(found: &Sensitivity, objective: Objective, label: LabelKind, which: UnitError) -> Vec<f64> {
    /// An error that is 0 in `f32` still has a gradient.
    const LEAST: f64 = 1e-6;
    let least = match (which, label) {
        (UnitError::Clamped, LabelKind::Rating { min, max }) => 0.1 * f64::from((max - min) / label.unit()),
        (UnitError::Clamped, _) => 0.1,
        _ => LEAST,
    };
    let factor = |(&score, &label): (&f32, &f32)| {
        if which == UnitError::Jacobian {
            return 1.0;
        }
        let (score, label) = (f64::from(score), f64::from(label));
        if objective == Objective::SquaredError {
            return 2.0 / (score - label).abs().max(least);
        }
        let error = (1.0 / (1.0 + (-score).exp()) - label).abs().clamp(least, 1.0 - LEAST);
        error / -(1.0 - error).ln()
    };
    found.scores.iter().zip(&found.labels).map(factor).zip(&found.lengths).map(|(factor, &length)| factor * f64::from(length)).collect()
}

/// How items are judged by what a patch makes of the answers.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// A patch that adapts to the rows of a user.
    pub patch: PathBuf,
    /// The part whose users are asked; those with training rows are left out.
    pub part: String,
    /// Metrics; empty: mae and rmse for ratings, auc and log_loss for clicks.
    pub metrics: Vec<Metric>,
    /// The command line, for the report.
    pub command: String,
}

/// Asks held-out users about the items of every rule: a user's rows on these items are the support set, items without a row are not answered; the patch
/// adapts and scores the user's rows on items that no rule has chosen, so that all rules are judged on the same rows.
///
/// # Errors
/// A patch of another base or one that does not adapt to users, a part without held-out users, or a metric that does not apply.
pub fn evaluate(open: &OpenBase, request: &Request, how: &Evaluation) -> Result<Report, ExperimentError> {
    let (began, started) = (Instant::now(), now());
    let items = items(open, request)?;
    let lists = By::ALL.iter().map(|&by| chosen(open, &items, request, by)).collect::<Result<Vec<_>, _>>()?;
    let patch = open.patch(&how.patch)?;
    let adaptation = patch.adaptation(&open.saved.base)?;
    if !adaptation.needs().groups.are_tasks() {
        let problem = format!(
            "is a patch of `{}`, which does not adapt to the rows of a user; name one that does, such as of `maml`",
            patch.manifest.method
        );
        return Err(ExperimentError::Artifact { path: how.patch.clone(), problem });
    }
    let opened = open.knowing(&patch)?;
    let dataset = &opened.as_ref().unwrap_or(open).source.dataset;
    let known: HashSet<u32> = open.rows("train", None)?.iter().map(|&row| dataset.log.user[row as usize].0).collect();
    let mut users: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut left_out = BTreeSet::new();
    for row in open.rows(&how.part, None)? {
        let user = dataset.log.user[row as usize].0;
        if known.contains(&user) {
            left_out.insert(user);
        } else {
            users.entry(user).or_default().push(row);
        }
    }
    let asked: HashSet<usize> = lists.iter().flatten().map(|candidate| candidate.index).collect();
    let item = |row: &u32| dataset.log.item[*row as usize].at();
    let queries: Vec<(u32, Vec<u32>)> = users
        .iter()
        .map(|(&user, rows)| (user, rows.iter().copied().filter(|row| !asked.contains(&item(row))).collect::<Vec<_>>()))
        .filter(|(_, query)| !query.is_empty())
        .collect();
    if queries.is_empty() {
        let problem = format!(
            "part `{}` has no user without training rows who has a row on an item that is not asked about; name another --part",
            how.part
        );
        return Err(self::problem(open, problem));
    }
    let rows: Vec<u32> = queries.iter().flat_map(|(_, query)| query).copied().collect();
    let (patched, device) = (patch.apply(&open.saved.base)?, Device::flex());
    let scorer = Scorer::new(&patched, adaptation.as_ref(), &patch.own, &device);
    let said = |list: &[Candidate]| {
        let list: HashSet<usize> = list.iter().map(|candidate| candidate.index).collect();
        let support = |user: &u32| users[user].iter().copied().filter(|row| list.contains(&item(row))).collect::<Vec<u32>>();
        let tasks: Vec<(Vec<u32>, &[u32])> = queries.iter().map(|(user, query)| (support(user), &query[..])).collect();
        let answers = tasks.iter().map(|(support, _)| support.len()).sum::<usize>() as f64 / tasks.len() as f64;
        let scores = scorer.tasks(dataset, &tasks)?.concat();
        let predictions: Vec<f32> = scores.into_iter().map(|score| patched.spec.objective.predict(score)).collect();
        Ok::<_, ExperimentError>((predictions, answers))
    };
    let place =
        Place { dataset: dataset.name.clone(), scenario: "evidence".into(), setting: format!("{},candidates={}", how.part, request.k) };
    let panel = Panel::new(place, Bootstrap::default()).with_references(&[UNASKED, By::Popularity.name()]);
    let mut panel = panel.enter(Entrant::deterministic(UNASKED, Kind::Control, said(&[])?.0));
    let mut notes = vec![format!(
        "{} users without training rows are asked about {} items; {} rows on items of no list judge.",
        queries.len(),
        request.k,
        rows.len()
    )];
    if !left_out.is_empty() {
        notes.push(format!("{} users of part `{}` are left out: the base has learned from them.", left_out.len(), how.part));
    }
    for (by, list) in By::ALL.iter().zip(&lists) {
        let (predictions, answers) = said(list)?;
        notes.push(format!("{}: a user answers {answers:.1} of {} on average.", by.name(), request.k));
        panel = panel.enter(Entrant::deterministic(by.name(), Kind::Adaptation, predictions));
    }
    let defaults = if matches!(dataset.label, LabelKind::Rating { .. }) { ["mae", "rmse"] } else { ["auc", "log_loss"] };
    let metrics = match how.metrics.is_empty() {
        true => defaults.map(str::parse).into_iter().collect::<Result<_, _>>()?,
        false => how.metrics.clone(),
    };
    of_predictions(&metrics)?;
    let mut report = Report { title: format!("{}: evidence", dataset.name), command: how.command.clone(), notes, ..Report::default() };
    report.environment = Environment { seeds: vec![request.seed], started, ..host::environment() };
    report.extend(panel.on_rows(&evaluation_rows(dataset, &rows, &open.source.domain_column)?, &metrics)?);
    report.environment.seconds = began.elapsed().as_secs_f64();
    report.environment.peak_memory_mib = host::peak_memory_mib();
    Ok(report)
}

/// The patch without any answer.
const UNASKED: &str = "unasked";

fn problem(open: &OpenBase, problem: String) -> ExperimentError {
    ExperimentError::Artifact { path: Path::new(&open.source.dataset.name).into(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_design_takes_what_adds_most_to_what_was_taken() {
        let rows: [&[f64]; 4] = [&[2.0, 0.0], &[1.9, 0.0], &[0.0, 1.0], &[0.5, 0.5]];
        let chosen = design(&rows, &[1.0; 4], 3);
        // The second is the first once more; gains add up to the log-determinant of I + Σ x xᵀ.
        assert_eq!(chosen.iter().map(|c| c.0).collect::<Vec<_>>(), [0, 2, 1]);
        let [a, b] = [1.0 + 4.0 + 3.61, 2.0_f64];
        assert!((chosen.iter().map(|c| c.1).sum::<f64>() - (a * b).ln()).abs() < 1e-12);
        // What few can answer is worth little.
        assert_eq!(design(&rows, &[0.01, 0.01, 1.0, 0.01], 1)[0].0, 2);
    }

    #[test]
    fn unit_errors_follow_their_formulas() {
        let found = Sensitivity { scores: vec![1.0, 2.0, 2.0], labels: vec![3.0, 2.5, 2.0], lengths: vec![4.0; 3], features: Vec::new() };
        let stars = LabelKind::Rating { min: 1.0, max: 5.0 };
        let of = |which| unit_errors(&found, Objective::SquaredError, stars, which);
        assert_eq!(of(UnitError::Jacobian), [4.0; 3]);
        // 2 · 4 / 2, 2 · 4 / 0.5, and beyond bounds where the base is right.
        let paper = of(UnitError::Paper);
        assert!(paper[..2] == [4.0, 16.0] && paper[2] > 1e6, "{paper:?}");
        // A tenth of the range is 0.4.
        let clamped = of(UnitError::Clamped);
        assert!(clamped[..2] == [4.0, 16.0] && (clamped[2] - 20.0).abs() < 1e-5, "{clamped:?}");
        // Clicks: |σ(s) − y| / L with s = 0 and y = 1 is 0.5 / ln 2.
        let click = Sensitivity { scores: vec![0.0], labels: vec![1.0], lengths: vec![2.0], features: Vec::new() };
        let found = unit_errors(&click, Objective::Logistic, LabelKind::Click, UnitError::Paper)[0];
        assert!((found - 1.0 / 2.0_f64.ln()).abs() < 1e-12, "{found}");
    }
}
