//! Golden rows: random rows with the scores that the network itself gave when a version was published. Whoever loads it gives the same, or does not serve it.

use std::path::Path;

use acclimate_adapt::Patch;
use acclimate_data::{BagColumn, Batch, DomainIndex, Encoder, RandomStream};
use acclimate_model::{Base, Objective, Params, TensorFile};
use acclimate_plan::{BagColumn as PlanBag, Rows};
use acclimate_serve::engine::{Ask, Model, ModelError, Support};
use acclimate_serve::layout::Layout;
use acclimate_train::Scorer;
use burn::tensor::Device;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::device::batch;
use super::probe::Probe;
use crate::ExperimentError;
use crate::lab::pretraining;

/// The file of a version.
pub const GOLDEN: &str = "golden.safetensors";

/// Rows of a request, and requests.
const ROWS: usize = 32;
const REQUESTS: usize = 9;
/// Rows of a support set, in turn.
const SUPPORT: [usize; 3] = [20, 5, 0];

/// What the file says beside its arrays.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    format: u32,
    /// Rows of the support set of each request; empty for what adapts to nobody.
    support: Vec<usize>,
}

/// Golden rows of a base, or of a patch of it: at least 256 rows in requests of 32, with support sets where the patch adapts to some.
///
/// # Errors
/// The patch belongs to another base, or can not be applied.
pub fn golden(base: &Base, encoder: &Encoder, patch: Option<&Patch>) -> Result<Vec<u8>, ExperimentError> {
    let (adaptation, patched, own) = match patch {
        Some(patch) => (patch.adaptation(base)?, patch.apply(base)?, patch.own.clone()),
        None => (pretraining(base)?, base.clone(), Params::default()),
    };
    let adapts = adaptation.needs().groups.are_tasks();
    let probe = Probe { base, encoder, wild: !adapts };
    // Each request is of one domain: the groups of the probe are.
    let layout = Layout::of(encoder);
    let drawn = probe.batch(11, REQUESTS, ROWS);
    // What a request shares is that of its first row.
    let shared = |request: usize| {
        let part = part(&drawn, request * ROWS, ROWS);
        (whole(&layout, &part), part.domain[0].0)
    };
    let (requests, domains): (Vec<Rows>, Vec<u32>) = (0..REQUESTS).map(shared).unzip();
    let rows = batch(&layout, &requests.iter().collect::<Vec<_>>(), &[], &[]);
    let rows = Batch { domain: domains.iter().flat_map(|&domain| [DomainIndex(domain); ROWS]).collect(), ..rows };
    let labels = |n: usize| labels(base.spec.objective, n);
    let sizes: Vec<usize> = if adapts { (0..REQUESTS).map(|i| SUPPORT[i % SUPPORT.len()]).collect() } else { Vec::new() };
    let support = probe.batch(12, 1, sizes.iter().sum());
    let device = Device::flex();
    let scorer = Scorer::new(&patched, adaptation.as_ref(), &own, &device);
    let (mut scores, mut begin) = (Vec::new(), 0);
    for request in 0..REQUESTS {
        let query = part(&rows, request * ROWS, ROWS);
        let known = sizes.get(request).map(|&size| {
            let mut known = part(&support, begin, size);
            known.label = labels(support.len())[begin..begin + size].to_vec();
            begin += size;
            known
        });
        let found = scorer.batch(&query, known.as_ref())?;
        scores.extend(found.into_iter().map(|score| base.spec.objective.predict(score)));
    }
    let mut file = TensorFile::new(&About { format: 1, support: sizes });
    for (name, batch) in [("rows", &rows), ("support", &support)] {
        file.put_indices(format!("{name}.codes"), &batch.categorical);
        file.put(format!("{name}.numbers"), &[batch.len(), batch.numbers], &batch.numeric);
        file.put_indices(format!("{name}.domains"), &batch.domain.iter().map(|domain| domain.0).collect::<Vec<_>>());
        for (i, bag) in batch.bags.iter().enumerate() {
            file.put_indices(format!("{name}.bag.{i}.offsets"), &bag.offsets);
            file.put_indices(format!("{name}.bag.{i}.codes"), &bag.codes);
        }
    }
    file.put("support.labels", &[support.len()], &labels(support.len()));
    file.put("scores", &[scores.len()], &scores);
    Ok(file.to_bytes())
}

/// Labels that a task could have, in units.
fn labels(objective: Objective, n: usize) -> Vec<f32> {
    let mut random = RandomStream::new(RandomStream::seed_for(13, "labels"), 0, 0);
    let label = |random: &mut RandomStream| if objective == Objective::Logistic { random.below(2) as f32 } else { random.unit() as f32 };
    (0..n).map(|_| label(&mut random)).collect()
}

/// Rows of a batch as one group.
fn part(batch: &Batch, begin: usize, n: usize) -> Batch {
    let range = begin..begin + n;
    let bag = |bag: &BagColumn| {
        let first = bag.offsets[begin];
        let offsets: Vec<u32> = bag.offsets[begin..=begin + n].iter().map(|end| end - first).collect();
        BagColumn { codes: bag.codes[first as usize..bag.offsets[begin + n] as usize].to_vec(), offsets }
    };
    Batch {
        groups: 1,
        rows: n,
        mask: vec![1.0; n],
        label: batch.label[range.clone()].to_vec(),
        row: vec![u32::MAX; n],
        domain: batch.domain[range.clone()].to_vec(),
        categorical: batch.categorical[begin * batch.fields..(begin + n) * batch.fields].to_vec(),
        numeric: batch.numeric[begin * batch.numbers..(begin + n) * batch.numbers].to_vec(),
        bags: batch.bags.iter().map(bag).collect(),
        fields: batch.fields,
        numbers: batch.numbers,
        unknown: batch.unknown.clone(),
        ..Batch::default()
    }
}

/// Rows of a batch, each as a request of its own.
fn requests(layout: &Layout, batch: &Batch) -> Vec<Rows> {
    let one = |row: usize| {
        let row = part(batch, row, 1);
        let bags: Vec<PlanBag> = row.bags.into_iter().map(|bag| PlanBag { offsets: bag.offsets, codes: bag.codes }).collect();
        layout.rows(1, &row.categorical, &row.numeric, &bags)
    };
    (0..batch.rows).map(one).collect()
}

/// What is wrong with a file.
pub(super) fn wrong(problem: String) -> ModelError {
    ModelError(format!("{GOLDEN}: {problem}"))
}

/// A file and what it says beside its arrays. The bytes have been hashed.
///
/// # Errors
/// It is damaged, or of another format.
pub(super) fn opened<A: DeserializeOwned>(bytes: &[u8], format: impl Fn(&A) -> u32) -> Result<(TensorFile, A), ModelError> {
    let path = Path::new(GOLDEN);
    let file = TensorFile::parse_hashed(bytes, path).map_err(|error| ModelError(error.to_string()))?;
    let about: A = file.manifest(path).map_err(|error| ModelError(error.to_string()))?;
    match format(&about) {
        1 => Ok((file, about)),
        other => Err(wrong(format!("it is of format {other}, and this program knows 1"))),
    }
}

/// Holds a score against the one that was published; `what` was scored.
///
/// # Errors
/// They differ.
pub(super) fn held(found: f32, expected: f32, what: impl Fn() -> String) -> Result<(), ModelError> {
    let far = (f64::from(found) - f64::from(expected)).abs() > TOLERANCE * f64::from(expected.abs()).max(1.0);
    if !far && found.is_finite() {
        return Ok(());
    }
    let what = what();
    Err(wrong(format!("{what} was scored {expected} when it was published and is scored {found} now; publish it again with this program")))
}

/// Whether a model gives the golden scores of its version; else the first row that differs. The bytes have been hashed.
///
/// # Errors
/// It does not, or the file is damaged.
pub(super) fn check(bytes: &[u8], model: &dyn Model, base: &Base, layout: &Layout) -> Result<(), ModelError> {
    let path = Path::new(GOLDEN);
    let (mut file, about): (TensorFile, About) = opened(bytes, |about: &About| about.format)?;
    let schema = &base.spec.schema;
    let mut take = |name: &str, n: usize| -> Result<Batch, ModelError> {
        let missing = |what: &str| wrong(format!("`{name}.{what}` is missing"));
        let numbers = schema.numeric.len();
        let numeric = file.take(path, &format!("{name}.numbers"), &[n, numbers]).map_err(|error| ModelError(error.to_string()))?;
        let categorical = file.take_indices(&format!("{name}.codes")).ok_or_else(|| missing("codes"))?;
        let domains = file.take_indices(&format!("{name}.domains")).ok_or_else(|| missing("domains"))?;
        let bags = (0..schema.bags.len()).map(|i| {
            let offsets = file.take_indices(&format!("{name}.bag.{i}.offsets")).ok_or_else(|| missing("bag"))?;
            let codes = file.take_indices(&format!("{name}.bag.{i}.codes")).unwrap_or_default();
            let ascends = offsets.len() == n + 1 && offsets.is_sorted() && offsets.last().is_some_and(|&end| end as usize == codes.len());
            if ascends {
                Ok(BagColumn { offsets, codes })
            } else {
                Err(wrong(format!("the offsets of `{name}.bag.{i}` do not fit its codes")))
            }
        });
        let bags = bags.collect::<Result<Vec<_>, _>>()?;
        if categorical.len() != n * schema.categorical.len() || domains.len() != n {
            return Err(wrong(format!("`{name}` does not hold {n} rows of this base's features")));
        }
        let domain = domains.into_iter().map(DomainIndex).collect();
        let (fields, label) = (schema.categorical.len(), vec![0.0; n]);
        Ok(Batch {
            groups: 1,
            rows: n,
            domain,
            categorical,
            numeric,
            bags,
            fields,
            numbers,
            label,
            unknown: vec![0.0; numbers],
            ..Batch::default()
        })
    };
    let (n, known) = (REQUESTS * ROWS, about.support.iter().sum());
    let (rows, support) = (take("rows", n)?, take("support", known)?);
    let labels = file.take(path, "support.labels", &[known]).map_err(|error| ModelError(error.to_string()))?;
    let expected = file.take(path, "scores", &[n]).map_err(|error| ModelError(error.to_string()))?;
    let (mut scratch, mut begin) = (acclimate_plan::Scratch::default(), 0);
    for request in 0..REQUESTS {
        let query = part(&rows, request * ROWS, ROWS);
        let adapted = match about.support.get(request) {
            Some(&size) => {
                let known = part(&support, begin, size);
                let domains = known.domain.iter().map(|domain| domain.0).collect();
                let support = Support { rows: requests(layout, &known), domains, labels: labels[begin..begin + size].to_vec() };
                begin += size;
                Some(model.adapt(&mut scratch, support, &mut |_| true)?)
            }
            None => None,
        };
        let domain = query.domain[0].0;
        let mut scores = Vec::new();
        let rows = whole(layout, &query);
        model.score(&mut scratch, &[Ask { rows: &rows, domain, adapted: adapted.as_ref() }], &mut scores)?;
        for (row, (&found, &expected)) in scores.iter().zip(&expected[request * ROWS..]).enumerate() {
            held(found, expected, || format!("row {}", request * ROWS + row))?;
        }
    }
    Ok(())
}

/// The largest difference of a score, relative to 1 or its own size.
const TOLERANCE: f64 = 1e-5;

/// Rows of a batch as one request.
fn whole(layout: &Layout, query: &Batch) -> Rows {
    let bags: Vec<PlanBag> = query.bags.iter().map(|bag| PlanBag { offsets: bag.offsets.clone(), codes: bag.codes.clone() }).collect();
    layout.rows(query.rows, &query.categorical, &query.numeric, &bags)
}
