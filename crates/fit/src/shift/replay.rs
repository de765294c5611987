//! An offset judged on a window whose labels have come in.

use super::loss;

/// Normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.959_963_985;

/// By how much an offset has changed the log loss of a window, with the standard error of the paired differences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replay {
    /// Mean loss with the offset less that without.
    pub change: f64,
    /// Its standard error.
    pub error: f64,
    /// Rows.
    pub rows: usize,
}

impl Replay {
    /// Over rows of logit, offset and label; `None` for fewer than two.
    #[must_use]
    pub fn of(rows: impl IntoIterator<Item = (f64, f64, f64)>) -> Option<Self> {
        let (mut sum, mut squares, mut n) = (0.0, 0.0, 0usize);
        for (z, offset, y) in rows {
            let change = loss(z + offset, y) - loss(z, y);
            (sum, squares, n) = (sum + change, squares + change * change, n + 1);
        }
        if n < 2 {
            return None;
        }
        let change = sum / n as f64;
        let variance = (squares - n as f64 * change * change).max(0.0) / (n - 1) as f64;
        Some(Self { change, error: (variance / n as f64).sqrt(), rows: n })
    }

    /// Whether the offset is shown to have cost something: it is switched off then.
    #[must_use]
    pub fn shows_a_loss(&self) -> bool {
        self.change - Z * self.error > 0.0
    }

    /// Whether the offset is shown to have won something: what rests on no model of the change is switched on only then.
    #[must_use]
    pub fn shows_a_gain(&self) -> bool {
        self.change + Z * self.error < 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_offset_shows_and_none_never_does() {
        let row = |i: i32| (-1.0, 0.8, f64::from(u8::from(i % 4 == 0)));
        let wrong = Replay::of((0..2000).map(row)).unwrap();
        assert!(wrong.shows_a_loss() && !wrong.shows_a_gain() && wrong.rows == 2000, "{wrong:?}");
        let right = Replay::of((0..2000).map(|i| (-2.0, 0.9, f64::from(u8::from(i % 4 == 0))))).unwrap();
        assert!(right.shows_a_gain() && !right.shows_a_loss(), "{right:?}");
        let none = Replay::of((0..2000).map(|i| (-1.0, 0.0, f64::from(u8::from(i % 4 == 0))))).unwrap();
        assert!(!none.shows_a_loss() && !none.shows_a_gain() && none.change == 0.0);
        assert_eq!(Replay::of([(0.0, 1.0, 1.0)]), None);
    }
}
