//! The outer gradient is the derivative of the loss: in every trained tensor, own, dense or of rows, of query and of support.
//!
//! One step of plain descent at rate 1 moves each value by minus the gradient. For a few values of each tensor that movement must agree with central
//! differences of the loss that training minimises, penalty and terms included. A ReLU has kinks, and an inner loop through one even jumps there: where the
//! differences to the two sides are not alike, the value says nothing and another one is tried.

use std::sync::Arc;

use acclimate_data::RandomStream;
use acclimate_model::{Base, Params, RowGradients};

use super::scores::Scored;
use super::{Case, Finding, ground, require, text};
use crate::feed::Feeding;
use crate::{OptimizerConfig, Rule, TrainConfig};

/// Values of each tensor that are compared, and how many are tried to find as many away from kinks.
const VALUES: usize = 6;
const TRIES: usize = 60;
/// Steps of the differences; the longer one rounds less, the shorter one tells a kink.
const STEPS: [f64; 2] = [2e-3, 5e-4];
/// Largest difference between gradient and differences, as a share of either.
const TOLERANCE: f64 = 0.01;
/// Largest share of a difference by which it may depend on the step: a kink lies between.
const KINK: f64 = 0.03;
/// Rounding of the loss, which comes from scores in single precision.
const ROUNDING: f64 = 1e-8;
/// Share of a gradient's norm by which the loss must rise along it, where the gradient is not exact.
const DOWNHILL: f64 = 0.5;
/// Starts that are tried.
const STARTS: u64 = 4;
/// How far the own parameters are moved off their start, where many gradients are 0.
const OFF_START: f32 = 0.05;

/// A tensor, or some rows of a table: which values of it are tried.
struct Part {
    name: String,
    place: Place,
    values: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Place {
    Own(usize),
    Dense(usize),
    Table(usize),
}

impl Part {
    fn tensor<'s>(&self, base: &'s mut Base, own: &'s mut Params) -> &'s mut [f32] {
        match self.place {
            Place::Own(i) => &mut own.values[i],
            Place::Dense(i) => &mut base.params.values[i],
            Place::Table(i) => &mut Arc::make_mut(&mut base.tables[i]).values,
        }
    }

    /// What a step has taken off each value.
    fn movement(&self, start: &(Base, Params), end: &(Base, Params)) -> Vec<f64> {
        let (mut start, mut end) = (start.clone(), end.clone());
        let (start, end) = (self.tensor(&mut start.0, &mut start.1), self.tensor(&mut end.0, &mut end.1));
        self.values.iter().map(|&i| f64::from(start[i]) - f64::from(end[i])).collect()
    }
}

/// Every tensor must agree from some start: one of a single value has no other to try where that lies at a kink.
pub(super) fn is_the_derivative(case: &Case<'_>) -> Finding {
    let mut open = None;
    for attempt in 0..STARTS {
        let left = compare(case, attempt, open.as_deref())?;
        if left.is_empty() {
            return Ok(());
        }
        open = Some(left);
    }
    Err(format!("{}: no value away from kinks, from {STARTS} starts", open.unwrap_or_default().join(", ")))
}

/// Two batches in one step: groups of all domains with padding, and one of training. Names of the tensors (of those that are asked for) no value of which lay away from kinks.
fn compare(case: &Case<'_>, attempt: u64, asked: Option<&[String]>) -> Result<Vec<String>, String> {
    let setting = case.ground.everywhere(case.adaptation.needs()).map_err(text)?;
    let feedings = [case.probe(), setting.feed.batch(0, 0)];
    let start = off_start(case, attempt)?;
    let mut trainee = case.untrained()?;
    (trainee.base, trainee.own) = start.clone();
    let optimizer = OptimizerConfig { rule: Rule::Sgd, rate: 1.0, ..OptimizerConfig::default() };
    let descent = TrainConfig { optimizer, ..TrainConfig::default() };
    for feeding in &feedings {
        let mut stream = RandomStream::new(ground::SEED, 0, 0);
        trainee.accumulate(feeding.clone(), &descent, &mut stream).map_err(text)?;
    }
    trainee.step(&descent, 1.0);
    let (parts, end) = (parts(case, &start.0, &feedings), (trainee.base, trainee.own));
    let moved: Vec<Vec<f64>> = parts.iter().map(|part| part.movement(&start, &end)).collect();
    let along = |shifts: &[(&Part, Vec<f64>)]| loss(case, &start, shifts, &feedings);
    if !case.adaptation.is_exact() {
        let norm = moved.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        if !case.adaptation.is_downhill() {
            require(norm > 0.0 && norm.is_finite(), || format!("it follows a direction of norm {norm}"))?;
            return Ok(Vec::new());
        }
        let shifted = |step: f64| {
            let shift = |moved: &Vec<f64>| moved.iter().map(|g| step * g / norm).collect();
            along(&parts.iter().zip(&moved).map(|(part, moved)| (part, shift(moved))).collect::<Vec<_>>())
        };
        let slope = (shifted(STEPS[0])? - shifted(-STEPS[0])?) / (2.0 * STEPS[0]);
        require(slope > DOWNHILL * norm, || format!("along its gradient of norm {norm:.6} the loss rises by {slope:.6}"))?;
        return Ok(Vec::new());
    }
    let here = along(&[])?;
    let mut left = Vec::new();
    let is_asked = |part: &Part| asked.is_none_or(|names| names.contains(&part.name));
    for (part, moved) in parts.iter().zip(&moved).filter(|(part, _)| is_asked(part)) {
        let compared = agree(part, moved, |at, step| {
            let mut shift = vec![0.0; moved.len()];
            shift[at] = step;
            Ok((along(&[(part, shift)])? - here) / step)
        })?;
        if compared == 0 {
            left.push(part.name.clone());
        }
    }
    Ok(left)
}

/// Compares some values of a part with `slope(value, step)`, the largest gradient among them; how many.
fn agree(part: &Part, moved: &[f64], slope: impl Fn(usize, f64) -> Result<f64, String>) -> Result<usize, String> {
    let mut stream = RandomStream::new(RandomStream::seed_for(ground::SEED, &part.name), 0, 0);
    let largest = (0..moved.len()).max_by(|&a, &b| moved[a].abs().total_cmp(&moved[b].abs()));
    let mut compared = 0;
    for at in largest.into_iter().chain((1..TRIES).map(|_| stream.position(moved.len()))) {
        let [mut mean, mut apart] = [[0.0; 2]; 2];
        for (i, step) in STEPS.into_iter().enumerate() {
            let (above, below) = (slope(at, step)?, slope(at, -step)?);
            (mean[i], apart[i]) = (0.5 * (above + below), above - below);
        }
        // Of a smooth loss the mean of both sides stays the same, and how far they are apart shrinks with the step.
        let uneven = (mean[0] - mean[1]).abs() + (apart[1] - apart[0] * STEPS[1] / STEPS[0]).abs();
        let (found, expected) = (moved[at], mean[0]);
        if uneven > KINK * expected.abs() + 3.0 * ROUNDING / STEPS[1] {
            continue;
        }
        // Where the sides differ by less than the shorter step rounds, they may be those of a kink all the same: the gradient is one of them.
        let hidden = if apart[0].abs() < 3.0 * ROUNDING / STEPS[1] { 0.5 * apart[0].abs() } else { 0.0 };
        let allowed = TOLERANCE * found.abs().max(expected.abs()) + 2.0 * uneven + ROUNDING / STEPS[0] + hidden;
        require((found - expected).abs() <= allowed, || {
            format!("{}, value {}: the gradient is {found:.6}, differences say {expected:.6}", part.name, part.values[at])
        })?;
        compared += 1;
        if compared == VALUES {
            break;
        }
    }
    Ok(compared)
}

/// What training gives, with own parameters moved off it, and from the second attempt on what it trains of the base too.
fn off_start(case: &Case<'_>, attempt: u64) -> Result<(Base, Params), String> {
    let trained = case.trained()?;
    let (mut base, mut own) = (trained.base.clone(), trained.own.clone());
    let mut stream = RandomStream::new(RandomStream::seed_for(ground::SEED, "off start"), attempt, 0);
    for value in own.values.iter_mut().flatten() {
        *value += if stream.unit() < 0.5 { -OFF_START } else { OFF_START };
    }
    let of_base = case.adaptation.scope().params.iter().filter(|id| !base.params.specs[id.0].moment).map(|id| id.0).collect::<Vec<_>>();
    for i in of_base.into_iter().filter(|_| attempt > 0) {
        for value in &mut base.params.values[i] {
            *value += if stream.unit() < 0.5 { -OFF_START } else { OFF_START };
        }
    }
    Ok((base, own))
}

/// Every trained tensor; of each table the rows that only support sets touch, and the other touched ones.
fn parts(case: &Case<'_>, base: &Base, feedings: &[Feeding]) -> Vec<Part> {
    let scope = case.adaptation.scope();
    let own = case.adaptation.params().iter().enumerate().map(|(i, spec)| (Place::Own(i), spec));
    let dense = scope.params.iter().map(|id| (Place::Dense(id.0), &base.params.specs[id.0]));
    let dense = own.chain(dense).filter(|(_, spec)| !spec.moment && !spec.solved);
    let mut parts: Vec<_> = dense.map(|(place, spec)| Part { name: spec.path.clone(), place, values: (0..spec.len()).collect() }).collect();
    let query = touched(base, feedings.iter().map(|f| &f.query));
    let support = touched(base, feedings.iter().filter_map(|f| f.support.as_ref()));
    for &i in &scope.tables {
        let spec = &base.backbone.architecture().tables[i];
        let (mut of_query, mut of_support) = (query[i].clone(), support[i].clone());
        of_support.retain(|row| !of_query.contains(row));
        if spec.zero_row {
            of_query.retain(|&row| row != 0);
            of_support.retain(|&row| row != 0);
        }
        for (what, rows) in [("rows", of_query), ("rows of support sets", of_support)] {
            let values = rows.iter().flat_map(|&row| row as usize * spec.d..(row as usize + 1) * spec.d).collect();
            parts.push(Part { name: format!("{what} of table `{}`", spec.name), place: Place::Table(i), values });
        }
    }
    parts.retain(|part| !part.values.is_empty());
    parts
}

/// Rows of each table that these batches gather.
fn touched<'b>(base: &Base, batches: impl Iterator<Item = &'b acclimate_data::Batch>) -> Vec<Vec<u32>> {
    let mut sink: Vec<_> = base.tables.iter().map(|t| Some(RowGradients::new(t.rows(), t.d))).collect();
    for batch in batches {
        let zeros: Vec<_> = base.backbone.gather(&base.tables, batch).iter().map(|g| vec![0.0; g.values.len()]).collect();
        base.backbone.scatter(batch, &zeros, &mut sink);
    }
    sink.iter().flatten().map(|rows| rows.rows().to_vec()).collect()
}

/// Mean loss of the batches with the values of these parts shifted.
fn loss(case: &Case<'_>, start: &(Base, Params), shifts: &[(&Part, Vec<f64>)], feedings: &[Feeding]) -> Result<f64, String> {
    let (mut base, mut own) = start.clone();
    for (part, shift) in shifts {
        let tensor = part.tensor(&mut base, &mut own);
        part.values.iter().zip(shift).for_each(|(&i, s)| tensor[i] += *s as f32);
    }
    let scored = Scored { base: &base, own: &own, adaptation: case.adaptation.as_ref() };
    let losses =
        feedings.iter().map(|feeding| scored.training_loss(feeding, &case.ground.base)).collect::<Result<Vec<_>, _>>().map_err(text)?;
    Ok(losses.iter().sum::<f64>() / losses.len() as f64)
}
