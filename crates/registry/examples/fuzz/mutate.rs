//! Changes to bytes: those that find faults in readers of lengths, offsets and text.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Numbers that sit at the edges of types.
const EDGES: [u64; 9] = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 1 << 62, i64::MAX as u64, u64::MAX];

/// Most bytes of what is tried.
const LARGEST: usize = 1 << 16;

/// One to four changes to one of the seeds, or two seeds in one.
pub(crate) fn mutated(seeds: &[Vec<u8>], random: &mut ChaCha8Rng) -> Vec<u8> {
    let any = |random: &mut ChaCha8Rng| seeds[random.random_range(0..seeds.len())].clone();
    let mut bytes = any(random);
    for _ in 0..random.random_range(1..=4) {
        change(&mut bytes, &any(random), random);
    }
    bytes.truncate(LARGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut ChaCha8Rng) {
    if bytes.is_empty() {
        bytes.push(random.random());
        return;
    }
    let at = random.random_range(0..bytes.len());
    let to = random.random_range(at..=bytes.len().min(at + 64));
    match random.random_range(0..9) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes[at] = random.random(),
        2 => drop(bytes.drain(at..to)),
        3 => {
            let copy = bytes[at..to].to_vec();
            bytes.splice(at..at, copy);
        }
        4 => bytes.truncate(at),
        5 => {
            let edge = EDGES[random.random_range(0..EDGES.len())].to_le_bytes();
            bytes.iter_mut().skip(at).zip(edge).for_each(|(byte, edge)| *byte = edge);
        }
        6 => number(bytes, at, random),
        7 => {
            let from = random.random_range(0..=other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => digit(bytes, at, random),
    }
}

/// Puts an edge in the place of the next number in text.
fn number(bytes: &mut Vec<u8>, at: usize, random: &mut ChaCha8Rng) {
    let Some(from) = (at..bytes.len()).find(|&i| bytes[i].is_ascii_digit()) else { return };
    let to = (from..bytes.len()).find(|&i| !bytes[i].is_ascii_digit()).unwrap_or(bytes.len());
    let edge = EDGES[random.random_range(0..EDGES.len())];
    let text = match random.random_range(0..4) {
        0 => format!("-{edge}"),
        1 => format!("{edge}e99"),
        _ => edge.to_string(),
    };
    bytes.splice(from..to, text.into_bytes());
}

/// Changes the next digit, so that the text stays what it is.
fn digit(bytes: &mut [u8], at: usize, random: &mut ChaCha8Rng) {
    if let Some(byte) = bytes[at..].iter_mut().find(|byte| byte.is_ascii_digit()) {
        *byte = b'0' + random.random_range(0..10);
    }
}
