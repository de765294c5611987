//! One NextItNet training step from the fused kernels: `bench_nextitnet [threads] [steps]`.
//!
//! Batch 128, length 50, 64 channels, 8 residual blocks (16 causal convolutions of kernel 3, layer norm, ReLU), 100 shared
//! sampled negatives of 20,000 items, Adam on all parameters, row-wise on the two item tables.

use std::time::{Duration, Instant};

use acclimate_model::{Activation, kernel};
use burn::tensor::{Device, Tensor};
use mimalloc::MiMalloc;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const BATCH: usize = 128;
const LENGTH: usize = 50;
const D: usize = 64;
const ITEMS: usize = 20_000;
const NEGATIVES: usize = 100;
const KERNEL: usize = 3;

struct Adam {
    m: Vec<f32>,
    v: Vec<f32>,
}

impl Adam {
    fn new(len: usize) -> Self {
        Adam { m: vec![0.0; len], v: vec![0.0; len] }
    }

    fn step(&mut self, at: usize, values: &mut [f32], gradient: &[f32], t: &kernel::AdamStep) {
        let span = at..at + gradient.len();
        kernel::adam(t, values, gradient, &mut self.m[span.clone()], &mut self.v[span]);
    }
}

struct Dense {
    values: Vec<f32>,
    shape: [usize; 3],
    adam: Adam,
}

struct Rows {
    values: Vec<f32>,
    adam: Adam,
    slot: Vec<u32>,
}

impl Rows {
    fn gather(&self, ids: &[u32]) -> Vec<f32> {
        ids.iter().flat_map(|&i| &self.values[i as usize * D..][..D]).copied().collect()
    }

    fn update(&mut self, ids: &[u32], gradient: &[f32], t: &kernel::AdamStep) {
        let (mut rows, mut sums): (Vec<u32>, Vec<f32>) = (Vec::new(), Vec::new());
        for (&id, g) in ids.iter().zip(gradient.chunks_exact(D)) {
            let slot = &mut self.slot[id as usize];
            if *slot == u32::MAX {
                *slot = rows.len() as u32;
                rows.push(id);
                sums.extend_from_slice(g);
            } else {
                sums[*slot as usize * D..][..D].iter_mut().zip(g).for_each(|(s, g)| *s += g);
            }
        }
        for (&id, g) in rows.iter().zip(sums.chunks_exact(D)) {
            self.slot[id as usize] = u32::MAX;
            let at = id as usize * D;
            self.adam.step(at, &mut self.values[at..at + D], g, t);
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<usize>().expect("a whole number"));
    let threads = arguments.next().unwrap_or(1);
    let steps = arguments.next().unwrap_or(30);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the pool starts once");
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut net: Vec<Dense> = Vec::new();
    for _ in 0..16 {
        let mut add = |scale: f32, start: f32, shape: [usize; 3]| {
            let len = shape.iter().product();
            let values = (0..len).map(|_| start + scale * rng.random_range(-1.0f32..1.0)).collect();
            net.push(Dense { values, shape, adam: Adam::new(len) });
        };
        add(0.07, 0.0, [1, KERNEL * D, D]);
        add(0.0, 0.0, [1, 1, D]);
        add(0.0, 1.0, [1, 1, D]);
        add(0.0, 0.0, [1, 1, D]);
    }
    let mut table = || Rows {
        values: (0..ITEMS * D).map(|_| rng.random_range(-0.05f32..0.05)).collect(),
        adam: Adam::new(ITEMS * D),
        slot: vec![u32::MAX; ITEMS],
    };
    let (mut input, mut output) = (table(), table());
    let mut times = Vec::new();
    let mut loss = 0.0;
    for t in 0..steps + 3 {
        let ids = |rng: &mut ChaCha8Rng, n| (0..n).map(|_| rng.random_range(0..ITEMS as u32)).collect::<Vec<_>>();
        let (x, y, negatives) = (ids(&mut rng, BATCH * LENGTH), ids(&mut rng, BATCH * LENGTH), ids(&mut rng, NEGATIVES));
        let (wall, cpu) = (Instant::now(), cpu_time());
        loss = step(
            &mut net,
            [&mut input, &mut output],
            [&x, &y, &negatives],
            &kernel::AdamStep::new(1e-3, [0.9, 0.999], 1e-8, 0.0, t as u64 + 1),
        );
        if t >= 3 {
            times.push((wall.elapsed(), cpu_time() - cpu));
        }
    }
    let median = |f: &dyn Fn(&(Duration, Duration)) -> Duration| {
        let mut v: Vec<_> = times.iter().map(f).collect();
        v.sort();
        v[v.len() / 2].as_secs_f64() * 1e3
    };
    println!(
        "nextitnet threads {threads}: {:.1} ms/step wall, {:.1} ms cpu, peak {} MiB, loss {loss:.4}",
        median(&|t| t.0),
        median(&|t| t.1),
        peak_mib()
    );
}

fn step(net: &mut [Dense], [input, output]: [&mut Rows; 2], [x, y, negatives]: [&[u32]; 3], t: &kernel::AdamStep) -> f32 {
    let device = Device::flex().autodiff();
    let leaves: Vec<_> = net.iter().map(|p| kernel::leaf(p.values.clone(), p.shape, &device, true)).collect();
    let rows = kernel::leaf(input.gather(x), [BATCH, LENGTH, D], &device, true);
    let positives = kernel::leaf(output.gather(y), [BATCH, LENGTH, D], &device, true);
    let shared = kernel::leaf(output.gather(negatives), [1, NEGATIVES, D], &device, true);
    let mut h = rows.clone();
    for (block, p) in leaves.chunks_exact(8).enumerate() {
        let dilation = [1, 4][block % 2];
        let layer = |x: Tensor<3>, p: &[Tensor<3>], dilation| {
            let z = kernel::causal_conv(x, p[0].clone(), p[1].clone(), dilation);
            kernel::layer_norm(z, p[2].clone(), p[3].clone(), 1e-8, Activation::Relu)
        };
        let z = layer(h.clone(), &p[..4], dilation);
        h = h + layer(z, &p[4..], 2 * dilation);
    }
    let candidates = kernel::Candidates { positives: positives.clone(), negatives: shared.clone(), targets: y, sampled: negatives };
    let loss = kernel::sampled_softmax_loss(h, candidates, &[1.0; BATCH * LENGTH]);
    let mut gradients = loss.backward();
    for (p, leaf) in net.iter_mut().zip(&leaves) {
        let g = kernel::take_gradient(leaf, &mut gradients).expect("every parameter is used");
        p.adam.step(0, &mut p.values, &g, t);
    }
    let g = kernel::take_gradient(&rows, &mut gradients).expect("rows are used");
    input.update(x, &g, t);
    let mut g = kernel::take_gradient(&positives, &mut gradients).expect("positives are used");
    g.extend(kernel::take_gradient(&shared, &mut gradients).expect("negatives are used"));
    output.update(&[y, negatives].concat(), &g, t);
    kernel::to_vec(loss)[0]
}

fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let own: u64 = stat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let all: u64 = tasks
        .filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok())
        .filter_map(|s| s.split(' ').next().and_then(|n| n.parse::<u64>().ok()))
        .sum();
    Duration::from_nanos(all.max(own))
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
}
