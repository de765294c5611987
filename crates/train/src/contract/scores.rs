//! Laws of a single pass: identity, missing context, finite values.

use acclimate_adapt::{AdaptError, Adaptation, Context, Needs, Start, Unlabelled, fold};
use acclimate_data::{Batch, DomainIndex};
use acclimate_model::kernel::{leaf, to_vec};
use acclimate_model::{Added, AfterPass, Base, Bound, Estimate, Modulation, Objective, Output, Params, Pass};

use super::{Case, Finding, device, first_difference, ground, require, text};
use crate::Scorer;
use crate::feed::Feeding;
use crate::hide::{seen, tables};
use crate::rearrange::{real, rearrange, select};
use crate::teacher::Teacher;
use crate::trainee::{context, estimate};

/// Largest difference between scores that ought to be equal, relative to scores above 1.
pub(super) const CLOSE: f32 = 1e-5;

/// Values and method: what scores.
pub(super) struct Scored<'a> {
    pub(super) base: &'a Base,
    pub(super) own: &'a Params,
    pub(super) adaptation: &'a dyn Adaptation,
}

impl Scored<'_> {
    /// What the adapted network says about a batch.
    pub(super) fn output(&self, feeding: &Feeding) -> Result<Output, AdaptError> {
        self.pass(feeding, None, |output, _| output)
    }

    /// The loss that training minimises from this base: in training mode where it moves running moments, with the penalty and the terms that are known after
    /// the pass.
    pub(super) fn training_loss(&self, feeding: &Feeding, start: &Base) -> Result<f64, AdaptError> {
        self.training_pass(feeding, start, |output, modulation, added| {
            let penalty = modulation.penalty().map_or(0.0, |penalty| f64::from(to_vec(penalty)[0]));
            let terms: f64 = added.into_iter().flat_map(|added| to_vec(added.summands)).map(f64::from).sum();
            exact_loss(self.base.spec.objective, output, &feeding.query) + penalty + terms
        })
    }

    /// What the terms of the loss add and move in a step of training from this base.
    pub(super) fn added(&self, feeding: &Feeding, start: &Base) -> Result<Vec<Added>, AdaptError> {
        self.training_pass(feeding, start, |_, _, added| added)
    }

    fn training_pass<T>(
        &self,
        feeding: &Feeding,
        start: &Base,
        read: impl FnOnce(Output, &Modulation<'_>, Vec<Added>) -> T,
    ) -> Result<T, AdaptError> {
        let estimate = estimate(&self.base.params, self.adaptation, &feeding.query, device());
        let teacher = self.adaptation.needs().teacher.then(|| Teacher::new(start, device()).says(&feeding.query));
        self.pass(feeding, estimate.as_ref(), |output, modulation| {
            let (batch, objective, teacher) = (&feeding.query, self.base.spec.objective, teacher.as_ref());
            let added = modulation.added(&AfterPass { output: &output, batch, objective, teacher });
            read(output, modulation, added)
        })
    }

    fn pass<T>(
        &self,
        feeding: &Feeding,
        estimate: Option<&Estimate>,
        read: impl FnOnce(Output, &Modulation<'_>) -> T,
    ) -> Result<T, AdaptError> {
        let (bound, own) = (bind(&self.base.params), bind(self.own));
        let needs = self.adaptation.needs();
        let reading = self.adaptation.reading(&self.own.values);
        let query = &*seen(&feeding.query, needs, reading.as_ref());
        let support = feeding.support.as_ref().map(|batch| seen(batch, needs, reading.as_ref()));
        let beside = support.as_deref().map(|batch| (batch, inputs(self.base, needs, batch)));
        let beside = beside.as_ref().map(|(batch, inputs)| (*batch, inputs.as_slice()));
        let inputs = inputs(self.base, needs, query);
        let context = context((query, &inputs), beside, needs, self.base.backbone.as_ref());
        let modulation = self.adaptation.adapt(&bound, &own, &context)?;
        let pass = Pass { estimate, ..Pass::new(&bound, &modulation) };
        Ok(read(self.base.backbone.forward(&pass, query, &inputs), &modulation))
    }

    /// Scores of every row, `[G * N]`.
    pub(super) fn scores(&self, feeding: &Feeding) -> Result<Vec<f32>, String> {
        Scorer::new(self.base, self.adaptation, self.own, device()).batch(&feeding.query, feeding.support.as_ref()).map_err(text)
    }

    /// Mean loss over batches.
    pub(super) fn loss(&self, feedings: &[Feeding]) -> Result<f64, AdaptError> {
        let mut sum = 0.0;
        for feeding in feedings {
            let loss = self.base.spec.objective.loss(&self.output(feeding)?, &feeding.query);
            sum += f64::from(to_vec(loss)[0]);
        }
        Ok(sum / feedings.len().max(1) as f64)
    }
}

/// The objective in double precision, from the scores, where their number is small; else as training computes it.
fn exact_loss(objective: Objective, output: Output, batch: &Batch) -> f64 {
    let softplus = |s: f64| s.max(0.0) + (-s.abs()).exp().ln_1p();
    match (objective, output) {
        (Objective::Logistic | Objective::SquaredError, Output::Rows(scores)) => {
            let scores = to_vec(scores);
            let of_row = |i: usize| match (f64::from(scores[i]), f64::from(batch.label[i])) {
                (s, y) if objective == Objective::Logistic => softplus(s) - y * s,
                (s, y) => (s - y).powi(2),
            };
            let groups = real(batch).into_iter().filter(|group| !group.is_empty());
            mean(groups.map(|group| mean(group.into_iter().flatten().map(of_row))))
        }
        (Objective::Softmax, Output::Comparison(comparison)) if comparison.positives.is_none() => {
            softmax_loss(&to_vec(comparison.scores()), &comparison.target)
        }
        (Objective::Softmax, Output::Candidates { scores, target }) => softmax_loss(&to_vec(scores), &target),
        (_, output) => f64::from(to_vec(objective.loss(&output, batch))[0]),
    }
}

/// Mean of `-log softmax` of each position's target among its scores.
fn softmax_loss(scores: &[f32], targets: &[u32]) -> f64 {
    let positions = scores.chunks_exact(scores.len() / targets.len()).zip(targets);
    mean(positions.map(|(scores, &target)| {
        let sum: f64 = scores.iter().map(|&s| f64::from(s).exp()).sum();
        sum.ln() - f64::from(scores[target as usize])
    }))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value));
    sum / f64::from(count.max(1))
}

/// What the base alone says.
pub(super) fn plain(base: &Base, batch: &Batch) -> Output {
    plain_seen(base, Needs::default(), batch)
}

/// What the base alone says of a batch as a method sees it, without what that does not read.
pub(super) fn plain_seen(base: &Base, needs: Needs, batch: &Batch) -> Output {
    let batch = seen(batch, needs, None);
    base.backbone.forward(&Pass::new(&bind(&base.params), &Modulation::none()), &batch, &inputs(base, needs, &batch))
}

pub(super) fn flat(output: Output) -> Vec<f32> {
    match output {
        Output::Rows(scores) | Output::Candidates { scores, .. } => to_vec(scores),
        Output::Comparison(comparison) => to_vec(comparison.scores()),
    }
}

fn bind(params: &Params) -> Bound {
    params.bind(device(), |_| false)
}

fn inputs(base: &Base, needs: Needs, batch: &Batch) -> Vec<burn::tensor::Tensor<3>> {
    base.backbone.gather(&tables(base, needs), batch).into_iter().map(|g| leaf(g.values, g.shape, device(), false)).collect()
}

fn forward(base: &Base, params: &Bound, modulation: &Modulation<'_>, batch: &Batch) -> Output {
    base.backbone.forward(&Pass::new(params, modulation), batch, &inputs(base, Needs::default(), batch))
}

/// Whether two scores are equal but for the order of additions.
pub(super) fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= CLOSE * a.abs().max(1.0)
}

/// An untrained patch changes nothing. A method that starts afresh is compared with its fresh network; one that adapts to a support set has an
/// empty one.
pub(super) fn identity_at_start(case: &Case<'_>) -> Finding {
    let trainee = case.untrained()?;
    if case.adaptation.start() == Start::Base {
        let changed = first_difference(&case.ground.base.params, &trainee.base.params);
        require(changed.is_none(), || format!("`{}` does not start as in the base", changed.unwrap_or_default()))?;
        require(trainee.base.tables == case.ground.base.tables, || "the tables do not start as in the base".into())?;
    }
    let mut feeding = case.probe();
    let query = feeding.query.clone();
    feeding.support = Some(rearrange(&query, &vec![Vec::new(); query.groups]));
    let scored = Scored { base: &trainee.base, own: &trainee.own, adaptation: case.adaptation.as_ref() };
    let (found, expected) = (scored.scores(&feeding)?, flat(plain_seen(&trainee.base, case.adaptation.needs(), &query)));
    require(found.len() == expected.len(), || format!("{} scores instead of {}", found.len(), expected.len()))?;
    // Not equal is also what NaN is.
    let rounds = case.adaptation.rounds_at_start();
    #[allow(clippy::float_cmp, reason = "a method says where it rounds")]
    let far = found.iter().zip(&expected).find(|(a, b)| if rounds { !close(**a, **b) } else { a != b });
    require(far.is_none(), || format!("a score is {far:?} (patched, base)"))
}

/// With no parameter at hand, any tensor work would fail otherwise.
pub(super) fn missing_context(case: &Case<'_>) -> Finding {
    let needs = case.adaptation.needs();
    let probe = case.probe();
    let try_with = |batch: &Batch, what: &str| {
        let (nothing, context) = (Bound::default(), Context::new(Unlabelled::new(batch)));
        match case.adaptation.adapt(&nothing, &nothing, &context) {
            Err(AdaptError::MissingContext { .. }) => Ok(()),
            Err(other) => Err(format!("{what} gives another error: {other}")),
            Ok(_) => Err(format!("{what} is no error")),
        }
    };
    if needs.groups.are_tasks() {
        try_with(&probe.query, "no support set")?;
    }
    // Domains that the base does not know are one to it.
    if needs.groups.are_domains() && !case.ground.base.spec.schema.domains.is_empty() {
        let all: Vec<_> = real(&probe.query).concat();
        let mut mixed = rearrange(&probe.query, &vec![all]);
        mixed.domain.iter_mut().enumerate().for_each(|(i, d)| *d = DomainIndex(i as u32 % 2));
        try_with(&mixed, "a group of rows of two domains")?;
    }
    Ok(())
}

/// Where a group's modulation can be folded, the folded base alone gives the same scores.
pub(super) fn folded(case: &Case<'_>) -> Finding {
    let trained = case.trained()?;
    let probe = case.probe();
    let (bound, own) = (bind(&trained.base.params), bind(&trained.own));
    for group in 0..probe.query.groups {
        let Feeding { query, support } = select(&probe, &[group]);
        let beside = support.as_ref().map(|batch| (batch, inputs(&trained.base, Needs::default(), batch)));
        let beside = beside.as_ref().map(|(batch, inputs)| (*batch, inputs.as_slice()));
        let inputs = inputs(&trained.base, Needs::default(), &query);
        let context = context((&query, &inputs), beside, case.adaptation.needs(), trained.base.backbone.as_ref());
        let modulation = case.adaptation.adapt(&bound, &own, &context).map_err(text)?;
        let sites = &trained.base.backbone.architecture().sites;
        let misplaced = modulation.misplaced(sites);
        require(misplaced.is_none(), || format!("an effect that says nothing at its site: {misplaced:?}"))?;
        let Some(folded) = fold(&trained.base, &bound, &modulation) else {
            require(!modulation.is_foldable(sites), || "it says it is foldable and does not fold".into())?;
            continue;
        };
        let live = flat(forward(&trained.base, &bound, &modulation, &query));
        let far = live.into_iter().zip(flat(plain(&folded, &query))).find(|&(a, b)| !close(a, b));
        require(far.is_none(), || format!("a score is {far:?} (live, folded)"))?;
    }
    Ok(())
}

/// Scores, loss and the values after a training step are finite numbers.
pub(super) fn finite(case: &Case<'_>) -> Finding {
    let trained = case.trained()?;
    for (what, feeding) in extremes(&case.probe()) {
        let scored = Scored { base: &trained.base, own: &trained.own, adaptation: case.adaptation.as_ref() };
        let scores = scored.scores(&feeding)?;
        require(scores.iter().all(|s| s.is_finite()), || format!("{what}: a score is not finite"))?;

        let mut trainee = case.untrained()?;
        (trainee.base, trainee.own) = (trained.base.clone(), trained.own.clone());
        let setting = case.ground.setting(case.adaptation.needs(), ground::SEED).map_err(text)?;
        let mut stream = acclimate_data::RandomStream::new(ground::SEED, 0, 0);
        let loss = trainee.accumulate(feeding, &setting.config, &mut stream).map_err(text)?;
        trainee.step(&setting.config, 1.0);
        require(loss.is_finite(), || format!("{what}: the loss is {loss}"))?;
        let params = trainee.own.values.iter().chain(&trainee.base.params.values).flatten();
        let rows = trainee.base.tables.iter().flat_map(|t| &t.values);
        require(params.chain(rows).all(|x| x.is_finite()), || format!("{what}: a step leaves a value that is not finite"))?;
    }
    Ok(())
}

/// A hundred thousand standard deviations: far beyond what normalised features show.
const HUGE: f32 = 1e5;

fn extremes(probe: &Feeding) -> Vec<(&'static str, Feeding)> {
    fn each(feeding: &Feeding, change: impl Fn(&mut Batch)) -> Feeding {
        let mut changed = feeding.clone();
        change(&mut changed.query);
        changed.support.iter_mut().for_each(&change);
        changed
    }
    let sign = |i: usize| if (i * i / 3).is_multiple_of(2) { HUGE } else { -HUGE };
    let long = |batch: &mut Batch| {
        let rows = batch.len() as u32;
        for bag in &mut batch.bags {
            let code = bag.codes.first().copied().unwrap_or(0);
            bag.codes = vec![code; rows as usize * 1000];
            bag.offsets = (0..=rows).map(|i| i * 1000).collect();
        }
    };
    let empty = |batch: &mut Batch| {
        let rows = batch.len();
        for bag in &mut batch.bags {
            (bag.codes, bag.offsets) = (Vec::new(), vec![0; rows + 1]);
        }
    };
    vec![
        ("huge numbers", each(probe, |b| b.numeric.iter_mut().enumerate().for_each(|(i, x)| *x = sign(i)))),
        ("unknown ids", each(probe, |b| b.categorical.fill(0))),
        ("bags of a thousand codes", each(probe, long)),
        ("empty bags", each(probe, empty)),
        ("one class only", each(probe, |b| b.label.fill(1.0))),
        ("the other class only", each(probe, |b| b.label.fill(0.0))),
    ]
}
