//! `dropoutnet`: two towers score a new item from its content and what few ratings it has, as they have learned to do without the vectors of a factorisation.
//!
//! The score is `μ + b_u + b(S) + s f_u([U; 1; features]) · (g_k f_v(∅) + h_k (f_v(S) - f_v(∅)))`, `f_v(S) = f_v([V(S); 1; content])`: the bias model with what content says of the item's level, and beyond it the towers, with the shares that pay
//! after k ratings. V(S) is the
//! item's vector as the factorisation's users tell it from the ratings S, 0 without any. Formulas, and what towers learn from, stand with [`DropoutNet`](acclimate_fit::DropoutNet). How strongly V is drawn to 0, the number of steps and
//! the shares are chosen on a tenth of the items that is held out of the fit: where content is not shown to add to the bias model,
//! or ratings to content, the share is 0. Everything is fitted to all rows of the tasks; the base gives its features and
//! is not asked.
//!
//! It reads what `acclimate_item` reads. A user that is unknown, or whose id no training row has, has U = 0 and a mean level. For clicks the same is fitted to 0 and 1, and the score is the logit of the mean, held to a tenth of
//! the overall rate from below and from above.
//!
//! # References
//! M. Volkovs, G. Yu, T. Poutanen, *DropoutNet: Addressing Cold Start in Recommender Systems*, NeurIPS 2017; the bias model and the shares are our own.

mod stored;

use acclimate_data::Batch;
use acclimate_fit::{DropoutNet as Fit, DropoutNetConfig as FitConfig, SIZES};
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
pub const METHOD: Method = Method::new::<DropoutNetConfig>("dropoutnet", Kind::Adaptation, "towers that have learned to do without a new item's vector")
    .tested_with(&["factors = 2\nhidden = 6\ndropout = 0.3"]);

/// Configuration of [`DropoutNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DropoutNetConfig {
    /// Factors of the factorisation beside the one that plays the user's level; default 16.
    pub factors: usize,
    /// Units of the hidden layer of each tower; default 64.
    pub hidden: usize,
    /// Share of training draws in which a user's vector is 0, and of those in which an item has no ratings: more of it makes the towers better without, and less good with; at least 0, below 1; default 0.5.
    pub dropout: f64,
    /// Name of the feature that is the user's id; default the categorical feature of users with the most values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Name of the feature that is the item's id, which is not read; default the categorical feature of items with the most values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
}

impl Default for DropoutNetConfig {
    fn default() -> Self {
        Self { factors: 16, hidden: 64, dropout: 0.5, user: None, item: None }
    }
}

/// The method `dropoutnet`.
#[derive(Debug)]
pub struct DropoutNet {
    config: DropoutNetConfig,
    objective: Objective,
    scope: Scope,
    params: Vec<ParamSpec>,
    rows: ItemRows,
    score: Vec<SiteId>,
}

impl MethodConfig for DropoutNetConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let unsupported = |problem: &str| AdaptError::Unsupported { method: METHOD.name, problem: problem.into() };
        if !matches!(target.objective, Objective::Logistic | Objective::SquaredError) {
            return Err(unsupported("its objective is neither logistic nor squared_error"));
        }
        for (key, value) in [("factors", self.factors), ("hidden", self.hidden)] {
            if value == 0 {
                return Err(AdaptError::Value { method: METHOD.name, key, problem: "must be at least 1".into() });
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let problem = format!("is {}, must be at least 0 and below 1", self.dropout);
            return Err(AdaptError::Value { method: METHOD.name, key: "dropout", problem });
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
        let (d, h, content) = (self.factors + 1, self.hidden, 1 + width(&rows.content, 0));
        let table = |path: &str, shape: [usize; 3]| ParamSpec::weight(path, shape, Init::Constant(0.0)).solved();
        let params = vec![
            table("numbers", [1, 1, NUMBERS]),
            table("shares", [2, 1, SIZES.len()]),
            table("users", [rows.user.1, 1, d + 2]),
            table("level", [content, 1, 1]),
            table("user.first", [d + width(&rows.people, 1), 1, h]),
            table("user.last", [h + 1, 1, d + 1]),
            table("item.first", [d + content, 1, h]),
            table("item.last", [h + 1, 1, d + 1]),
        ];
        Ok(Box::new(DropoutNet { objective: target.objective, scope: Scope::default(), params, rows, score: whole_score(target.backbone), config: self }))
    }
}

impl DropoutNet {
    /// The score of each query row of a task.
    fn answers(&self, fitted: &Fitted, support: &Batch, query: Unlabelled<'_>, task: usize) -> Vec<f32> {
        let real = |rows: Unlabelled<'_>| -> Vec<usize> {
            let [_, n] = rows.shape();
            (task * n..(task + 1) * n).filter(|&i| rows.mask()[i] != 0.0).collect()
        };
        let shown = Unlabelled::new(support);
        let (known, asked, [_, n]) = (real(shown), real(query), query.shape());
        let Some(&first) = asked.first() else { return vec![0.0; n] };
        // A 1 in front, then what the row says.
        let with_one = |row: Vec<(u32, f64)>| split(&[vec![(0, 1.0)], row].concat());
        let content = with_one(read(&query, first, &self.rows.content).into_iter().map(|(c, x)| (c + 1, x)).collect());
        let user = |rows: Unlabelled<'_>, row: usize| fitted.user(rows.code(row, self.rows.user.0) as usize);
        let raters: Vec<_> = known.iter().map(|&i| user(shown, i)).collect();
        let rated: Vec<_> = raters.iter().zip(&known).map(|((u, level), &i)| (&u[..], *level, f64::from(support.label[i]))).collect();
        let users: Vec<_> = asked.iter().map(|&i| (user(query, i), with_one(read(&query, i, &self.rows.people)))).collect();
        let users: Vec<_> = users.iter().map(|((u, level), (columns, values))| (&u[..], *level, (&columns[..], &values[..]))).collect();
        let answers = fitted.fit.answer((&content.0, &content.1), &rated, &users);
        let mut scores = vec![0.0; n];
        asked.iter().zip(answers).for_each(|(&i, answer)| scores[i - task * n] = answer as f32);
        scores
    }
}

impl Adaptation for DropoutNet {
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
        let DropoutNetConfig { factors, hidden, dropout, .. } = self.config;
        self.write(own, &Fit::fit(&ratings, &FitConfig { factors, hidden, dropout }), &codes);
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let support = context.support.ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "a support set" })?;
        let Some(fitted) = self.fitted(own) else { return Ok(Modulation::none()) };
        let [groups, rows] = context.query.shape();
        let mut scores = Vec::with_capacity(groups * rows);
        for task in 0..groups {
            let answers = self.answers(&fitted, support.batch, context.query, task);
            let is_click = self.objective == Objective::Logistic;
            scores.extend(answers.into_iter().map(|score| if is_click { logit_of(score, fitted.fit.folding.mean) } else { score }));
        }
        Ok(replaced(&self.score, scores, [groups, rows], &own.get(ParamId(0)).device()))
    }
}
