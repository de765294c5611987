//! How far steps go with how many support rows.

/// Where a learned c starts.
const START: f64 = 5.0;
/// How far κ moves `ln c`.
const GAIN: f32 = 3.0;

/// What every step is multiplied by after n support rows: `w n / (w n + c)`, the share that they have beside a prior worth c rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Shrink {
    /// Nothing: 1.
    #[default]
    None,
    /// A given c.
    Rows {
        /// c, 0 or more.
        c: f32,
        /// w, what a row counts for.
        weight: f32,
    },
    /// A learned one, `c = 5 exp(3 κ)`, which no κ makes infinite.
    Learned {
        /// κ.
        kappa: f32,
        /// w, what a row counts for.
        weight: f32,
    },
}

impl Shrink {
    /// The factor for so many rows; 0 for none but where nothing is shrunk.
    #[must_use]
    pub fn factor(self, rows: usize) -> f32 {
        match self {
            Self::None => 1.0,
            Self::Rows { c, weight } => match weight * rows as f32 {
                n if n > 0.0 => n / (n + c),
                _ => 0.0,
            },
            Self::Learned { kappa, weight } => match weight * rows as f32 {
                n if n > 0.0 => 1.0 / (1.0 + (GAIN * kappa + START.ln() as f32 - n.ln()).exp()),
                _ => 0.0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_with_the_rows_and_none_is_none() {
        let near = |shrink: Shrink, expected: [f32; 4]| {
            for (rows, expected) in [0, 1, 5, 95].into_iter().zip(expected) {
                let found = shrink.factor(rows);
                assert!((found - expected).abs() < 1e-6, "{shrink:?} of {rows} rows: {found}");
            }
        };
        near(Shrink::None, [1.0; 4]);
        near(Shrink::Rows { c: 5.0, weight: 1.0 }, [0.0, 1.0 / 6.0, 0.5, 0.95]);
        near(Shrink::Rows { c: 5.0, weight: 2.0 }, [0.0, 2.0 / 7.0, 10.0 / 15.0, 190.0 / 195.0]);
        near(Shrink::Learned { kappa: 0.0, weight: 1.0 }, [0.0, 1.0 / 6.0, 0.5, 0.95]);
        near(Shrink::Learned { kappa: 2f32.ln() / 3.0, weight: 1.0 }, [0.0, 1.0 / 11.0, 1.0 / 3.0, 95.0 / 105.0]);
        // A c beyond all numbers, and rows that count for nothing.
        near(Shrink::Learned { kappa: 1e4, weight: 1.0 }, [0.0; 4]);
        near(Shrink::Learned { kappa: 0.5, weight: 0.0 }, [0.0; 4]);
    }
}
