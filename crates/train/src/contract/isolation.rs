//! A row's score depends on the base, its patch and that row (and its group's support), on nothing else.

use acclimate_adapt::Hidden;
use acclimate_data::{Batch, RandomStream};
use acclimate_model::Output;

use super::scores::{Scored, close, flat, plain};
use super::{Case, Finding, device, ground, require, text};
use crate::Scorer;
use crate::feed::Feeding;
use crate::rearrange::{padded, real, rearrange, select};

/// Groups together, one by one, in another order, padded; rows in another order and alone.
pub(super) fn rows_and_groups(case: &Case<'_>) -> Finding {
    let trained = case.trained()?;
    let scored = Scored { base: &trained.base, own: &trained.own, adaptation: case.adaptation.as_ref() };
    let probe = case.probe();
    let together = by_row(&scored, &probe)?;
    let groups: Vec<usize> = (0..probe.query.groups).collect();

    let mut alone = Vec::new();
    for &g in &groups {
        alone.extend(by_row(&scored, &select(&probe, &[g]))?);
    }
    same("groups one by one", &together, &alone)?;

    let reversed: Vec<usize> = groups.iter().rev().copied().collect();
    let mut turned = by_row(&scored, &select(&probe, &reversed))?;
    turned.reverse();
    same("groups in another order", &together, &turned)?;

    same("more padding", &together, &by_row(&scored, &padded(&probe, 3))?)?;

    if !matches!(scored.output(&probe).map_err(text)?, Output::Rows(_)) {
        return Ok(()); // Rows of a sequence follow on each other.
    }

    let places = real(&probe.query);
    let backwards = places.iter().map(|g| g.iter().rev().copied().collect()).collect();
    let mut turned = by_row(&scored, &Feeding { query: rearrange(&probe.query, &backwards), support: probe.support.clone() })?;
    turned.iter_mut().for_each(|group| group.reverse());
    same("rows in another order", &together, &turned)?;

    for &g in &groups {
        for (i, &place) in places[g].iter().enumerate() {
            let own = select(&probe, &[g]);
            let single = Feeding { query: rearrange(&probe.query, &vec![vec![place]]), support: own.support };
            same("a row alone", &[vec![together[g][i]]], &by_row(&scored, &single)?)?;
        }
    }
    Ok(())
}

/// What a method makes of a request is known from its declared set: a row alone beside the set has the score that it has among all its rows, rows that declare nothing are a set
/// themselves, what another request is changes nothing, and what the own one is does.
pub(super) fn declared_set(case: &Case<'_>) -> Finding {
    if !case.adaptation.needs().groups.are_requests() {
        return Ok(());
    }
    let trained = case.trained()?;
    let scored = Scored { base: &trained.base, own: &trained.own, adaptation: case.adaptation.as_ref() };
    let query = case.probe().query;
    let alone = Feeding { query: query.clone(), support: None };
    let together = by_row(&scored, &alone)?;
    same(
        "the rows declared as their own set",
        &together,
        &by_row(&scored, &Feeding { query: query.clone(), support: Some(query.clone()) })?,
    )?;
    let places = real(&query);
    let mut moves = false;
    for (g, own) in places.iter().enumerate() {
        same("a request alone", &together[g..=g], &by_row(&scored, &select(&alone, &[g]))?)?;
        let set = |g: usize| Some(rearrange(&query, &vec![places[g].clone()]));
        for (i, &place) in own.iter().enumerate() {
            let row = |set: Option<Batch>| by_row(&scored, &Feeding { query: rearrange(&query, &vec![vec![place]]), support: set });
            same("a row alone beside its set", &[vec![together[g][i]]], &row(set(g))?)?;
            moves |= same("", &[vec![together[g][i]]], &row(set((g + 1) % places.len()))?).is_err();
        }
    }
    require(moves, || "no score depends on its request's set".into())
}

/// Other values of a feature that a method hides give the same scores and the same loss in training, bit by bit, though the network reads it; and of codes that its reading leaves out, others of these.
pub(super) fn hidden(case: &Case<'_>) -> Finding {
    unread(case)?;
    let Some(Hidden { field, .. }) = case.adaptation.needs().hidden else { return Ok(()) };
    let (trained, probe) = (case.trained()?, case.probe());
    let mut other = probe.clone();
    let turn =
        |batch: &mut Batch| batch.categorical.chunks_exact_mut(batch.fields).for_each(|row| row[field] = u32::from(row[field] == 1) + 1);
    turn(&mut other.query);
    other.support.iter_mut().for_each(turn);
    let base = &case.ground.base;
    let read = flat(plain(base, &probe.query)) != flat(plain(base, &other.query));
    require(read, || "the network does not read what is hidden".into())?;
    let scorer = Scorer::new(&trained.base, case.adaptation.as_ref(), &trained.own, device());
    let scores = |feeding: &Feeding| scorer.batch(&feeding.query, feeding.support.as_ref()).map_err(text);
    require(scores(&probe)? == scores(&other)?, || "scores read it".into())?;
    let setting = case.ground.setting(case.adaptation.needs(), ground::SEED).map_err(text)?;
    let loss = |feeding: Feeding| case.untrained()?.accumulate(feeding, &setting.config, &mut RandomStream::new(0, 0, 0)).map_err(text);
    require(loss(probe)?.to_bits() == loss(other)?.to_bits(), || "training reads it".into())
}

/// Codes that are not read, each replaced by the next one of its feature that is not read either.
fn unread(case: &Case<'_>) -> Finding {
    let (trained, probe) = (case.trained()?, case.probe());
    let Some(reading) = case.adaptation.reading(&trained.own.values) else { return Ok(()) };
    let mut other = probe.clone();
    let turn = |batch: &mut Batch| {
        for counted in &reading.counted {
            let codes = 0..counted.rows.len() as u32;
            let left_out: Vec<u32> = codes.filter(|&code| reading.is_unread(counted.field, code)).collect();
            for row in batch.categorical.chunks_exact_mut(batch.fields) {
                if let Some(at) = left_out.iter().position(|&code| code == row[counted.field]) {
                    row[counted.field] = left_out[(at + 1) % left_out.len()];
                }
            }
        }
    };
    turn(&mut other.query);
    other.support.iter_mut().for_each(turn);
    let base = &case.ground.base;
    require(flat(plain(base, &probe.query)) != flat(plain(base, &other.query)), || "every code that the network reads is read".into())?;
    let scorer = Scorer::new(&trained.base, case.adaptation.as_ref(), &trained.own, device());
    let scores = |feeding: &Feeding| scorer.batch(&feeding.query, feeding.support.as_ref()).map_err(text);
    require(scores(&probe)? == scores(&other)?, || "scores read codes that the reading leaves out".into())?;
    require(scores(&probe)? != flat(plain(base, &probe.query)), || "the reading leaves out nothing".into())
}

/// Scores of the real rows of each group.
fn by_row(scored: &Scored<'_>, feeding: &Feeding) -> Result<Vec<Vec<f32>>, String> {
    let scores = scored.scores(feeding)?;
    let query = &feeding.query;
    if scores.len() != query.len() {
        // Candidates: as many scores for each group.
        return Ok(scores.chunks(scores.len() / query.groups.max(1)).map(<[f32]>::to_vec).collect());
    }
    Ok(real(query).iter().map(|g| g.iter().flatten().map(|&i| scores[i]).collect()).collect())
}

fn same(what: &str, expected: &[Vec<f32>], found: &[Vec<f32>]) -> Finding {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.concat(), found.concat());
    require(expected.len() == found.len(), || format!("{what}: {} scores instead of {}", found.len(), expected.len()))?;
    let far = expected.iter().zip(&found).find(|&(&a, &b)| !close(a, b));
    require(far.is_none(), || format!("{what}: a score changes, {far:?}"))
}
