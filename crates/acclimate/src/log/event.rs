//! TensorBoard's event file: length-prefixed protobuf messages with masked CRC-32C check sums.
//!
//! The messages are those of TensorFlow's `event.proto` and `summary.proto`, as far as scalars need them; `prost` encodes them.

use std::io::{Result, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Writes scalars.
pub(super) struct EventFile<W: Write> {
    out: W,
}

impl<W: Write> EventFile<W> {
    /// A new file begins with the version of its format.
    pub(super) fn new(out: W, is_new: bool) -> Result<Self> {
        let mut file = Self { out };
        if is_new {
            file.event(&Event { file_version: Some("brain.Event:2".into()), ..now(0) })?;
        }
        Ok(file)
    }

    pub(super) fn scalars(&mut self, step: u64, scalars: &[(&str, f32)]) -> Result<()> {
        let value = scalars.iter().map(|&(tag, value)| Value { tag: tag.to_owned(), simple_value: Some(value) }).collect();
        self.event(&Event { summary: Some(Summary { value }), ..now(step) })
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.out.flush()
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        self.out.write_all(&record(&event.encode_to_vec()))
    }
}

fn now(step: u64) -> Event {
    let wall_time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    Event { wall_time, step: step as i64, file_version: None, summary: None }
}

/// Length, its check sum, data, its check sum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(data.len() + 16);
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked(data).to_le_bytes());
    out
}

/// Bytes up to the end of the last whole record.
pub(super) fn whole_records(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(end) = record_end(bytes, at) {
        at = end;
    }
    at
}

/// Where the record that begins at `at` ends; `None` unless it is whole.
fn record_end(bytes: &[u8], at: usize) -> Option<usize> {
    let length = u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
    let end = at.checked_add(usize::try_from(length).ok()?)?.checked_add(16)?;
    (end <= bytes.len()).then_some(end)
}

#[cfg(test)]
pub(super) fn first_record(bytes: &[u8]) -> usize {
    record_end(bytes, 0).unwrap_or(0)
}

fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_length_check_sum_data_check_sum() {
        let version = Event { wall_time: 0.0, step: 0, file_version: Some("brain.Event:2".into()), summary: None };
        let data = version.encode_to_vec();
        assert_eq!(data, b"\x1a\x0dbrain.Event:2");
        let record = record(&data);
        assert_eq!((&record[..8], record.len()), (&15u64.to_le_bytes()[..], 12 + 15 + 4));
        // RFC 3720: the CRC-32C of 32 zero bytes is 8a9136aa.
        assert_eq!(masked(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn a_scalar_is_encoded_as_the_messages_say() {
        let summary = Summary { value: vec![Value { tag: "a".into(), simple_value: Some(1.0) }] };
        let event = Event { wall_time: 0.0, step: 3, file_version: None, summary: Some(summary) };
        assert_eq!(event.encode_to_vec(), [0x10, 3, 0x2a, 10, 0x0a, 8, 0x0a, 1, b'a', 0x15, 0, 0, 0x80, 0x3f]);
    }
}
