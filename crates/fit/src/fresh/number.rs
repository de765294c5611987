//! Numbers that may carry a derivative, so that a gradient that is written once gives its Hessian's product with a direction as well.

use std::ops::{Add, AddAssign, Mul, Sub, SubAssign};

/// What a gradient is computed with.
pub(super) trait Number: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + AddAssign + SubAssign {
    /// A constant.
    fn of(x: f64) -> Self;

    /// `1 / (1 + e^-x)`.
    fn sigmoid(self) -> Self;
}

impl Number for f64 {
    fn of(x: f64) -> Self {
        x
    }

    fn sigmoid(self) -> Self {
        1.0 / (1.0 + (-self).exp())
    }
}

/// `x + ε d` with `ε² = 0`: d is the derivative of x along a direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dual {
    pub(super) x: f64,
    pub(super) d: f64,
}

impl Add for Dual {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { x: self.x + other.x, d: self.d + other.d }
    }
}

impl Sub for Dual {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { x: self.x - other.x, d: self.d - other.d }
    }
}

impl Mul for Dual {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        Self { x: self.x * other.x, d: self.x * other.d + self.d * other.x }
    }
}

impl AddAssign for Dual {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Dual {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Number for Dual {
    fn of(x: f64) -> Self {
        Self { x, d: 0.0 }
    }

    fn sigmoid(self) -> Self {
        let s = self.x.sigmoid();
        Self { x: s, d: s * (1.0 - s) * self.d }
    }
}
