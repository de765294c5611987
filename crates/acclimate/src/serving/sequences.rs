//! Bases of sequences behind a server: what a user did before comes from the feature state, and the user's state is made once for all candidates.

mod golden;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use acclimate_adapt::{Adaptation, Serve};
use acclimate_data::{Encoder, InputEvents, ItemRows};
use acclimate_model::{Base, Table};
use acclimate_plan::{ByteCache, Rows, Scratch};
use acclimate_serve::engine::{Adapted, Ask, Change, HISTORY, Model, ModelError, Support, Unfit};
use acclimate_train::{Bindings, Scorer};

pub(super) use self::golden::{check, golden};
use crate::sequences::SequenceFile;

/// The encoder of requests for a base of sequences, among its published files.
pub const REQUESTS: &str = "requests.json";

/// Bytes of users' states that are kept for a base and all its patches.
const STATES: usize = 64 << 20;

/// A model, by its number, and a history as the network reads it.
type StateKey = (u64, Box<[u32]>);
/// What the network makes of a history, `[d]`.
type State = Arc<[f32]>;

/// How requests for a base of sequences are read.
pub(super) struct Reads {
    /// The input code of each row of the vocabulary of histories.
    inputs: Vec<u32>,
    /// Items that can be asked for.
    asked: usize,
    /// Earlier events that it takes, at least.
    least: usize,
    /// And at most, the latest.
    length: usize,
    /// The domain whose items are recommended, by index and name.
    target: Option<(u32, String)>,
    states: Mutex<ByteCache<StateKey, State>>,
    models: AtomicU64,
}

/// The encoder of requests for a base whose own data is read by `encoder`.
pub(super) fn requests(file: &SequenceFile, encoder: &Encoder) -> Encoder {
    let source = || file.plan.source.clone();
    let domains = match file.plan.queries.input {
        InputEvents::Source => source().into_iter().collect(),
        InputEvents::Target => vec![file.plan.target.clone()],
        InputEvents::Both => source().into_iter().chain([file.plan.target.clone()]).collect::<Vec<_>>(),
    };
    encoder.of_items(&ItemRows {
        asked: file.target.clone(),
        read: file.source.iter().chain(&file.target).cloned().collect(),
        // Where there is one domain, nobody names it.
        domains: (encoder.domains().len() > 1).then_some(domains),
        // Whether there is enough is told before the cut.
        length: file.plan.examples.length.max(file.plan.queries.min_input),
    })
}

impl Reads {
    /// `encoder` is that of the requests.
    pub(super) fn new(file: &SequenceFile, encoder: &Encoder) -> Self {
        let read = &encoder.vocabularies()[1];
        // The unknown, which no item is named by, comes first.
        let ids: Vec<String> = (0..read.rows() as u32).map(|row| read.value(row).unwrap_or_default().to_owned()).collect();
        let target = encoder.domains().iter().position(|domain| *domain == file.plan.target);
        Self {
            inputs: file.input_codes(&ids),
            asked: file.target.len(),
            least: file.plan.queries.min_input.max(1),
            length: file.plan.examples.length.max(1),
            target: target.map(|index| (index as u32, file.plan.target.clone())),
            states: Mutex::new(ByteCache::new(STATES, STATES)),
            models: AtomicU64::new(0),
        }
    }

    /// What a request says happened before, in rows of the vocabulary of histories, the latest last.
    fn history<'a>(&self, rows: &'a Rows) -> &'a [u32] {
        rows.shared.bags.first().map_or(&[], |bag| &bag.codes)
    }

    /// The same as the network reads it.
    fn input(&self, history: &[u32]) -> Box<[u32]> {
        let cut = history.len().saturating_sub(self.length);
        history[cut..].iter().map(|&row| self.inputs.get(row as usize).copied().unwrap_or(0)).collect()
    }
}

/// The rows of the items that a base recommends; else why a server can not ask it.
fn head(base: &Base, asked: usize) -> Result<Arc<Table>, String> {
    if !base.spec.backbone.fresh_half_life_days().is_empty() {
        return Err(
            "adds to its scores what is in fashion on the day (`fresh_half_life_days`), which no server counts; train it without".into()
        );
    }
    let position = base.backbone.architecture().tables.iter().position(|table| table.name == "head");
    let table = position.map(|at| base.tables[at].clone()).filter(|table| table.rows() == asked);
    table.ok_or_else(|| "has another head than the items which it recommends; adapt it to them, and publish the patch".into())
}

/// Whether a server can ask a base.
///
/// # Errors
/// Why not.
pub(super) fn check_network(base: &Base, file: &SequenceFile) -> Result<(), String> {
    head(base, file.target.len()).map(|_| ())
}

/// A base of sequences with a method. One request is one pass, and a user whose history has not changed needs none.
pub(super) struct SequenceModel {
    base: Arc<Base>,
    adaptation: Box<dyn Adaptation>,
    bindings: Arc<Bindings>,
    reads: Arc<Reads>,
    /// The rows of items that a state is compared with, the same whatever the history.
    head: Arc<Table>,
    /// Its number among the models that share the states.
    number: u64,
    serve: Serve,
    bytes: usize,
    is_base: bool,
}

impl SequenceModel {
    /// `None` for `serve`: the base as it is. `bytes` are those of its values.
    ///
    /// # Errors
    /// A network or a method that a server can not ask.
    pub(super) fn new(
        base: Arc<Base>,
        (adaptation, bindings): (Box<dyn Adaptation>, Arc<Bindings>),
        reads: Arc<Reads>,
        serve: Option<Serve>,
        bytes: usize,
    ) -> Result<Self, ModelError> {
        if adaptation.needs().groups.are_tasks() {
            return Err(ModelError("its method adapts to labelled rows, which users of sequences have not".into()));
        }
        let head = head(&base, reads.asked).map_err(ModelError)?;
        let number = reads.models.fetch_add(1, Ordering::Relaxed);
        let (serve, is_base) = (serve.unwrap_or(Serve::Always), serve.is_none());
        let mut model = Self { base, adaptation, bindings, reads, head, number, serve, bytes, is_base };
        // What a method does to the head shows on the whole of it; most do nothing there.
        let (most, last) = (model.reads.inputs.iter().copied().max().unwrap_or(0), model.head.rows() as u32);
        let all: Vec<u32> = (1..=last).collect();
        let of = |history: &[u32]| model.compared(history, &all).map(|[_, rows]| rows);
        let [first, second, third] = [of(&[1])?, of(&[1, 0, most])?, of(&[most, 1, last.min(most), 0])?];
        let same = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        if !same(&first, &second) || !same(&first, &third) {
            return Err(ModelError("its method gives the items other rows from history to history, which a server does not make".into()));
        }
        if !same(&first, &model.head.values) {
            model.bytes += 4 * first.len();
            model.head = Arc::new(Table { d: model.head.d, values: first });
        }
        Ok(model)
    }

    fn compared(&self, input: &[u32], items: &[u32]) -> Result<[Vec<f32>; 2], ModelError> {
        let scorer = Scorer::bound(&self.base, self.adaptation.as_ref(), self.bindings.clone());
        scorer.compared(input, items).map_err(|error| ModelError(error.to_string()))
    }

    /// The state of a user, kept from the last time or made now.
    fn state(&self, input: Box<[u32]>) -> Result<State, ModelError> {
        let states = || self.reads.states.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (self.number, input);
        if let Some(state) = states().get("", &key) {
            return Ok(state.clone());
        }
        let [state, _] = self.compared(&key.1, &[1])?;
        let state: State = state.into();
        // The key stands in the cache twice.
        let bytes = 4 * (state.len() + 2 * key.1.len());
        let displaced = states().insert("", key, state.clone(), bytes);
        drop(displaced);
        Ok(state)
    }

    /// Scores of items by their codes; those that the head does not have get none.
    fn scores(&self, rows: &Rows, out: &mut Vec<f32>) -> Result<(), ModelError> {
        let input = self.reads.input(self.reads.history(rows));
        let fields = rows.own.fields.max(1);
        let codes = || rows.own.codes.iter().step_by(fields).map(|&code| code as usize).take(rows.n);
        let state = self.state(input)?;
        let score = |code: usize| match code {
            0 => f32::NEG_INFINITY,
            code if code > self.head.rows() => f32::NEG_INFINITY,
            code => product(&state, self.head.row(code as u32 - 1)),
        };
        out.extend(codes().map(score));
        Ok(())
    }
}

/// `<a, b>`, added up in one order whatever the machine; NaN beyond all numbers, since minus infinity would say that there is no score.
fn product(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_lanes.remainder().iter().zip(b_lanes.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_lanes.zip(b_lanes) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    let sum = sums.iter().sum::<f32>() + rest;
    if sum.is_finite() { sum } else { f32::NAN }
}

impl Model for SequenceModel {
    fn kind(&self) -> &'static str {
        if self.is_base { "base" } else { "device" }
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    /// What somebody did is read as history: the feature state has it before the rows are scored.
    fn adapts(&self) -> bool {
        true
    }

    /// It was judged on users with their histories.
    fn applies(&self, _: usize) -> bool {
        self.serve.applies(0)
    }

    fn reads_histories(&self) -> bool {
        true
    }

    fn accepts(&self, rows: &Rows, domain: Option<u32>) -> Result<(), Unfit> {
        let Reads { least, target, .. } = self.reads.as_ref();
        if rows.n == 0 {
            return Ok(());
        }
        if let Some((_, name)) = target.as_ref().filter(|(of, _)| domain.is_some_and(|domain| domain != *of)) {
            return Err(Unfit { what: "domain", problem: format!("the base recommends items of `{name}`; ask for those") });
        }
        let known = self.reads.history(rows).len();
        if known < *least {
            let problem = format!(
                "the base needs {least} or more earlier events of a user, and {known} are known; record them with /v1/events, or send them as `support`"
            );
            return Err(Unfit { what: "user", problem });
        }
        Ok(())
    }

    fn adapt(&self, _: &mut Scratch, _: Support, _: &mut dyn FnMut(u32) -> bool) -> Result<Adapted, ModelError> {
        Ok(Adapted { change: Change::None, form: HISTORY, steps: 0 })
    }

    fn score(&self, _: &mut Scratch, asks: &[Ask<'_>], out: &mut Vec<f32>) -> Result<(), ModelError> {
        asks.iter().filter(|ask| ask.rows.n > 0).try_for_each(|ask| self.scores(ask.rows, out))
    }
}
