//! Dense parameters as named host buffers.
//!
//! Values live on the host as `f32`; a step binds them to tensors on a device, and gradients come back as host buffers.
//! So freezing, hashing, patches, checkpoints and optimisers are plain loops over slices, and nothing can change a parameter behind its owner's back.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

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
    /// Whether it is a running moment: forward passes of training move it, gradients do not.
    pub moment: bool,
}

impl ParamSpec {
    /// A weight matrix, subject to weight decay.
    #[must_use]
    pub fn weight(path: impl Into<String>, shape: [usize; 3], init: Init) -> Self {
        Self { path: path.into(), shape, init, decay: true, moment: false }
    }

    /// A bias, gain or shift of width `d`, spared by weight decay.
    #[must_use]
    pub fn vector(path: impl Into<String>, groups: usize, d: usize, value: f32) -> Self {
        Self { path: path.into(), shape: [groups, 1, d], init: Init::Constant(value), decay: false, moment: false }
    }

    /// A running moment of width `d`.
    #[must_use]
    pub fn moment(path: impl Into<String>, d: usize, value: f32) -> Self {
        Self { moment: true, ..Self::vector(path, 1, d, value) }
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
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
        Bound { tensors: self.specs.iter().zip(&self.values).enumerate().map(tensor).collect() }
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
}

impl Bound {
    /// The tensor of a parameter.
    #[must_use]
    pub fn get(&self, id: ParamId) -> Tensor<3> {
        self.tensors[id.0].clone()
    }

    /// All tensors in the order of the specs.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor<3>] {
        &self.tensors
    }
}

impl From<Vec<Tensor<3>>> for Bound {
    fn from(tensors: Vec<Tensor<3>>) -> Self {
        Self { tensors }
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
