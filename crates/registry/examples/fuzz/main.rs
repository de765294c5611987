//! Mutates files of a registry and gives them to their readers: `cargo xtask fuzz manifest|alias|routes|patch|adapter|signature|segment --seconds N --seed S`.
//!
//! Seeds are the files of `corpus/TARGET` and of the fixtures. A reader may refuse, and must neither panic nor accept what it should not: see [`Target`]. What is
//! wrong is written to `corpus/TARGET`, where every later run begins with it.

mod mutate;
mod seeds;
mod target;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use target::Target;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, rest @ ..] = &arguments[..] else { return usage() };
    let (Some(target), Some((seconds, seed))) = (Target::named(target), options(rest)) else { return usage() };
    let seeds = seeds::of(target);
    println!("{} with seed {seed}: {} seeds, {seconds} s", target.name(), seeds.len());
    let (began, mut random) = (Instant::now(), ChaCha8Rng::seed_from_u64(seed));
    let (mut tries, mut accepted) = (0_u64, 0_u64);
    let mut kept = seeds.iter().cloned();
    // A panic is caught and told below.
    std::panic::set_hook(Box::new(|_| {}));
    while tries < seeds.len() as u64 || began.elapsed() < Duration::from_secs(seconds) {
        let bytes = kept.next().unwrap_or_else(|| mutate::mutated(&seeds, &mut random));
        tries += 1;
        let outcome = catch_unwind(AssertUnwindSafe(|| target.check(&bytes)));
        match outcome {
            Ok(Ok(fine)) => accepted += u64::from(fine),
            Ok(Err(problem)) => return found(target, &bytes, &problem, tries),
            Err(_) => return found(target, &bytes, "the reader panics", tries),
        }
    }
    println!("{tries} files, {accepted} accepted, nothing wrong");
    if accepted > 0 { ExitCode::SUCCESS } else { usage() }
}

fn usage() -> ExitCode {
    eprintln!("fuzz manifest|alias|routes|patch|adapter|signature|segment [--seconds N] [--seed S]");
    ExitCode::from(2)
}

/// Seconds and seed.
fn options(arguments: &[String]) -> Option<(u64, u64)> {
    let (mut seconds, mut seed) = (10, 1);
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--seconds" => seconds = value.parse().ok()?,
            [name, value] if name == "--seed" => seed = value.parse().ok()?,
            _ => return None,
        }
    }
    Some((seconds, seed))
}

fn found(target: Target, bytes: &[u8], problem: &str, tries: u64) -> ExitCode {
    if cfg!(feature = "canary") {
        eprintln!("found after {tries} files: {problem}");
        return ExitCode::FAILURE;
    }
    let path = seeds::corpus(target).join(format!("{}.bin", &acclimate_registry::Digest::of(bytes).to_string()[..16]));
    let said = std::fs::create_dir_all(seeds::corpus(target)).and_then(|()| std::fs::write(&path, bytes));
    eprintln!("found after {tries} files: {problem}; kept as {} ({said:?})", path.display());
    ExitCode::FAILURE
}
