//! The floors of a comparison: fitted on the rows that bases learn from, scored on the rows that methods are measured on.

use acclimate_data::Dataset;
use acclimate_eval::floor::{Labelled, PointwiseFloor, Unlabelled, pointwise_floors};
use acclimate_eval::{Cost, Entrant, Kind};
use rayon::prelude::*;

use crate::experiment::FloorsConfig;
use crate::lab::{Finished, Prediction};
use crate::source::{digest, digest_text};
use crate::{ExperimentError, Lab};

/// Rows that one setting is measured on. Floors predict a setting at a time; a user is adapted by the support rows of that user only.
pub struct FloorQuery {
    /// Name of the setting.
    pub setting: String,
    /// Support rows of each query user; empty without tasks.
    pub support: Vec<u32>,
    /// Rows to predict.
    pub query: Vec<u32>,
}

/// What the floors learn from.
pub struct FloorRows<'a> {
    /// The data set.
    pub dataset: &'a Dataset,
    /// Labelled rows.
    pub train: &'a [u32],
    /// Rows that choose between a floor's settings.
    pub validation: &'a [u32],
}

/// A floor's predictions, one entry for each query.
pub struct FloorResult {
    /// Name of the floor.
    pub name: &'static str,
    /// Its predictions by setting.
    pub finished: Finished,
}

impl FloorResult {
    /// The floor in one setting.
    #[must_use]
    pub fn entrant(&self, setting: usize) -> Entrant<f32> {
        Entrant::deterministic(self.name, Kind::Floor, self.finished.predictions[setting].values.clone())
    }
}

impl FloorsConfig {
    /// The floors that apply to a data set, with or without support rows.
    ///
    /// # Errors
    /// A name in `only` that no floor has.
    pub fn chosen(&self, lab: &Lab<'_>, dataset: &Dataset, with_support: bool) -> Result<Vec<Box<dyn PointwiseFloor>>, ExperimentError> {
        let all = pointwise_floors();
        for name in self.only.iter().flatten() {
            if !all.iter().any(|f| f.name() == name) {
                let known: Vec<_> = all.iter().map(|f| f.name()).collect();
                return Err(lab.experiment.problem("[floors] only", format!("names no floor `{name}`; there are {}", known.join(", "))));
            }
        }
        // Without support rows the support mean is the global mean.
        let wanted =
            |name: &str| (with_support || name != "support_mean") && self.only.as_ref().is_none_or(|o| o.iter().any(|n| n == name));
        Ok(all.into_iter().filter(|f| f.applies_to(dataset) && wanted(f.name())).collect())
    }
}

impl Lab<'_> {
    /// Fits every floor that applies and lets it predict; what was computed before is read.
    ///
    /// # Errors
    /// Rows without labels a floor can learn from, or a store that can not be written.
    pub fn floors(&self, name: &str, rows: &FloorRows<'_>, queries: &[FloorQuery]) -> Result<Vec<FloorResult>, ExperimentError> {
        let config = &self.experiment.floors;
        let with_support = queries.iter().any(|q| !q.support.is_empty());
        let floors = config.chosen(self, rows.dataset, with_support)?;
        let seen = without(rows.dataset, &config.without_features);
        let mut inputs = vec![digest(&seen, rows.train), digest(&seen, rows.validation)];
        inputs.extend(queries.iter().flat_map(|q| [digest(&seen, &q.support), digest(&seen, &q.query)]));
        let inputs = inputs.join("|");
        self.progress.say(&format!("{name}: {} floors", floors.len()));
        let results = floors.par_iter().map(|floor| {
            let key = digest_text(&format!("{}|{}|{inputs}", env!("CARGO_PKG_VERSION"), floor.name()));
            let label = format!("{name}/{}", floor.name());
            let finished = self.kept(&label, &key, || fit(floor.as_ref(), &seen, rows, queries))?;
            Ok(FloorResult { name: floor.name(), finished })
        });
        results.collect()
    }
}

fn fit(floor: &dyn PointwiseFloor, dataset: &Dataset, rows: &FloorRows<'_>, queries: &[FloorQuery]) -> Result<Finished, ExperimentError> {
    let fitted = floor.fit(Labelled::new(dataset, rows.train)?, Labelled::new(dataset, rows.validation)?)?;
    let predict = |q: &FloorQuery| {
        let values = fitted.score(Labelled::new(dataset, &q.support)?, Unlabelled::new(dataset, &q.query)?);
        Ok(Prediction { setting: q.setting.clone(), values })
    };
    let predictions = queries.iter().map(predict).collect::<Result<_, ExperimentError>>()?;
    Ok(Finished { predictions, cost: Cost::default() })
}

/// The data set without some features.
fn without(dataset: &Dataset, names: &[String]) -> Dataset {
    let mut seen = dataset.clone();
    let kept = |name: &String| !names.contains(name);
    seen.features.categorical.retain(|f| kept(&f.name));
    seen.features.bags.retain(|f| kept(&f.name));
    seen.features.numeric.retain(|f| kept(&f.name));
    seen
}
