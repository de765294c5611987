//! What support rows are worth: the same query rows with and without them.

use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::metric::{Goal, Metric, Real};
use crate::panel::{Entrant, verdict};
use crate::record::{Place, Verdict};
use crate::significance::{Bootstrap, EvaluationRows};

/// What one method gains from support rows on one metric: an entry of the list `gains`.
///
/// `gain(k) = metric(k) − metric(0)` on the same users and query rows, so that what a user brings is taken out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GainRecord {
    /// Data set, scenario and the setting with support rows, such as `new_user,k=5`.
    #[serde(flatten)]
    pub place: Place,
    /// The setting without them, such as `new_user,k=0`.
    pub from: String,
    /// Metric, by its canonical name.
    pub metric: Metric,
    /// Method.
    pub method: String,
    /// The metric with support rows, less that without (for PCOC, difference of the distances to 1).
    pub value: f64,
    /// Lower end of the paired interval.
    pub ci_low: Option<f64>,
    /// Upper end of the paired interval.
    pub ci_high: Option<f64>,
    /// Whether the method is better with them.
    pub better: Verdict,
}

/// What each method gains between two settings of the same rows; `pair` is without and with support rows. A method that only one of them has, and a metric
/// that is undefined, are left out.
///
/// # Errors
/// See [`Statistic::of_rows`](crate::Statistic::of_rows) and [`Bootstrap::compare`].
///
/// ```
/// use acclimate_eval::{Bootstrap, Entrant, EvaluationRows, Kind, Metric, Place, gains};
/// let place = |setting: &str| Place { dataset: "toy".into(), scenario: "demo".into(), setting: setting.into() };
/// let said = |errors: [f32; 2]| [Entrant::deterministic("film", Kind::Adaptation, errors.map(|e| 3.0 + e).to_vec())];
/// let rows = EvaluationRows::new(&[0, 1], &[3.0, 3.0])?;
/// let (without, with) = ((&place("k=0"), &said([1.0, 0.5])[..]), (&place("k=5"), &said([0.5, 0.5])[..]));
/// let found = gains(Bootstrap::default(), &rows, &["mae".parse::<Metric>()?], [without, with])?;
/// assert_eq!((found[0].value, found[0].from.as_str()), (-0.25, "k=0"));
/// # Ok::<(), acclimate_eval::EvalError>(())
/// ```
pub fn gains<P: Real>(
    bootstrap: Bootstrap,
    rows: &EvaluationRows,
    metrics: &[Metric],
    pair: [(&Place, &[Entrant<P>]); 2],
) -> Result<Vec<GainRecord>, EvalError> {
    let [(from, without), (place, with)] = pair;
    let both: Vec<[&Entrant<P>; 2]> =
        with.iter().filter_map(|entrant| Some([entrant, without.iter().find(|other| other.method == entrant.method)?])).collect();
    let mut found = Vec::new();
    for metric in metrics {
        let samples = both.iter().flatten().map(|entrant| entrant.sample(metric, rows)).collect::<Result<Vec<_>, EvalError>>()?;
        if samples.is_empty() {
            continue;
        }
        let (comparison, goal) = (bootstrap.compare(&samples)?, metric.goal());
        for (at, [entrant, _]) in both.iter().enumerate() {
            let Some(difference) = comparison.difference(2 * at, 2 * at + 1, goal) else { continue };
            found.push(GainRecord {
                place: place.clone(),
                from: from.setting.clone(),
                metric: metric.clone(),
                method: entrant.method.clone(),
                value: difference.value,
                ci_low: difference.ci_low,
                ci_high: difference.ci_high,
                better: verdict(&difference, goal),
            });
        }
    }
    Ok(found)
}

impl GainRecord {
    /// Whether a lower value is the better one.
    pub(crate) fn falls(&self) -> bool {
        self.metric.goal() != Goal::Higher
    }
}
