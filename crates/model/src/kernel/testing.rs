//! Checks that a fused operation is the same function as its composed twin.

use burn::tensor::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::host::{leaf, take_gradient, to_vec};

/// Uniform numbers from -1 to 1.
pub(super) fn draw(rng: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

/// A seeded generator.
pub(super) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// What a function gives: its value and the gradient of each input that asks for one.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) value: Vec<f32>,
    pub(super) gradients: Vec<Option<Vec<f32>>>,
}

/// Runs `f` on leaves and back from a fixed random linear form of its output.
pub(super) fn outcome<const D: usize>(
    inputs: &[(Vec<f32>, [usize; 3])],
    trained: &[bool],
    f: &dyn Fn(&[Tensor<3>]) -> Tensor<D>,
) -> Outcome {
    let device = Device::flex().autodiff();
    let leaves: Vec<_> = inputs.iter().zip(trained).map(|((v, s), &t)| leaf(v.clone(), *s, &device, t)).collect();
    let y = f(&leaves);
    let value = to_vec(y.clone().inner());
    let form = draw(&mut rng(99), value.len());
    let form = Tensor::<1>::from_data(form.as_slice(), &device);
    let total = value.len();
    let gradients = if trained.contains(&true) {
        let mut gradients = (y.reshape([total]) * form).sum().backward();
        leaves.iter().map(|x| take_gradient(x, &mut gradients)).collect()
    } else {
        vec![None; leaves.len()]
    };
    Outcome { value, gradients }
}

/// Asserts that `fused` and `composed` agree in value and in every gradient, for every choice of frozen inputs, and that
/// frozen inputs have no gradient.
pub(super) fn compare<const D: usize>(
    inputs: &[(Vec<f32>, [usize; 3])],
    fused: &dyn Fn(&[Tensor<3>]) -> Tensor<D>,
    composed: &dyn Fn(&[Tensor<3>]) -> Tensor<D>,
) {
    for choice in 0..1u32 << inputs.len() {
        let trained: Vec<bool> = (0..inputs.len()).map(|i| choice >> i & 1 == 1).collect();
        let (a, b) = (outcome(inputs, &trained, fused), outcome(inputs, &trained, composed));
        close(&a.value, &b.value, "value");
        for (i, (a, b)) in a.gradients.iter().zip(&b.gradients).enumerate() {
            assert_eq!(a.is_some(), trained[i], "gradient {i} of {trained:?}");
            if let (Some(a), Some(b)) = (a, b) {
                close(a, b, &format!("gradient {i} of {trained:?}"));
            }
        }
    }
    let plain: Vec<_> = inputs.iter().map(|(v, s)| leaf(v.clone(), *s, &Device::flex(), false)).collect();
    close(&to_vec(fused(&plain)), &to_vec(composed(&plain)), "value without autodiff");
}

/// Asserts that the gradient of every input agrees with central differences at a few coordinates.
pub(super) fn check_differences<const D: usize>(inputs: &[(Vec<f32>, [usize; 3])], f: &dyn Fn(&[Tensor<3>]) -> Tensor<D>) {
    let trained = vec![true; inputs.len()];
    let exact = outcome(inputs, &trained, f);
    let form = draw(&mut rng(99), exact.value.len());
    let at = |inputs: &[(Vec<f32>, [usize; 3])]| -> f64 {
        let value = outcome(inputs, &vec![false; inputs.len()], f).value;
        value.iter().zip(&form).map(|(v, w)| f64::from(*v) * f64::from(*w)).sum()
    };
    let step = 1e-2;
    for (i, gradient) in exact.gradients.iter().enumerate() {
        let gradient = gradient.as_ref().expect("every input is trained");
        for j in (0..gradient.len()).step_by(gradient.len().div_ceil(3)) {
            let mut moved = inputs.to_vec();
            moved[i].0[j] += step;
            let up = at(&moved);
            moved[i].0[j] -= 2.0 * step;
            let slope = (up - at(&moved)) / (2.0 * f64::from(step));
            let error = (slope - f64::from(gradient[j])).abs();
            assert!(error < 2e-2 * (1.0 + slope.abs()), "input {i}, value {j}: {slope} against {}", gradient[j]);
        }
    }
}

/// Asserts equality to 1e-5 of the largest magnitude (at least 1).
pub(super) fn close(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let size = b.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= 1e-5 * size, "{what}, value {i}: {a} against {b}");
    }
}

/// Asserts that one thread and three threads give the same bytes, values and gradients.
pub(super) fn same_bytes_for_any_threads<const D: usize>(
    inputs: &[(Vec<f32>, [usize; 3])],
    f: &(dyn Fn(&[Tensor<3>]) -> Tensor<D> + Sync),
) {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool starts");
        pool.install(|| outcome(inputs, &vec![true; inputs.len()], f))
    };
    let (one, three) = (run(1), run(3));
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&one.value), bits(&three.value));
    for (a, b) in one.gradients.iter().zip(&three.gradients) {
        assert_eq!(a.as_deref().map(bits), b.as_deref().map(bits));
    }
}
