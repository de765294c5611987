//! Deterministic rules without a random generator: orders by SHA-256 and a 64-bit integer hash.
//!
//! Published protocols are written in these two hashes, so that anybody can rebuild a split with any tool.

use sha2::{Digest, Sha256};

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// SHA-256 of the UTF-8 bytes of `text`.
///
/// The byte order of digests equals the string order of their hexadecimal form.
#[must_use]
pub fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// SHA-256 of the UTF-8 bytes of `text` as 64 lower-case hexadecimal digits.
#[must_use]
pub fn sha256_hex(text: &str) -> String {
    use std::fmt::Write;
    sha256(text).iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string does not fail");
        hex
    })
}

/// Positions `0..n` in ascending order of `sha256(text(position))`; equal digests keep their order.
#[must_use]
pub fn sha256_order(n: usize, text: impl Fn(usize) -> String) -> Vec<u32> {
    let mut keyed: Vec<([u8; 32], u32)> =
        (0..n).map(|i| (sha256(&text(i)), u32::try_from(i).expect("an order holds fewer than 2^32 positions"))).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, i)| i).collect()
}

/// One round of SplitMix64: a bijection on 64-bit numbers that spreads every input bit over the output.
///
/// # References
/// G. L. Steele, D. Lea, C. H. Flood, *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014.
#[must_use]
pub const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(GOLDEN);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// `H(salt; a, b) = mix(mix(mix(salt) ^ a) ^ b)`; a rule with one argument has `b = 0`.
#[must_use]
pub const fn hash64(salt: u64, a: u64, b: u64) -> u64 {
    mix(mix(mix(salt) ^ a) ^ b)
}

/// The `n` rows with the smallest `sha256("<seed>:<row>")`, in that order: nested subsets, `n` of one seed begin with those of a smaller `n`.
///
/// Fewer than `n` rows give all of them, still in hash order.
#[must_use]
pub fn subset_by_hash(rows: &[u32], seed: u64, n: usize) -> Vec<u32> {
    sha256_order(rows.len(), |i| format!("{seed}:{}", rows[i])).into_iter().take(n).map(|i| rows[i as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_known_text() {
        assert_eq!(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn order_equals_the_order_of_hexadecimal_text() {
        let by_digest = sha256_order(200, |i| format!("user:{i}"));
        let mut by_text: Vec<u32> = (0..200).collect();
        by_text.sort_by_key(|i| sha256_hex(&format!("user:{i}")));
        assert_eq!(by_digest, by_text);
    }

    #[test]
    fn user_order_of_the_cold_start_protocol() {
        let order = sha256_order(6040, |i| format!("user:{}", i + 1));
        let ids: Vec<u32> = order.iter().map(|i| i + 1).collect();
        assert_eq!(ids[..5], [1256, 2238, 4524, 5564, 5597]);
        assert_eq!(ids[6035..], [3088, 711, 70, 1009, 1717]);
    }

    #[test]
    fn check_values_of_the_integer_hash() {
        assert_eq!(hash64(1, 1736, 0), 0x6e1c_623d_f14c_bda6);
        assert_eq!(hash64(1, 1736, 0) % 10, 4);
        assert_eq!(hash64(1, 1737, 0) % 10, 0);
        assert_eq!(hash64(2, 1736, 5), 0x194a_d227_58d4_1f96);
    }

    #[test]
    fn subsets_are_nested_and_stop_at_the_end() {
        let rows: Vec<u32> = (100..200).collect();
        let all = subset_by_hash(&rows, 1, 1000);
        assert_eq!(all.len(), 100);
        assert_eq!(subset_by_hash(&rows, 1, 7), all[..7]);
        assert_ne!(subset_by_hash(&rows, 2, 7), all[..7]);
    }
}
