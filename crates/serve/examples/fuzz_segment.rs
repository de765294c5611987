//! Mutates segments of events and gives them to their reader: `cargo xtask fuzz events [--seconds N] [--seed S]`.
//!
//! A reader may refuse, and must neither panic nor read an event that was not written. With the feature `canary` it does not check the events of a frame, and
//! that must be found.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use acclimate_serve::events::segment;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() -> ExitCode {
    let (mut seconds, mut seed) = (10, 1);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--seconds" && value.parse::<u64>().is_ok() => seconds = value.parse().unwrap_or(seconds),
            [name, value] if name == "--seed" && value.parse::<u64>().is_ok() => seed = value.parse().unwrap_or(seed),
            _ => {
                eprintln!("fuzz events [--seconds N] [--seed S]");
                return ExitCode::from(2);
            }
        }
    }
    let written = segment::sample(&[&[b"{}", b"{\"id\":\"one\"}"], &[b"AEVF"], &[b"", b"x", b"the last one"]]);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (began, mut tries, mut accepted) = (Instant::now(), 0_u64, 0_u64);
    // A panic is caught and told below.
    std::panic::set_hook(Box::new(|_| {}));
    while began.elapsed() < Duration::from_secs(seconds) {
        let bytes = mutated(&written, &mut random);
        tries += 1;
        let end = random.random_bool(0.3).then(|| random.random_range(0..written.len() as u64 + 20));
        match catch_unwind(AssertUnwindSafe(|| check(&written, &bytes, end))) {
            Ok(Ok(fine)) => accepted += u64::from(fine),
            Ok(Err(problem)) => return found(problem, tries, &bytes),
            Err(_) => return found("the reader panics", tries, &bytes),
        }
    }
    println!("{tries} segments, {accepted} accepted, nothing wrong");
    if accepted > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn found(problem: &str, tries: u64, bytes: &[u8]) -> ExitCode {
    eprintln!("found after {tries} segments: {problem}: {bytes:?}");
    ExitCode::FAILURE
}

/// Whether a segment is read; the error is what must not be.
fn check(written: &[u8], bytes: &[u8], end: Option<u64>) -> Result<bool, &'static str> {
    let whole = segment::read(written, None).map_err(|_| "what was written is refused")?;
    let Ok(read) = segment::read(bytes, end) else { return Ok(false) };
    if read.end > bytes.len() as u64 || end.is_some_and(|end| read.end != end) {
        return Err("it ends elsewhere");
    }
    let events = |segment: &segment::Segment<'_>| -> Vec<Vec<u8>> {
        segment.frames.iter().flat_map(|frame| frame.events().map(<[u8]>::to_vec)).collect()
    };
    let (all, some) = (events(&whole), events(&read));
    if read.header == whole.header && !all.starts_with(&some) {
        return Err("an event is read that was not written");
    }
    Ok(!read.frames.is_empty())
}

/// Some bytes that change, come, go, or are repeated.
fn mutated(written: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = written.to_vec();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..bytes.len().max(1));
        match random.random_range(0..5) {
            0 => bytes.truncate(at.max(segment::HEADER.min(bytes.len()))),
            1 => bytes.insert(at.min(bytes.len()), random.random()),
            2 if at < bytes.len() => _ = bytes.remove(at),
            3 => {
                let end = (at + random.random_range(1..60)).min(bytes.len());
                let part = bytes[at.min(end)..end].to_vec();
                bytes.extend(part);
            }
            _ if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            _ => {}
        }
    }
    bytes
}
