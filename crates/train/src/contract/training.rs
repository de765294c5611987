//! Laws of training: what it changes, that it learns, that it repeats itself.

use std::collections::BTreeSet;

use acclimate_adapt::Start;
use acclimate_data::RandomStream;
use acclimate_model::kernel::to_vec;
use acclimate_model::{Base, RowGradients};

use super::files::bytes;
use super::scores::{Scored, flat, plain, plain_seen};
use super::{Case, Finding, ground, require, text};
use crate::feed::{Feed, Feeding};
use crate::rearrange::rearrange;
use crate::{Run, Trained};

/// The base keeps its bytes; in the working copy only the scope's parameters, the rows that occur in batches and, of grouped parameters, the blocks of
/// the batches' groups may differ.
pub(super) fn only_declared(case: &Case<'_>) -> Finding {
    let before = case.ground.base.hash();
    let trained = case.trained()?;
    require(before == case.ground.base.hash(), || "the base itself has changed".into())?;
    let start = case.untrained()?;
    let scope = case.adaptation.scope();
    for (i, spec) in start.base.params.specs.iter().enumerate() {
        let frozen = !scope.params.iter().any(|id| id.0 == i);
        let same = bits(&start.base.params.values[i]).eq(bits(&trained.base.params.values[i]));
        require(!frozen || same, || format!("`{}` is not in the scope and has changed", spec.path))?;
    }
    let setting = case.ground.setting(case.adaptation.needs(), ground::SEED).map_err(text)?;
    let touched = touched(&case.ground.base, setting.feed.as_ref(), setting.config.epochs);
    for (i, spec) in case.ground.base.backbone.architecture().tables.iter().enumerate() {
        for row in 0..spec.rows as u32 {
            let same = bits(start.base.tables[i].row(row)).eq(bits(trained.base.tables[i].row(row)));
            let free = scope.tables.contains(&i) && touched[i][row as usize];
            require(same || free, || format!("row {row} of table `{}` is frozen or in no batch, and has changed", spec.name))?;
        }
    }
    own_shapes(case, trained)?;
    for (i, spec) in start.own.specs.iter().enumerate() {
        let Some(grouping) = spec.grouping else { continue };
        let used: BTreeSet<u32> = batches(setting.feed.as_ref(), setting.config.epochs)
            .flat_map(|feeding| grouping.touched(&feeding.query, spec.shape[0]))
            .collect();
        let blocks = |values: &'_ [f32]| values.chunks_exact(spec.block().max(1)).map(<[f32]>::to_vec).collect::<Vec<_>>();
        for (group, (before, after)) in blocks(&start.own.values[i]).iter().zip(&blocks(&trained.own.values[i])).enumerate() {
            let free = used.contains(&(group as u32));
            require(free || bits(before).eq(bits(after)), || format!("block {group} of `{}` is in no batch, and has changed", spec.path))?;
        }
    }
    Ok(())
}

fn own_shapes(case: &Case<'_>, trained: &Trained) -> Finding {
    let fits = case.adaptation.params() == trained.own.specs
        && trained.own.specs.len() == trained.own.values.len()
        && trained.own.specs.iter().zip(&trained.own.values).all(|(spec, values)| spec.len() == values.len());
    require(fits, || "its own parameters are not those it declares".into())
}

/// Rows of each table that the feed's batches gather.
fn touched(base: &Base, feed: &dyn Feed, epochs: u64) -> Vec<Vec<bool>> {
    let tables = &base.backbone.architecture().tables;
    let mut seen: Vec<_> = tables.iter().map(|t| vec![false; t.rows]).collect();
    let mut sink: Vec<_> = tables.iter().map(|t| Some(RowGradients::new(t.rows, t.d))).collect();
    for feeding in batches(feed, epochs) {
        for batch in [Some(&feeding.query), feeding.support.as_ref()].into_iter().flatten() {
            let zeros: Vec<_> = base.backbone.gather(&base.tables, batch).iter().map(|g| vec![0.0; g.values.len()]).collect();
            base.backbone.scatter(batch, &zeros, &mut sink);
        }
    }
    for (seen, rows) in seen.iter_mut().zip(sink.iter().flatten()) {
        rows.rows().iter().for_each(|&r| seen[r as usize] = true);
    }
    seen
}

/// What a run reads.
fn batches(feed: &dyn Feed, epochs: u64) -> impl Iterator<Item = Feeding> {
    (0..epochs).flat_map(|e| (0..feed.steps(e)).map(move |s| (e, s))).map(|(epoch, step)| feed.batch(epoch, step))
}

/// After an epoch over all domains the second moment of every parameter (of each of its groups) and of some row of every table is above 0.
pub(super) fn gradients_everywhere(case: &Case<'_>) -> Finding {
    let setting = case.ground.everywhere(case.adaptation.needs()).map_err(text)?;
    let mut trainee = case.untrained()?;
    for step in 0..setting.feed.steps(0) {
        let mut stream = RandomStream::new(setting.seed, 0, step as u64);
        trainee.accumulate(setting.feed.batch(0, step), &setting.config, &mut stream).map_err(text)?;
        trainee.step(&setting.config, 1.0);
    }
    let scope = case.adaptation.scope();
    let specs = trainee.own.specs.iter().chain(scope.params.iter().map(|id| &trainee.base.params.specs[id.0]));
    for (spec, moments) in specs.zip(&trainee.dense_moments).filter(|(spec, _)| !spec.moment && !spec.solved) {
        let group = spec.len() / spec.shape[0].max(1);
        let dead = moments.second.chunks(group.max(1)).position(|m| m.iter().all(|&v| v == 0.0));
        require(dead.is_none(), || format!("group {} of `{}` never gets a gradient", dead.unwrap_or_default(), spec.path))?;
    }
    for (i, (spec, moments)) in trainee.base.backbone.architecture().tables.iter().zip(&trainee.table_moments).enumerate() {
        let alive = !scope.tables.contains(&i) || moments.second.iter().any(|&v| v > 0.0);
        require(alive, || format!("no row of table `{}` ever gets a gradient", spec.name))?;
    }
    Ok(())
}

/// Every own parameter that is declared as a running value differs from its start after an epoch over all domains; the terms of the loss move no other.
pub(super) fn running_values(case: &Case<'_>) -> Finding {
    let specs = case.adaptation.params();
    let trained = case.trained()?;
    let scored = Scored { base: &trained.base, own: &trained.own, adaptation: case.adaptation.as_ref() };
    for moved in scored.added(&case.probe(), &case.ground.base).map_err(text)?.into_iter().flat_map(|added| added.moved) {
        let spec =
            specs.get(moved.param.0).ok_or_else(|| format!("a term moves parameter {}, and there are {}", moved.param.0, specs.len()))?;
        require(spec.moment, || format!("a term moves `{}`, which is not declared as a running value", spec.path))?;
        let fits = (moved.block as usize) < spec.shape[0] && moved.values.len() == spec.block();
        require(fits, || format!("a term moves block {} of `{}` to {} values", moved.block, spec.path, moved.values.len()))?;
    }
    if !specs.iter().any(|spec| spec.moment) {
        return Ok(());
    }
    let (start, setting) = (case.untrained()?, case.ground.everywhere(case.adaptation.needs()).map_err(text)?);
    let mut trainee = case.untrained()?;
    for step in 0..setting.feed.steps(0) {
        let mut stream = RandomStream::new(setting.seed, 0, step as u64);
        trainee.accumulate(setting.feed.batch(0, step), &setting.config, &mut stream).map_err(text)?;
        trainee.step(&setting.config, 1.0);
    }
    for (i, spec) in specs.iter().enumerate().filter(|(_, spec)| spec.moment) {
        require(start.own.values[i] != trainee.own.values[i], || format!("nothing ever moves `{}`", spec.path))?;
    }
    Ok(())
}

/// On later rows of the target its loss is below the base's. What labels can not teach is the same whatever they are.
pub(super) fn learns(case: &Case<'_>) -> Finding {
    let (trained, held_out) = (case.trained()?, case.held_out());
    if !case.adaptation.learns() {
        let setting = case.ground.setting(case.adaptation.needs(), ground::SEED).map_err(text)?;
        let turned = Turned(setting.feed.as_ref());
        let stop = std::sync::atomic::AtomicBool::new(false);
        let other = crate::train(Run { feed: &turned, ..case.run(&setting, &mut (), &stop) }).map_err(text)?;
        return require(bytes(case, trained)? == bytes(case, &other)?, || {
            "it says that labels teach it nothing, and others give another patch".into()
        });
    }
    let scored = Scored { base: &trained.base, own: &trained.own, adaptation: case.adaptation.as_ref() };
    let found = scored.loss(&held_out).map_err(text)?;
    let base = &case.ground.base;
    let losses =
        held_out.iter().map(|f| to_vec(base.spec.objective.loss(&plain_seen(base, case.adaptation.needs(), &f.query), &f.query))[0]);
    let expected = losses.map(f64::from).sum::<f64>() / held_out.len() as f64;
    require(found < LEARNED * expected, || format!("its loss on later rows is {found:.4}, the base's {expected:.4}"))?;
    if !case.adaptation.needs().groups.are_tasks() {
        return Ok(());
    }
    // What it knows must come from the support set as well, not from the new start alone.
    let unsupported: Vec<_> = held_out.iter().map(without_support).collect();
    let start = scored.loss(&unsupported).map_err(text)?;
    require(found < start, || format!("its loss on later rows is {found:.4}, without the support set {start:.4}"))
}

/// A feed with the other label in every row.
struct Turned<'a>(&'a dyn Feed);

impl Feed for Turned<'_> {
    fn steps(&self, epoch: u64) -> usize {
        self.0.steps(epoch)
    }

    fn batch(&self, epoch: u64, step: usize) -> Feeding {
        let mut feeding = self.0.batch(epoch, step);
        let labels = feeding.query.label.iter_mut().chain(feeding.support.iter_mut().flat_map(|batch| &mut batch.label));
        labels.for_each(|label| *label = 1.0 - *label);
        feeding
    }

    fn rows(&self) -> usize {
        self.0.rows()
    }

    fn window(&self) -> Option<[i64; 2]> {
        self.0.window()
    }
}

/// Share of the base's loss on the shifted domain that a method must get below.
const LEARNED: f64 = 0.99;

/// The same queries, with support sets of no row.
fn without_support(feeding: &Feeding) -> Feeding {
    Feeding { query: feeding.query.clone(), support: Some(rearrange(&feeding.query, &vec![Vec::new(); feeding.query.groups])) }
}

/// Training twice gives the same patch.
pub(super) fn same_seed(case: &Case<'_>) -> Finding {
    let again = case.train(ground::SEED)?;
    require(bytes(case, case.trained()?)? == bytes(case, &again)?, || "the second training gives another patch".into())
}

/// The seed reaches the training: scores differ.
pub(super) fn other_seed(case: &Case<'_>) -> Finding {
    let other = case.train(ground::SEED + 1)?;
    let probe = case.probe();
    let scores = |trained: &Trained| -> Result<Vec<f32>, String> {
        let scored = Scored { base: &trained.base, own: &trained.own, adaptation: case.adaptation.as_ref() };
        scored.scores(&probe)
    };
    // What is solved for has no chance in it.
    let is_solved = case.adaptation.solves() && case.adaptation.is_solved();
    require((scores(case.trained()?)? != scores(&other)?) != is_solved, || {
        let what = if is_solved { "is solved, and two seeds give other scores" } else { "two seeds give the same scores" };
        what.into()
    })?;
    let fresh = case.adaptation.start() == Start::Fresh;
    let untouched = flat(plain(&case.ground.base, &probe.query)) == scores(&other)?;
    require(!(fresh && untouched), || "it starts afresh and yet scores as the base".into())
}

fn bits(values: &[f32]) -> impl Iterator<Item = u32> + '_ {
    values.iter().map(|x| x.to_bits())
}
