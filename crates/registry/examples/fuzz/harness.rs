//! The loop around a reader, whatever it reads. Seeds are the files that are kept and those that the target brings; what is wrong is kept, and every later run
//! begins with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::mutate;

/// A reader.
pub(crate) trait Fuzzed: Copy + 'static {
    /// Every one of them.
    const ALL: &'static [Self];

    /// What it is called on the command line.
    fn name(self) -> &'static str;

    /// The folder of the files that are kept.
    fn corpus(self) -> PathBuf;

    /// The files that a run begins with.
    fn seeds(self) -> Vec<Vec<u8>>;

    /// Gives bytes to the reader: whether it accepts them, or what it should not have accepted.
    fn check(self, bytes: &[u8]) -> Result<bool, String>;
}

/// Does what the command line says.
pub(crate) fn run<T: Fuzzed>() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, rest @ ..] = &arguments[..] else { return usage::<T>() };
    let named = T::ALL.iter().find(|known| known.name() == target);
    let (Some(&target), Some((seconds, seed))) = (named, options(rest)) else { return usage::<T>() };
    let seeds = target.seeds();
    if seeds.is_empty() {
        eprintln!("there is nothing in {} to begin with", target.corpus().display());
        return ExitCode::from(2);
    }
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
    if accepted > 0 { ExitCode::SUCCESS } else { usage::<T>() }
}

fn usage<T: Fuzzed>() -> ExitCode {
    let names: Vec<&str> = T::ALL.iter().map(|target| target.name()).collect();
    eprintln!("fuzz {} [--seconds N] [--seed S]", names.join("|"));
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

fn found<T: Fuzzed>(target: T, bytes: &[u8], problem: &str, tries: u64) -> ExitCode {
    if cfg!(feature = "canary") {
        eprintln!("found after {tries} files: {problem}");
        return ExitCode::FAILURE;
    }
    let path = target.corpus().join(format!("{}.bin", &acclimate_registry::Digest::of(bytes).to_string()[..16]));
    let said = std::fs::create_dir_all(target.corpus()).and_then(|()| std::fs::write(&path, bytes));
    eprintln!("found after {tries} files: {problem}; kept as {} ({said:?})", path.display());
    ExitCode::FAILURE
}
