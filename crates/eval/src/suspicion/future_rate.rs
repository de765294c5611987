//! A feature that was computed from measured labels.

mod groups;
mod scatter;

use acclimate_data::{Categorical, Dataset, LabelKind, Numeric, Side};
use rayon::prelude::*;

use self::groups::{Groups, Key, Marks};
use super::{Leak, Parts, Sign};

/// Suspicious from here: the feature knows half of the chance in the measured labels.
const KNOWN: f64 = 0.5;
/// The same in standard errors, which counts where there are few groups.
const ERRORS: f64 = 4.0;
/// A text feature with more distinct values than one in so many groups says nothing by their order.
const VALUES: usize = 3;

/// How much each feature knows of the *chance* in the measured labels of an item, of a user, and of every other group that it is constant in.
///
/// A group's measured labels have a sum that differs by chance from what the group is like. No honest feature knows that difference, however well it
/// describes the group and whatever it was computed from, as long as it was not these labels. A rate or a count over a time that includes them does.
///
/// So groups are put in the order of the feature. Neighbours in this order have nearly equal values; were these computed from the label sums, the sums
/// must be nearly equal as well. With `x` the smoothed rate `(S + a p) / (N + a)` of a group (or its sum `S`) over rows that include the measured ones,
///
/// ```text
/// r_i = x_i - x_{i-1} (f_{i+1} - f_i) / (f_{i+1} - f_{i-1}) - x_{i+1} (f_i - f_{i-1}) / (f_{i+1} - f_{i-1})
/// known = 1 - sum_i r_i^2 w_i / sum_i Var(r_i | chance in the measured labels only) w_i
/// ```
///
/// the difference `r` from the line between two neighbours has at least the variance that the measured labels' chance gives it (within-group variance of
/// labels times measured rows), so that `known` is 0 or less for every honest feature, up to its standard error. It is 1 for a rate or count of these very
/// labels under any continuous transformation. The weights `w` make groups of all sizes count alike. The statistic is the largest over rows that rates are
/// commonly taken over (the log, the parts, training and measured rows, measured rows), `a` from 0 to 1,000, and `p` of the mean label, one half and 0;
/// over all groups, and over those that share their value with few others. The threshold is 0.5, and where there are few groups four standard errors; with
/// less than about 50 groups nothing can be said.
///
/// # References
/// T. Gasser, L. Sroka, C. Jennen-Steinmetz, *Residual variance and residual pattern in nonlinear regression*, Biometrika 1986: the estimate from neighbours.
///
/// One sign for each feature and kind of group that could be looked at; none for labels that do not differ.
#[must_use]
pub fn future_rates(dataset: &Dataset, parts: &Parts<'_>) -> Vec<Sign> {
    if dataset.label == LabelKind::Implicit {
        return Vec::new();
    }
    let (values, marks) = (Values::all(dataset), Marks::new(dataset, parts));
    let mut signs = Vec::new();
    for key in Key::all(dataset) {
        let Some(groups) = Groups::new(dataset, parts, &marks, &key) else { continue };
        let of_key = values.par_iter().filter_map(|values| {
            let (found, count) = groups.known(&values.of_groups(&groups)?)?;
            Some(Sign {
                leak: Leak::FutureRate,
                feature: Some(values.name().to_owned()),
                of: Some(key.name.clone()),
                part: "measured".into(),
                measure: "known share of chance".into(),
                statistic: found.known,
                threshold: found.threshold,
                count,
            })
        });
        signs.extend(of_key.collect::<Vec<_>>());
    }
    signs
}

/// A feature as one number for each entity.
enum Values<'a> {
    Number(&'a Numeric),
    /// Numbers written as text, by code; codes in their own order where they are no numbers.
    Codes {
        feature: &'a Categorical,
        numbers: Option<Vec<f64>>,
    },
}

impl<'a> Values<'a> {
    fn all(dataset: &'a Dataset) -> Vec<Self> {
        let features = &dataset.features;
        let codes = features.categorical.iter().map(|feature| {
            let vocabulary = &features.vocabularies[feature.vocabulary.at()];
            let texts = (1..vocabulary.rows() as u32).map(|row| vocabulary.value(row).unwrap_or_default());
            let numbers = texts.map(|text| text.trim().parse::<f64>().ok().filter(|x| x.is_finite())).collect::<Option<Vec<f64>>>();
            Self::Codes { feature, numbers }
        });
        codes.chain(features.numeric.iter().map(|feature| Self::Number(feature))).collect()
    }

    fn name(&self) -> &str {
        match self {
            Self::Number(feature) => &feature.name,
            Self::Codes { feature, .. } => &feature.name,
        }
    }

    fn side(&self) -> Side {
        match self {
            Self::Number(feature) => feature.side,
            Self::Codes { feature, .. } => feature.side,
        }
    }

    /// NaN: unknown.
    fn of_entity(&self, entity: usize) -> f64 {
        match self {
            Self::Number(feature) => f64::from(feature.values[entity]),
            Self::Codes { feature, numbers } => match (feature.codes[entity] as usize, numbers) {
                (0, _) => f64::NAN,
                (code, Some(numbers)) => numbers[code - 1],
                (code, None) => code as f64,
            },
        }
    }

    /// The value of each group; `None` where it differs inside one, or says nothing by its order.
    fn of_groups(&self, groups: &Groups<'_>) -> Option<Vec<f64>> {
        let mut values: Vec<Option<f64>> = vec![None; groups.len()];
        for &(group, row) in &groups.looked {
            let value = self.of_entity(groups.dataset.entity(self.side(), row as usize));
            match &mut values[group as usize] {
                Some(known) if known.to_bits() != value.to_bits() => return None,
                known => *known = Some(value),
            }
        }
        let values: Vec<f64> = values.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect();
        if let Self::Codes { numbers: None, .. } = self {
            let mut distinct: Vec<u64> = values.iter().map(|v| v.to_bits()).collect();
            distinct.sort_unstable();
            distinct.dedup();
            if distinct.len() * VALUES > groups.len() {
                return None;
            }
        }
        Some(values)
    }
}
