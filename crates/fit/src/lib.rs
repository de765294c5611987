//! Closed forms without tensors: what floors are fitted with, and methods that adapt a user by one solve.
//!
//! - [`FoldIn`]: Bayesian matrix factorisation by EM, with priors from the content of items and from what is known of users;
//! - [`Regression`]: empirical-Bayes linear regression of each user's ratings on features of items;
//! - [`UserModel`]: either, as what folds a user in; [`Guarded`]: one that is chosen on users it has not seen, and held back where levels are better;
//! - [`Deep`]: features of items that are learned by an outer loop through the regression's solve;
//! - [`Ordinal`]: what is expected of a rating of few values, its median among them;
//! - [`ItemModel`]: what folds a new item in, and [`GuardedItems`], one that is chosen on items it has not seen and held back where levels are better;
//! - [`bridge`]: what people who are known in one domain will like in another;
//! - [`fresh`]: what people of whom a few positives are known will like in one domain;
//! - [`shift`]: what unlabelled traffic says of the share of positives;
//! - [`stream`]: levels of people and items that learn from every rating as it comes in;
//! - [`Cholesky`], [`Ridge`], [`leading`]: what these stand on.
//!
//! A floor and a method of the same name are the same fit: both are made here. Everything is in `f64` and deterministic, on any number of threads.

pub mod bridge;
mod cholesky;
mod deep;
mod eigen;
mod fold_in;
pub mod fresh;
mod guarded;
mod items;
mod ordinal;
mod quantile;
mod random;
mod ratings;
mod regression;
mod ridge;
pub mod shift;
pub mod stream;
mod user;

pub use cholesky::Cholesky;
pub use deep::{Deep, DeepConfig, Net, density};
pub use eigen::{Eigen, leading};
pub use fold_in::{FoldIn, FoldInConfig, ItemVector, Posterior};
pub use guarded::{Candidate, Guarded, Held, Judged, Levels, SIZES, held_out, judged, ordinal_of, share, shares_of, spread_of};
pub use items::{
    ContentLevels, DropoutNet, DropoutNetConfig, DropoutUser, Folding, GuardedItems, ItemBody, ItemModel, ItemPrior, ItemPriorConfig,
    Rater, Residuals, Taste, Tastes, Tower,
};
pub use ordinal::{Expected, Ordinal, Spread, normal};
pub use quantile::chi_squared;
pub use ratings::{Ratings, Sparse};
pub use regression::{Features, ItemView, Link, Loss, MOST_SWEEPS, Regression, RegressionConfig, Weights};
pub use ridge::Ridge;
pub use user::{Answer, Item, Row, UserModel};
