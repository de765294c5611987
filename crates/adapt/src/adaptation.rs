//! What is trained: from a context to a modulation.

use std::sync::{Mutex, PoisonError};

use acclimate_data::{BagColumn, Batch, DomainIndex, Schema};
use acclimate_fit::Spread;
use acclimate_model::{Backbone, Bound, Effect, Modulation, Objective, Output, ParamId, ParamSpec, Pass, SiteId, Watch};
use burn::tensor::Tensor;

use crate::{AdaptError, Gauge, Reading};

/// The network that a method is built for.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The backbone.
    pub backbone: &'a dyn Backbone,
    /// The data it reads.
    pub schema: &'a Schema,
    /// What its scores mean; the inner loop of a gradient-based method minimises the same objective.
    pub objective: Objective,
}

/// Rows without their labels: all that adaptation code sees of what it will be judged on.
#[derive(Clone, Copy, Debug)]
pub struct Unlabelled<'a>(&'a Batch);

impl<'a> Unlabelled<'a> {
    /// Hides the labels of a batch.
    #[must_use]
    pub fn new(batch: &'a Batch) -> Self {
        Self(batch)
    }

    /// G and N.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        [self.0.groups, self.0.rows]
    }

    /// Domain of each of the `G * N` rows.
    #[must_use]
    pub fn domains(&self) -> &'a [DomainIndex] {
        &self.0.domain
    }

    /// 1 for a real row, 0 for padding.
    #[must_use]
    pub fn mask(&self) -> &'a [f32] {
        &self.0.mask
    }

    /// Values of one numeric feature, one a row.
    pub fn numbers(&self, feature: usize) -> impl Iterator<Item = f32> + 'a {
        let batch = self.0;
        (0..batch.len()).map(move |i| batch.numeric[i * batch.numbers + feature])
    }

    /// Codes of one multi-valued feature, one list a row.
    pub fn bags(&self, feature: usize) -> impl Iterator<Item = &'a [u32]> + 'a {
        let bag = &self.0.bags[feature];
        bag.offsets.windows(2).map(|ends| &bag.codes[ends[0] as usize..ends[1] as usize])
    }

    /// Value of one numeric feature in one row.
    #[must_use]
    pub fn number(&self, row: usize, feature: usize) -> f32 {
        self.0.numeric[row * self.0.numbers + feature]
    }

    /// Code of one categorical field in one row.
    #[must_use]
    pub fn code(&self, row: usize, field: usize) -> u32 {
        self.0.categorical[row * self.0.fields + field]
    }

    /// Codes of one multi-valued feature in one row.
    #[must_use]
    pub fn bag(&self, row: usize, feature: usize) -> &'a [u32] {
        let bag = &self.0.bags[feature];
        &bag.codes[bag.offsets[row] as usize..bag.offsets[row + 1] as usize]
    }

    /// What goes into a site in a pass of these rows through the network as it is, `[G, N, d]`; see [`input_of`].
    #[must_use]
    pub fn input_of(&self, (backbone, base): (&dyn Backbone, &Bound), inputs: &[Tensor<3>], site: SiteId) -> Tensor<3> {
        input_of(backbone, base, (self.0, inputs), site).0
    }

    /// Codes of one categorical field, one a row.
    pub fn codes(&self, field: usize) -> impl Iterator<Item = u32> + 'a {
        let batch = self.0;
        (0..batch.len()).map(move |i| batch.categorical[i * batch.fields + field])
    }
}

/// Labelled rows to adapt from, group by group.
#[derive(Clone, Copy)]
pub struct Support<'a> {
    /// The rows with labels, `[G, S]`.
    pub batch: &'a Batch,
    /// Their gathered rows as tensors; tracked when the embeddings are trained.
    pub inputs: &'a [Tensor<3>],
    /// The network.
    pub backbone: &'a dyn Backbone,
}

impl Support<'_> {
    /// The hidden states of these rows at some sites of layers or blocks, `[G, S, d]` each: what comes out there in a pass with these weights and this modulation. Differentiable in
    /// the weights, in what the modulation is made of, and in the gathered rows.
    ///
    /// # Panics
    /// If a pass does not come by a site: a norm, or the tower of a domain that no row is of.
    #[must_use]
    pub fn states(&self, base: &Bound, modulation: Modulation<'_>, sites: &[SiteId]) -> Vec<Tensor<3>> {
        let kept: Vec<Mutex<Option<Tensor<3>>>> = sites.iter().map(|_| Mutex::new(None)).collect();
        let mut reading = modulation;
        for (&site, cell) in sites.iter().zip(&kept) {
            let keep = move |_: &Tensor<3>, y: Tensor<3>| {
                *cell.lock().unwrap_or_else(PoisonError::into_inner) = Some(y.clone());
                y
            };
            reading = reading.with(site, Effect::opaque(keep));
        }
        self.backbone.forward(&Pass::new(base, &reading), self.batch, self.inputs);
        drop(reading);
        let states = kept.into_iter().map(|cell| cell.into_inner().unwrap_or_else(PoisonError::into_inner));
        states.map(|state| state.expect("a pass comes by the site")).collect()
    }
}

/// What goes into a site in a pass through the network as it is, `[G, N, d]`, and what comes out in the end.
///
/// # Panics
/// If the pass does not come by the site.
#[must_use]
pub fn input_of(backbone: &dyn Backbone, base: &Bound, (batch, inputs): (&Batch, &[Tensor<3>]), site: SiteId) -> (Tensor<3>, Output) {
    let kept = Mutex::new(None);
    let reading = Modulation::none().with(
        site,
        Effect::opaque(|x, y| {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(x.clone());
            y
        }),
    );
    let output = backbone.forward(&Pass::new(base, &reading), batch, inputs);
    drop(reading);
    (kept.into_inner().unwrap_or_else(PoisonError::into_inner).expect("a pass comes by the site"), output)
}

/// For each group of the query the set that its request was declared to be, without labels.
#[derive(Clone, Copy)]
pub struct Declared<'a> {
    batch: &'a Batch,
    inputs: &'a [Tensor<3>],
    backbone: &'a dyn Backbone,
}

impl<'a> Declared<'a> {
    /// Rows `[G, M]` with their gathered rows as tensors, as the backbone gets them.
    #[must_use]
    pub fn new(batch: &'a Batch, inputs: &'a [Tensor<3>], backbone: &'a dyn Backbone) -> Self {
        Self { batch, inputs, backbone }
    }

    /// The rows, and what was gathered of them.
    #[must_use]
    pub fn rows(&self) -> (Unlabelled<'a>, &'a [Tensor<3>]) {
        (Unlabelled::new(self.batch), self.inputs)
    }

    /// Takes these rows through the network under a modulation, which reads of them what it will.
    pub fn pass(&self, base: &Bound, modulation: &Modulation<'_>) {
        self.backbone.forward(&Pass::new(base, modulation), self.batch, self.inputs);
    }
}

/// What goes into a batch norm in a pass with a modulation, `[G, N, d]`.
///
/// # Panics
/// If the pass does not come by the norm.
#[must_use]
pub fn norm_input(
    backbone: &dyn Backbone,
    (base, modulation): (&Bound, &Modulation<'_>),
    (batch, inputs): (&Batch, &[Tensor<3>]),
    site: SiteId,
) -> Tensor<3> {
    let watch = Watch::new(site);
    backbone.forward(&Pass::new(base, modulation).watched(&watch), batch, inputs);
    watch.seen().expect("a pass comes by the norm")
}

/// What a method may look at when it adapts.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The rows to be scored, without labels.
    pub query: Unlabelled<'a>,
    /// Their gathered rows as tensors, as the backbone gets them; tracked when the embeddings are trained.
    pub inputs: &'a [Tensor<3>],
    /// Labelled rows of the same groups.
    pub support: Option<Support<'a>>,
    /// The sets of [requests](Groups::Request), where they are not the rows to be scored themselves.
    pub declared: Option<Declared<'a>>,
}

impl<'a> Context<'a> {
    /// Rows to be scored and nothing else.
    #[must_use]
    pub fn new(query: Unlabelled<'a>) -> Self {
        Self { query, inputs: &[], support: None, declared: None }
    }

    /// For each group the rows that its request consists of: what was declared, else the rows to be scored; and what was gathered of them.
    #[must_use]
    pub fn set(&self) -> (Unlabelled<'a>, &'a [Tensor<3>]) {
        self.declared.as_ref().map_or((self.query, self.inputs), Declared::rows)
    }
}

/// Labelled rows and what the network says of them, adapted as far as it is: what is solved for is fitted to these.
///
/// A method of [tasks](Groups::Task) gets all rows of each, support and query. Their scores are those of the base where it asks for [states](Needs::states), else 0: what a task's rows are scored with is what it solves for.
#[derive(Debug, Default)]
pub struct Answered<'a> {
    /// Scores: logits, or values in units of the label. What is solved for is changed in them as well, so that the next method sees it.
    pub scores: &'a mut [f32],
    /// Labels.
    pub labels: &'a [f32],
    /// Domains.
    pub domains: &'a [DomainIndex],
    /// Codes of the categorical features, `[rows, fields]`.
    pub codes: &'a [u32],
    /// Number of categorical features.
    pub fields: usize,
    /// Codes of the multi-valued features.
    pub bags: &'a [BagColumn],
    /// The task of each row, numbered from 0; empty where groups are no tasks.
    pub tasks: &'a [u32],
    /// What goes into the site that the method [names](Needs::states), in the base as it is, `[rows, d]`.
    pub states: &'a [f32],
}

/// When something is solved for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before the first step of training, where there is something to train.
    Before,
    /// With everything else in place.
    After,
    /// As after, by one of the method's [choices](Adaptation::choices).
    Choice(usize),
}

/// A setting that gradients do not learn: validation tasks choose it among a few values, once training is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Dial {
    /// Name in reports.
    pub name: &'static str,
    /// Its value, one number, which training leaves as it is.
    pub param: ParamId,
    /// What there is to choose from, ascending; among them what training has. 0 turns the adaptation off, whatever other dials say.
    pub values: Vec<f32>,
    /// What a value of 1 is in reports.
    pub unit: f64,
    /// Whether there is nothing below the smallest value.
    pub ends_below: bool,
}

/// A stage of a method: what is trained while what stands before it is in place and frozen.
#[derive(Debug)]
pub struct Staged {
    /// Name in messages.
    pub name: String,
    /// The whole method, of which this stage alone is trained.
    pub adaptation: Box<dyn Adaptation>,
    /// Training keys of its own; where there are any, those of the run do not count for it.
    pub train: toml::Table,
}

impl Stages {
    /// Whether nothing in it reads the training keys of the run.
    #[must_use]
    pub fn bring_training(&self) -> bool {
        self.list.iter().all(|stage| !stage.train.is_empty() || stage.adaptation.is_solved())
    }
}

/// The stages of a method, and how it is decided which are trained.
#[derive(Debug, Default)]
pub struct Stages {
    /// First to last.
    pub list: Vec<Staged>,
    /// Whether cross-fitting decides which are kept, and for how long each is trained.
    pub cross_fitted: bool,
}

/// What a method needs of its context; decides how batches are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// What a group of a batch is.
    pub groups: Groups,
    /// Each sequence ends with a position of its own, where the next item is asked for.
    pub token: bool,
    /// The terms of its loss compare with what the base says as it was before training ([`AfterPass::teacher`](acclimate_model::AfterPass::teacher)).
    pub teacher: bool,
    /// Rows of the domains that the base was trained on.
    pub source: SourceRows,
    /// What goes into this site, of every row that is solved for.
    pub states: Option<SiteId>,
    /// Its tasks show support sets of any size in training where a run does not say otherwise, down to none.
    pub any_support: bool,
    /// A feature that is not read, in training as in scoring: that of an id which will be new.
    pub hidden: Option<Hidden>,
    /// Of [requests](Groups::Request): each is shown the set of another one, in training as in scoring. A control: what is left of a method's gain came from elsewhere.
    pub strange_sets: bool,
}

/// A categorical feature that a method does not read: all rows of a batch have the same embedding there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Its place among the categorical features.
    pub field: usize,
    /// Which embedding that is.
    pub stand_in: StandIn,
}

/// What stands in for an id that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    /// The row of the unknown id.
    Unknown,
    /// The mean of the rows of all known ids.
    Mean,
}

/// What a group of a batch is: what its rows share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Groups {
    /// Nothing; rows come as they come.
    #[default]
    Any,
    /// Their domain.
    Domain,
    /// Their request: they were shown together, and are answered in one go. What the method makes of them may depend on the whole [set](Context::set), never on another request.
    Request,
    /// The task, a user or an item, whose labelled rows are the support set.
    Task,
    /// The same, where a task must be a user.
    User,
    /// The same, where a task must be an item.
    Item,
}

impl Groups {
    /// Whether a group holds rows of one domain.
    #[must_use]
    pub fn are_domains(self) -> bool {
        self == Self::Domain
    }

    /// Whether a group holds rows of one request.
    #[must_use]
    pub fn are_requests(self) -> bool {
        self == Self::Request
    }

    /// Whether a group is a task with a support set.
    #[must_use]
    pub fn are_tasks(self) -> bool {
        matches!(self, Self::Task | Self::User | Self::Item)
    }

    /// Whether a batch can be in groups of both kinds.
    #[must_use]
    pub fn agree(self, other: Self) -> bool {
        let either = |of: Self| self == of || other == of;
        self == other || either(Self::Any) || (either(Self::Task) && self.are_tasks() && other.are_tasks())
    }
}

/// How a method trains on rows of the domains that its base was trained on. Only comparisons that hold such rows have them; a saved base brings none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceRows {
    /// Not at all.
    #[default]
    None,
    /// As rows like those of the target, each of which counts the same.
    Pooled,
    /// Beside those of the target: the groups in the first half of each batch are of the source, the others of the target.
    Beside,
}

impl Needs {
    /// What two methods need together, whose [groups](Groups) agree.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            groups: self.groups.max(other.groups),
            token: self.token || other.token,
            teacher: self.teacher || other.teacher,
            source: self.source.max(other.source),
            states: self.states.or(other.states),
            any_support: self.any_support || other.any_support,
            hidden: self.hidden.or(other.hidden),
            strange_sets: self.strange_sets || other.strange_sets,
        }
    }
}

/// Which parameters of the base a method trains beside its own. They start as copies of the base's and are saved with the patch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Dense parameters.
    pub params: Vec<ParamId>,
    /// Tables, by position, whose rows are trained as far as training touches them.
    pub tables: Vec<usize>,
}

impl Scope {
    /// Everything.
    #[must_use]
    pub fn all(backbone: &dyn Backbone) -> Self {
        let architecture = backbone.architecture();
        Self { params: (0..architecture.params.len()).map(ParamId).collect(), tables: (0..architecture.tables.len()).collect() }
    }
}

/// How a method adapts to one user on plain numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum InRequest {
    /// Gradient steps; where a rate of the user's own is told, that many times the rate of all.
    Steps(acclimate_plan::InnerLoop, Option<acclimate_plan::UserRate>),
    /// Gradient steps on a context vector.
    Context(acclimate_plan::ContextLoop),
    /// A head by one solve: [`HeadParams`](acclimate_plan::HeadParams) as plain numbers.
    Head {
        /// μ, scale and σ², and 1 where anything was solved.
        numbers: Vec<f32>,
        /// Shares by support size.
        shares: Vec<f32>,
        /// m.
        prior: Vec<f32>,
        /// L.
        factor: Vec<f32>,
    },
}

/// Where training starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// From the base's values.
    Base,
    /// From freshly drawn values: the base gives only its shape.
    Fresh,
}

/// A method, configured for one backbone. It declares what it trains and turns a context into a [`Modulation`]; it holds no values.
///
/// `Debug` shows the whole configuration: a checkpoint is resumed only by a method that shows the same.
pub trait Adaptation: std::fmt::Debug + Send + Sync {
    /// Its own parameters, new to the network.
    fn params(&self) -> &[ParamSpec] {
        &[]
    }

    /// Parameters of the base that it trains.
    fn scope(&self) -> &Scope;

    /// Where the base's parameters start.
    fn start(&self) -> Start {
        Start::Base
    }

    /// What it needs of a context.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Whether the gradient that training follows is the derivative of its loss. A first-order inner loop leaves terms out and says `false`; all
    /// that is asked of it is that a step goes downhill.
    fn is_exact(&self) -> bool {
        true
    }

    /// Whether a small step along what training follows lowers its loss. Reptile's direction, to where the inner loop ends, is that of no loss.
    fn is_downhill(&self) -> bool {
        true
    }

    /// Whether an untrained patch equals the base but for rounding, because its formula adds up in another order.
    fn rounds_at_start(&self) -> bool {
        false
    }

    /// Whether some of its own parameters are solved for, before training and again after it, with everything else in place.
    fn solves(&self) -> bool {
        false
    }

    /// Whether labels teach it anything. Of a method that looks at inputs alone it is asked that labels change nothing.
    fn learns(&self) -> bool {
        true
    }

    /// Number of ways to solve, among which cross-fitting chooses where it can, in the order in which they trust the rows more; 0 if there is one only.
    fn choices(&self) -> usize {
        0
    }

    /// Moments at norms that are measured on the rows that it is trained on, one norm after the other and before anything is trained.
    fn gauges(&self) -> Vec<Gauge> {
        Vec::new()
    }

    /// What is left to validation tasks once it is trained. Without any, it stays as it was trained.
    fn dials(&self) -> &[Dial] {
        &[]
    }

    /// Its stages, where it is not trained all at once.
    fn stages(&self) -> Option<&Stages> {
        None
    }

    /// Whether nothing is left to train: all that it has is solved for.
    fn is_solved(&self) -> bool {
        self.solves()
    }

    /// Solves: `own` are the values of its parameters, in their order, with which `rows` were scored. The scores change with them.
    fn solve(&self, _own: &mut [Vec<f32>], _rows: &mut Answered<'_>, _stage: Stage) {}

    /// How it reads rows, with these values of its parameters, in training as in scoring; `None` for a method that reads them as they are. It happens before anything is gathered, so that no folding holds it.
    fn reading(&self, _own: &[Vec<f32>]) -> Option<Reading> {
        None
    }

    /// The modulation for one context, differentiable in `base` and `own`. What it adds to the training loss goes with it: a
    /// [penalty](Modulation::penalised) that is known before the pass, [terms](Modulation::with_term) that are known after it and may move own values which
    /// are declared as [moments](ParamSpec::moment).
    ///
    /// # Errors
    /// [`AdaptError::MissingContext`], before any tensor work.
    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError>;

    /// How it adapts to one user while a request waits, with these values of its parameters, without a tensor: a server takes it where it knows the network, and else asks
    /// [`adapt`](Self::adapt) as everybody does. `None` for a method that only that can say.
    fn in_request(&self, _own: &Bound) -> Option<InRequest> {
        None
    }

    /// The spread of what is expected of each row of the query, `[G * N]`, around the score and in its unit; `None` for a method that says one number.
    ///
    /// # Errors
    /// As [`adapt`](Self::adapt).
    fn spread(&self, _base: &Bound, _own: &Bound, _context: &Context<'_>) -> Result<Option<Spread>, AdaptError> {
        Ok(None)
    }
}
