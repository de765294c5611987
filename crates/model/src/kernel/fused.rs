//! How a fused operation joins Burn's autodiff graph on the CPU.
//!
//! An operation implements [`FusedOp`]: plain loops over slices, forward and backward. [`apply`] unwraps the tensors,
//! records one graph node and skips every gradient that no parent asks for.

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, DType, Flex};
use burn::tensor::{Tensor, TensorData};
use burn_flex::FlexTensor;

type Tracked = FloatTensor<Autodiff<Flex>>;

/// A differentiable operation written as loops over contiguous `f32` slices.
///
/// The value of `self` holds what is not a tensor: sizes, dilation, targets. To add an operation, implement this trait,
/// and write a public function that calls [`apply`] and falls back to composed tensor operations on `None`.
pub(super) trait FusedOp<const N: usize>: Clone + Debug + Send + 'static {
    /// What the forward pass leaves for the backward pass beside the inputs.
    type Saved: Clone + Debug + Send + 'static;

    /// Whether the backward pass reads the output (a ReLU mask does); it is kept alive only then.
    const KEEP_OUTPUT: bool;

    /// The output values, row-major. `wanted` says which inputs will be asked for a gradient.
    fn forward(&self, inputs: [&[f32]; N], wanted: [bool; N]) -> (Vec<f32>, Self::Saved);

    /// The gradient of each input where `pass.wanted` is true, `None` elsewhere.
    fn backward(&self, pass: Pass<'_, N, Self::Saved>) -> [Option<Vec<f32>>; N];
}

/// What a backward pass gets to see.
pub(super) struct Pass<'a, const N: usize, S> {
    /// The inputs of the forward pass.
    pub(super) inputs: [&'a [f32]; N],
    /// The output of the forward pass; empty unless [`FusedOp::KEEP_OUTPUT`].
    pub(super) output: &'a [f32],
    /// What the forward pass saved.
    pub(super) saved: S,
    /// The gradient with respect to the output.
    pub(super) grad: &'a [f32],
    /// Which inputs need a gradient.
    pub(super) wanted: [bool; N],
}

/// Runs `op` as one graph node and gives its output the shape `shape`.
///
/// `None` when an input is not an `f32` tensor of the CPU backend (or uses gradient checkpointing): the caller then
/// composes the same function from ordinary tensor operations.
pub(super) fn apply<const N: usize, const D: usize, Op: FusedOp<N>>(
    op: Op,
    inputs: [&Tensor<3>; N],
    shape: [usize; D],
) -> Option<Tensor<D>> {
    if inputs.iter().any(|x| x.is_autodiff()) {
        let tracked = all(inputs.map(unwrap_tracked))?;
        return Some(Tensor::from_primitive::<Autodiff<Flex>>(record(op, tracked, shape)));
    }
    let plain = all(inputs.map(unwrap_plain))?;
    let (values, _) = op.forward(plain.each_ref().map(slice), [false; N]);
    Some(Tensor::from_primitive::<Flex>(wrap(values, shape)))
}

/// Runs a forward pass that no backward pass follows, and gives its output the shape `shape`.
///
/// `None` when an input may be asked for a gradient, or is not an `f32` tensor of the CPU backend: the caller then composes the same function from ordinary tensor operations.
pub(super) fn untracked<const N: usize, const D: usize>(
    inputs: [&Tensor<3>; N],
    shape: [usize; D],
    of: impl FnOnce([&[f32]; N]) -> Vec<f32>,
) -> Option<Tensor<D>> {
    if inputs.iter().any(|x| x.is_autodiff()) {
        return None;
    }
    let plain = all(inputs.map(unwrap_plain))?;
    Some(Tensor::from_primitive::<Flex>(wrap(of(plain.each_ref().map(slice)), shape)))
}

/// Changes the values of `x` in place, where no gradient is asked for; free of copies when this is the last handle.
///
/// # Errors
/// The tensor itself, unchanged, where [`untracked`] gives `None`.
#[expect(clippy::result_large_err, reason = "a handle of a tensor, given back")]
pub(super) fn in_place<const N: usize>(
    x: Tensor<3>,
    operands: [&Tensor<3>; N],
    change: impl FnOnce(&mut [f32], [&[f32]; N]),
) -> Result<Tensor<3>, Tensor<3>> {
    if x.is_autodiff() || operands.iter().any(|x| x.is_autodiff()) || unwrap_plain(&x).is_none() {
        return Err(x);
    }
    let Some(operands) = all(operands.map(unwrap_plain)) else { return Err(x) };
    let shape = x.dims();
    let mut values = super::to_vec(x);
    change(&mut values, operands.each_ref().map(slice));
    Ok(Tensor::from_primitive::<Flex>(wrap(values, shape)))
}

fn record<const N: usize, const D: usize, Op: FusedOp<N>>(op: Op, inputs: [Tracked; N], shape: [usize; D]) -> Tracked {
    let nodes = inputs.each_ref().map(|x| x.node());
    let parents = inputs.each_ref().map(|x| x.primitive().shape_dims());
    let wanted = inputs.each_ref().map(Tracked::is_tracked);
    let values = inputs.map(|x| x.into_primitive().to_contiguous());
    match Node(op.clone()).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (output, saved) = op.forward(values.each_ref().map(slice), wanted);
            let output = wrap(output, shape);
            let state = State { output: Op::KEEP_OUTPUT.then(|| output.clone()), inputs: values, shapes: parents, saved };
            prep.finish(state, output)
        }
        OpsKind::UnTracked(prep) => {
            let (output, _) = op.forward(values.each_ref().map(slice), wanted);
            prep.finish(wrap(output, shape))
        }
    }
}

#[derive(Debug)]
struct Node<Op>(Op);

#[derive(Clone, Debug)]
struct State<const N: usize, S> {
    inputs: [FlexTensor; N],
    shapes: [[usize; 3]; N],
    output: Option<FlexTensor>,
    saved: S,
}

impl<const N: usize, Op: FusedOp<N>> Backward<Flex, N> for Node<Op> {
    type State = State<N, Op::Saved>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let state = ops.state;
        let gradients = self.0.backward(Pass {
            inputs: state.inputs.each_ref().map(slice),
            output: state.output.as_ref().map_or(&[], slice),
            saved: state.saved,
            grad: slice(&grad),
            wanted: ops.parents.each_ref().map(Option::is_some),
        });
        for ((parent, shape), gradient) in ops.parents.iter().zip(state.shapes).zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(parent.id, wrap(gradient, shape));
            }
        }
    }
}

fn unwrap_tracked(x: &Tensor<3>) -> Option<Tracked> {
    if !x.is_autodiff() {
        return unwrap_plain(x).map(Tracked::new);
    }
    let tensor = x.clone().try_into_primitive::<Autodiff<Flex>>().ok()?;
    (tensor.primitive().dtype() == DType::F32).then_some(tensor)
}

fn unwrap_plain(x: &Tensor<3>) -> Option<FlexTensor> {
    let tensor = x.clone().try_into_primitive::<Flex>().ok()?;
    (tensor.dtype() == DType::F32).then(|| tensor.to_contiguous())
}

fn all<T, const N: usize>(items: [Option<T>; N]) -> Option<[T; N]> {
    let items: Vec<T> = items.into_iter().collect::<Option<_>>()?;
    items.try_into().ok()
}

fn wrap<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("dtype and contiguity were established when the tensor was unwrapped")
}

trait Dims {
    fn shape_dims(&self) -> [usize; 3];
}

impl Dims for FlexTensor {
    fn shape_dims(&self) -> [usize; 3] {
        self.layout().shape().dims()
    }
}
