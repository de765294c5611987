//! Compressed bodies: never more bytes than an uncompressed body may have, and never many times what has come.

use std::io::Read;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use flate2::bufread::{GzDecoder, ZlibDecoder};

use super::body::Held;
use super::problem::Problem;
use crate::api::Refusal;

/// Bytes that may come of any body before the ratio counts.
const SMALL: usize = 64 << 10;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
}

/// The body as it was before it was compressed.
pub(crate) fn inflated(headers: &HeaderMap, held: Held, most: usize, ratio: usize) -> Result<Held, Problem> {
    let Some(coding) = coding(headers)? else { return Ok(held) };
    let Held { bytes, mut share } = held;
    let allowed = bytes.len().saturating_mul(ratio).max(SMALL).min(most);
    let (plain, left) = match coding {
        Coding::Gzip => {
            let mut decoder = GzDecoder::new(&bytes[..]);
            let plain = read(&mut decoder, allowed, most, &mut |size| share.take(size))?;
            (plain, decoder.into_inner().len())
        }
        Coding::Deflate => {
            let mut decoder = ZlibDecoder::new(&bytes[..]);
            let plain = read(&mut decoder, allowed, most, &mut |size| share.take(size))?;
            (plain, decoder.into_inner().len())
        }
    };
    if left > 0 {
        return Err(Refusal::invalid("the body", format!("{left} bytes follow its compressed part")).into());
    }
    Ok(Held { bytes: Bytes::from(plain), share })
}

fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Problem> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.as_bytes().trim_ascii().to_ascii_lowercase().as_slice(), values.next()) {
        (b"identity", None) => Ok(None),
        (b"gzip", None) => Ok(Some(Coding::Gzip)),
        (b"deflate", None) => Ok(Some(Coding::Deflate)),
        _ => Err(Problem::Coding),
    }
}

/// Inflates piece by piece, and stops at the first byte too many.
fn read(
    decoder: &mut impl Read,
    allowed: usize,
    most: usize,
    take: &mut impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Vec<u8>, Problem> {
    let (mut plain, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        let size =
            decoder.read(&mut piece).map_err(|error| Refusal::invalid("the body", format!("it can not be decompressed: {error}")))?;
        if size == 0 {
            return Ok(plain);
        }
        if plain.len() + size > allowed {
            let what =
                if allowed == most { "bytes of the body, decompressed" } else { "bytes that come of a body of this size, decompressed" };
            return Err(Refusal::TooLarge { what: what.to_owned(), found: (plain.len() + size) as u64, limit: allowed as u64 }.into());
        }
        take(size)?;
        plain.extend_from_slice(&piece[..size]);
    }
}
