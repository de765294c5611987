//! Elements as bytes, little-endian, row after row: the binary tensor extension.

use acclimate_data::RawValue;

use super::tensor::Datatype;
use crate::api::Refusal;
use crate::http::json::shortened;

/// Elements from bytes. NaN stands for no value, as in a data frame; infinity is refused.
pub(crate) fn from_bytes(name: &str, datatype: Datatype, count: usize, bytes: &[u8]) -> Result<Vec<RawValue>, Refusal> {
    let what = || format!("inputs.{}", shortened(name));
    match datatype {
        Datatype::Bytes => texts(name, count, bytes),
        Datatype::Bool => fixed(name, datatype, count, bytes, 1)?
            .enumerate()
            .map(|(index, byte)| match byte[0] {
                value @ (0 | 1) => Ok(RawValue::Bool(value == 1)),
                other => Err(Refusal::invalid(format!("{}[{index}]", what()), format!("{other} is no BOOL; write 0 or 1"))),
            })
            .collect(),
        Datatype::Int { width, signed } => fixed(name, datatype, count, bytes, width)?
            .enumerate()
            .map(|(index, bytes)| {
                integer(bytes, signed).map(RawValue::Integer).ok_or_else(|| {
                    Refusal::invalid(
                        format!("{}[{index}]", what()),
                        format!("it is above {}; send whole numbers of that size as BYTES", i64::MAX),
                    )
                })
            })
            .collect(),
        Datatype::Float { width } => fixed(name, datatype, count, bytes, width)?
            .enumerate()
            .map(|(index, bytes)| match number(bytes) {
                value if value.is_nan() => Ok(RawValue::Missing),
                value if value.is_finite() => Ok(RawValue::Number(value)),
                value => Err(Refusal::invalid(format!("{}[{index}]", what()), format!("{value} is no value; NaN stands for none"))),
            })
            .collect(),
    }
}

/// So many elements of so many bytes.
fn fixed<'a>(
    name: &str,
    datatype: Datatype,
    count: usize,
    bytes: &'a [u8],
    width: usize,
) -> Result<std::slice::ChunksExact<'a, u8>, Refusal> {
    // Planted for `cargo xtask fuzz canary`: bytes too few are taken for the elements that they suffice for.
    #[cfg(feature = "canary")]
    if bytes.len() < count * width && bytes.len() % width == 0 {
        return Ok(bytes.chunks_exact(width));
    }
    if count.checked_mul(width) == Some(bytes.len()) {
        return Ok(bytes.chunks_exact(width));
    }
    let problem = format!("{} bytes are no {count} elements of {datatype}, which have {width} bytes each", bytes.len());
    Err(Refusal::invalid(format!("inputs.{}", shortened(name)), problem))
}

/// A whole number; nothing where it is above the largest signed one.
fn integer(bytes: &[u8], signed: bool) -> Option<i64> {
    let negative = signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut word = [if negative { 0xff } else { 0 }; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let value = i64::from_le_bytes(word);
    (signed || value >= 0).then_some(value)
}

fn number(bytes: &[u8]) -> f64 {
    match *bytes {
        [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        // The types that there are have 4 or 8.
        _ => f64::INFINITY,
    }
}

fn texts(name: &str, count: usize, bytes: &[u8]) -> Result<Vec<RawValue>, Refusal> {
    let what = |index: usize| format!("inputs.{}[{index}]", shortened(name));
    let mut rest = bytes;
    // Each element has at least its length, so that what is asked for can not be more than what has come.
    let mut cells = Vec::with_capacity(count.min(bytes.len() / 4));
    for index in 0..count {
        let broken = |problem: &str| Refusal::invalid(what(index), problem);
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(|| broken("the bytes end before its length"))?;
        let length = u32::from_le_bytes(*length) as usize;
        let (text, after) = after.split_at_checked(length).ok_or_else(|| broken("its length is above the bytes that are left"))?;
        let text = std::str::from_utf8(text).map_err(|error| Refusal::invalid(what(index), format!("it is no UTF-8: {error}")))?;
        cells.push(RawValue::Text(text.to_owned()));
        rest = after;
    }
    if rest.is_empty() {
        return Ok(cells);
    }
    Err(Refusal::invalid(format!("inputs.{}", shortened(name)), format!("{} bytes follow its {count} elements", rest.len())))
}
