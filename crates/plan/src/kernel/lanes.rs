//! Vectors of each instruction set.

/// A vector and what is done with it. The functions must be inlined into one that is compiled for the instructions.
///
/// # Safety
/// Every function may only be called where the instructions are there; pointers must be valid for the vector, or for `count` values of it.
#[allow(unsafe_code)]
pub(super) trait Lanes {
    /// Its values.
    type Vector: Copy;
    /// How many there are.
    const WIDTH: usize;
    /// Vectors beside each other in a register block of at most six rows.
    const VECTORS: usize;

    unsafe fn splat(value: f32) -> Self::Vector;
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// The first `count` values, and zeros.
    unsafe fn load_first(from: *const f32, count: usize) -> Self::Vector;
    unsafe fn store(to: *mut f32, values: Self::Vector);
    /// `a b + c`.
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `a b + c` where each value of `a` and `b` is two of half the bits: the sum of the upper ones first, then of the lower ones.
    unsafe fn multiply_add_pairs(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger one; `b` where either is not a number.
    unsafe fn maximum(a: Self::Vector, b: Self::Vector) -> Self::Vector;
}

/// The twin of the others: plain code.
pub(super) struct Scalar;

#[allow(unsafe_code)]
impl Lanes for Scalar {
    type Vector = [f32; 8];
    const WIDTH: usize = 8;
    const VECTORS: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 8] {
        // SAFETY: the caller promises eight values.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> [f32; 8] {
        // SAFETY: the caller promises `count` values.
        std::array::from_fn(|lane| if lane < count { unsafe { *from.add(lane) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, values: [f32; 8]) {
        // SAFETY: the caller promises room for eight values.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(values) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }

    #[inline(always)]
    unsafe fn multiply_add_pairs(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        let upper = |value: f32| f32::from_bits(value.to_bits() & 0xFFFF_0000);
        let lower = |value: f32| f32::from_bits(value.to_bits() << 16);
        std::array::from_fn(|lane| (c[lane] + upper(a[lane]) * upper(b[lane])) + lower(a[lane]) * lower(b[lane]))
    }

    #[inline(always)]
    unsafe fn maximum(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|lane| if a[lane] > b[lane] { a[lane] } else { b[lane] })
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512, Avx512Pairs};

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::*;

    use super::Lanes;

    pub(in crate::kernel) struct Avx512;

    // SAFETY of the bodies: the caller promises the instructions and the values behind each pointer.
    impl Lanes for Avx512 {
        type Vector = __m512;
        const WIDTH: usize = 16;
        const VECTORS: usize = 4;

        #[inline(always)]
        unsafe fn splat(value: f32) -> __m512 {
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> __m512 {
            unsafe { _mm512_maskz_loadu_ps(((1_u32 << count) - 1) as __mmask16, from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, values: __m512) {
            unsafe { _mm512_storeu_ps(to, values) }
        }

        #[inline(always)]
        unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn multiply_add_pairs(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe {
                let (a, b, mask) = (_mm512_castps_si512(a), _mm512_castps_si512(b), _mm512_set1_epi32(0xFFFF_0000_u32 as i32));
                let (a_upper, b_upper) = (_mm512_and_si512(a, mask), _mm512_and_si512(b, mask));
                let (a_lower, b_lower) = (_mm512_slli_epi32::<16>(a), _mm512_slli_epi32::<16>(b));
                let sum = _mm512_fmadd_ps(_mm512_castsi512_ps(a_upper), _mm512_castsi512_ps(b_upper), c);
                _mm512_fmadd_ps(_mm512_castsi512_ps(a_lower), _mm512_castsi512_ps(b_lower), sum)
            }
        }

        #[inline(always)]
        unsafe fn maximum(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_max_ps(a, b) }
        }
    }

    /// AVX-512 that multiplies pairs in one instruction, which adds the two in an order and with a rounding of its own.
    pub(in crate::kernel) struct Avx512Pairs;

    impl Lanes for Avx512Pairs {
        type Vector = __m512;
        const WIDTH: usize = Avx512::WIDTH;
        const VECTORS: usize = Avx512::VECTORS;

        #[inline(always)]
        unsafe fn splat(value: f32) -> __m512 {
            unsafe { Avx512::splat(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            unsafe { Avx512::load(from) }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> __m512 {
            unsafe { Avx512::load_first(from, count) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, values: __m512) {
            unsafe { Avx512::store(to, values) }
        }

        #[inline(always)]
        unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { Avx512::multiply_add(a, b, c) }
        }

        #[inline(always)]
        unsafe fn multiply_add_pairs(a: __m512, b: __m512, c: __m512) -> __m512 {
            // All of these are 64 bytes without invalid values.
            unsafe { _mm512_dpbf16_ps(c, std::mem::transmute::<__m512, __m512bh>(a), std::mem::transmute::<__m512, __m512bh>(b)) }
        }

        #[inline(always)]
        unsafe fn maximum(a: __m512, b: __m512) -> __m512 {
            unsafe { Avx512::maximum(a, b) }
        }
    }

    pub(in crate::kernel) struct Avx2;

    impl Lanes for Avx2 {
        type Vector = __m256;
        const WIDTH: usize = 8;
        const VECTORS: usize = 2;

        #[inline(always)]
        unsafe fn splat(value: f32) -> __m256 {
            unsafe { _mm256_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> __m256 {
            unsafe {
                let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                _mm256_maskload_ps(from, _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes))
            }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, values: __m256) {
            unsafe { _mm256_storeu_ps(to, values) }
        }

        #[inline(always)]
        unsafe fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn multiply_add_pairs(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe {
                let (a, b, mask) = (_mm256_castps_si256(a), _mm256_castps_si256(b), _mm256_set1_epi32(0xFFFF_0000_u32 as i32));
                let (a_upper, b_upper) = (_mm256_and_si256(a, mask), _mm256_and_si256(b, mask));
                let (a_lower, b_lower) = (_mm256_slli_epi32::<16>(a), _mm256_slli_epi32::<16>(b));
                let sum = _mm256_fmadd_ps(_mm256_castsi256_ps(a_upper), _mm256_castsi256_ps(b_upper), c);
                _mm256_fmadd_ps(_mm256_castsi256_ps(a_lower), _mm256_castsi256_ps(b_lower), sum)
            }
        }

        #[inline(always)]
        unsafe fn maximum(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_max_ps(a, b) }
        }
    }
}
