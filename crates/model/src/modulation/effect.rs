//! The closed set of what can be done at a site.

use burn::tensor::Tensor;

use super::{Affine, Ids, Moments, OwnMoments, Prefix, Weights};
use crate::kernel::branch;
use crate::layer::product;
use crate::{Site, SiteKind};

/// What is done at one site. Where a site has several, changes of the weights come first, in their order, then what changes the output, in its order.
///
/// | effect | site | formula |
/// |---|---|---|
/// | `Replace` | linear | `W <- weight`, `b <- bias` |
/// | `Multiply` | linear | `W <- W ⊙ weight`, `b <- b + bias` |
/// | `LowRank` | linear | `W <- W + a b`, `b <- b + bias` |
/// | `Input` | linear | `x <- x ⊙ gain + shift` |
/// | `Output` | linear, hidden, rows | `y <- y ⊙ gain + shift`; with a shift alone at the head, an offset of the score |
/// | `Branch` | linear, hidden | `y <- y + φ(z W1 + b1) W2 + b2`, z the input or the output |
/// | `Norm` | norm | `gain <- gain ⊙ times + plus`, `shift <- shift + shift'`, other moments |
/// | `Prefix` | attention | `y_h <- y_h + gate_h softmax(q_h K_h^T / sqrt(d / H)) V_h` for each head h of H |
/// | `Added` | rows, hidden | `x <- x + rows` |
/// | `Opaque` | linear, hidden, rows | anything; neither folded nor counted |
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "handles of tensors; a modulation holds some dozen effects")]
pub enum Effect<'a> {
    /// Other weights.
    Replace {
        /// `[G|1, d_in, d_out]`.
        weight: Tensor<3>,
        /// `[G|1, 1, d_out]`; `None`: the base's.
        bias: Option<Tensor<3>>,
    },
    /// Weights multiplied element by element, as a star topology does.
    Multiply {
        /// `[G|1, d_in, d_out]`.
        weight: Tensor<3>,
        /// `[G|1, 1, d_out]`, added.
        bias: Option<Tensor<3>>,
    },
    /// A low-rank addition to the weights.
    LowRank {
        /// `[G|1, d_in, r]`.
        a: Tensor<3>,
        /// `[G|1, r, d_out]`.
        b: Tensor<3>,
        /// `[G|1, 1, d_out]`, added.
        bias: Option<Tensor<3>>,
    },
    /// The input scaled and shifted, `[G|1, N|1, d_x]`.
    Input(Scale),
    /// The output, or gathered rows, scaled and shifted, `[G|1, N|1, d_out]`.
    Output(Scale),
    /// A bottleneck beside the layer.
    Branch(Branch),
    /// Gain, shift and moments of a norm.
    Norm(NormChange),
    /// Keys and values at attention.
    Prefix(Prefix),
    /// Added to gathered rows or to a hidden state, `[G|1, N|1, d]`.
    Added(Tensor<3>),
    /// A closure, for what the set does not hold.
    Opaque(Opaque<'a>),
}

/// `x ⊙ gain + shift`; what is `None` changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Scale {
    /// Factor.
    pub gain: Option<Tensor<3>>,
    /// Offset.
    pub shift: Option<Tensor<3>>,
}

/// `φ(z W1 + b1) W2 + b2`, added to a site's output; with `skip`, z as well.
#[derive(Clone, Debug)]
pub struct Branch {
    /// What it reads.
    pub read: Read,
    /// Whether what it reads is added too.
    pub skip: bool,
    /// φ.
    pub activation: BranchActivation,
    /// `[G|1, d, m]`.
    pub w1: Tensor<3>,
    /// `[G|1, 1, m]`.
    pub b1: Tensor<3>,
    /// `[G|1, m, d_out]`.
    pub w2: Tensor<3>,
    /// `[G|1, 1, d_out]`.
    pub b2: Tensor<3>,
}

/// What a branch reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The site's output, as it is when the branch's turn comes.
    Output,
    /// The site's input.
    Input,
}

/// What stands between the two maps of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchActivation {
    /// `x Φ(x)`.
    Gelu,
    /// Its tanh approximation.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

/// What becomes of a norm: `gain ⊙ times + plus`, `shift + shift'`, and other moments; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct NormChange {
    /// Factor of the gain, `[G|1, N|1, d]`.
    pub times: Option<Tensor<3>>,
    /// Added to the gain, `[G|1, N|1, d]`.
    pub plus: Option<Tensor<3>>,
    /// Added to the shift, `[G|1, N|1, d]`.
    pub shift: Option<Tensor<3>>,
    /// Instead of the running moments.
    pub moments: Option<Moments>,
    /// Where these are kept, if training is to move them.
    pub own: Option<OwnMoments>,
}

type OnOutput<'a> = dyn Fn(&Tensor<3>, Tensor<3>) -> Tensor<3> + Send + Sync + 'a;
type OnRows<'a> = dyn Fn(Ids<'_>, Tensor<3>) -> Tensor<3> + Send + Sync + 'a;

/// A closure at a site.
pub enum Opaque<'a> {
    /// From a site's input and output to another output.
    Output(Box<OnOutput<'a>>),
    /// From gathered rows to others.
    Rows(Box<OnRows<'a>>),
}

impl std::fmt::Debug for Opaque<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Output(_) => "Output",
            Self::Rows(_) => "Rows",
        })
    }
}

impl Scale {
    fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        let x = match &self.gain {
            Some(gain) => x * gain.clone(),
            None => x,
        };
        match &self.shift {
            Some(shift) => x + shift.clone(),
            None => x,
        }
    }
}

impl Branch {
    fn apply(&self, x: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        let read = if self.read == Read::Output { y.clone() } else { x.clone() };
        let y = if self.skip { y + read.clone() } else { y };
        branch(y, read, [&self.w1, &self.b1, &self.w2, &self.b2], self.activation)
    }
}

impl<'a> Effect<'a> {
    /// An effect of the output that nothing is derived from.
    #[must_use]
    pub fn opaque(change: impl Fn(&Tensor<3>, Tensor<3>) -> Tensor<3> + Send + Sync + 'a) -> Self {
        Self::Opaque(Opaque::Output(Box::new(change)))
    }

    /// An effect of gathered rows that nothing is derived from.
    #[must_use]
    pub fn opaque_rows(change: impl Fn(Ids<'_>, Tensor<3>) -> Tensor<3> + Send + Sync + 'a) -> Self {
        Self::Opaque(Opaque::Rows(Box::new(change)))
    }

    /// `y ⊙ gain + shift`.
    #[must_use]
    pub fn scaled(gain: Tensor<3>, shift: Tensor<3>) -> Self {
        Self::Output(Scale { gain: Some(gain), shift: Some(shift) })
    }

    /// `y + shift`.
    #[must_use]
    pub fn offset(shift: Tensor<3>) -> Self {
        Self::Output(Scale { gain: None, shift: Some(shift) })
    }

    /// Whether it says something at a site of a kind.
    #[must_use]
    pub fn fits(&self, kind: SiteKind) -> bool {
        let is_linear = matches!(kind, SiteKind::Linear { .. });
        let (is_hidden, is_rows) = (matches!(kind, SiteKind::Hidden { .. }), matches!(kind, SiteKind::Rows { .. }));
        match self {
            Self::Replace { .. } | Self::Multiply { .. } | Self::LowRank { .. } | Self::Input(_) => is_linear,
            Self::Output(_) => is_linear || is_hidden || is_rows,
            Self::Branch(_) | Self::Opaque(Opaque::Output(_)) => is_linear || is_hidden,
            Self::Norm(_) => matches!(kind, SiteKind::Norm { .. }),
            Self::Prefix(prefix) => match kind {
                SiteKind::Attention { d, heads } => prefix.keys.dims()[2] == d && prefix.gate.dims()[2] == heads,
                _ => false,
            },
            Self::Added(_) => is_rows || is_hidden,
            Self::Opaque(Opaque::Rows(_)) => is_rows,
        }
    }

    /// The tensors that it is made of, in the order of its fields; none for a closure.
    #[must_use]
    pub fn tensors(&self) -> Vec<&Tensor<3>> {
        match self {
            Self::Replace { weight, bias } | Self::Multiply { weight, bias } => [weight].into_iter().chain(bias).collect(),
            Self::LowRank { a, b, bias } => [a, b].into_iter().chain(bias).collect(),
            Self::Input(Scale { gain, shift }) | Self::Output(Scale { gain, shift }) => gain.iter().chain(shift).collect(),
            Self::Branch(Branch { w1, b1, w2, b2, .. }) => vec![w1, b1, w2, b2],
            Self::Norm(NormChange { times, plus, shift, moments, own: _ }) => {
                let moments = moments.iter().flat_map(|m| [&m.mean, &m.variance]);
                times.iter().chain(plus).chain(shift).chain(moments).collect()
            }
            Self::Prefix(Prefix { keys, values, gate }) => vec![keys, values, gate],
            Self::Added(rows) => vec![rows],
            Self::Opaque(_) => Vec::new(),
        }
    }

    /// Number of values that it is made of; 0 for a closure.
    #[must_use]
    pub fn values(&self) -> usize {
        self.tensors().iter().map(|tensor| tensor.dims().iter().product::<usize>()).sum()
    }

    /// Whether it can be written into the weights of its site: the same for every row and group, and affine.
    #[must_use]
    pub fn is_foldable(&self, site: &Site) -> bool {
        let is_shared = || self.tensors().iter().all(|tensor| tensor.dims()[0] == 1);
        let of_all_rows = || self.tensors().iter().all(|tensor| tensor.dims()[..2] == [1, 1]);
        let is_linear = matches!(site.kind, SiteKind::Linear { .. });
        match self {
            Self::Replace { .. } | Self::Multiply { .. } | Self::LowRank { .. } => is_shared(),
            Self::Output(_) => is_linear && of_all_rows(),
            // What stands before the first position of a convolution is zero and stays so: a shift of the input is no shift of the output there.
            Self::Input(scale) => {
                of_all_rows() && matches!(site.kind, SiteKind::Linear { d_in, .. } if d_in == site.d_x || scale.shift.is_none())
            }
            Self::Norm(_) => of_all_rows(),
            Self::Branch(_) | Self::Prefix(_) | Self::Added(_) | Self::Opaque(_) => false,
        }
    }

    pub(super) fn on_weights(&self, weights: Weights) -> Weights {
        match self {
            Self::Replace { weight, bias } => Weights { weight: weight.clone(), bias: bias.clone().or(weights.bias), low_rank: None },
            Self::Multiply { weight, bias } => {
                let own = weights.bias.clone();
                Weights { weight: weights.full() * weight.clone(), bias: own, low_rank: None }.shifted(bias.as_ref())
            }
            Self::LowRank { a, b, bias } => weights.plus(a, b).shifted(bias.as_ref()),
            _ => weights,
        }
    }

    pub(super) fn on_input(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Input(scale) => scale.apply(x),
            _ => x,
        }
    }

    pub(super) fn is_on_output(&self) -> bool {
        matches!(self, Self::Output(_) | Self::Branch(_) | Self::Added(_) | Self::Opaque(Opaque::Output(_)))
    }

    pub(super) fn on_output(&self, x: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Output(scale) => scale.apply(y),
            Self::Branch(branch) => branch.apply(x, y),
            Self::Added(rows) => y + rows.clone(),
            Self::Opaque(Opaque::Output(change)) => change(x, y),
            _ => y,
        }
    }

    pub(super) fn on_attention(&self, query: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Prefix(prefix) => prefix.apply(query, y),
            _ => y,
        }
    }

    pub(super) fn on_norm(&self, affine: Affine) -> Affine {
        let Self::Norm(NormChange { times, plus, shift, moments, own: kept }) = self else { return affine };
        let own = Scale { gain: times.clone(), shift: plus.clone() };
        let of_shift = Scale { gain: None, shift: shift.clone() };
        Affine {
            gain: own.apply(affine.gain),
            shift: of_shift.apply(affine.shift),
            // Other moments are kept elsewhere, or nowhere.
            own: if moments.is_some() { kept.clone() } else { affine.own },
            moments: moments.clone().or(affine.moments),
        }
    }

    pub(super) fn on_rows(&self, ids: Ids<'_>, rows: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Added(added) => rows + added.clone(),
            Self::Output(scale) => scale.apply(rows),
            Self::Opaque(Opaque::Rows(change)) => change(ids, rows),
            _ => rows,
        }
    }

    /// What `x ⊙ g + s` before the weights does, in the weights: `diag(g) W` and `b + s W`. A convolution's taps read the same channels.
    pub(super) fn input_on_weights(&self, weights: Weights) -> Weights {
        let Self::Input(Scale { gain, shift }) = self else { return weights };
        let shift = shift.clone().map(|shift| product(shift, weights.clone().full()));
        let Weights { weight, bias, low_rank } = weights;
        let scaled = |matrix: Tensor<3>| match gain {
            Some(gain) => {
                let taps = matrix.dims()[1] / gain.dims()[2];
                matrix * gain.clone().repeat_dim(2, taps).swap_dims(1, 2) // [1, d_in, 1]
            }
            None => matrix,
        };
        let low_rank = low_rank.map(|[a, b]| [scaled(a), b]);
        Weights { weight: scaled(weight), bias, low_rank }.shifted(shift.as_ref())
    }

    /// What `y ⊙ g + s` after the weights does, in the weights: `W diag(g)` and `b ⊙ g + s`.
    pub(super) fn output_on_weights(&self, weights: Weights) -> Weights {
        let Self::Output(Scale { gain, shift }) = self else { return weights };
        let Weights { weight, bias, low_rank } = weights;
        let scaled = |matrix: Tensor<3>| match gain {
            Some(gain) => matrix * gain.clone(),
            None => matrix,
        };
        let low_rank = low_rank.map(|[a, b]| [a, scaled(b)]);
        Weights { weight: scaled(weight), bias: bias.map(scaled), low_rank }.shifted(shift.as_ref())
    }
}
