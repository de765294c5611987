//! A short run of the fuzz harness; `cargo xtask fuzz` runs it for longer, and from other seeds.

#[path = "../examples/fuzz/harness.rs"]
#[allow(dead_code, reason = "the loop is that of the program")]
mod harness;
#[path = "../examples/fuzz/mutate.rs"]
mod mutate;
#[path = "../examples/fuzz/seeds.rs"]
mod seeds;
#[path = "../examples/fuzz/target.rs"]
mod target;

use harness::Fuzzed;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use target::Target;

const TRIES: usize = 5_000;

#[test]
fn no_reader_panics_or_accepts_what_it_should_not() {
    for &target in Target::ALL {
        assert_eq!(Target::ALL.iter().filter(|other| other.name() == target.name()).count(), 1);
        let seeds = seeds::of(target);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let changed: Vec<Vec<u8>> = (0..TRIES).map(|_| mutate::mutated(&seeds, &mut random)).collect();
        let mut accepted = 0;
        for bytes in seeds.iter().chain(&changed) {
            match target.check(bytes) {
                Ok(fine) => accepted += usize::from(fine),
                Err(problem) => panic!("{target:?}: {problem}: {}", String::from_utf8_lossy(bytes)),
            }
        }
        assert!(accepted > 0 && accepted < TRIES / 2, "{target:?}: {accepted} accepted");
    }
}
