//! Scoring on a plain device: no autodiff, independent batches side by side.

mod next_item;

use std::sync::Arc;

use acclimate_adapt::inner::{FastLayer, gradient_lengths};
use acclimate_adapt::selection::NormSite;
use acclimate_adapt::{Adaptation, Context, Reading, norm_input};
use acclimate_data::{Batch, Dataset, cut_groups, plan_groups};
use acclimate_eval::Spread;
use acclimate_model::kernel::{leaf, to_vec};
use acclimate_model::{Base, Bound, Moments, Objective, Output, Params, Pass, SiteId, Table};
use burn::tensor::{Device, Tensor};
pub use next_item::{NextItemQuery, NextItemRanks};
use rayon::prelude::*;

use crate::TrainError;
use crate::feed::{Asking, parts};
use crate::hide::{seen, tables};
use crate::measuring::AtNorm;
use crate::paths::averaged;
use crate::trainee::context;

/// Rows scored in one pass.
const CHUNK: usize = 2048;
/// Tasks adapted in one pass.
const GROUPS: usize = 64;

/// Query rows of a group.
const QUERY: usize = 256;

/// A model ready to score: values bound once, applied to any number of batches.
pub struct Scorer<'a> {
    pub(crate) base: &'a Base,
    pub(crate) adaptation: &'a dyn Adaptation,
    bindings: Arc<Bindings>,
}

/// Values on a device, without the base and the method that they are the values of: what a server keeps between requests.
pub struct Bindings {
    /// The tables as the method sees them.
    tables: Vec<Arc<Table>>,
    /// How it reads rows.
    reading: Option<Reading>,
    bound: Bound,
    own: Bound,
    device: Device,
}

impl Bindings {
    /// Binds the values of a base and of a method's own on a device without autodiff.
    #[must_use]
    pub fn new(base: &Base, adaptation: &dyn Adaptation, own: &Params, device: &Device) -> Self {
        let device = device.clone().inner();
        Self {
            tables: tables(base, adaptation.needs()).into_owned(),
            reading: adaptation.reading(&own.values),
            bound: base.params.bind(&device, |_| false),
            own: own.bind(&device, |_| false),
            device,
        }
    }

    /// The bound values of the base and of the method.
    #[must_use]
    pub fn values(&self) -> [&Bound; 2] {
        [&self.bound, &self.own]
    }
}

/// What a base says of rows, in the units in which it is trained, and how much each could teach it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sensitivity {
    /// Logits, or ratings in their unit.
    pub scores: Vec<f32>,
    /// Labels in the same unit.
    pub labels: Vec<f32>,
    /// Of each score, the length of its gradient in the tower's weights; see [`gradient_lengths`].
    pub lengths: Vec<f32>,
    /// What goes into the head, `[R x d]`.
    pub features: Vec<f32>,
}

impl<'a> Scorer<'a> {
    /// Binds the values on a device without autodiff.
    #[must_use]
    pub fn new(base: &'a Base, adaptation: &'a dyn Adaptation, own: &Params, device: &Device) -> Self {
        Self::bound(base, adaptation, Arc::new(Bindings::new(base, adaptation, own, device)))
    }

    /// With values that are bound already: those of this base and this method.
    #[must_use]
    pub fn bound(base: &'a Base, adaptation: &'a dyn Adaptation, bindings: Arc<Bindings>) -> Self {
        Self { base, adaptation, bindings }
    }

    /// Scores of rows, in their order: logits for the logistic objective, values else.
    ///
    /// # Errors
    /// The method needs a context that plain rows do not give, such as a support set.
    pub fn rows(&self, dataset: &Dataset, rows: &[u32]) -> Result<Vec<f32>, TrainError> {
        let needs = self.adaptation.needs();
        let Some(places) = parts(dataset, rows, needs.groups)? else { return self.in_chunks(dataset, rows) };
        // A request is answered whole, however long it is: each of its rows is scored in the sight of all.
        let most = if needs.groups.are_requests() { usize::MAX } else { CHUNK };
        let mut groups: Vec<(&[usize], usize)> = Vec::new();
        for (part, places) in places.iter().enumerate() {
            groups.extend(places.chunks(most).map(|group| (group, part)));
        }
        groups.sort_by_key(|(group, _)| group.len());
        let batches = cut_groups(&groups.iter().map(|(group, _)| group.len()).collect::<Vec<_>>(), CHUNK);
        let rows_of = |group: &[usize]| -> Vec<u32> { group.iter().map(|&i| rows[i]).collect() };
        let scored: Result<Vec<_>, TrainError> = batches
            .into_par_iter()
            .map(|run| {
                let groups = &groups[run];
                let batch = Batch::gather(dataset, &groups.iter().map(|(group, _)| rows_of(group)).collect::<Vec<_>>());
                let next = |part: usize| rows_of(&places[(part + 1) % places.len()]);
                let strange =
                    needs.strange_sets.then(|| Batch::gather(dataset, &groups.iter().map(|(_, part)| next(*part)).collect::<Vec<_>>()));
                Ok((groups, batch.rows, self.batch(&batch, strange.as_ref())?))
            })
            .collect();
        let mut scores = vec![0.0; rows.len()];
        for (groups, longest, found) in scored? {
            for ((group, _), found) in groups.iter().zip(found.chunks_exact(longest)) {
                group.iter().zip(found).for_each(|(&i, &score)| scores[i] = score);
            }
        }
        Ok(scores)
    }

    fn in_chunks(&self, dataset: &Dataset, rows: &[u32]) -> Result<Vec<f32>, TrainError> {
        let chunks: Result<Vec<_>, _> = rows.par_chunks(CHUNK).map(|chunk| self.batch(&Batch::single(dataset, chunk), None)).collect();
        Ok(chunks?.concat())
    }

    /// Scores of each task's query rows after adapting to its support rows.
    ///
    /// # Errors
    /// The method can not adapt from a support set on this backbone.
    pub fn tasks<S: AsRef<[u32]> + Sync, Q: AsRef<[u32]> + Sync>(
        &self,
        dataset: &Dataset,
        tasks: &[(S, Q)],
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        self.tasks_from(dataset, dataset, tasks)
    }

    /// As [`tasks`](Self::tasks), with support rows of another data set, which must be encoded alike.
    ///
    /// # Errors
    /// As there.
    pub fn tasks_from<S: AsRef<[u32]> + Sync, Q: AsRef<[u32]> + Sync>(
        &self,
        known: &Dataset,
        dataset: &Dataset,
        tasks: &[(S, Q)],
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let needs = self.adaptation.needs();
        if needs.groups.are_domains() || needs.groups.are_requests() {
            let rows: Vec<u32> = tasks.iter().flat_map(|(_, query)| query.as_ref()).copied().collect();
            let mut scores = self.rows(dataset, &rows)?.into_iter();
            return Ok(tasks.iter().map(|(_, query)| scores.by_ref().take(query.as_ref().len()).collect()).collect());
        }
        if !needs.groups.are_tasks() {
            return tasks.par_iter().map(|(_, query)| self.in_chunks(dataset, query.as_ref())).collect();
        }
        // A group is as long as its longest member, so one very active user must not set the size of all: long queries go in pieces.
        let pieces: Vec<(&[u32], &[u32])> = tasks
            .iter()
            .flat_map(|(support, query)| {
                let query = query.as_ref();
                let chunks = query.len().div_ceil(QUERY).max(1);
                (0..chunks).map(move |i| (support.as_ref(), &query[i * QUERY..query.len().min((i + 1) * QUERY)]))
            })
            .collect();
        let mut scores = self.pieces(known, dataset, &pieces)?.into_iter().flatten();
        Ok(tasks.iter().map(|(_, query)| scores.by_ref().take(query.as_ref().len()).collect()).collect())
    }

    /// The spread of what is expected of all tasks' query rows, one task after the other, around their scores and in the unit of the label; `None` for a method that says one number, and for one that adapts to no task.
    ///
    /// # Errors
    /// The method can not adapt from a support set on this backbone.
    pub fn spread<S: AsRef<[u32]> + Sync, Q: AsRef<[u32]> + Sync>(
        &self,
        dataset: &Dataset,
        tasks: &[(S, Q)],
    ) -> Result<Option<Spread>, TrainError> {
        if !self.adaptation.needs().groups.are_tasks() {
            return Ok(None);
        }
        let unit = self.base.spec.schema.label.unit();
        let of_chunk = |tasks: &[(S, Q)]| {
            let [support, query] = [0, 1].map(|side| {
                let rows: Vec<&[u32]> =
                    tasks.iter().map(|(support, query)| if side == 0 { support.as_ref() } else { query.as_ref() }).collect();
                Batch::gather(dataset, &rows)
            });
            let spread = self.in_context(&query, Some(&support), |_, _, context| {
                Ok(self.adaptation.spread(&self.bindings.bound, &self.bindings.own, context)?)
            })?;
            // Without the padding.
            Ok(spread.map(|spread| {
                let real = spread.deviations.iter().zip(&query.mask).filter(|(_, mask)| **mask != 0.0);
                Spread { deviations: real.map(|(deviation, _)| deviation * unit).collect(), ..spread }
            }))
        };
        let found = tasks.par_chunks(GROUPS).map(of_chunk).collect::<Result<Option<Vec<Spread>>, TrainError>>()?;
        Ok(found.and_then(|found| {
            let deviations = found.iter().flat_map(|spread| spread.deviations.iter().copied()).collect();
            let [grid, cuts] =
                found.first().map(|first| [&first.grid, &first.cuts])?.map(|values| values.iter().map(|value| value * unit).collect());
            Some(Spread { deviations, grid, cuts })
        }))
    }

    /// Scores of tasks with at most `QUERY` query rows.
    fn pieces(&self, known: &Dataset, dataset: &Dataset, tasks: &[(&[u32], &[u32])]) -> Result<Vec<Vec<f32>>, TrainError> {
        let lengths: Vec<u32> = tasks.iter().map(|(s, _)| s.len() as u32).collect();
        let plan = plan_groups(&lengths, GROUPS, 0, 0);
        let scored: Result<Vec<_>, TrainError> = plan
            .batches
            .par_iter()
            .map(|groups| {
                let support: Vec<_> = groups.iter().map(|&g| tasks[g as usize].0).collect();
                let query: Vec<_> = groups.iter().map(|&g| tasks[g as usize].1).collect();
                let query = Batch::gather(dataset, &query);
                let scores = self.batch(&query, Some(&Batch::gather(known, &support)))?;
                let own = scores.chunks_exact(query.rows.max(1)).zip(groups);
                Ok(own.map(|(s, &g)| (g, s[..tasks[g as usize].1.len()].to_vec())).collect::<Vec<_>>())
            })
            .collect();
        let mut out = vec![Vec::new(); tasks.len()];
        for (g, scores) in scored?.into_iter().flatten() {
            out[g as usize] = scores;
        }
        Ok(out)
    }

    /// Scores `[G * N]` of one batch, ratings in those of the label; of a candidate backbone `[P * K]`.
    ///
    /// # Errors
    /// A context that the method can not adapt from.
    pub fn batch(&self, batch: &Batch, support: Option<&Batch>) -> Result<Vec<f32>, TrainError> {
        let mut scores = match self.forward(batch, support)? {
            Output::Rows(scores) | Output::Candidates { scores, .. } => to_vec(scores),
            Output::Comparison(comparison) => to_vec(comparison.scores()),
        };
        let unit = self.base.spec.schema.label.unit();
        if self.base.spec.objective == Objective::SquaredError && unit != 1.0 {
            scores.iter_mut().for_each(|score| *score *= unit);
        }
        Ok(scores)
    }

    /// The loss of each real row of a batch; of an output that is judged as a whole, the batch's, once.
    ///
    /// # Errors
    /// A context that the method can not adapt from.
    pub(crate) fn losses(&self, batch: &Batch, support: Option<&Batch>) -> Result<Vec<f64>, TrainError> {
        let (output, objective) = (self.forward(batch, support)?, self.base.spec.objective);
        match output {
            Output::Rows(scores) if matches!(objective, Objective::Logistic | Objective::SquaredError) => {
                let scores = to_vec(scores);
                let real = (0..batch.len()).filter(|&i| batch.mask[i] != 0.0);
                Ok(real.map(|i| objective.of_row(scores[i], batch.label[i])).collect())
            }
            output => Ok(vec![f64::from(to_vec(objective.loss(&output, batch))[0])]),
        }
    }

    /// What goes into a site in the unadapted network, `[G, N, d]`, and the scores of its rows as it is trained to give them.
    pub(crate) fn unadapted(&self, batch: &Batch, site: SiteId) -> (Vec<f32>, Vec<f32>) {
        let (states, output) =
            acclimate_adapt::input_of(self.base.backbone.as_ref(), &self.bindings.bound, (batch, &self.inputs(batch)), site);
        match output {
            Output::Rows(scores) => (to_vec(states), to_vec(scores)),
            _ => (to_vec(states), vec![0.0; batch.len()]),
        }
    }

    /// What a base with a plain tower says of rows, and how much each could teach it; `None` where norms stand in the tower or something stands beside it.
    #[must_use]
    pub fn sensitivity(&self, dataset: &Dataset, rows: &[u32]) -> Option<Sensitivity> {
        let tower = self.base.backbone.tower().filter(|tower| !tower.has_norm())?;
        let linears: Vec<_> = tower.linears().copied().collect();
        let layers: Vec<_> = linears
            .iter()
            .map(|l| FastLayer { weight: self.bindings.bound.get(l.weight), bias: self.bindings.bound.get(l.bias) })
            .collect();
        let of_chunk = |chunk: &[u32]| {
            let batch = Batch::single(dataset, chunk);
            let inputs = self.inputs(&batch);
            let of_site = |site| acclimate_adapt::input_of(self.base.backbone.as_ref(), &self.bindings.bound, (&batch, &inputs), site);
            let (x, _) = of_site(linears[0].site);
            let (features, output) = of_site(linears[linears.len() - 1].site);
            let scores = if let Output::Rows(scores) = output { to_vec(scores) } else { vec![0.0; batch.len()] };
            Sensitivity { scores, labels: batch.label, lengths: to_vec(gradient_lengths(&layers, x)), features: to_vec(features) }
        };
        let chunks: Vec<Sensitivity> = rows.par_chunks(CHUNK).map(of_chunk).collect();
        Some(chunks.into_iter().fold(Sensitivity::default(), |mut all, chunk| {
            all.scores.extend(chunk.scores);
            all.labels.extend(chunk.labels);
            all.lengths.extend(chunk.lengths);
            all.features.extend(chunk.features);
            all
        }))
    }

    fn forward(&self, batch: &Batch, support: Option<&Batch>) -> Result<Output, TrainError> {
        let output = self.once(batch, support)?;
        let (Some(reading), Output::Rows(plain)) = (self.bindings.reading.as_ref().filter(|reading| reading.paths.is_some()), &output)
        else {
            return Ok(output);
        };
        let mut scores = to_vec(plain.clone());
        let are_requests = self.adaptation.needs().groups.are_requests();
        averaged((reading, are_requests), (batch, support), &mut scores, |query, beside| match self.once(query, beside)? {
            Output::Rows(scores) => Ok(to_vec(scores)),
            _ => unreachable!("a network of rows scores rows"),
        })?;
        Ok(Output::Rows(leaf(scores, plain.dims(), &self.bindings.device, false)))
    }

    /// One pass.
    fn once(&self, batch: &Batch, support: Option<&Batch>) -> Result<Output, TrainError> {
        self.in_context(batch, support, |batch, inputs, context| {
            let modulation = self.adaptation.adapt(&self.bindings.bound, &self.bindings.own, context)?;
            let pass = Pass::new(&self.bindings.bound, &modulation);
            Ok(self.base.backbone.forward(&pass, batch, inputs))
        })
    }

    /// What there is at a norm under a method.
    pub(crate) fn at_norm(
        &self,
        batch: &Batch,
        support: Option<&Batch>,
        method: &dyn Adaptation,
        norm: &NormSite,
    ) -> Result<AtNorm, TrainError> {
        self.in_context(batch, support, |batch, inputs, context| {
            let modulation = method.adapt(&self.bindings.bound, &self.bindings.own, context)?;
            let x = norm_input(self.base.backbone.as_ref(), (&self.bindings.bound, &modulation), (batch, inputs), norm.site);
            let Moments { mean, variance } = norm.moments(&self.bindings.bound, &modulation);
            let is_shared = [&mean, &variance].iter().all(|moments| moments.dims()[..2] == [1, 1]);
            Ok(AtNorm { x: to_vec(x), moments: is_shared.then(|| [to_vec(mean), to_vec(variance)]) })
        })
    }

    /// What is made of a batch, its inputs and the context, as the method sees them.
    fn in_context<T>(
        &self,
        batch: &Batch,
        support: Option<&Batch>,
        of: impl FnOnce(&Batch, &[Tensor<3>], &Context<'_>) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        let needs = self.adaptation.needs();
        let reading = self.bindings.reading.as_ref();
        let batch = &*seen(batch, needs, reading);
        let support = support.map(|batch| seen(batch, needs, reading));
        let inputs = self.inputs(batch);
        let support = support.as_deref().map(|s| (s, self.inputs(s)));
        let beside = support.as_ref().map(|(batch, inputs)| (*batch, inputs.as_slice()));
        of(batch, &inputs, &context((batch, &inputs), beside, needs, self.base.backbone.as_ref()))
    }

    /// Where sequences are asked.
    fn asking(&self) -> Asking {
        Asking::of(self.base.backbone.as_ref(), self.adaptation.needs(), 0.0)
    }

    fn inputs(&self, batch: &Batch) -> Vec<Tensor<3>> {
        let gathered = self.base.backbone.gather(&self.bindings.tables, batch).into_iter();
        gathered.map(|g| leaf(g.values, g.shape, &self.bindings.device, false)).collect()
    }
}
