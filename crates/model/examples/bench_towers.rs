//! One training step of a click tower from the fused kernels: `bench_towers [ctr|krl1] [threads] [steps]`.
//!
//! `ctr`: batch 4096, 10 fields of 100,000 ids, width 16, tower 160-256-128-64-1. `krl1`: batch 1024, tower 580-128-64-32-1 on
//! 36 fields of 16 and 4 numbers, tables of 20,000. Adam on everything, row-wise on the tables.

use std::time::Instant;

use acclimate_model::{Activation, kernel};
use burn::tensor::Device;
use mimalloc::MiMalloc;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const D: usize = 16;

/// Values beside their moments.
struct Adam {
    values: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
}

impl Adam {
    fn new(values: Vec<f32>) -> Self {
        let zeros = vec![0.0; values.len()];
        Adam { m: zeros.clone(), v: zeros, values }
    }

    fn step(&mut self, at: usize, gradient: &[f32], t: &kernel::AdamStep) {
        let span = at..at + gradient.len();
        kernel::adam(t, &mut self.values[span.clone()], gradient, &mut self.m[span.clone()], &mut self.v[span]);
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let krl1 = arguments.next().is_some_and(|a| a == "krl1");
    let mut number = |default: usize| arguments.next().map_or(default, |a| a.parse().expect("a whole number"));
    let (threads, steps) = (number(1), number(50));
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the pool starts once");
    let (batch, fields, ids, numbers, widths): (_, _, _, _, &[usize]) =
        if krl1 { (1024, 36, 20_000, 4, &[580, 128, 64, 32, 1]) } else { (4096, 10, 100_000, 0, &[160, 256, 128, 64, 1]) };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut draw = |len: usize, scale: f32| Adam::new((0..len).map(|_| scale * rng.random_range(-1.0f32..1.0)).collect());
    let mut tables: Vec<_> = (0..fields).map(|_| draw(ids * D, 0.01)).collect();
    let mut layers: Vec<_> = widths.windows(2).map(|w| [draw(w[0] * w[1], 1.0 / (w[0] as f32).sqrt()), draw(w[1], 0.0)]).collect();
    let mut slots = vec![u32::MAX; ids];
    let device = Device::flex().autodiff();
    let mut times = Vec::new();
    let mut last = 0.0;
    for t in 0..steps + 3 {
        let codes: Vec<u32> = (0..batch * fields).map(|_| rng.random_range(0..ids as u32)).collect();
        let labels: Vec<f32> = codes.iter().step_by(fields).map(|c| (c % 2) as f32).collect();
        let adam = kernel::AdamStep::new(1e-3, [0.9, 0.999], 1e-8, 0.0, t as u64 + 1);
        let start = Instant::now();
        let width = widths[0];
        let mut x = vec![0.1; batch * width];
        for (row, codes) in x.chunks_exact_mut(width).zip(codes.chunks_exact(fields)) {
            for ((slot, &code), table) in row[..width - numbers].chunks_exact_mut(D).zip(codes).zip(&tables) {
                slot.copy_from_slice(&table.values[code as usize * D..][..D]);
            }
        }
        let input = kernel::leaf(x, [1, batch, width], &device, true);
        let mut h = input.clone();
        let leaves: Vec<_> = (layers.iter().zip(widths.windows(2)))
            .map(|([w, b], d)| {
                let leaf = |p: &Adam, shape| kernel::leaf(p.values.clone(), shape, &device, true);
                [leaf(w, [1, d[0], d[1]]), leaf(b, [1, 1, d[1]])]
            })
            .collect();
        for (i, [w, b]) in leaves.iter().enumerate() {
            let activation = if i + 1 < leaves.len() { Activation::Relu } else { Activation::Identity };
            h = kernel::linear(h, w.clone(), Some(b.clone()), activation);
        }
        let loss = kernel::logistic_loss(h, &labels, &vec![1.0; batch]);
        let mut gradients = loss.backward();
        for (layer, leaves) in layers.iter_mut().zip(&leaves) {
            for (p, leaf) in layer.iter_mut().zip(leaves) {
                p.step(0, &kernel::take_gradient(leaf, &mut gradients).expect("every parameter is used"), &adam);
            }
        }
        let gradient = kernel::take_gradient(&input, &mut gradients).expect("the rows are used");
        for (field, table) in tables.iter_mut().enumerate() {
            let (mut rows, mut sums): (Vec<u32>, Vec<f32>) = (Vec::new(), Vec::new());
            for (row, codes) in gradient.chunks_exact(width).zip(codes.chunks_exact(fields)) {
                let (code, g) = (codes[field], &row[field * D..][..D]);
                let slot = &mut slots[code as usize];
                if *slot == u32::MAX {
                    *slot = rows.len() as u32;
                    rows.push(code);
                    sums.extend_from_slice(g);
                } else {
                    sums[*slot as usize * D..][..D].iter_mut().zip(g).for_each(|(s, g)| *s += g);
                }
            }
            for (&code, g) in rows.iter().zip(sums.chunks_exact(D)) {
                slots[code as usize] = u32::MAX;
                table.step(code as usize * D, g, &adam);
            }
        }
        last = kernel::to_vec(loss)[0];
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let mut times = times.split_off(3);
    times.sort_by(f64::total_cmp);
    let (median, best) = (times[times.len() / 2], times[0]);
    let name = if krl1 { "krl1" } else { "ctr" };
    println!(
        "{name} threads {threads}: {median:.2} ms/step median, {best:.2} best, {:.0} rows/s, loss {last:.4}",
        batch as f64 / median * 1e3
    );
}
