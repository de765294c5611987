//! Memory that begins at a cache line.

use std::ops::{Deref, DerefMut};

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// The next multiple of 16: rows of that many values begin at a cache line each.
pub(crate) fn padded(width: usize) -> usize {
    width.next_multiple_of(16)
}

/// Values that begin at a cache line and fill whole ones.
#[derive(Clone, Default)]
pub(crate) struct Buffer(Vec<Line>);

impl Buffer {
    /// Zeros: `padded(len)` of them.
    pub(crate) fn zeros(len: usize) -> Self {
        Self(vec![Line([0.0; 16]); len.div_ceil(16)])
    }

    /// A copy of `values`, with zeros behind.
    pub(crate) fn copied(values: &[f32]) -> Self {
        let mut buffer = Self::zeros(values.len());
        buffer[..values.len()].copy_from_slice(values);
        buffer
    }

    /// Makes room for `len` values; never shrinks.
    pub(crate) fn grow(&mut self, len: usize) {
        if self.0.len() * 16 < len {
            self.0.resize(len.div_ceil(16), Line([0.0; 16]));
        }
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len() * size_of::<Line>()
    }
}

impl Deref for Buffer {
    type Target = [f32];

    #[allow(unsafe_code)]
    fn deref(&self) -> &[f32] {
        // SAFETY: a `Line` is 16 values and nothing else (its size is that of its alignment), so lines one after the other are values one after
        // the other.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 16) }
    }
}

impl DerefMut for Buffer {
    #[allow(unsafe_code)]
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above; the borrow of the buffer is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 16) }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} values)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_begins_at_a_cache_line_and_keeps_what_it_holds() {
        for len in [0, 1, 15, 16, 17, 100] {
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let mut buffer = Buffer::copied(&values);
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            assert_eq!(buffer.len(), padded(len));
            buffer.grow(200);
            assert_eq!(buffer[..len], values);
            assert!(buffer[len..].iter().all(|&value| value == 0.0));
            buffer.grow(3);
            assert_eq!(buffer.len(), 208);
        }
    }
}
