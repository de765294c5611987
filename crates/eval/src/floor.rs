//! Floors: baselines that adapt nothing, or adapt in closed form. A method earns its place against the best of them.
//!
//! Two families, one trait each:
//!
//! - [`PointwiseFloor`]: predicts the label of a row (click probability, rating) from training rows and, where it can use them, a user's support rows;
//! - [`RankingFloor`]: scores a catalogue of candidates for a user's next item.
//!
//! A third, for an attribute of users told from what they did, has its own module: [`classes`].
//!
//! All are fitted once and then score without seeing a label: [`FittedPointwise::score`] is handed its query as [`Unlabelled`] rows.
//! Settings (shrinkage, half-lives, regularisation) are either fixed by the config or chosen on validation rows ([`Choice`], or the validation queries of a
//! [`RankingHistory`]); nothing else is ever looked at.
//!
//! To add a floor: one file in `floor/`, one line in [`FloorsConfig::pointwise`] or [`FloorsConfig::ranking`], and a field of [`FloorsConfig`] if it has
//! settings.

mod bayes;
mod bias;
mod blend;
pub mod classes;
mod config;
mod content_bias;
mod design;
mod domain_mean;
mod error;
mod fold_in_items;
mod fresh_counts;
mod global_mean;
mod item_knn;
mod item_mean;
mod lbfgs;
mod logistic_regression;
mod markov;
mod popularity;
mod ranking;
mod recency_popularity;
mod rows;
mod setting;
mod shrunken;
mod smoothed_item_rate;
mod support_mean;
mod validation;

#[cfg(test)]
mod fixture;

pub use bayes::{Bayes, BayesConfig, Form};
pub use bias::{Bias, BiasConfig};
pub use blend::{Blend, BlendConfig};
pub use config::FloorsConfig;
pub use content_bias::{ContentBias, ContentBiasConfig};
pub use domain_mean::DomainMean;
pub use error::FloorError;
pub use fold_in_items::{FoldInItems, FoldInItemsConfig};
pub use fresh_counts::FreshCounts;
pub use global_mean::GlobalMean;
pub use item_knn::{ItemKnn, ItemKnnConfig};
pub use item_mean::{ItemMean, ItemMeanConfig};
pub use logistic_regression::{LogisticRegression, LogisticRegressionConfig};
pub use markov::{Markov, MarkovConfig};
pub use popularity::Popularity;
pub use ranking::{FittedRanking, RankingFloor, RankingHistory, RankingQuery};
pub use recency_popularity::{RecencyPopularity, RecencyPopularityConfig};
pub use rows::{Labelled, Unlabelled};
pub use setting::{Chosen, Grid};
pub use smoothed_item_rate::{SmoothedItemRate, SmoothedItemRateConfig};
pub use support_mean::SupportMean;
pub use validation::Choice;

use acclimate_data::Dataset;
use acclimate_fit::Spread;

/// A baseline that predicts the label of a row.
///
/// Its debug form names its settings, all of them: what was computed with others is told apart by it.
pub trait PointwiseFloor: std::fmt::Debug + Send + Sync {
    /// Name in reports.
    fn name(&self) -> &'static str;

    /// Whether the floor says anything about this kind of data; a report leaves it out where it does not.
    fn applies_to(&self, _dataset: &Dataset) -> bool {
        true
    }

    /// Whether it has nothing to say where no support rows are.
    fn needs_support(&self) -> bool {
        false
    }

    /// Whether its support rows are those of new items, rated by users whom training knows, and not those of users.
    fn folds_items(&self) -> bool {
        false
    }

    /// The floor that does not read some features; `None` where it reads none at all.
    fn leaving_out(&self, _features: &[String]) -> Option<Box<dyn PointwiseFloor>> {
        None
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A setting outside its range.
    fn check(&self) -> Result<(), FloorError> {
        Ok(())
    }

    /// Learns from `train`; `choice` chooses between the settings that the config leaves open and teaches nothing else.
    ///
    /// # Errors
    /// No training row, a setting outside its range, labels that the floor can not use, or no validation row where a choice has to be made.
    fn fit(&self, train: Labelled<'_>, choice: Choice<'_>) -> Result<Box<dyn FittedPointwise>, FloorError>;
}

/// A fitted [`PointwiseFloor`].
pub trait FittedPointwise: Send + Sync {
    /// One prediction for each query row, in query order and in the unit of the label, not clipped to its range.
    ///
    /// `support` may hold rows of several users; a query row is adapted by the support of its own user only, or of its own item where the floor [folds items](PointwiseFloor::folds_items).
    fn score(&self, support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32>;

    /// The spread of what is expected of each query row, around the [score](Self::score); `None` for a floor that says one number.
    fn spread(&self, _support: Labelled<'_>, _query: Unlabelled<'_>) -> Option<Spread> {
        None
    }

    /// Number of fitted numbers.
    fn parameters(&self) -> usize;

    /// The value of each setting.
    fn chosen(&self) -> Vec<Chosen> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pointwise_floor_scores_rows_alone_as_together() {
        // Clicks with every kind of feature, then ratings of the same users and items.
        let clicks = logistic_regression::tests::mixed();
        let mut ratings = clicks.clone();
        ratings.label = acclimate_data::LabelKind::Rating { min: 0.0, max: 1.0 };
        let floors = FloorsConfig::default().pointwise();
        for floor in &floors {
            let data = if floor.applies_to(&clicks) { &clicks } else { &ratings };
            assert!(floor.applies_to(data), "{}", floor.name());
            alone_as_together(floor.as_ref(), data);
        }
    }

    fn alone_as_together(floor: &dyn PointwiseFloor, data: &Dataset) {
        let (train, rest): (Vec<u32>, Vec<u32>) = (0..60).partition(|row| row % 3 != 0);
        let (validation, query) = rest.split_at(10);
        let rows = |rows| Labelled::new(data, rows).unwrap();
        let fitted = floor.fit(rows(&train), Choice { support: rows(query), rows: rows(validation) }).unwrap();
        let score = |query: &[u32]| fitted.score(rows(validation), Unlabelled::new(data, query).unwrap());
        let alone: Vec<f32> = query.iter().flat_map(|&row| score(&[row])).collect();
        assert_eq!(score(query), alone, "{}", floor.name());
        assert!(alone.iter().all(|p| p.is_finite()) && fitted.parameters() > 0, "{}", floor.name());
    }

    #[test]
    fn rows_beyond_the_log_and_broken_labels_are_named() {
        let mut data = fixture::ratings(&[(0, 0, 0, 1.0), (0, 0, 0, 2.0)]);
        assert_eq!(Unlabelled::new(&data, &[1, 2]).err(), Some(FloorError::RowOutOfRange { row: 2, rows: 2 }));
        std::sync::Arc::make_mut(&mut data.log).label[1] = f32::INFINITY;
        assert_eq!(Labelled::new(&data, &[0, 1]).err(), Some(FloorError::LabelNotFinite { row: 1, value: f32::INFINITY }));
    }
}
