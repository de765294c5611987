//! Batch normalisation.

use std::cell::RefCell;

use acclimate_data::Batch;
use burn::tensor::{Device, Tensor, TensorData};

use crate::kernel::centred_scaled;
use crate::{Activation, Affine, Moments, OwnMoments, ParamId, Params, Pass, SiteId};

/// Share of a batch's moments that goes into the running ones.
const MOMENTUM: f32 = 0.1;

/// `y = act(gain * (x - mean) / sqrt(variance + epsilon) + shift)` with one mean and variance a channel (Ioffe and Szegedy, ICML 2015).
///
/// Everywhere but in training the moments are the running ones, so a row's output depends on that row alone. Training that trains the moments too
/// (that of a base, of `scratch`, or with scope `all`) takes those of the batch's real rows and moves the running ones by a tenth of the way;
/// training of a patch leaves them as they are. A batch of one row has no variance: it takes the running moments. A method may keep [moments of its own](OwnMoments)
/// instead, one a domain say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Its site.
    pub site: SiteId,
    /// `[1, 1, d]`, 1 at start.
    pub gain: ParamId,
    /// `[1, 1, d]`, 0 at start.
    pub shift: ParamId,
    /// Running mean `[1, 1, d]`, 0 at start.
    pub mean: ParamId,
    /// Running variance `[1, 1, d]`, 1 at start.
    pub variance: ParamId,
    /// Added to the variance.
    pub epsilon: f64,
}

impl BatchNorm {
    /// # Shapes
    /// `x [G, N, d]` to `[G, N, d]`.
    #[must_use]
    pub fn forward(&self, pass: &Pass<'_>, x: Tensor<3>, activation: Activation) -> Tensor<3> {
        if let Some(watch) = pass.watch.filter(|watch| watch.site == self.site) {
            watch.seen.replace(Some(x.clone()));
        }
        let get = |id| pass.params.get(id);
        let running = Moments { mean: get(self.mean), variance: get(self.variance) };
        let base = Affine { gain: get(self.gain), shift: get(self.shift), moments: Some(running), own: None };
        let Affine { gain, shift, moments, own } = pass.modulation.norm(self.site, base);
        let moments = moments.expect("a modulation keeps the moments or replaces them");
        let Moments { mean, variance } = match (pass.estimate, own) {
            (Some(estimate), Some(own)) => estimate.of_groups(self, own, moments, &x),
            (Some(estimate), None) => estimate.of(self, &x).unwrap_or(moments),
            (None, _) => moments,
        };
        let scale = gain / (variance + self.epsilon).sqrt();
        centred_scaled(x, [mean, scale, shift], activation)
    }
}

/// Keeps what goes into one batch norm in a pass.
#[derive(Debug)]
pub struct Watch {
    site: SiteId,
    seen: RefCell<Option<Tensor<3>>>,
}

impl Watch {
    /// Looks at the norm at a site.
    #[must_use]
    pub fn new(site: SiteId) -> Self {
        Self { site, seen: RefCell::default() }
    }

    /// What went in there, `[G, N, d]`; `None` if the pass did not come by.
    #[must_use]
    pub fn seen(self) -> Option<Tensor<3>> {
        self.seen.into_inner()
    }
}

/// What batch norms see in one training pass.
#[derive(Debug)]
pub struct Estimate {
    /// 1 for real rows `[G, N, 1]`; `None` if all are.
    mask: Option<Tensor<3>>,
    /// Real rows of each group.
    rows: Vec<usize>,
    /// Running means that training moves, and with them their variances.
    moved: Vec<ParamId>,
    seen: RefCell<Vec<(BatchNorm, Moments)>>,
    seen_of_groups: RefCell<Vec<(BatchNorm, OwnMoments, Moments)>>,
}

impl Estimate {
    /// For a pass over `batch` that moves these means of the network, and the variances that belong to them.
    #[must_use]
    pub fn new(batch: &Batch, moved: Vec<ParamId>, device: &Device) -> Self {
        let mask = batch.mask.contains(&0.0).then(|| crate::mask(batch, device));
        let rows = batch.mask.chunks(batch.rows.max(1)).map(|group| group.iter().filter(|&&m| m != 0.0).count()).collect();
        Self { mask, rows, moved, seen: RefCell::default(), seen_of_groups: RefCell::default() }
    }

    /// Sums of the real rows of each group of `x [G, N, d]`, `[G, 1, d]`.
    fn sums(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.mask {
            Some(mask) => (x * mask.clone()).sum_dim(1),
            None => x.sum_dim(1),
        }
    }

    /// Mean and biased variance of the real rows of `x [G, N, d]`; `None` where the running ones are to be used.
    fn of(&self, norm: &BatchNorm, x: &Tensor<3>) -> Option<Moments> {
        let rows: usize = self.rows.iter().sum();
        if rows < 2 || !self.moved.contains(&norm.mean) {
            return None;
        }
        let mean = self.sums(x.clone()).sum_dim(0) / rows as f64; // [1, 1, d]
        let variance = self.sums((x.clone() - mean.clone()).square()).sum_dim(0) / rows as f64;
        let moments = Moments { mean, variance };
        self.seen.borrow_mut().push((*norm, moments.clone()));
        Some(moments)
    }

    /// Mean and biased variance of each group's real rows, `[G, 1, d]`; `running` ones where it has few.
    fn of_groups(&self, norm: &BatchNorm, own: OwnMoments, running: Moments, x: &Tensor<3>) -> Moments {
        let groups = self.rows.len();
        let column = |of: &dyn Fn(usize) -> f32| {
            let values = self.rows.iter().map(|&rows| of(rows)).collect::<Vec<_>>();
            Tensor::<3>::from_data(TensorData::new(values, [groups, 1, 1]), &x.device()) // [G, 1, 1]
        };
        let share = column(&|rows| 1.0 / rows.max(1) as f32);
        let mean = self.sums(x.clone()) * share.clone();
        let variance = self.sums((x.clone() - mean.clone()).square()) * share;
        let enough = column(&|rows| f32::from(u8::from(rows >= own.least)));
        let few = enough.clone().neg() + 1.0;
        let chosen = Moments {
            mean: mean.clone() * enough.clone() + running.mean * few.clone(),
            variance: variance.clone() * enough + running.variance * few,
        };
        self.seen_of_groups.borrow_mut().push((*norm, own, Moments { mean, variance }));
        chosen
    }

    /// Moves the running moments, those of the network in `base` and those of a method in `own`: `r = 0.9 r + 0.1 s`, with the unbiased variance `s = n / (n - 1) v`.
    pub fn update(self, base: &mut Params, own: &mut Params) {
        let unbiased = |rows: usize| rows as f32 / (rows as f32 - 1.0);
        let rows: usize = self.rows.iter().sum();
        for (norm, Moments { mean, variance }) in self.seen.into_inner() {
            for (id, seen, factor) in [(norm.mean, mean, 1.0), (norm.variance, variance, unbiased(rows))] {
                let seen = crate::kernel::to_vec(seen.inner());
                base.values[id.0].iter_mut().zip(seen).for_each(|(r, s)| *r = (1.0 - MOMENTUM) * *r + MOMENTUM * factor * s);
            }
        }
        for (norm, OwnMoments { mean, variance, blocks, least }, seen) in self.seen_of_groups.into_inner() {
            for (id, of_base, seen, is_variance) in [(mean, norm.mean, seen.mean, false), (variance, norm.variance, seen.variance, true)] {
                let (seen, of_base) = (crate::kernel::to_vec(seen.inner()), &base.values[of_base.0]);
                let d = of_base.len();
                for (g, &block) in blocks.iter().enumerate().filter(|&(g, _)| self.rows[g] >= least) {
                    let factor = if is_variance { unbiased(self.rows[g]) } else { 1.0 };
                    let values = own.values[id.0][block as usize * d..][..d].iter_mut().zip(of_base).zip(&seen[g * d..]);
                    values.for_each(|((r, b), s)| *r = (1.0 - MOMENTUM) * *r + MOMENTUM * (factor * s - b));
                }
            }
        }
    }
}
