//! `acclimate_user`: a user is adapted to by one solve, which needs no gradient and says something sensible after any number of ratings.
//!
//! The score is `bias + g_k (model - bias)`: the bias model `μ + b_i + b_u`, and of a Bayesian model of ratings the share g_k that pays after k ratings. The model is one of these, `body`:
//!
//! - `fold_in`: matrix factorisation with priors from content and from what is known of users, `r = b_i + q_i · z_u`, a user costs a solve of d = 17;
//! - `regression`: a linear regression of each user's ratings on `(1, b_i, q_i, narrow content)`, with a learned prior;
//! - `plus`: with features of which items were rated, and a kernel of what is left over between items;
//! - `deep`: the same with features that a network learns, where they are better for users that are held out (preset `deep_kernel`).
//!
//! Formulas stand with [`FoldIn`](acclimate_fit::FoldIn), [`Regression`](acclimate_fit::Regression), [`Deep`](acclimate_fit::Deep) and [`Guarded`]. Which body, and the shares, are chosen on a tenth of the users that is held out of
//! the fit. The preset `fold_in` is the factorisation alone, without shares. Of ratings it also says a spread, `v + (1 - g_k)² (model - bias)²` with the model's variance v, and where they have few values the cut points of an
//! [`Ordinal`], which the held-out users teach. Everything is solved for, from all rows of the tasks; the base gives its features and is not asked.
//!
//! It reads the id of the item, categorical and multi-valued features of items (those of at most 24 values whole, of wider ones codes of at least three items, at half weight) and categorical features of users of at most 24 values.
//! An item without an id of its own has the vector that its content says. For clicks the same is fitted to 0 and 1, always with shares, and the score is the logit of the mean, held to a tenth of the overall rate from below and from above.
//!
//! # References
//! D. Agarwal, B.-C. Chen, *Regression-based Latent Factor Models*, KDD 2009; the shares and the choice are our own.

mod stored;

use acclimate_data::{Batch, Side};
use acclimate_fit::{
    Answer, Candidate, DeepConfig, FoldInConfig, Guarded, Item, Levels, Ordinal, Ratings, RegressionConfig, SIZES, Sparse, Spread, UserModel, judged,
    ordinal_of, share, spread_of,
};
use acclimate_model::{Bound, Init, Modulation, Objective, ParamId, ParamSpec, SiteId};
use serde::{Deserialize, Serialize};

use self::stored::{Fitted, NUMBERS, Own};
use crate::adaptation::{Answered, Stage};
use crate::method::columns::{Column, LEAST, Readable, columns, id_of, of_side, read, split, width};
use crate::method::{logit_of, replaced};
use crate::selection::{heads, whole_score};
use crate::{AdaptError, Adaptation, Context, Groups, Kind, Method, MethodConfig, Needs, Scope, Target, Unlabelled};

/// The list entry.
pub const METHOD: Method = Method::new::<AcclimateUserConfig>("acclimate_user", Kind::Adaptation, "a user is adapted to by one solve")
    .with_presets(&[("fold_in", "body = 'fold_in'\nguard = false\nvariational = 'never'"), ("deep_kernel", "body = 'deep'")])
    .tested_with(&["body = 'plus'\nfactors = 3"]);

/// Ratings at the mean that are added to those of items without an id of their own.
const UNKNOWN_ROWS: f64 = 10.0;
/// Eigenvectors of the kernel.
const RANK: usize = 128;
/// Which model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// The one that is best for users who are held out.
    Chosen,
    /// The factorisation.
    FoldIn,
    /// The regression on its vectors.
    Regression,
    /// The regression with sets and kernel.
    Plus,
    /// The same with learned features, if these are better for users who are held out.
    Deep,
}

/// Whether the factorisation is the variational one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variational {
    /// If that is better for users who are held out.
    Chosen,
    /// Yes.
    Always,
    /// No.
    Never,
}

/// Configuration of [`AcclimateUser`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcclimateUserConfig {
    /// The model; default chosen.
    pub body: Body,
    /// Factors of the factorisation beside the one that plays the user's level; default 16.
    pub factors: usize,
    /// Whether items keep their uncertainty and the strength of their priors is learned; default chosen, like the body.
    pub variational: Variational,
    /// Whether the model is mixed with the bias model where that pays for held-out users; default true.
    pub guard: bool,
    /// Name of the feature that is the item's id; default the categorical feature of items with the most values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
}

impl Default for AcclimateUserConfig {
    fn default() -> Self {
        Self { body: Body::Chosen, factors: 16, variational: Variational::Chosen, guard: true, item: None }
    }
}

/// The method `acclimate_user`.
#[derive(Debug)]
pub struct AcclimateUser {
    config: AcclimateUserConfig,
    objective: Objective,
    scope: Scope,
    params: Vec<ParamSpec>,
    /// Place of the item's id among the categorical features, and its codes.
    item: (usize, usize),
    /// Content of items, narrow features first, and how many of its columns are narrow; after them features of users.
    content: Vec<Column>,
    narrow: usize,
    people: Vec<Column>,
    score: Vec<SiteId>,
}

impl AcclimateUserConfig {
    /// Further features of the regression: those of the kernel, then learned ones.
    fn rank(&self) -> usize {
        RANK + if self.body == Body::Deep { DeepConfig::default().features } else { 0 }
    }
}

impl MethodConfig for AcclimateUserConfig {
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
        let schema = target.schema;
        let rows = |vocabulary: acclimate_data::VocabularyIndex| schema.vocabularies[vocabulary.at()].rows;
        let Some(item) = id_of(schema, Side::Item, self.item.as_ref()) else {
            return Err(match &self.item {
                Some(name) => AdaptError::Value { method: METHOD.name, key: "item", problem: format!("`{name}` is no categorical feature of the data") },
                None => unsupported("the data has no categorical feature of items; add the item's id as a feature"),
            });
        };
        let narrow = columns(&of_side(schema, Side::Item, Some(item), false), 0);
        let content = columns(&[false, true].map(|wide| of_side(schema, Side::Item, Some(item), wide)).concat(), 0);
        let narrow = width(&narrow, 0);
        let people: Vec<_> = of_side(schema, Side::User, None, false).into_iter().filter(|(_, is_bag, ..)| !is_bag).collect();
        let people = columns(&people, 1);
        let d = self.factors + 1;
        let core = 1 + (d + 1) + narrow;
        let items = rows(schema.categorical[item].vocabulary);
        let table = |path: &str, shape: [usize; 3]| ParamSpec::weight(path, shape, Init::Constant(0.0)).solved();
        let params = vec![
            table("numbers", [1, 1, NUMBERS]),
            table("shares", [1, 1, SIZES.len()]),
            table("items", [items, 1, d + 3]),
            table("content", [1 + width(&content, 0), 1, d + 1]),
            table("people", [width(&people, 1), 1, d]),
            table("ordinal", [1, 1, 2 * Ordinal::MOST]),
            table("prior", [width(&people, 1) + d + 1, 1, core]),
            table("factor", [1, core, core]),
            table("units", [1, 1, d]),
            table("kernel", [items, 1, self.rank()]),
        ];
        // The factorisation alone has no regression.
        let params = if self.body == Body::FoldIn { params.into_iter().take(Own::Prior as usize).collect() } else { params };
        // The mean of a click is no number that a score can be far from without harm.
        let guard = self.guard || target.objective == Objective::Logistic;
        Ok(Box::new(AcclimateUser {
            objective: target.objective,
            scope: Scope::default(),
            params,
            item: (item, items),
            content,
            narrow,
            people,
            score: whole_score(target.backbone),
            config: Self { guard, ..self },
        }))
    }
}

impl AcclimateUser {
    fn candidates(&self) -> Vec<Candidate> {
        let regression = Some(RegressionConfig::default());
        let plus = Some(RegressionConfig { kernel_rank: RANK, ..RegressionConfig::plus() });
        let bodies = match self.config.body {
            Body::Chosen => vec![None, regression, plus],
            Body::FoldIn => vec![None],
            Body::Regression => vec![regression],
            Body::Plus | Body::Deep => vec![plus],
        };
        let fold_in = |variational: bool| FoldInConfig { factors: self.config.factors, variational, ..FoldInConfig::default() };
        let forms = match self.config.variational {
            Variational::Chosen => vec![true, false],
            Variational::Always => vec![true],
            Variational::Never => vec![false],
        };
        forms.into_iter().map(|variational| (fold_in(variational), bodies.clone())).collect()
    }

    /// The rows by task, as the model is fitted to them.
    fn ratings(&self, rows: &Answered<'_>) -> Ratings {
        let tasks = rows.tasks.iter().max().map_or(0, |last| *last as usize + 1);
        let (item, items) = self.item;
        let mut of_task = vec![Vec::new(); tasks];
        let mut first_row = vec![usize::MAX; tasks];
        let mut of_item = vec![usize::MAX; items];
        for (i, &task) in rows.tasks.iter().enumerate() {
            let task = task as usize;
            first_row[task] = first_row[task].min(i);
            // A row of an unknown item says nothing of any.
            let code = rows.code(i, item);
            if code == 0 || code as usize >= items {
                continue;
            }
            of_item[code as usize] = of_item[code as usize].min(i);
            of_task[task].push((code, f64::from(rows.labels[i])));
        }
        let mut content = Sparse::new(width(&self.content, 0));
        let mut counts = vec![0; content.width];
        let of_content: Vec<_> = of_item.iter().map(|&i| if i == usize::MAX { Vec::new() } else { read(rows, i, &self.content) }).collect();
        of_content.iter().flatten().for_each(|(column, _)| counts[*column as usize] += 1);
        for row in of_content {
            content.push(row.into_iter().filter(|(c, _)| (*c as usize) < self.narrow || counts[*c as usize] >= LEAST));
        }
        let (mut rated, mut people) = (Sparse::new(items), Sparse::new(width(&self.people, 1)));
        for (of_task, first) in of_task.into_iter().zip(first_row).filter(|(rated, _)| !rated.is_empty()) {
            rated.push(of_task);
            people.push(std::iter::once((0, 1.0)).chain(read(rows, first, &self.people)));
        }
        Ratings { rated, content, narrow: self.narrow, people }
    }
}

impl AcclimateUser {
    /// What the model reads of an item, and its level.
    fn item(&self, fitted: &Fitted, rows: Unlabelled<'_>, row: usize) -> (Item<'static>, f64) {
        let (field, items) = self.item;
        let d = self.config.factors + 1;
        let code = rows.code(row, field) as usize;
        let content = split(&read(&rows, row, &self.content));
        let content = (&content.0[..], &content.1[..]);
        let of_code = fitted.items.get(code * (d + 3)..(code + 1) * (d + 3)).filter(|of| code < items && of[d + 2] > 0.0);
        let Some(of_code) = of_code else { return (fitted.model.unseen(content), fitted.items[d + 1]) };
        let (vector, level) = (&of_code[..=d], of_code[d + 1]);
        let set: Vec<f64> = fitted.units.iter().zip(&vector[1..]).map(|(unit, q)| q / unit).collect();
        let kernel = if fitted.kernel.is_empty() { &[][..] } else { &fitted.kernel[code * self.config.rank()..][..self.config.rank()] };
        (fitted.model.seen(vector, content, (set, kernel)), level)
    }

    /// The score of each query row of a task, with its variance where that is asked for.
    fn answers(&self, fitted: &Fitted, support: &Batch, query: Unlabelled<'_>, task: usize, with_variance: bool) -> Vec<Answer> {
        let real = |rows: Unlabelled<'_>| -> Vec<usize> {
            let [_, n] = rows.shape();
            (task * n..(task + 1) * n).filter(|&i| rows.mask()[i] != 0.0).collect()
        };
        let shown_rows = Unlabelled::new(support);
        let (known, asked, [_, n]) = (real(shown_rows), real(query), query.shape());
        let mut scores = vec![Answer { mean: 0.0, variance: 0.0 }; n];
        let Some(&first) = asked.first() else { return scores };
        let people: Vec<(u32, f64)> = std::iter::once((0, 1.0)).chain(read(&query, first, &self.people)).collect();
        let people = split(&people);
        let rated = |&i: &usize| {
            let (item, level) = self.item(fitted, shown_rows, i);
            ((item, f64::from(support.label[i])), level)
        };
        let (rated, rated_levels): (Vec<(Item<'_>, f64)>, Vec<f64>) = known.iter().map(rated).unzip();
        let (items, asked_levels): (Vec<Item<'_>>, Vec<f64>) = asked.iter().map(|&i| self.item(fitted, query, i)).unzip();
        let answers = fitted.model.answer((&people.0, &people.1), &rated, &items, with_variance);
        let levels = Levels { mean: fitted.numbers[0], items: Vec::new(), user_shrink: fitted.numbers[6].abs() };
        let user = levels.user(rated_levels.into_iter().zip(rated.iter().map(|(_, rating)| *rating)));
        let share = share(&fitted.shares, rated.len());
        for ((&i, answer), level) in asked.iter().zip(answers).zip(asked_levels) {
            let bias = levels.mean + level + user;
            scores[i - task * n] = Answer { mean: bias + share * (answer.mean - bias), variance: spread_of(answer, bias, share) };
        }
        scores
    }
}

impl Adaptation for AcclimateUser {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        Needs { groups: Groups::User, ..Needs::default() }
    }

    fn solves(&self) -> bool {
        true
    }

    fn solve(&self, own: &mut [Vec<f32>], rows: &mut Answered<'_>, stage: Stage) {
        if stage == Stage::Before {
            return;
        }
        let ratings = self.ratings(rows);
        if ratings.rated.values.is_empty() {
            return;
        }
        let candidates = self.candidates();
        let fitted = match (self.config.guard, &candidates[..]) {
            // Nothing is left to choose.
            (false, [(fold_in, bodies)]) if bodies[..] == [None] => {
                let model = UserModel::fit(&ratings, fold_in, None, None);
                Guarded { model, levels: Levels::fit(&ratings.rated), shares: vec![1.0; SIZES.len()], judged: judged(&ratings, fold_in, None), passes: 0 }
            }
            _ => Guarded::fit_deep(&ratings, &candidates, (self.config.body == Body::Deep).then(DeepConfig::default).as_ref()),
        };
        let shares = if self.config.guard { fitted.shares.clone() } else { vec![1.0; SIZES.len()] };
        let ordinal = ordinal_of(&ratings, &fitted.judged, &shares).filter(|_| self.objective == Objective::SquaredError);
        self.write(own, &Guarded { shares, ..fitted.clone() }, ordinal.as_ref());
        // What rare items, which have no id of their own, are rated with is what is known of the level of the next one.
        let unknown = (0..rows.labels.len()).filter(|&i| rows.code(i, self.item.0) == 0).map(|i| f64::from(rows.labels[i]) - fitted.levels.mean);
        let (sum, n) = unknown.fold((0.0, 0.0), |(sum, n), rest| (sum + rest, n + 1.0));
        own[Own::Items as usize][self.config.factors + 2] = (sum / (n + UNKNOWN_ROWS)) as f32;
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let support = context.support.ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "a support set" })?;
        let Some(fitted) = self.fitted(own) else { return Ok(Modulation::none()) };
        let [groups, rows] = context.query.shape();
        let mut scores = Vec::with_capacity(groups * rows);
        for task in 0..groups {
            let answers = self.answers(&fitted, support.batch, context.query, task, false);
            let answers = answers.into_iter().map(|answer| answer.mean as f32);
            let is_click = self.objective == Objective::Logistic;
            scores.extend(answers.map(|score| if is_click { logit_of(score, fitted.numbers[0]) } else { score }));
        }
        Ok(replaced(&self.score, scores, [groups, rows], &own.get(ParamId(0)).device()))
    }

    fn spread(&self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Option<Spread>, AdaptError> {
        let support = context.support.ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "a support set" })?;
        let Some(fitted) = self.fitted(own).filter(|_| self.objective == Objective::SquaredError) else { return Ok(None) };
        let [groups, _] = context.query.shape();
        let of_task = |task| self.answers(&fitted, support.batch, context.query, task, true);
        let deviations = (0..groups).flat_map(of_task).map(|answer| answer.variance.sqrt() as f32).collect();
        Ok(Some(Spread::new(deviations, fitted.ordinal.as_ref())))
    }
}
