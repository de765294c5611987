//! The checks of what a base says, whatever it says it about.

use acclimate_eval::{Bootstrap, Constant, Entrant, EvalError, Kind, Metric, Outcome, Panel, Place, SettingCheck, ShuffledControl};

use super::SHUFFLES;
use crate::{ExperimentError, Lab};

/// Draws for the differences of the base to itself, which are 0 whatever their number.
const DRAWS: usize = 50;

/// What the base and the same again said about the measured rows (or queries) of one setting.
pub(crate) struct Said {
    pub(crate) base: Vec<f32>,
    pub(crate) again: Vec<f32>,
    /// What knows no row from another, by name.
    pub(crate) constant: Option<Standard>,
}

/// A network that learned from shuffled labels.
pub(crate) struct Shuffled {
    /// How many came before it, itself included.
    pub(crate) shuffles: usize,
    /// Rows that it learned from.
    pub(crate) rows: usize,
    /// What it said.
    pub(crate) said: Vec<f32>,
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

/// By what a base is compared with itself and with a control.
pub(crate) struct Checks<'a> {
    pub(crate) bootstrap: Bootstrap,
    /// What a control is judged by.
    pub(crate) metric: &'a Metric,
}

impl Lab<'_> {
    /// By the experiment's bootstrap and first metric.
    pub(crate) fn checks(&self) -> Checks<'_> {
        Checks { bootstrap: self.experiment.bootstrap, metric: &self.experiment.metrics[0] }
    }
}

impl Checks<'_> {
    /// Checks what the base said in one setting.
    ///
    /// # Errors
    /// Scores that differ the second time, or a difference of the base to itself.
    pub(crate) fn setting(&self, place: &Place, base: &str, said: &Said, on: &dyn Measured) -> Result<SettingCheck, ExperimentError> {
        let different = said.base.iter().zip(&said.again).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        if different > 0 {
            return Err(ExperimentError::Unrepeatable { base: base.into(), place: place.to_string(), rows: said.base.len(), different });
        }
        let again = format!("{base}, again");
        let bootstrap = Bootstrap { draws: self.bootstrap.draws.min(DRAWS), ..self.bootstrap };
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
            control: None,
        })
    }

    /// Judges controls, each `shuffled` anew and given with the rows that it learned from, until one does not win.
    ///
    /// # Errors
    /// As [`control`](Self::control), and what training a control may report.
    pub(crate) fn controls(
        &self,
        place: &Place,
        base: &str,
        (said, on): (&Said, &dyn Measured),
        mut shuffled: impl FnMut(u64) -> Result<(usize, Vec<f32>), ExperimentError>,
    ) -> Result<Option<ShuffledControl>, ExperimentError> {
        let mut control = None;
        for shuffles in 1..=SHUFFLES {
            let (rows, values) = shuffled(self.bootstrap.seed.wrapping_add(shuffles - 1))?;
            control = self.control(place, base, (said, &Shuffled { shuffles: shuffles as usize, rows, said: values }), on)?;
            if !control.as_ref().is_some_and(ShuffledControl::wins) {
                break;
            }
        }
        Ok(control)
    }

    /// Judges a control; `None` where that is not measured here, or undefined.
    ///
    /// # Errors
    /// Predictions that are no numbers.
    pub(crate) fn control(
        &self,
        place: &Place,
        base: &str,
        (said, control): (&Said, &Shuffled),
        on: &dyn Measured,
    ) -> Result<Option<ShuffledControl>, ExperimentError> {
        let metric = self.metric;
        if !on.metrics().contains(metric) {
            return Ok(None);
        }
        let entrant = |name: &str, said: &[f32]| Entrant::deterministic(name, Kind::Control, said.to_vec());
        let mut references = vec![base];
        let constant = said.constant.as_ref().map(|(name, said)| (name.as_str(), said));
        references.extend(constant.map(|(name, _)| name));
        let mut panel = Panel::new(place.clone(), self.bootstrap).with_references(&references).enter(entrant(base, &said.base));
        if let Some((name, said)) = constant {
            panel = panel.enter(entrant(name, said));
        }
        // No base or method has an empty name.
        let outcome = on.measure(&panel.enter(entrant("", &control.said)), std::slice::from_ref(metric))?;
        let value = |method: &str| outcome.results.iter().find(|r| r.method == method).and_then(|r| r.value);
        let to = |reference: &str| outcome.differences.iter().find(|d| d.method.is_empty() && d.reference == reference);
        let (Some(value_of_control), Some(value_of_base), Some(to_base)) = (value(""), value(base), to(base)) else { return Ok(None) };
        let constant = constant.and_then(|(name, _)| Some(Constant { name: name.into(), value: value(name)?, better: to(name)?.better }));
        Ok(Some(ShuffledControl {
            rows: control.rows,
            shuffles: control.shuffles,
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::AtomicBool;

    use acclimate_eval::{EvaluationRows, Verdict};
    use burn::tensor::Device;

    use super::*;
    use crate::progress::{Level, Progress};
    use crate::{Experiment, Measure};

    const EXPERIMENT: &str = "name = 'small'\nmetrics = ['auc', 'log_loss']\n[simulator]\n[scenario]\nkind = 'multi_domain'\n[base]\nbackbone = { kind = 'dnn' }";

    /// Forty users with four rows each, every second of which is a click; a difference that a panel did not find is added to it.
    struct Rows {
        rows: EvaluationRows,
        metrics: Vec<Metric>,
        wrong_by: f64,
    }

    impl Rows {
        fn new(wrong_by: f64) -> Self {
            let users: Vec<u32> = (0..160).map(|row| row / 4).collect();
            let labels: Vec<f32> = (0..160).map(|row| f32::from(row % 2 == 0)).collect();
            let metrics = ["auc", "log_loss"].map(|name| name.parse().unwrap()).to_vec();
            Self { rows: EvaluationRows::new(&users, &labels).unwrap(), metrics, wrong_by }
        }
    }

    impl Measured for Rows {
        fn metrics(&self) -> &[Metric] {
            &self.metrics
        }

        fn measure(&self, panel: &Panel<f32>, metrics: &[Metric]) -> Result<Outcome, EvalError> {
            let mut outcome = panel.on_rows(&self.rows, metrics)?;
            outcome.differences.iter_mut().for_each(|d| d.ci_high = d.ci_high.map(|high| high + self.wrong_by));
            Ok(outcome)
        }
    }

    /// Good predictions, better where `hit` says so.
    fn predictions(hit: impl Fn(usize) -> bool) -> Vec<f32> {
        (0..160).map(|row| if (row % 2 == 0) == hit(row) { 0.7 } else { 0.3 }).collect()
    }

    fn check(said: &Said, control: &[f32], on: &Rows) -> Result<SettingCheck, ExperimentError> {
        let experiment = Experiment::parse(EXPERIMENT, "small.toml").unwrap();
        let (stop, progress) = (AtomicBool::new(false), Progress::new(Level::Quiet));
        let lab = Lab {
            experiment: &experiment,
            folder: PathBuf::new(),
            seeds: vec![1],
            measure: Measure::Test,
            device: Device::flex(),
            stop: &stop,
            progress: &progress,
            encoder: None,
            split: None,
        };
        let place = Place { dataset: "small".into(), scenario: "multi_domain".into(), setting: "all".into() };
        let mut check = lab.checks().setting(&place, "base", said, on)?;
        let control = Shuffled { shuffles: 1, rows: 9, said: control.to_vec() };
        check.control = lab.checks().control(&place, "base", (said, &control), on)?;
        Ok(check)
    }

    #[test]
    fn a_base_that_repeats_itself_passes() {
        let said = |base: Vec<f32>| Said { again: base.clone(), base, constant: None };
        let check = check(&said(predictions(|row| row % 5 != 0)), &predictions(|row| row % 2 == 0), &Rows::new(0.0)).unwrap();
        assert_eq!((check.rows, check.different, check.metrics, check.largest_difference), (160, 0, 2, 0.0));
        let control = check.control.unwrap();
        assert_eq!((control.better, control.wins(), control.rows), (Verdict::No, false, 9));
    }

    #[test]
    fn a_control_that_beats_the_base_wins() {
        let base = predictions(|row| row % 2 == 0);
        let said = Said { again: base.clone(), base, constant: None };
        let check = check(&said, &predictions(|row| row % 5 != 0), &Rows::new(0.0)).unwrap();
        assert!(check.control.unwrap().wins());
    }

    #[test]
    fn equal_values_with_other_bits_end_the_comparison() {
        let mut base = predictions(|row| row % 5 != 0);
        base[3] = 0.0;
        let mut again = base.clone();
        again[3] = -0.0;
        let error = check(&Said { base: base.clone(), again, constant: None }, &base, &Rows::new(0.0)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`base` scored the same 160 rows of small / multi_domain / all twice, and 1 scores differ"), "{text}");
        assert!(!error.is_bad_input());
    }

    #[test]
    fn a_difference_to_itself_ends_the_comparison() {
        let base = predictions(|row| row % 5 != 0);
        let said = Said { again: base.clone(), base, constant: None };
        let error = check(&said, &predictions(|_| true), &Rows::new(1e-12)).unwrap_err();
        assert!(error.to_string().contains("differs by 1e-12 in auc, where it must differ by 0"), "{error}");
        assert!(!error.is_bad_input());
    }

    #[test]
    fn the_control_is_compared_with_a_constant_as_well() {
        let base = predictions(|row| row % 5 != 0);
        let said = Said { again: base.clone(), base, constant: Some(("one half".into(), vec![0.5; 160])) };
        let control = |hit: fn(usize) -> bool| check(&said, &predictions(hit), &Rows::new(0.0)).unwrap().control.unwrap();
        // AUC 0.8, and 0.5 of a constant: right on 80 % of the rows. 72 % is most of that gain, 60 % is not.
        let near = control(|row| row % 25 > 6);
        assert!(near.better != Verdict::Yes && near.wins(), "{near:?}");
        let far = control(|row| row % 5 > 1);
        assert!(far.constant.as_ref().unwrap().better == Verdict::Yes && !far.wins(), "{far:?}");
        // Right on 20 % of the rows, the base is worse than the constant, and what is right on 40 % beats the base alone.
        let base = predictions(|row| row % 5 == 0);
        let said = Said { again: base.clone(), base, constant: Some(("one half".into(), vec![0.5; 160])) };
        let poor = check(&said, &predictions(|row| row % 5 > 2), &Rows::new(0.0)).unwrap().control.unwrap();
        assert!(poor.better == Verdict::Yes && !poor.wins(), "{poor:?}");
    }
}
