//! The table `[floors]` of an experiment file: which floors there are, and their settings.

use serde::{Deserialize, Serialize};

use super::{
    Bayes, BayesConfig, Bias, BiasConfig, Blend, BlendConfig, ContentBias, ContentBiasConfig, DomainMean, FloorError, FoldInItems,
    FoldInItemsConfig, Form, GlobalMean, ItemKnn, ItemKnnConfig, ItemMean, ItemMeanConfig, LogisticRegression, LogisticRegressionConfig,
    Markov, MarkovConfig, PointwiseFloor, Popularity, RankingFloor, RecencyPopularity, RecencyPopularityConfig, SmoothedItemRate,
    SmoothedItemRateConfig, SupportMean,
};

/// Which floors are printed, and how they are set. Default: all that apply, with settings chosen on validation rows.
///
/// ```
/// use acclimate_eval::floor::{FloorsConfig, Grid};
/// let config: FloorsConfig = toml::from_str("bias = { item_shrink = 10, user_shrink = [1, 5, 25] }")?;
/// assert_eq!(config.bias.item_shrink, Grid::from(10.0));
/// let error = toml::from_str::<FloorsConfig>("bais = {}").unwrap_err();
/// assert!(error.message().contains("unknown field `bais`, expected one of `only`"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FloorsConfig {
    /// Only these, by name.
    pub only: Option<Vec<String>>,
    /// Features that floors do not read, by name, in place of those that the bases do not read: all methods are judged against floors without them.
    pub without_features: Option<Vec<String>>,
    /// Settings of [`ItemMean`].
    pub item_mean: ItemMeanConfig,
    /// Settings of [`SmoothedItemRate`].
    pub smoothed_item_rate: SmoothedItemRateConfig,
    /// Settings of [`Bias`].
    pub bias: BiasConfig,
    /// Settings of [`Bayes`] as a factorisation.
    pub fold_in_floor: BayesConfig,
    /// Settings of [`Bayes`] as a regression.
    pub bayes_floor: BayesConfig,
    /// Settings of [`Bayes`] as a regression with sets and kernel.
    pub bayes_plus_floor: BayesConfig,
    /// Settings of [`ContentBias`].
    pub content_bias: ContentBiasConfig,
    /// Settings of [`FoldInItems`].
    pub fold_in_items: FoldInItemsConfig,
    /// Settings of [`LogisticRegression`].
    pub logistic_regression: LogisticRegressionConfig,
    /// Settings of [`RecencyPopularity`].
    pub recency_popularity: RecencyPopularityConfig,
    /// Settings of [`Markov`].
    pub markov: MarkovConfig,
    /// Settings of [`ItemKnn`].
    pub item_knn: ItemKnnConfig,
    /// Settings of [`Blend`].
    pub blend: BlendConfig,
}

impl FloorsConfig {
    /// Every floor that predicts labels, in report order.
    #[must_use]
    pub fn pointwise(&self) -> Vec<Box<dyn PointwiseFloor>> {
        vec![
            Box::new(GlobalMean),
            Box::new(DomainMean),
            Box::new(SupportMean),
            Box::new(ItemMean { config: self.item_mean.clone() }),
            Box::new(SmoothedItemRate { config: self.smoothed_item_rate.clone() }),
            Box::new(Bias { config: self.bias.clone() }),
            Box::new(Bayes::new(Form::FoldIn, self.fold_in_floor)),
            Box::new(Bayes::new(Form::Regression, self.bayes_floor)),
            Box::new(Bayes::new(Form::Plus, self.bayes_plus_floor)),
            Box::new(ContentBias { config: self.content_bias.clone(), without: Vec::new() }),
            Box::new(FoldInItems { config: self.fold_in_items.clone(), without: Vec::new() }),
            Box::new(LogisticRegression { config: self.logistic_regression.clone(), without: Vec::new() }),
        ]
    }

    /// Every floor that ranks a catalogue, in report order.
    #[must_use]
    pub fn ranking(&self) -> Vec<Box<dyn RankingFloor>> {
        vec![
            Box::new(Popularity),
            Box::new(RecencyPopularity { config: self.recency_popularity.clone() }),
            Box::new(Markov { config: self.markov.clone() }),
            Box::new(ItemKnn { config: self.item_knn.clone() }),
            Box::new(Blend { config: self.blend.clone() }),
        ]
    }

    /// Whether a floor is to be printed.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|wanted| wanted == name))
    }

    /// The first name in `only` that is none of these.
    #[must_use]
    pub fn unknown<'a>(&'a self, known: &[&str]) -> Option<&'a str> {
        self.only.iter().flatten().map(String::as_str).find(|name| !known.contains(name))
    }

    /// The names of floors of the other family, labels or rankings, whose settings differ from the default: those are never read.
    #[must_use]
    pub fn not_read(&self, of_rankings: bool) -> Vec<&'static str> {
        let default = Self::default();
        if of_rankings {
            let pairs = self.pointwise().into_iter().zip(default.pointwise());
            pairs.filter(|(own, plain)| format!("{own:?}") != format!("{plain:?}")).map(|(own, _)| own.name()).collect()
        } else {
            let pairs = self.ranking().into_iter().zip(default.ranking());
            pairs.filter(|(own, plain)| format!("{own:?}") != format!("{plain:?}")).map(|(own, _)| own.name()).collect()
        }
    }

    /// Checks the settings of all floors.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<(), FloorError> {
        self.pointwise().iter().try_for_each(|floor| floor.check())?;
        self.ranking().iter().try_for_each(|floor| floor.check())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_reports() {
        let config = FloorsConfig::default();
        let pointwise: Vec<&str> = config.pointwise().iter().map(|floor| floor.name()).collect();
        let expected = [
            "global_mean",
            "domain_mean",
            "support_mean",
            "item_mean",
            "smoothed_item_rate",
            "bias",
            "fold_in_floor",
            "bayes_floor",
            "bayes_plus_floor",
            "content_bias",
            "fold_in_items",
            "logistic_regression",
        ];
        assert_eq!(pointwise, expected);
        let ranking: Vec<&str> = config.ranking().iter().map(|floor| floor.name()).collect();
        assert_eq!(ranking, ["popularity", "recency_popularity", "markov", "item_knn", "blend"]);
    }

    #[test]
    fn every_floor_with_settings_has_a_key_of_its_name() {
        let config = FloorsConfig::default();
        let keys = toml::Table::try_from(&config).unwrap();
        let floors = config
            .pointwise()
            .iter()
            .map(|f| (f.name(), format!("{f:?}")))
            .chain(config.ranking().iter().map(|f| (f.name(), format!("{f:?}"))))
            .collect::<Vec<_>>();
        for (name, debug) in floors {
            assert_eq!(keys.contains_key(name), debug.contains("config"), "{name}");
        }
    }

    #[test]
    fn settings_reach_the_floor_and_are_checked() {
        let config: FloorsConfig = toml::from_str("item_mean = { shrink = 3 }\nmarkov.back = [2, 4]").unwrap();
        assert!(format!("{:?}", config.pointwise()).contains("ItemMeanConfig { shrink: Grid([3.0]) }"));
        assert_eq!((config.not_read(false), config.not_read(true)), (vec!["markov"], vec!["item_mean"]));
        assert_eq!(config.validate(), Ok(()));
        for (text, part) in [
            ("bias.user_shrink = -1", "floor `bias`: `user_shrink` is -1"),
            ("recency_popularity.half_life_days = []", "`half_life_days` is [], expected at least one value"),
            ("blend.item_knn = [0, -0.1]", "floor `blend`: `item_knn` is -0.1, expected a weight"),
            ("markov.ahead = 1.5", "`ahead` is 1.5, expected a whole number"),
            ("logistic_regression.tolerance = 0.0", "`tolerance` is 0"),
        ] {
            let error = toml::from_str::<FloorsConfig>(text).unwrap().validate().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let error = toml::from_str::<FloorsConfig>("bias.shrink = 1").unwrap_err();
        assert!(error.message().contains("unknown field `shrink`, expected `item_shrink` or `user_shrink`"), "{error}");
    }
}
