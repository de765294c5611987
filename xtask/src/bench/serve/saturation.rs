//! The highest rate that a server holds.

use anyhow::bail;

use super::measured::Measured;

/// The highest rate at which everything was answered and the 99th percentile stayed within the bound, to within 5 %.
///
/// Rates grow by half until one is not held, then halve what lies between. A rate is not held only if it fails twice in a row: on a machine that others use one failure may be theirs.
///
/// # Errors
/// What `at` says, or the server does not hold 1 request a second.
pub(crate) fn saturation(bound_ms: f64, start: f64, mut at: impl FnMut(f64) -> anyhow::Result<Measured>) -> anyhow::Result<Measured> {
    let mut holds = |rate: f64| -> anyhow::Result<Option<Measured>> {
        for _ in 0..2 {
            let measured = at(rate)?;
            if measured.holds(bound_ms) {
                return Ok(Some(measured));
            }
        }
        Ok(None)
    };
    let (mut rate, mut below, mut above) = (start, None, f64::INFINITY);
    loop {
        match holds(rate)? {
            Some(measured) => below = Some(measured),
            None => above = rate,
        }
        rate = match &below {
            None if above <= 1.0 => bail!("not one request a second is answered within {bound_ms} ms; look at what the server says"),
            None => (rate / 2.0).max(1.0),
            Some(measured) if above.is_infinite() => measured.rate * 1.5,
            Some(measured) if above <= measured.rate * 1.05 => return Ok(measured.clone()),
            Some(measured) => (measured.rate * above).sqrt(),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::measured::Sample;
    use super::*;

    /// A server whose times explode at a rate.
    fn model(knee: f64) -> impl FnMut(f64) -> anyhow::Result<Measured> {
        move |rate| {
            let time = Duration::from_millis(if rate <= knee { 2 } else { 500 });
            Ok(Measured::of(rate, &vec![Sample { time, failure: None }; 100], Vec::new()))
        }
    }

    #[test]
    fn the_knee_is_found_from_either_side() {
        for (knee, start) in [(1234.0, 50.0), (1234.0, 40_000.0), (3.0, 100.0)] {
            let found = saturation(10.0, start, model(knee)).unwrap().rate;
            assert!(found <= knee && found * 1.05 >= knee, "{found} for {knee}");
        }
    }

    #[test]
    fn one_failure_is_forgiven_and_two_are_not() {
        let mut calls = 0;
        let mut steady = model(1000.0);
        let every_other = |rate: f64| {
            calls += 1;
            if calls % 2 == 1 { model(0.0)(rate) } else { steady(rate) }
        };
        assert!(saturation(10.0, 100.0, every_other).unwrap().rate * 1.05 >= 1000.0);
        assert!(saturation(10.0, 100.0, model(0.5)).is_err(), "it holds nothing");
    }
}
