//! What adapts to a user by one solve, whichever fit it stands on.

use std::borrow::Cow;

use crate::fold_in::{ItemVector, with_one};
use crate::{Features, FoldIn, FoldInConfig, ItemView, Ratings, Regression, RegressionConfig};

/// A fit that users are folded into: the factorisation alone, or the regression on its vectors and on the content of items.
#[derive(Clone, Debug)]
pub struct UserModel {
    /// The factorisation.
    pub fold_in: FoldIn,
    /// The regression on `(1, b, q, content)`, where there is one.
    pub regression: Option<Regression>,
    /// The first so many columns of content are features of the regression.
    pub narrow: usize,
}

/// A rating as it is expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Its mean.
    pub mean: f64,
    /// Its variance.
    pub variance: f64,
}

/// An item to adapt from or to ask for: one that was fitted to, or what content says of another.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    vector: Cow<'a, [f64]>,
    covariance: &'a [f64],
    features: Cow<'a, [f64]>,
    more_noise: f64,
    set: Cow<'a, [f64]>,
}

/// What is known of a row: columns with values.
pub type Row<'a> = (&'a [u32], &'a [f64]);

impl UserModel {
    /// Fits to ratings, of which there is at least one. `loss`: of users that the ratings do not hold, where a sweep of the regression is to be chosen.
    #[must_use]
    pub fn fit(
        ratings: &Ratings,
        fold_in: &FoldInConfig,
        regression: Option<&RegressionConfig>,
        loss: Option<&(dyn Fn(&Self) -> f64 + Sync)>,
    ) -> Self {
        Self::on(FoldIn::fit(ratings, fold_in), ratings, regression, loss)
    }

    /// The same on a factorisation that was fitted to the same ratings.
    #[must_use]
    pub fn on(
        fold_in: FoldIn,
        ratings: &Ratings,
        regression: Option<&RegressionConfig>,
        loss: Option<&(dyn Fn(&Self) -> f64 + Sync)>,
    ) -> Self {
        let body = Self { fold_in, regression: None, narrow: ratings.narrow };
        let Some(config) = regression else { return body };
        let items = ratings.content.len();
        let content = with_one(&ratings.content);
        let values = (0..items).flat_map(|i| body.features(body.fold_in.item(i).values, content.row(i))).collect();
        let units = body.units();
        let set = |i: usize| -> Vec<f64> {
            let loadings = body.fold_in.item(i).values[1..].iter().zip(&units);
            loadings.map(|(q, unit)| if body.fold_in.counts[i] > 0 { q / unit } else { 0.0 }).collect()
        };
        let features = Features {
            values,
            level: 1,
            more_noise: (0..items).map(|i| body.fold_in.item(i).more_noise).collect(),
            noise: body.fold_in.noise,
            sets: (0..items).flat_map(set).collect(),
        };
        let with = |regression: &Regression| Self { regression: Some(regression.clone()), ..body.clone() };
        let judged = loss.map(|loss| move |regression: &Regression| loss(&with(regression)));
        let fitted = Regression::fit(ratings, features, config, judged.as_ref().map(|judged| judged as _));
        Self { regression: Some(fitted), ..body }
    }

    /// The same with further features of every item, `[items, rank]`, whose weights are independent of all others, with mean 0 and variance 1; the factorisation alone has none.
    #[must_use]
    pub fn with_features(&self, added: &[f64], rank: usize) -> Self {
        let mut model = self.clone();
        if let Some(fit) = &mut model.regression {
            fit.append(added, rank);
        }
        model
    }

    /// Root mean square of each loading over the items that were rated.
    #[must_use]
    pub fn units(&self) -> Vec<f64> {
        let known: Vec<&[f64]> =
            (0..self.fold_in.counts.len()).filter(|&i| self.fold_in.counts[i] > 0).map(|i| self.fold_in.item(i).values).collect();
        let square = |k: usize| known.iter().map(|item| item[1 + k].powi(2)).sum::<f64>() / known.len().max(1) as f64;
        (0..self.fold_in.width).map(|k| square(k).sqrt().max(1e-9)).collect()
    }

    /// `(1, b, q, narrow content)`, of a row of content with a 1 in front.
    fn features(&self, vector: &[f64], (columns, values): Row<'_>) -> Vec<f64> {
        let mut features = Vec::with_capacity(1 + vector.len() + self.narrow);
        features.push(1.0);
        features.extend_from_slice(vector);
        let narrow = features.len();
        features.resize(narrow + self.narrow, 0.0);
        for (&column, &value) in columns.iter().zip(values).filter(|(c, _)| (1..=self.narrow).contains(&(**c as usize))) {
            features[narrow + column as usize - 1] += value;
        }
        features
    }

    /// An item that was fitted to.
    #[must_use]
    pub fn item(&self, i: usize) -> Item<'_> {
        let ItemVector { values, covariance, more_noise } = self.fold_in.item(i);
        let (features, set) = self.regression.as_ref().map_or((&[][..], &[][..]), |fit| (fit.item(i).features, fit.item(i).set));
        Item { vector: values.into(), covariance, features: features.into(), more_noise, set: set.into() }
    }

    /// An item of which `(b, q)` is known, with its content, and what a regression with both additions reads beside them: t and the features of the kernel.
    #[must_use]
    pub fn seen<'a>(&self, vector: &[f64], (columns, values): Row<'_>, (set, kernel): (Vec<f64>, &[f64])) -> Item<'a> {
        let mut features = Vec::new();
        if self.regression.is_some() {
            let columns: Vec<u32> = columns.iter().map(|c| c + 1).collect();
            features = self.features(vector, (&columns, values));
            features.extend_from_slice(kernel);
        }
        Item { vector: vector.to_vec().into(), covariance: &[], features: features.into(), more_noise: 0.0, set: set.into() }
    }

    /// An item that was not, by its content.
    #[must_use]
    pub fn unseen(&self, (columns, values): Row<'_>) -> Item<'static> {
        let columns: Vec<u32> = std::iter::once(0).chain(columns.iter().map(|c| c + 1)).collect();
        let values: Vec<f64> = std::iter::once(1.0).chain(values.iter().copied()).collect();
        let vector = self.fold_in.said_by((&columns, &values));
        let mut features = Vec::new();
        if let Some(fit) = &self.regression {
            features = self.features(&vector, (&columns, &values));
            features.resize(fit.width, 0.0);
        }
        Item {
            vector: vector.into(),
            covariance: &[],
            features: features.into(),
            more_noise: self.fold_in.unseen_noise,
            set: Cow::Borrowed(&[]),
        }
    }

    /// What a user, of whom something is known and who has rated some items, is expected to rate others with; the variance is 0 where it is not asked for.
    #[must_use]
    pub fn answer(&self, people: Row<'_>, rated: &[(Item<'_>, f64)], asked: &[Item<'_>], with_variance: bool) -> Vec<Answer> {
        let Some(fit) = &self.regression else {
            let mut prior = vec![0.0; self.fold_in.width];
            for (&column, value) in people.0.iter().zip(people.1) {
                prior.iter_mut().zip(&self.fold_in.people[column as usize * self.fold_in.width..]).for_each(|(sum, x)| *sum += value * x);
            }
            let user = self.fold_in.posterior(&prior, rated.iter().map(|(item, rating)| (item.vector(), *rating)));
            let answer = |item: &Item<'_>| Answer {
                mean: self.fold_in.rating(item.vector(), &user.mean),
                variance: if with_variance { self.fold_in.variance(item.vector(), &user) } else { 0.0 },
            };
            return asked.iter().map(answer).collect();
        };
        let known: Vec<_> = rated.iter().map(|(item, rating)| (item.view(), *rating)).collect();
        let user = fit.weights(&fit.prior(people, &known), &known);
        let answer = |item: &Item<'_>| Answer {
            mean: fit.rating(&item.features, &user.mean),
            variance: if with_variance { fit.variance(&item.features, item.more_noise, &user) } else { 0.0 },
        };
        asked.iter().map(answer).collect()
    }
}

impl Item<'_> {
    fn vector(&self) -> ItemVector<'_> {
        ItemVector { values: &self.vector, more_noise: self.more_noise, covariance: self.covariance }
    }

    fn view(&self) -> ItemView<'_> {
        ItemView { features: &self.features, more_noise: self.more_noise, set: &self.set }
    }
}
