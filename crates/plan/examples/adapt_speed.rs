//! Times adapting in a request, one user after the other on one thread: gradient steps on MeLU's tower (256-64-64-1), and a head by one solve.
//!
//! `cargo run --release -p acclimate-plan --example adapt_speed -- [users]` prints a line of JSON for each number of support rows. `bench/serve/adapt_peer.py` is the same in PyTorch.
//! `p99_alone_us` is that of the users during whom the thread was not put aside for another: on a busy machine `p99_us` is a slice of the scheduler's.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use acclimate_plan::{AdaptError, HeadParams, HeadSolver, InnerLoop, Layer, Linear, Loss, Network, Rates, Shrink};
use serde_json::json;

const ROWS: [usize; 4] = [1, 5, 20, 100];

/// Values between -1 and 1, the same for a seed.
struct Numbers(u64);

impl Numbers {
    fn take(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 40) as f32 / 8_388_608.0 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn linear(&mut self, d_in: usize, d_out: usize) -> Linear {
        let scale = (1.0 / d_in as f32).sqrt();
        let mut scaled = |count| Arc::new(self.take(count).into_iter().map(|x| x * scale).collect());
        Linear { d_in, d_out, weight: scaled(d_in * d_out), bias: scaled(d_out) }
    }
}

/// How often this thread was put aside; none where the system does not say.
fn interruptions() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:")?.trim().parse().ok())
}

/// The q-quantile of times; none of none.
fn quantile(times: &mut [f64], q: f64) -> Option<f64> {
    times.sort_by(f64::total_cmp);
    times.get((times.len().saturating_sub(1) as f64 * q) as usize).copied()
}

/// Runs `adapt` for users of so many rows, after a tenth as many that are not counted.
fn timed(name: &str, rows: usize, users: usize, mut adapt: impl FnMut(usize) -> Result<(), AdaptError>) -> Result<(), AdaptError> {
    (0..users / 10).try_for_each(&mut adapt)?;
    let (mut times, mut alone) = (Vec::with_capacity(users), Vec::with_capacity(users));
    for user in 0..users {
        let before = interruptions();
        let start = Instant::now();
        adapt(user)?;
        let time = start.elapsed().as_secs_f64() * 1e6;
        times.push(time);
        if before.is_some() && before == interruptions() {
            alone.push(time);
        }
    }
    let line = json!({
        "name": name,
        "rows": rows,
        "users": users,
        "p50_us": quantile(&mut times, 0.5),
        "p99_us": quantile(&mut times, 0.99),
        "alone": alone.len(),
        "p99_alone_us": quantile(&mut alone, 0.99),
    });
    println!("{line}");
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let users: usize = std::env::args().nth(1).map_or(Ok(2000), |users| users.parse())?;
    let users = users.max(10);
    let mut numbers = Numbers(1);
    let layers = [(256, 64), (64, 64)].map(|(d_in, d_out)| Layer { linear: numbers.linear(d_in, d_out), after: Vec::new(), norm: None });
    let (layers, head) = (layers.into(), numbers.linear(64, 1));
    let network = Network { tables: Vec::new(), slots: Vec::new(), layers, head, after: Vec::new(), unit: 1.0 };
    for (name, steps, adapted) in [("steps_1", 1, 0..3), ("steps_5", 5, 0..3), ("head_steps_5", 5, 2..3)] {
        let inner = InnerLoop { loss: Loss::SquaredError, steps, adapted, rates: Rates::One(0.01), shrink: Shrink::None };
        for rows in ROWS {
            let pool: Vec<_> = (0..64).map(|_| (numbers.take(rows * 256), numbers.take(rows))).collect();
            timed(name, rows, users, |user| {
                let (x, y) = &pool[user % pool.len()];
                black_box(inner.run(&network, black_box(x), y, &mut |_| true)?);
                Ok(())
            })?;
        }
    }
    for (name, d, loss) in
        [("head_32", 32, Loss::SquaredError), ("head_64", 64, Loss::SquaredError), ("head_64_clicks", 64, Loss::Logistic)]
    {
        let m = d + 2;
        let noise = numbers.take(m * m);
        let factor: Vec<f32> = (0..m * m)
            .map(|at| {
                if at / m == at % m {
                    0.3
                } else if at / m > at % m {
                    0.02 * noise[at]
                } else {
                    0.0
                }
            })
            .collect();
        let prior: Vec<f32> = (0..m).map(|at| if at == 1 { 1.0 } else { 0.0 }).collect();
        let of_patch = HeadParams { numbers: &[0.0, 1.0, 0.5, 1.0], shares: &[0.9; 7], prior: &prior, factor: &factor };
        let solver = HeadSolver::new(loss, &numbers.linear(d, 1), of_patch)?;
        for rows in ROWS {
            let labels =
                |y: Vec<f32>| y.into_iter().map(|y| if loss == Loss::Logistic { f32::from(u8::from(y > 0.0)) } else { y }).collect();
            let pool: Vec<(Vec<f32>, Vec<f32>)> = (0..64).map(|_| (numbers.take(rows * d), labels(numbers.take(rows)))).collect();
            timed(name, rows, users, |user| {
                let (h, y) = &pool[user % pool.len()];
                black_box(solver.solve(black_box(h), y)?);
                Ok(())
            })?;
        }
    }
    Ok(())
}
