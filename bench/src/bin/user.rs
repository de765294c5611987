//! Adapting users by a solve: 1,000 users with 28 ratings each, ten items asked for, 2,000 items, 16 factors and 18 narrow columns of content. Peer: `bench/peer/user.py`.
//!
//! `fold_in` solves 17 equations a user, `regression` 28 (rows) in 38 features, `plus` the same with set features and a kernel of rank 128.

use acclimate_bench::{report, stream, time, use_threads};
use acclimate_fit::{FoldInConfig, Item, Ratings, RegressionConfig, Sparse, UserModel};
use clap::Parser;
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Rounds timed; each adapts all users.
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Rounds before the clock counts.
    #[arg(long, default_value_t = 3)]
    warmup: usize,
    /// `fold_in`, `regression` or `plus`.
    #[arg(long, default_value = "fold_in")]
    body: String,
}

const USERS: usize = 1000;
const ITEMS: u64 = 2000;
const SHOWN: usize = 28;
const ASKED: usize = 10;

fn main() -> anyhow::Result<()> {
    let Arguments { threads, steps, warmup, body } = Arguments::parse();
    use_threads(threads)?;
    let mut stream = stream(1);
    let (mut rated, mut content, mut people) = (Sparse::new(ITEMS as usize), Sparse::new(18), Sparse::new(4));
    (0..ITEMS).for_each(|i| content.push([((i % 18) as u32, 1.0), ((i / 18 % 18) as u32, 1.0)]));
    for user in 0..USERS {
        let row: Vec<(u32, f64)> = (0..60).map(|_| (stream.below(ITEMS) as u32, 1.0 + stream.below(5) as f64)).collect();
        rated.push(row);
        people.push([(0, 1.0), (1 + (user % 3) as u32, 1.0)]);
    }
    let ratings = Ratings { rated, content, narrow: 18, people };
    let regression = match body.as_str() {
        "fold_in" => None,
        "regression" => Some(RegressionConfig::default()),
        "plus" => Some(RegressionConfig::plus()),
        other => anyhow::bail!("no body `{other}`; there are fold_in, regression and plus"),
    };
    let model = UserModel::fit(&ratings, &FoldInConfig::default(), regression.as_ref(), None);
    let of_user = |user: usize| {
        let (items, values) = ratings.rated.row(user);
        let known: Vec<(Item<'_>, f64)> = items.iter().zip(values).take(SHOWN).map(|(&i, &r)| (model.item(i as usize), r)).collect();
        let asked: Vec<Item<'_>> = items.iter().skip(SHOWN).take(ASKED).map(|&i| model.item(i as usize)).collect();
        model.answer(ratings.people.row(user), &known, &asked, false).iter().map(|answer| answer.mean).sum::<f64>()
    };
    let seconds = time(warmup, steps, |_| {
        let sums: Vec<f64> = (0..USERS).into_par_iter().map(of_user).collect();
        assert!(std::hint::black_box(sums).iter().all(|sum| sum.is_finite()));
    });
    report("user", &format!("acclimate_{body}"), threads, USERS, &seconds);
    Ok(())
}
