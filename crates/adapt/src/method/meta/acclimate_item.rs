//! `acclimate_item`: a new item is adapted to by one solve, which needs no gradient and says something sensible after any number of ratings.
//!
//! The score is `bias + g_k (body - bias) + h_k (raters - body)`: the bias model with what content says of the item's level, `μ + b_u + (Σ (r - μ - b_u) + c p_i) / (n + c)`, and of two Bayesian models the shares that pay
//! after k ratings. In both an item is a vector `(b, q)`, the ridge regression of its ratings on what is known of the users who gave them, drawn towards what its content says; the second reads as well who rated it. `body`:
//!
//! - `fold_in`: the factorisation of the floor `fold_in_items` with its prior, `diag(λ_b, λ_q, ..)` ratings; raters are not read;
//! - `regression`: a prior of full covariance, learned by EM.
//!
//! Formulas stand with [`GuardedItems`]. Body, strengths, penalties and shares are chosen on a tenth of the items that is held out of the fit. Everything is solved for, from all rows of the tasks; the base gives its features and is not asked.
//!
//! It reads the id of the user, categorical features of users of at most 24 values, and categorical and multi-valued features of items but their id (those of at most 24 values whole, of wider ones codes of at least three items, at
//! half weight). A user that is unknown, or whose id no training row has, is what their other features say, with all the doubt that is left, and of the mean level; an item without content is the mean item.
//! For clicks the same is fitted to 0 and 1, and the score is the logit of the mean, held to a tenth of the overall rate from below and from above.
//!
//! # References
//! D. Agarwal, B.-C. Chen, *Regression-based Latent Factor Models*, KDD 2009; the prior that reads raters, the shares and the choice are our own.

mod stored;

use acclimate_data::Batch;
use acclimate_fit::{GuardedItems, ItemBody, SIZES};
use acclimate_model::{Bound, Init, Modulation, Objective, ParamId, ParamSpec, SiteId};
use serde::{Deserialize, Serialize};

use self::stored::{Fitted, NUMBERS};
use crate::adaptation::{Answered, Stage};
use crate::method::columns::{read, split, width};
use crate::method::item_rows::ItemRows;
use crate::method::{logit_of, replaced};
use crate::selection::{heads, whole_score};
use crate::{AdaptError, Adaptation, Context, Groups, Kind, Method, MethodConfig, Needs, Scope, Target, Unlabelled};

/// The list entry.
pub const METHOD: Method = Method::new::<AcclimateItemConfig>("acclimate_item", Kind::Adaptation, "a new item is adapted to by one solve")
    .tested_with(&["body = 'fold_in'\nfactors = 3"]);

/// Which model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// The one that is best for items that are held out.
    Chosen,
    /// The factorisation's prior.
    FoldIn,
    /// A prior of full covariance, and one that reads raters.
    Regression,
}

/// Configuration of [`AcclimateItem`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcclimateItemConfig {
    /// The model; default chosen.
    pub body: Body,
    /// Factors of the factorisation beside the one that plays the user's level; default 16.
    pub factors: usize,
    /// Name of the feature that is the user's id; default the categorical feature of users with the most values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Name of the feature that is the item's id, which is not read; default the categorical feature of items with the most values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
}

impl Default for AcclimateItemConfig {
    fn default() -> Self {
        Self { body: Body::Chosen, factors: 16, user: None, item: None }
    }
}

/// The method `acclimate_item`.
#[derive(Debug)]
pub struct AcclimateItem {
    config: AcclimateItemConfig,
    objective: Objective,
    scope: Scope,
    params: Vec<ParamSpec>,
    rows: ItemRows,
    score: Vec<SiteId>,
}

impl MethodConfig for AcclimateItemConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let unsupported = |problem: &str| AdaptError::Unsupported { method: METHOD.name, problem: problem.into() };
        if !matches!(target.objective, Objective::Logistic | Objective::SquaredError) {
            return Err(unsupported("its objective is neither logistic nor squared_error"));
        }
        if self.factors == 0 {
            return Err(AdaptError::Value { method: METHOD.name, key: "factors", problem: "must be at least 1".into() });
        }
        let heads = heads(target.backbone);
        if heads.is_empty() {
            return Err(unsupported("its head is no linear layer; use `dnn`"));
        }
        // What an item is worth would be the same in all domains.
        if heads.len() > 1 {
            return Err(unsupported("its network has a head for each domain, and items are told alike in all of them; use one head, as `dnn` has"));
        }
        let rows = ItemRows::new(METHOD.name, target.schema, self.user.as_ref(), self.item.as_ref())?;
        let (d, m, columns) = (self.factors + 1, self.factors + 2, 1 + width(&rows.content, 0));
        let table = |path: &str, shape: [usize; 3]| ParamSpec::weight(path, shape, Init::Constant(0.0)).solved();
        let params = vec![
            table("numbers", [1, 1, NUMBERS]),
            table("shares", [2, 1, SIZES.len()]),
            table("users", [rows.user.1, 1, d + d * (d + 1) / 2 + 2]),
            table("people", [width(&rows.people, 1), 1, d]),
            table("level", [columns, 1, 1]),
            table("content", [columns, 1, m]),
            table("factor", [1, m, m]),
            table("tastes", [2, 1, d]),
            table("raters.content", [columns + d, 1, m]),
            table("raters.factor", [1, m, m]),
        ];
        // The factorisation's prior does not read raters.
        let params = if self.body == Body::FoldIn { params.into_iter().take(7).collect() } else { params };
        Ok(Box::new(AcclimateItem { objective: target.objective, scope: Scope::default(), params, rows, score: whole_score(target.backbone), config: self }))
    }
}

impl AcclimateItem {
    /// The score of each query row of a task.
    fn answers(&self, fitted: &Fitted, support: &Batch, query: Unlabelled<'_>, task: usize) -> Vec<f32> {
        let real = |rows: Unlabelled<'_>| -> Vec<usize> {
            let [_, n] = rows.shape();
            (task * n..(task + 1) * n).filter(|&i| rows.mask()[i] != 0.0).collect()
        };
        let shown = Unlabelled::new(support);
        let (known, asked, [_, n]) = (real(shown), real(query), query.shape());
        let Some(&first) = asked.first() else { return vec![0.0; n] };
        let content = split(&read(&query, first, &self.rows.content));
        let rater = |rows: Unlabelled<'_>, row: usize| fitted.rater(rows.code(row, self.rows.user.0) as usize, &read(&rows, row, &self.rows.people));
        let raters: Vec<_> = known.iter().map(|&i| rater(shown, i)).collect();
        let users: Vec<_> = asked.iter().map(|&i| rater(query, i)).collect();
        let rated: Vec<_> = raters.iter().zip(&known).map(|((z, level), &i)| ((z, *level), f64::from(support.label[i]))).collect();
        let answers = fitted.model.answer((&content.0, &content.1), &rated, &users.iter().map(|(z, level)| (z, *level)).collect::<Vec<_>>());
        let mut scores = vec![0.0; n];
        asked.iter().zip(answers).for_each(|(&i, answer)| scores[i - task * n] = answer as f32);
        scores
    }
}

impl Adaptation for AcclimateItem {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        Needs { groups: Groups::Item, ..Needs::default() }
    }

    fn solves(&self) -> bool {
        true
    }

    fn solve(&self, own: &mut [Vec<f32>], rows: &mut Answered<'_>, stage: Stage) {
        if stage == Stage::Before {
            return;
        }
        let (ratings, codes) = self.rows.ratings(rows);
        if ratings.rated.values.is_empty() {
            return;
        }
        let bodies = match self.config.body {
            Body::Chosen => vec![ItemBody::Regression, ItemBody::FoldIn],
            Body::FoldIn => vec![ItemBody::FoldIn],
            Body::Regression => vec![ItemBody::Regression],
        };
        self.write(own, &GuardedItems::fit(&ratings, &bodies, self.config.factors), &codes);
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let support = context.support.ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "a support set" })?;
        let Some(fitted) = self.fitted(own) else { return Ok(Modulation::none()) };
        let [groups, rows] = context.query.shape();
        let mut scores = Vec::with_capacity(groups * rows);
        for task in 0..groups {
            let answers = self.answers(&fitted, support.batch, context.query, task);
            let is_click = self.objective == Objective::Logistic;
            scores.extend(answers.into_iter().map(|score| if is_click { logit_of(score, fitted.model.model.fold_in.mean) } else { score }));
        }
        Ok(replaced(&self.score, scores, [groups, rows], &own.get(ParamId(0)).device()))
    }
}
