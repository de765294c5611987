//! Dense parameters as named host buffers.
//!
//! Values live on the host as `f32`; a step binds them to tensors on a device, and gradients come back as host buffers.
//! So freezing, hashing, patches, checkpoints and optimisers are plain loops over slices, and nothing can change a parameter behind its owner's back.

use std::collections::BTreeSet;

use acclimate_data::Batch;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::kernel;

/// How a parameter starts. `fan_in` and `fan_out` are the last two sizes of its shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All values the same.
    Constant(f32),
    /// N(0, std²).
    Normal(f32),
    /// N(0, std²), redrawn beyond two standard deviations.
    TruncatedNormal(f32),
    /// U(-b, b).
    Uniform(f32),
    /// U(-b, b) with `b = sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio, AISTATS 2010).
    XavierUniform,
    /// U(-b, b) with `b = sqrt(6 / fan_in)` (He et al., ICCV 2015).
    KaimingUniform,
}

impl Init {
    /// Draws the values of a tensor of `shape`.
    #[must_use]
    pub fn draw(self, shape: [usize; 3], rng: &mut impl Rng) -> Vec<f32> {
        let [_, fan_in, fan_out] = shape.map(|n| n as f32);
        let bound = match self {
            Self::XavierUniform => (6.0 / (fan_in + fan_out)).sqrt(),
            Self::KaimingUniform => (6.0 / fan_in).sqrt(),
            Self::Uniform(bound) => bound,
            _ => 0.0,
        };
        (0..shape.iter().product())
            .map(|_| match self {
                Self::Constant(value) => value,
                Self::Normal(std) => std * standard_normal(rng),
                Self::TruncatedNormal(std) => loop {
                    let z = standard_normal(rng);
                    if z.abs() <= 2.0 {
                        break std * z;
                    }
                },
                Self::Uniform(_) | Self::XavierUniform | Self::KaimingUniform => bound * (2.0 * rng.random::<f32>() - 1.0),
            })
            .collect()
    }
}

/// One draw from N(0, 1), by Box and Muller.
fn standard_normal(rng: &mut impl Rng) -> f32 {
    let (u, v): (f32, f32) = (1.0 - rng.random::<f32>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

/// Name, shape and start of one dense parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Path in the network, for example `tower.1.linear.weight`.
    pub path: String,
    /// `[G|1, d_in, d_out]` for weights, `[G|1, 1, d]` for biases, gains and shifts.
    pub shape: [usize; 3],
    /// How it starts.
    pub init: Init,
    /// Whether weight decay applies: weights yes, biases and norms no.
    pub decay: bool,
    /// Whether it is a running moment, or another value that forward passes of training move ([`Moved`](crate::Moved)); gradients do not.
    pub moment: bool,
    /// Whether it is solved for: its method sets it, gradients do not.
    pub solved: bool,
    /// What the blocks along the first axis belong to; `None` for a parameter that every row uses. A training step binds, differentiates and updates
    /// only the blocks of the rows it scores. For a method's own parameters; those of a backbone are bound whole.
    pub grouping: Option<Grouping>,
}

/// Of what a grouped parameter holds a block each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// The domains that the base knows, and a last block for all others.
    Domain,
    /// The codes of a categorical feature, by its place in the schema: a table of the method's own. Codes beyond the table are the unknown, code 0.
    Code(usize),
}

impl Grouping {
    /// The blocks, of so many, that the rows of a batch use, ascending; the first one for a batch without a real row.
    #[must_use]
    pub fn touched(self, batch: &Batch, blocks: usize) -> Vec<u32> {
        let last = blocks.saturating_sub(1) as u32;
        let block = |i: usize| match self {
            Self::Domain => batch.domain[i].0.min(last),
            Self::Code(field) => known(batch.categorical[i * batch.fields + field], blocks),
        };
        // What reads a table asks for the codes of padding too.
        let read = (0..batch.len()).filter(|&i| batch.mask[i] != 0.0 || matches!(self, Self::Code(_)));
        let mut touched: BTreeSet<u32> = read.map(block).collect();
        if touched.is_empty() {
            touched.insert(0);
        }
        touched.into_iter().collect()
    }
}

/// The code itself where there is a block for it, else the unknown.
fn known(code: u32, blocks: usize) -> u32 {
    if (code as usize) < blocks { code } else { 0 }
}

impl ParamSpec {
    /// A weight matrix, subject to weight decay.
    #[must_use]
    pub fn weight(path: impl Into<String>, shape: [usize; 3], init: Init) -> Self {
        Self { path: path.into(), shape, init, decay: true, moment: false, solved: false, grouping: None }
    }

    /// A bias, gain or shift of width `d`, spared by weight decay.
    #[must_use]
    pub fn vector(path: impl Into<String>, groups: usize, d: usize, value: f32) -> Self {
        Self { decay: false, ..Self::weight(path, [groups, 1, d], Init::Constant(value)) }
    }

    /// A running moment of width `d`.
    #[must_use]
    pub fn moment(path: impl Into<String>, d: usize, value: f32) -> Self {
        Self { moment: true, ..Self::vector(path, 1, d, value) }
    }

    /// The same with a block for each group.
    #[must_use]
    pub fn grouped(self, grouping: Grouping) -> Self {
        Self { grouping: Some(grouping), ..self }
    }

    /// The same, solved for by its method.
    #[must_use]
    pub fn solved(self) -> Self {
        Self { solved: true, ..self }
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it is a table: a block for each code of a feature, most of which stay as they start.
    #[must_use]
    pub fn is_table(&self) -> bool {
        matches!(self.grouping, Some(Grouping::Code(_)))
    }

    /// Number of values in one block along the first axis.
    #[must_use]
    pub fn block(&self) -> usize {
        self.shape[1] * self.shape[2]
    }

    /// Whether the parameter holds no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Position of a parameter in its [`Params`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParamId(pub usize);

/// Values of a list of parameters, in the order of their specs.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Params {
    /// What each parameter is.
    pub specs: Vec<ParamSpec>,
    /// Its values, row-major.
    pub values: Vec<Vec<f32>>,
}

impl Params {
    /// Draws every parameter from its own stream, so that adding one does not change the others' start.
    #[must_use]
    pub fn init(specs: &[ParamSpec], seed: u64) -> Self {
        let values = specs.iter().map(|spec| spec.init.draw(spec.shape, &mut stream(seed, &spec.path))).collect();
        Self { specs: specs.to_vec(), values }
    }

    /// Number of parameters (tensors).
    #[must_use]
    pub fn len(&self) -> usize {
        self.specs.len()
    }

    /// Whether there is no parameter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// Number of values in all parameters.
    #[must_use]
    pub fn count(&self) -> usize {
        self.values.iter().map(Vec::len).sum()
    }

    /// The parameter at `path`.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<ParamId> {
        self.specs.iter().position(|spec| spec.path == path).map(ParamId)
    }

    /// Tensors on `device`; those for which `trained` says so track gradients.
    #[must_use]
    pub fn bind(&self, device: &Device, trained: impl Fn(ParamId) -> bool) -> Bound {
        let tensor = |(i, (spec, values)): (usize, (&ParamSpec, &Vec<f32>))| {
            let tensor = Tensor::from_data(TensorData::new(values.clone(), spec.shape), device);
            if trained(ParamId(i)) { tensor.require_grad() } else { tensor }
        };
        Bound { tensors: self.specs.iter().zip(&self.values).enumerate().map(tensor).collect(), ..Bound::default() }
    }

    /// Tensors for a training step on a batch, tracked where gradients train them: of a grouped parameter only the blocks that its rows use, `[touched, ..]`.
    #[must_use]
    pub fn bind_touched(&self, device: &Device, batch: &Batch) -> Bound {
        let mut touched = Vec::with_capacity(self.len());
        let tensors = self.specs.iter().zip(&self.values).map(|(spec, values)| {
            let [blocks, rows, columns] = spec.shape;
            let own = spec.grouping.map(|grouping| grouping.touched(batch, blocks));
            let bound = match &own {
                None => kernel::leaf(values.clone(), spec.shape, device, !(spec.solved || spec.moment)),
                Some(own) => {
                    let block = spec.block();
                    let picked = own.iter().flat_map(|&g| &values[g as usize * block..][..block]).copied().collect();
                    kernel::leaf(picked, [own.len(), rows, columns], device, !(spec.solved || spec.moment))
                }
            };
            touched.push(own);
            bound
        });
        let tensors = tensors.collect();
        Bound { tensors, touched, first: 0 }
    }
}

/// A random stream that depends on the seed and on a name, not on what was drawn before.
#[must_use]
pub fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    // FNV-1a: stable over platforms and releases, unlike the standard library's hashers.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(hash);
    rng
}

/// Parameters as tensors of one forward pass.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    tensors: Vec<Tensor<3>>,
    /// Of each parameter the blocks that are bound; `None`, or nothing at all, where every one is.
    touched: Vec<Option<Vec<u32>>>,
    /// Place of the first one among the parameters of which these are a part.
    first: usize,
}

impl Bound {
    /// The tensor of a parameter; of a grouped one as many blocks as are bound, so ask for its [`blocks`](Self::blocks).
    #[must_use]
    pub fn get(&self, id: ParamId) -> Tensor<3> {
        self.tensors[id.0].clone()
    }

    /// The blocks that are bound of a grouped parameter, ascending; `None` where every one is.
    #[must_use]
    pub fn touched(&self, id: ParamId) -> Option<&[u32]> {
        self.touched.get(id.0)?.as_deref()
    }

    /// These blocks of a grouped parameter, in this order and as often as they are named: `[groups, ..]`.
    ///
    /// # Panics
    /// Panics if a block is not bound, because no row of the batch belongs to it.
    #[must_use]
    pub fn blocks(&self, id: ParamId, groups: &[u32]) -> Tensor<3> {
        let tensor = self.get(id);
        let place = |&group: &u32| match self.touched(id) {
            Some(touched) => touched.binary_search(&group).expect("a method asks for the blocks of its batch alone") as i32,
            None => group as i32,
        };
        let places: Vec<i32> = groups.iter().map(place).collect();
        if places.len() == tensor.dims()[0] && places.iter().zip(0..).all(|(&place, i)| place == i) {
            return tensor;
        }
        let index = Tensor::<1, Int>::from_ints(places.as_slice(), &tensor.device());
        tensor.select(0, index) // [groups, ..]
    }

    /// Some of the parameters, as if they were all.
    #[must_use]
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        let touched = self.touched.get(range.clone()).unwrap_or_default().to_vec();
        // Without any parameter at hand there is none in the part either; whoever needs one finds that out.
        Self { first: self.first + range.start, tensors: self.tensors.get(range).unwrap_or_default().to_vec(), touched }
    }

    /// Where a parameter stands among all parameters of which these may be a part.
    #[must_use]
    pub fn place(&self, id: ParamId) -> ParamId {
        ParamId(self.first + id.0)
    }

    /// All tensors in the order of the specs.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor<3>] {
        &self.tensors
    }
}

impl From<Vec<Tensor<3>>> for Bound {
    fn from(tensors: Vec<Tensor<3>>) -> Self {
        Self { tensors, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_parameter_leaves_the_others_unchanged() {
        let a = ParamSpec::weight("a", [1, 3, 2], Init::XavierUniform);
        let b = ParamSpec::weight("b", [1, 2, 2], Init::Normal(0.1));
        let alone = Params::init(std::slice::from_ref(&b), 7);
        let both = Params::init(&[a, b], 7);
        assert_eq!(alone.values[0], both.values[1]);
        assert_ne!(both.values[0][..4], both.values[1][..]);
    }

    #[test]
    fn a_step_binds_the_blocks_of_its_batch() {
        let domain = [4, 2, 9, 0].map(acclimate_data::DomainIndex).to_vec();
        let batch = Batch { groups: 1, rows: 4, mask: vec![1.0, 1.0, 1.0, 0.0], domain, ..Batch::default() };
        let grouped = ParamSpec::weight("grouped", [6, 1, 2], Init::Normal(1.0)).grouped(Grouping::Domain);
        let params = Params::init(&[ParamSpec::vector("shared", 1, 2, 0.5), grouped], 7);
        let device = Device::flex();
        let (whole, part) = (params.bind(&device, |_| false), params.bind_touched(&device, &batch));
        // Domains beyond those that are known share the last block; padding touches none.
        assert_eq!((part.touched(ParamId(0)), part.touched(ParamId(1))), (None, Some(&[2, 4, 5][..])));
        let values = |bound: &Bound, groups: &[u32]| kernel::to_vec(bound.blocks(ParamId(1), groups));
        for groups in [&[2, 4, 5][..], &[5, 2, 2], &[4]] {
            assert_eq!(values(&part, groups), values(&whole, groups));
        }
        assert_eq!(values(&whole, &[4]), params.values[1][8..10]);
        let unbound = std::panic::catch_unwind(|| values(&part, &[0]));
        assert!(unbound.is_err(), "a block that is not bound is given");
    }

    #[test]
    fn draws_have_the_named_spread() {
        let mut rng = stream(1, "x");
        let normal = Init::Normal(0.5).draw([1, 100, 100], &mut rng);
        let variance = normal.iter().map(|x| x * x).sum::<f32>() / normal.len() as f32;
        assert!((variance - 0.25).abs() < 0.01, "{variance}");
        let cut = Init::TruncatedNormal(0.5).draw([1, 100, 100], &mut rng);
        assert!(cut.iter().all(|x| x.abs() <= 1.0));
        let xavier = Init::XavierUniform.draw([1, 50, 100], &mut rng);
        assert!(xavier.iter().all(|x| x.abs() <= 0.2) && xavier.iter().any(|x| x.abs() > 0.19));
    }
}
