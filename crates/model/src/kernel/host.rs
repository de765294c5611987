//! Host buffers in, host buffers out.
//!
//! On the CPU backend neither direction copies: a `Vec<f32>` becomes the storage of the tensor, and a contiguous tensor
//! that nobody else holds gives its storage back. Other devices copy once.

use burn::tensor::{Device, Gradients, Tensor, TensorData};

/// A tensor that owns `values`; on an autodiff `device` it is a leaf that collects its gradient when `requires_grad`.
///
/// `requires_grad` has no effect on a device without autodiff, so that one code path serves training and inference.
///
/// # Panics
/// If `values` does not hold exactly as many numbers as `shape` says.
pub fn leaf(values: Vec<f32>, shape: [usize; 3], device: &Device, requires_grad: bool) -> Tensor<3> {
    let tensor = Tensor::from_data(TensorData::new(values, shape), device);
    if requires_grad && tensor.is_autodiff() { tensor.require_grad() } else { tensor }
}

/// The values of `tensor`, row-major. Free of copies when this is the last handle to contiguous CPU storage.
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("kernel tensors hold f32")
}

/// Takes the gradient of `leaf` out of `gradients` without copying it; `None` for a leaf that was not reached or does not
/// require a gradient.
pub fn take_gradient<const D: usize>(leaf: &Tensor<D>, gradients: &mut Gradients) -> Option<Vec<f32>> {
    leaf.grad_remove(gradients).map(to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_travels_in_and_out_without_a_copy() {
        let values = vec![1.0f32; 24];
        let address = values.as_ptr();
        let tensor = leaf(values, [2, 3, 4], &Device::flex(), false);
        let back = to_vec(tensor);
        assert_eq!(back.as_ptr(), address);
    }

    #[test]
    fn a_gradient_is_taken_once() {
        let x = leaf(vec![2.0, 3.0], [1, 1, 2], &Device::flex().autodiff(), true);
        let mut gradients = (x.clone() * 2.0).sum().backward();
        assert_eq!(take_gradient(&x, &mut gradients), Some(vec![2.0, 2.0]));
        assert_eq!(take_gradient(&x, &mut gradients), None);
    }
}
