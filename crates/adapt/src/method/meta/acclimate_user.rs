//! `acclimate_user`: a user is adapted to by one solve, which needs no gradient and says something sensible after any number of ratings.
//!
//! The score is `bias + g_k (model - bias)`: the bias model `μ + b_i + b_u`, and of a Bayesian model of ratings the share g_k that pays after k ratings. The model is one of three, `body`:
//!
//! - `fold_in`: matrix factorisation with priors from content and from what is known of users, `r = b_i + q_i · z_u`, a user costs a solve of d = 17;
//! - `regression`: a linear regression of each user's ratings on `(1, b_i, q_i, narrow content)`, with a learned prior;
//! - `plus`: with features of which items were rated, and a kernel of what is left over between items.
//!
//! Formulas stand with [`FoldIn`](acclimate_fit::FoldIn), [`Regression`](acclimate_fit::Regression) and [`Guarded`]. Which body, and the shares, are chosen on a tenth of the users that is held out of
//! the fit. The preset `fold_in` is the factorisation alone, without shares. Everything is solved for, from all rows of the tasks; the base gives its features and is not asked.
//!
//! It reads the id of the item, categorical and multi-valued features of items (those of at most 24 values whole, of wider ones codes of at least three items, at half weight) and categorical features of users of at most 24 values.
//! An item without an id of its own has the vector that its content says. For clicks the same is fitted to 0 and 1, always with shares, and the score is the logit of the mean, held to a tenth of the overall rate from below and from above.
//!
//! # References
//! D. Agarwal, B.-C. Chen, *Regression-based Latent Factor Models*, KDD 2009; the shares and the choice are our own.

use acclimate_data::{Batch, Schema, Side};
use acclimate_fit::{Candidate, FoldIn, FoldInConfig, Guarded, Item, Levels, Link, Ratings, Regression, RegressionConfig, SIZES, Sparse, UserModel, share};
use acclimate_model::{Bound, Effect, Init, Modulation, Objective, ParamId, ParamSpec, SiteId};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::adaptation::{Answered, Stage};
use crate::selection::heads;
use crate::{AdaptError, Adaptation, Context, Groups, Kind, Method, MethodConfig, Needs, Scope, Target, Unlabelled};

/// The list entry.
pub const METHOD: Method = Method::new::<AcclimateUserConfig>("acclimate_user", Kind::Adaptation, "a user is adapted to by one solve")
    .with_presets(&[("fold_in", "body = 'fold_in'\nguard = false\nvariational = 'never'")])
    .tested_with(&["body = 'plus'\nfactors = 3"]);

/// Rows of its vocabulary up to which a feature is narrow.
const NARROW: usize = 24;
/// Items that a code of a wider feature needs.
const LEAST: usize = 3;
/// Ratings at the mean that are added to those of items without an id of their own.
const UNKNOWN_ROWS: f64 = 10.0;
/// Eigenvectors of the kernel.
const RANK: usize = 128;
/// Numbers in front: μ, scale, σ² of the factorisation, what unseen items add to it, σ² of the regression, the body (from 1), s_u of the bias model, and whether anything was solved.
const NUMBERS: usize = 8;

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

/// Where a feature's codes begin among the columns, and how many there are.
#[derive(Clone, Copy, Debug)]
struct Column {
    /// Place among the categorical features, or the multi-valued ones.
    feature: usize,
    is_bag: bool,
    first: u32,
    codes: u32,
    value: f64,
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
    heads: Vec<SiteId>,
}

/// Its own parameters, in their order.
#[derive(Clone, Copy)]
enum Own {
    Numbers,
    Shares,
    /// `(b, q)`, the level of the bias model, and 1 for an item that was rated; at code 0 the level of all that have no code.
    Items,
    Content,
    People,
    /// Prior of the regression: of people, then of sets.
    Prior,
    /// L of the regression's covariance.
    Factor,
    /// Root mean squares of the loadings.
    Units,
    Kernel,
}

fn columns(list: &[(usize, bool, usize, bool)], first: u32) -> Vec<Column> {
    let mut next = first;
    let column = |&(feature, is_bag, rows, is_wide): &(usize, bool, usize, bool)| {
        let codes = rows as u32;
        next += codes;
        Column { feature, is_bag, first: next - codes, codes, value: if is_wide { 0.5 } else { 1.0 } }
    };
    list.iter().map(column).collect()
}

fn width(columns: &[Column], first: u32) -> usize {
    columns.last().map_or(first, |c| c.first + c.codes) as usize
}

/// The place of the item's id among the categorical features.
fn item_of(schema: &Schema, named: Option<&String>) -> Option<usize> {
    let of_items = schema.categorical.iter().enumerate().filter(|(_, f)| schema.side(&f.name) == Side::Item);
    match named {
        Some(name) => schema.categorical.iter().position(|f| f.name == *name),
        None => of_items.max_by_key(|(place, f)| (schema.vocabularies[f.vocabulary.at()].rows, std::cmp::Reverse(*place))).map(|(place, _)| place),
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
        let Some(item) = item_of(schema, self.item.as_ref()) else {
            return Err(match &self.item {
                Some(name) => AdaptError::Value { method: METHOD.name, key: "item", problem: format!("`{name}` is no categorical feature of the data") },
                None => unsupported("the data has no categorical feature of items; add the item's id as a feature"),
            });
        };
        let of_side = |side: Side, is_wide: bool| -> Vec<(usize, bool, usize, bool)> {
            let codes = schema.categorical.iter().enumerate().map(|(i, f)| (i, false, f));
            let bags = schema.bags.iter().enumerate().map(|(i, f)| (i, true, f));
            let wanted = |&(place, is_bag, f): &(usize, bool, &acclimate_data::FieldSchema)| {
                schema.side(&f.name) == side && (is_bag || place != item) && (rows(f.vocabulary) > NARROW) == is_wide
            };
            codes.chain(bags).filter(wanted).map(|(place, is_bag, f)| (place, is_bag, rows(f.vocabulary), is_wide)).collect()
        };
        let narrow = columns(&of_side(Side::Item, false), 0);
        let content = columns(&[of_side(Side::Item, false), of_side(Side::Item, true)].concat(), 0);
        let narrow = width(&narrow, 0);
        let people: Vec<_> = of_side(Side::User, false).into_iter().filter(|(_, is_bag, ..)| !is_bag).collect();
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
            table("prior", [width(&people, 1) + d + 1, 1, core]),
            table("factor", [1, core, core]),
            table("units", [1, 1, d]),
            table("kernel", [items, 1, RANK]),
        ];
        // The factorisation alone has no regression.
        let params = if self.body == Body::FoldIn { params.into_iter().take(5).collect() } else { params };
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
            heads,
            config: Self { guard, ..self },
        }))
    }
}

/// Rows that are read: codes of single-valued features and of multi-valued ones.
trait Readable {
    fn code(&self, row: usize, feature: usize) -> u32;
    fn bag(&self, row: usize, feature: usize) -> &[u32];
}

impl Readable for Unlabelled<'_> {
    fn code(&self, row: usize, feature: usize) -> u32 {
        Unlabelled::code(self, row, feature)
    }

    fn bag(&self, row: usize, feature: usize) -> &[u32] {
        Unlabelled::bag(self, row, feature)
    }
}

impl Readable for Answered<'_> {
    fn code(&self, row: usize, feature: usize) -> u32 {
        self.codes[row * self.fields + feature]
    }

    fn bag(&self, row: usize, feature: usize) -> &[u32] {
        let bag = &self.bags[feature];
        &bag.codes[bag.offsets[row] as usize..bag.offsets[row + 1] as usize]
    }
}

/// The columns of a row, the unknown left out.
fn read(rows: &impl Readable, row: usize, columns: &[Column]) -> Vec<(u32, f64)> {
    let mut found = Vec::new();
    for column in columns {
        let mut add = |code: u32| {
            if code > 0 && code < column.codes {
                found.push((column.first + code, column.value));
            }
        };
        match column.is_bag {
            true => rows.bag(row, column.feature).iter().copied().for_each(&mut add),
            false => add(rows.code(row, column.feature)),
        }
    }
    found
}

fn split(row: &[(u32, f64)]) -> (Vec<u32>, Vec<f64>) {
    row.iter().copied().unzip()
}

impl AcclimateUser {
    fn candidates(&self) -> Vec<Candidate> {
        let regression = Some(RegressionConfig::default());
        let plus = Some(RegressionConfig { kernel_rank: RANK, ..RegressionConfig::plus() });
        let bodies = match self.config.body {
            Body::Chosen => vec![None, regression, plus],
            Body::FoldIn => vec![None],
            Body::Regression => vec![regression],
            Body::Plus => vec![plus],
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

    /// Writes a fitted model into the parameters.
    fn write(&self, own: &mut [Vec<f32>], Guarded { model, levels, shares }: &Guarded) {
        let narrowed = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let UserModel { fold_in, regression, .. } = model;
        let body = match regression {
            None => 1.0,
            Some(fit) if fit.sets.is_empty() => 2.0,
            Some(_) => 3.0,
        };
        let noise = regression.as_ref().map_or(0.0, |fit| fit.noise);
        own[Own::Numbers as usize] = narrowed(&[fold_in.mean, fold_in.scale, fold_in.noise, fold_in.unseen_noise, noise, body, levels.user_shrink, 1.0]);
        own[Own::Shares as usize] = if self.config.guard { narrowed(shares) } else { vec![1.0; SIZES.len()] };
        let item = |i: usize| {
            let known = if fold_in.counts[i] > 0 { 1.0 } else { 0.0 };
            fold_in.item(i).values.iter().copied().chain([levels.items[i], known]).map(|x| x as f32).collect::<Vec<_>>()
        };
        own[Own::Items as usize] = (0..self.item.1).flat_map(item).collect();
        own[Own::Content as usize] = narrowed(&fold_in.content);
        own[Own::People as usize] = narrowed(&fold_in.people);
        let Some(fit) = regression else {
            own.iter_mut().skip(Own::Prior as usize).for_each(|values| values.fill(0.0));
            return;
        };
        let core = fit.core;
        let prior: Vec<f64> = fit.people.chunks_exact(fit.width).flat_map(|row| row[..core].to_vec()).collect();
        own[Own::Prior as usize].fill(0.0);
        own[Own::Prior as usize][..prior.len()].copy_from_slice(&narrowed(&prior));
        own[Own::Factor as usize] = narrowed(&fit.factor());
        own[Own::Units as usize] = narrowed(&model.units());
        own[Own::Kernel as usize].fill(0.0);
        if fit.width > core {
            let kernel: Vec<f64> = fit.features.chunks_exact(fit.width).flat_map(|row| row[core..].to_vec()).collect();
            own[Own::Kernel as usize] = narrowed(&kernel);
        }
    }
}

/// What is read of the parameters to adapt.
struct Fitted {
    numbers: Vec<f64>,
    shares: Vec<f64>,
    model: UserModel,
    units: Vec<f64>,
    items: Vec<f64>,
    kernel: Vec<f64>,
}

/// An item as [`Fitted`] knows it: what the model reads of it, and its level.
struct Known {
    item: Item<'static>,
    level: f64,
}

impl AcclimateUser {
    fn fitted(&self, own: &Bound) -> Option<Fitted> {
        let values = |own: &Bound, of: Own| -> Vec<f64> {
            own.get(ParamId(of as usize)).into_data().iter::<f32>().map(f64::from).collect()
        };
        let numbers = values(own, Own::Numbers);
        let [mean, scale, noise, unseen_noise, regression_noise, body, _, solved] = numbers[..] else { return None };
        if solved == 0.0 {
            return None;
        }
        let [noise, regression_noise, scale] = [noise, regression_noise, scale].map(|x| x.abs().max(1e-6));
        let unseen_noise = unseen_noise.max(0.0);
        let d = self.config.factors + 1;
        let fold_in = FoldIn {
            mean,
            scale,
            width: d,
            items: Vec::new(),
            counts: Vec::new(),
            noise,
            unseen_noise,
            content: values(own, Own::Content),
            people: values(own, Own::People),
            covariances: Vec::new(),
        };
        let (mut regression, mut units, mut kernel) = (None, Vec::new(), Vec::new());
        if body > 1.0 {
            let is_plus = body > 2.0;
            let core = self.params[Own::Factor as usize].shape[1];
            let people_width = width(&self.people, 1);
            let prior = values(own, Own::Prior);
            let rows = if is_plus { prior.len() / core } else { people_width };
            let rank = if is_plus { RANK } else { 0 };
            let prior: Vec<f64> =
                prior.chunks_exact(core).take(rows).flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0.0, rank))).collect();
            regression = Some(Regression::restored(
                (Link::Identity, mean, scale, regression_noise),
                (prior, people_width),
                &values(own, Own::Factor),
                (core, core + rank),
                if is_plus { d } else { 0 },
            ));
            if is_plus {
                (units, kernel) = (values(own, Own::Units), values(own, Own::Kernel));
            }
        }
        let model = UserModel { fold_in, regression, narrow: self.narrow };
        Some(Fitted { numbers, shares: values(own, Own::Shares), model, units, items: values(own, Own::Items), kernel })
    }

    fn item(&self, fitted: &Fitted, rows: Unlabelled<'_>, row: usize) -> Known {
        let (field, items) = self.item;
        let d = self.config.factors + 1;
        let code = rows.code(row, field) as usize;
        let content = split(&read(&rows, row, &self.content));
        let content = (&content.0[..], &content.1[..]);
        let of_code = fitted.items.get(code * (d + 3)..(code + 1) * (d + 3)).filter(|of| code < items && of[d + 2] > 0.0);
        let Some(of_code) = of_code else { return Known { item: fitted.model.unseen(content), level: fitted.items[d + 1] } };
        let (vector, level) = (&of_code[..=d], of_code[d + 1]);
        let set: Vec<f64> = fitted.units.iter().zip(&vector[1..]).map(|(unit, q)| q / unit).collect();
        let kernel = if fitted.kernel.is_empty() { &[][..] } else { &fitted.kernel[code * RANK..][..RANK] };
        Known { item: fitted.model.seen(vector, content, (set, kernel)), level }
    }

    /// The score of each query row of a task.
    fn answers(&self, fitted: &Fitted, support: &Batch, query: Unlabelled<'_>, task: usize) -> Vec<f32> {
        let real = |rows: Unlabelled<'_>| -> Vec<usize> {
            let [_, n] = rows.shape();
            (task * n..(task + 1) * n).filter(|&i| rows.mask()[i] != 0.0).collect()
        };
        let shown_rows = Unlabelled::new(support);
        let (known, asked, [_, n]) = (real(shown_rows), real(query), query.shape());
        let Some(&first) = asked.first() else { return vec![0.0; n] };
        let people: Vec<(u32, f64)> = std::iter::once((0, 1.0)).chain(read(&query, first, &self.people)).collect();
        let people = split(&people);
        let shown: Vec<Known> = known.iter().map(|&i| self.item(fitted, shown_rows, i)).collect();
        let rated: Vec<(Item<'_>, f64)> = shown.iter().zip(&known).map(|(item, &i)| (item.item.clone(), f64::from(support.label[i]))).collect();
        let wanted: Vec<Known> = asked.iter().map(|&i| self.item(fitted, query, i)).collect();
        let items: Vec<Item<'_>> = wanted.iter().map(|w| w.item.clone()).collect();
        let answers = fitted.model.answer((&people.0, &people.1), &rated, &items, false);
        let levels = Levels { mean: fitted.numbers[0], items: Vec::new(), user_shrink: fitted.numbers[6].abs() };
        let user = levels.user(shown.iter().zip(&rated).map(|(item, (_, rating))| (item.level, *rating)));
        let share = share(&fitted.shares, rated.len());
        let mut scores = vec![0.0; n];
        for ((&i, answer), item) in asked.iter().zip(answers).zip(&wanted) {
            let bias = levels.mean + item.level + user;
            scores[i - task * n] = (bias + share * (answer.mean - bias)) as f32;
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
        Needs { groups: Groups::Task, ..Needs::default() }
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
                Guarded { model, levels: Levels::fit(&ratings.rated), shares: vec![1.0; SIZES.len()] }
            }
            _ => Guarded::fit(&ratings, &candidates),
        };
        self.write(own, &fitted);
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
            let answers = self.answers(&fitted, support.batch, context.query, task);
            let rate = fitted.numbers[0].clamp(1e-3, 1.0 - 1e-3) as f32;
            let (low, high) = (0.1 * rate, 1.0 - 0.1 * (1.0 - rate));
            let clicks = |p: f32| (p.clamp(low, high) / (1.0 - p.clamp(low, high))).ln();
            scores.extend(answers.into_iter().map(|score| if self.objective == Objective::Logistic { clicks(score) } else { score }));
        }
        let device = own.get(ParamId(0)).device();
        let shift = Tensor::<3>::from_data(TensorData::new(scores, [groups, rows, 1]), &device); // [T, N, 1]
        let gain = Tensor::<3>::zeros([1, 1, 1], &device);
        let replaced = |all: Modulation<'a>, &head: &SiteId| all.with(head, Effect::scaled(gain.clone(), shift.clone()));
        Ok(self.heads.iter().fold(Modulation::none(), replaced))
    }
}
