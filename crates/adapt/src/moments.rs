//! Moments of rows at batch norms: measured on rows at hand, and blended with those that a norm has.
//!
//! Of n rows with mean m and biased variance w at a norm with moments μ and v, which count as N rows,
//!
//! ```text
//! μ' = (N μ + n m) / (N + n)
//! v' = (N v + n w) / (N + n) + N n (m - μ)² / (N + n)²
//! ```
//!
//! are the moments of all these rows together. Without rows they are those of the norm, and with many those of the rows.

use acclimate_model::{Bound, Effect, Modulation, Moments, NormChange, ParamId, ParamSpec, Params, SiteId};
use burn::tensor::{Tensor, TensorData};

use crate::method::condition::Feature;
use crate::selection::NormSite;
use crate::{AdaptError, Adaptation, Context, Needs, Scope, Unlabelled};

/// Sums over rows at a norm, around the moments that it has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowSums {
    rows: u64,
    /// `Σ (x - μ)`.
    first: Vec<f64>,
    /// `Σ (x - μ)²`.
    second: Vec<f64>,
}

impl RowSums {
    /// Adds a row.
    pub fn add(&mut self, x: &[f32], mean: &[f32]) {
        self.rows += 1;
        self.first.resize(mean.len(), 0.0);
        self.second.resize(mean.len(), 0.0);
        for (((x, mean), first), second) in x.iter().zip(mean).zip(&mut self.first).zip(&mut self.second) {
            let difference = f64::from(*x) - f64::from(*mean);
            *first += difference;
            *second += difference * difference;
        }
    }

    /// `μ' - μ` and `v' - v` under the pseudo count N: nothing where there is no row.
    #[must_use]
    pub fn differences(&self, variance: &[f32], pseudo_count: f64) -> [Vec<f32>; 2] {
        if self.rows == 0 {
            return [vec![0.0; variance.len()], vec![0.0; variance.len()]];
        }
        let (n, all) = (self.rows as f64, self.rows as f64 + pseudo_count);
        let mean = self.first.iter().map(|first| (first / all) as f32).collect();
        let of_variance = |((first, second), variance): ((&f64, &f64), &f32)| {
            // The mean square around μ is w + (m - μ)².
            let between = first / all;
            ((second - n * f64::from(*variance)) / all - between * between) as f32
        };
        [mean, self.first.iter().zip(&self.second).zip(variance).map(of_variance).collect()]
    }
}

/// Moments of a method's own at a norm, measured on the rows that it is trained on: the differences to the base's, for all rows or for each code of a feature.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// The norm.
    pub(crate) norm: NormSite,
    /// Where they are kept, `[1, codes, ..]`.
    pub(crate) param: ParamId,
    /// Column of the mean's first number there; the variance follows the mean.
    pub(crate) first: usize,
    /// The feature, and its number of codes.
    pub(crate) code: Option<(Feature, usize)>,
    /// N.
    pub(crate) pseudo_count: f64,
}

impl Gauge {
    /// The same for parameters that begin at `start` among those of several methods.
    pub(crate) fn placed(self, start: usize) -> Self {
        Self { param: ParamId(start + self.param.0), ..self }
    }

    /// The norm.
    #[must_use]
    pub fn norm(&self) -> &NormSite {
        &self.norm
    }

    /// Nothing, for each code.
    #[must_use]
    pub fn sums(&self) -> Vec<RowSums> {
        vec![RowSums::default(); self.code.map_or(1, |(_, codes)| codes)]
    }

    /// Adds the real rows of a batch; `x` `[G, N, d]` is what goes into the norm.
    pub fn add(&self, sums: &mut [RowSums], query: Unlabelled<'_>, x: &[f32], base: &Params) {
        let (mean, mut codes) = (&base.values[self.norm.mean.0], Vec::new());
        for (row, x) in x.chunks_exact(self.norm.d).enumerate().filter(|(row, _)| query.mask()[*row] != 0.0) {
            codes.clear();
            if let Some((feature, _)) = self.code {
                feature.codes(query, row, &mut codes);
            }
            sums[codes.first().map_or(0, |&code| code as usize)].add(x, mean);
        }
    }

    /// Writes what was measured into the method's own values.
    pub fn write(&self, sums: &[RowSums], base: &Params, own: &mut Params) {
        let (values, d, variance) = (&mut own.values[self.param.0], self.norm.d, &base.values[self.norm.variance.0]);
        let width = values.len() / sums.len();
        for (sums, row) in sums.iter().zip(values.chunks_exact_mut(width)) {
            let differences = sums.differences(variance, self.pseudo_count).concat();
            row[self.first..][..2 * d].copy_from_slice(&differences);
        }
    }
}

impl NormSite {
    /// The moments that a modulation leaves at the norm.
    #[must_use]
    pub fn moments(&self, base: &Bound, modulation: &Modulation<'_>) -> Moments {
        let running = Moments { mean: base.get(self.mean), variance: base.get(self.variance) };
        modulation.at(self.site).fold(running, |moments, effect| match effect {
            Effect::Norm(NormChange { moments: Some(other), .. }) => other.clone(),
            _ => moments,
        })
    }
}

/// A method whose batch norms have the moments of a window of rows, blended with those that they had. For scoring alone: it is trained before.
#[derive(Debug)]
pub struct WindowNorms<'a> {
    adaptation: &'a dyn Adaptation,
    norms: Vec<(SiteId, [Vec<f32>; 2])>,
}

impl<'a> WindowNorms<'a> {
    /// The method as it is.
    #[must_use]
    pub fn new(adaptation: &'a dyn Adaptation) -> Self {
        Self { adaptation, norms: Vec::new() }
    }

    /// The same with other moments, mean and variance, at a norm.
    #[must_use]
    pub fn with(mut self, site: SiteId, moments: [Vec<f32>; 2]) -> Self {
        self.norms.push((site, moments));
        self
    }

    /// Norms with other moments: none where the base has no batch norm, or the window no row.
    #[must_use]
    pub fn norms(&self) -> &[(SiteId, [Vec<f32>; 2])] {
        &self.norms
    }
}

impl Adaptation for WindowNorms<'_> {
    fn params(&self) -> &[ParamSpec] {
        self.adaptation.params()
    }

    fn scope(&self) -> &Scope {
        self.adaptation.scope()
    }

    fn needs(&self) -> Needs {
        self.adaptation.needs()
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let all = self.adaptation.adapt(base, own, context)?;
        let device = base.tensors().first().map(Tensor::device);
        Ok(self.norms.iter().fold(all, |all, (site, moments)| {
            let device = device.as_ref().expect("a base with norms has parameters");
            let [mean, variance] =
                moments.each_ref().map(|values| Tensor::<3>::from_data(TensorData::new(values.clone(), [1, 1, values.len()]), device));
            all.with(*site, Effect::Norm(NormChange { moments: Some(Moments { mean, variance }), ..NormChange::default() }))
        }))
    }
}
