//! The closed-form inner loop against automatic differentiation nested in itself: dual numbers of dual numbers, in f64.
//!
//! The oracle knows only the network and its loss. The inner dual number gives the inner gradient, one parameter at a time; the outer one carries
//! the derivative of everything, inner steps included, along one value of the start.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod tower;

use std::ops::{Add, Mul, Sub};

use acclimate_adapt::{Context, Support, Target, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex, RandomStream};
use acclimate_model::{Bound, Objective, Output, Pass};
use burn::tensor::{Tensor, TensorData};
use golden::{device, to_vec};
use tower::{Network, dnn};

/// What the network needs of a number.
trait Number: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    fn constant(value: f64) -> Self;
    fn value(self) -> f64;
    fn sigmoid(self) -> Self;
    /// `ln(1 + exp(x))`.
    fn softplus(self) -> Self;

    fn relu(self) -> Self {
        if self.value() > 0.0 { self } else { Self::constant(0.0) }
    }
}

impl Number for f64 {
    fn constant(value: f64) -> Self {
        value
    }

    fn value(self) -> f64 {
        self
    }

    fn sigmoid(self) -> Self {
        1.0 / (1.0 + (-self).exp())
    }

    fn softplus(self) -> Self {
        self.max(0.0) + (-self.abs()).exp().ln_1p()
    }
}

/// `at + slope ε` with `ε² = 0`.
#[derive(Clone, Copy)]
struct Dual<T> {
    at: T,
    slope: T,
}

impl<T: Number> Add for Dual<T> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { at: self.at + other.at, slope: self.slope + other.slope }
    }
}

impl<T: Number> Sub for Dual<T> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { at: self.at - other.at, slope: self.slope - other.slope }
    }
}

impl<T: Number> Mul for Dual<T> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self { at: self.at * other.at, slope: self.at * other.slope + self.slope * other.at }
    }
}

impl<T: Number> Number for Dual<T> {
    fn constant(value: f64) -> Self {
        Self { at: T::constant(value), slope: T::constant(0.0) }
    }

    fn value(self) -> f64 {
        self.at.value()
    }

    fn sigmoid(self) -> Self {
        let s = self.at.sigmoid();
        Self { at: s, slope: self.slope * s * (T::constant(1.0) - s) }
    }

    fn softplus(self) -> Self {
        Self { at: self.at.softplus(), slope: self.slope * self.at.sigmoid() }
    }
}

/// Rows of one task.
#[derive(Clone)]
struct Rows {
    x: Vec<Vec<f64>>,
    y: Vec<f64>,
}

/// What is adapted, and how.
struct Setting {
    widths: Vec<usize>,
    logistic: bool,
    second: bool,
    steps: usize,
    rate: f64,
    shrink: f64,
    /// First adapted layer.
    first: usize,
}

impl Setting {
    /// Sizes of weight and bias of every layer, the head included.
    fn layers(&self) -> Vec<[usize; 2]> {
        self.widths.iter().zip(self.widths[1..].iter().chain(&[1])).map(|(&a, &b)| [a, b]).collect()
    }

    fn loss<T: Number>(&self, theta: &[T], x: &[Vec<T>], y: &[f64]) -> T {
        let mut sum = T::constant(0.0);
        for (x, &y) in x.iter().zip(y) {
            let mut h = x.clone();
            let mut at = 0;
            let layers = self.layers();
            for (l, &[d_in, d_out]) in layers.iter().enumerate() {
                let (weight, bias) = theta[at..at + (d_in + 1) * d_out].split_at(d_in * d_out);
                at += (d_in + 1) * d_out;
                h = (0..d_out).map(|o| (0..d_in).fold(bias[o], |z, i| z + h[i] * weight[i * d_out + o])).collect();
                if l + 1 < layers.len() {
                    h.iter_mut().for_each(|z| *z = z.relu());
                }
            }
            let error = h[0] - T::constant(y);
            sum = sum + if self.logistic { h[0].softplus() - T::constant(y) * h[0] } else { error * error };
        }
        sum * T::constant(1.0 / y.len().max(1) as f64)
    }

    /// The values after the inner loop; all slopes of `theta` and `x` are carried through it.
    fn adapt<T: Number>(&self, theta: &[T], x: &[Vec<T>], y: &[f64]) -> Vec<T> {
        let frozen: usize = self.layers()[..self.first].iter().map(|[a, b]| (a + 1) * b).sum();
        let n = y.len() as f64;
        let rate = if n == 0.0 { 0.0 } else { self.rate * n / (n + self.shrink) };
        let lift = |v: &T| Dual { at: *v, slope: T::constant(0.0) };
        let x: Vec<Vec<Dual<T>>> = x.iter().map(|row| row.iter().map(lift).collect()).collect();
        let mut theta = theta.to_vec();
        for _ in 0..self.steps {
            let step = |p: usize| {
                let mut lifted: Vec<_> = theta.iter().map(lift).collect();
                lifted[p].slope = T::constant(1.0);
                let gradient = self.loss(&lifted, &x, y).slope;
                let gradient = if self.second { gradient } else { T::constant(gradient.value()) };
                theta[p] - T::constant(rate) * gradient
            };
            let adapted: Vec<T> = (frozen..theta.len()).map(step).collect();
            theta.splice(frozen.., adapted);
        }
        theta
    }

    /// Mean over tasks of the query loss after adapting.
    fn outer<T: Number>(&self, theta: &[T], tasks: &[(Vec<Vec<T>>, &Rows, &Rows)]) -> T {
        let sum = tasks.iter().fold(T::constant(0.0), |sum, (x, support, query)| {
            let adapted = self.adapt(theta, x, &support.y);
            let x: Vec<Vec<T>> = query.x.iter().map(|row| row.iter().map(|&v| T::constant(v)).collect()).collect();
            sum + self.loss(&adapted, &x, &query.y)
        });
        sum * T::constant(1.0 / tasks.len() as f64)
    }
}

fn draw(stream: &mut RandomStream, rows: usize, setting: &Setting) -> Rows {
    let x = (0..rows).map(|_| (0..setting.widths[0]).map(|_| f64::from(stream.normal() as f32)).collect()).collect();
    let label = |stream: &mut RandomStream| if setting.logistic { stream.below(2) as f64 } else { f64::from(stream.normal() as f32) };
    Rows { x, y: (0..rows).map(|_| label(stream)).collect() }
}

/// Tasks as a padded batch with its rows as a leaf.
fn batch(tasks: &[Rows], d: usize) -> (Batch, Tensor<3>) {
    let (groups, rows) = (tasks.len(), tasks.iter().map(|t| t.y.len()).max().unwrap_or(0));
    let (mut mask, mut label, mut x) = (Vec::new(), Vec::new(), Vec::new());
    for task in tasks {
        for i in 0..rows {
            let real = i < task.y.len();
            mask.push(f32::from(u8::from(real)));
            label.push(if real { task.y[i] as f32 } else { 0.0 });
            // Padding holds numbers that must not matter.
            x.extend((0..d).map(|j| if real { task.x[i][j] as f32 } else { 7.0 }));
        }
    }
    let domain = vec![DomainIndex(0); groups * rows];
    let leaf = Tensor::from_data(TensorData::new(x, [groups, rows, d]), &device()).require_grad();
    (Batch { groups, rows, mask, label, domain, ..Batch::default() }, leaf)
}

/// Largest difference that f32 may make, relative to 1 and to the expected value.
const TOLERANCE: f64 = 2e-5;

fn compare(setting: &Setting, seed: u64) {
    let mut stream = RandomStream::new(seed, 0, 0);
    let sizes = [3, 1, 0, 2];
    let support: Vec<Rows> = sizes.iter().map(|&n| draw(&mut stream, n, setting)).collect();
    let query: Vec<Rows> = sizes.iter().map(|_| draw(&mut stream, 2, setting)).collect();
    let count: usize = setting.layers().iter().map(|[a, b]| (a + 1) * b).sum();
    let theta: Vec<f64> = (0..count).map(|_| f64::from((0.6 * stream.normal()) as f32)).collect();

    // The product.
    let Network { backbone, schema } = dnn(&setting.widths, false, 1);
    let objective = if setting.logistic { Objective::Logistic } else { Objective::SquaredError };
    let adapt = match setting.layers().len() - setting.first {
        1 => "head",
        2 => "last",
        _ => "all",
    };
    let order = if setting.second { "second" } else { "first" };
    let keys = format!(
        "inner_steps = {}\ninner_rate = {:?}\norder = '{order}'\nadapt = '{adapt}'\nshrink = {:?}",
        setting.steps, setting.rate, setting.shrink
    );
    let target = Target { backbone: backbone.as_ref(), schema: &schema, objective };
    let maml = build_method("maml", &keys.parse().expect("valid TOML"), target).expect("a config the tower can take");
    let mut at = 0;
    let mut leaf = |shape: [usize; 3]| {
        let values: Vec<f32> = theta[at..at + shape.iter().product::<usize>()].iter().map(|&v| v as f32).collect();
        at += values.len();
        Tensor::<3>::from_data(TensorData::new(values, shape), &device()).require_grad()
    };
    let base: Bound = backbone.architecture().params.iter().map(|spec| leaf(spec.shape)).collect::<Vec<_>>().into();
    let (own, (s, x_support), (q, x_query)) = (Bound::default(), batch(&support, setting.widths[0]), batch(&query, setting.widths[0]));
    let inputs = [x_support.clone()];
    let context =
        Context { support: Some(Support { batch: &s, inputs: &inputs, backbone: backbone.as_ref() }), ..Context::new(Unlabelled::new(&q)) };
    let modulation = maml.adapt(&base, &own, &context).expect("the context is complete");
    let output = backbone.forward(&Pass::new(&base, &modulation), &q, &[x_query]);
    assert!(matches!(output, Output::Rows(_)));
    let loss = objective.loss(&output, &q);
    let gradients = loss.backward();
    let flat = |t: &Tensor<3>| t.grad(&gradients).map_or(vec![0.0; t.shape().num_elements()], to_vec);
    let found: Vec<f32> = base.tensors().iter().flat_map(flat).collect();
    let found_x = flat(&x_support);

    // The oracle, one derivative at a time: of every parameter, then of every support value.
    let derivative = |parameter: Option<usize>, value: Option<(usize, usize, usize)>| {
        let lifted = |v: f64, moves: bool| Dual { at: v, slope: f64::from(u8::from(moves)) };
        let theta: Vec<_> = theta.iter().enumerate().map(|(i, &v)| lifted(v, parameter == Some(i))).collect();
        let tasks: Vec<_> = (0..sizes.len())
            .map(|t| {
                let row = |i: usize| (0..setting.widths[0]).map(|j| lifted(support[t].x[i][j], value == Some((t, i, j)))).collect();
                ((0..sizes[t]).map(row).collect(), &support[t], &query[t])
            })
            .collect();
        setting.outer(&theta, &tasks).slope
    };
    let check = |what: String, found: f32, expected: f64| {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= TOLERANCE * expected.abs().max(1.0), "{keys}\nseed {seed}, {what}: {found} against {expected}");
    };
    for (p, &found) in found.iter().enumerate() {
        check(format!("parameter {p}"), found, derivative(Some(p), None));
    }
    let d = setting.widths[0];
    for (t, i, j) in (0..sizes.len()).flat_map(|t| (0..sizes[t]).flat_map(move |i| (0..d).map(move |j| (t, i, j)))) {
        // First order: the support rows move nothing that the outer gradient sees.
        check(format!("support value {t}, {i}, {j}"), found_x[(t * s.rows + i) * d + j], derivative(None, Some((t, i, j))));
    }
}

#[test]
fn the_closed_form_equals_nested_differentiation() {
    for seed in 0..4 {
        for logistic in [false, true] {
            for (steps, first, second, shrink) in
                [(1, 0, true, 0.0), (3, 0, true, 1.5), (2, 1, true, 0.0), (2, 2, true, 0.0), (3, 0, false, 0.0)]
            {
                compare(&Setting { widths: vec![2, 3, 3], logistic, second, steps, rate: 0.1, shrink, first }, seed);
            }
        }
    }
}
