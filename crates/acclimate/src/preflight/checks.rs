//! The checks of what a base says, whatever it says it about.

use acclimate_eval::{Bootstrap, Constant, Entrant, EvalError, Kind, Metric, Outcome, Panel, Place, SettingCheck, ShuffledControl};

use crate::{ExperimentError, Lab};

/// Draws for the differences of the base to itself, which are 0 whatever their number.
const DRAWS: usize = 50;

/// What the base, the same again and the control said about the measured rows (or queries) of one setting.
pub(crate) struct Said {
    pub(crate) base: Vec<f32>,
    pub(crate) again: Vec<f32>,
    /// Rows that the control learned from, and what it said.
    pub(crate) control: (usize, Vec<f32>),
    /// What knows no row from another, by name.
    pub(crate) constant: Option<Standard>,
}

/// A standard with its name.
pub(crate) type Standard = (String, Vec<f32>);

/// Rows or queries on which a panel can be measured.
pub(crate) trait Measured {
    /// Metrics that can be measured on them.
    fn metrics(&self) -> &[Metric];

    /// Measures a panel.
    fn measure(&self, panel: &Panel<f32>, metrics: &[Metric]) -> Result<Outcome, EvalError>;
}

impl Lab<'_> {
    /// Checks what was said in one setting; the control is judged by the experiment's first metric, where it is among those measured.
    ///
    /// # Errors
    /// Scores that differ the second time, or a difference of the base to itself.
    pub(crate) fn check_setting(&self, place: &Place, base: &str, said: Said, on: &dyn Measured) -> Result<SettingCheck, ExperimentError> {
        let different = said.base.iter().zip(&said.again).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        if different > 0 {
            return Err(ExperimentError::Unrepeatable { base: base.into(), place: place.to_string(), rows: said.base.len(), different });
        }
        let again = format!("{base}, again");
        let bootstrap = Bootstrap { draws: self.experiment.bootstrap.draws.min(DRAWS), ..self.experiment.bootstrap };
        let entrant = |name: &str, said: &[f32]| Entrant::deterministic(name, Kind::Control, said.to_vec());
        let panel = Panel::new(place.clone(), bootstrap).with_references(&[base]);
        let itself = on.measure(&panel.enter(entrant(base, &said.base)).enter(entrant(&again, &said.again)), on.metrics())?;
        let mut largest = 0.0_f64;
        for difference in &itself.differences {
            let ends = [Some(difference.value), difference.ci_low, difference.ci_high];
            if let Some(value) = ends.into_iter().flatten().find(|value| *value != 0.0) {
                let (base, metric) = (base.into(), difference.metric.to_string());
                return Err(ExperimentError::DiffersFromItself { base, place: place.to_string(), metric, value });
            }
            largest = ends.into_iter().flatten().fold(largest, |a, b| a.max(b.abs()));
        }
        Ok(SettingCheck {
            setting: place.setting.clone(),
            rows: said.base.len(),
            different,
            metrics: itself.differences.len(),
            largest_difference: largest,
            control: self.judge_control(place, base, &said, on)?,
        })
    }

    fn judge_control(&self, place: &Place, base: &str, said: &Said, on: &dyn Measured) -> Result<Option<ShuffledControl>, ExperimentError> {
        let metric = &self.experiment.metrics[0];
        if !on.metrics().contains(metric) {
            return Ok(None);
        }
        let (rows, control) = &said.control;
        let entrant = |name: &str, said: &[f32]| Entrant::deterministic(name, Kind::Control, said.to_vec());
        let mut references = vec![base];
        let constant = said.constant.as_ref().map(|(name, said)| (name.as_str(), said));
        references.extend(constant.map(|(name, _)| name));
        let mut panel = Panel::new(place.clone(), self.experiment.bootstrap).with_references(&references).enter(entrant(base, &said.base));
        if let Some((name, said)) = constant {
            panel = panel.enter(entrant(name, said));
        }
        // No base or method has an empty name.
        let outcome = on.measure(&panel.enter(entrant("", control)), std::slice::from_ref(metric))?;
        let value = |method: &str| outcome.results.iter().find(|r| r.method == method).and_then(|r| r.value);
        let to = |reference: &str| outcome.differences.iter().find(|d| d.method.is_empty() && d.reference == reference);
        let (Some(value_of_control), Some(value_of_base), Some(to_base)) = (value(""), value(base), to(base)) else { return Ok(None) };
        let constant = constant.and_then(|(name, _)| Some(Constant { name: name.into(), value: value(name)?, better: to(name)?.better }));
        Ok(Some(ShuffledControl {
            rows: *rows,
            metric: metric.clone(),
            value: value_of_control,
            base: value_of_base,
            difference: to_base.value,
            ci_low: to_base.ci_low,
            ci_high: to_base.ci_high,
            better: to_base.better,
            constant,
        }))
    }
}
