//! Golden histories: random ones, with the scores that the network itself gave to random items when a version was published.

use std::path::Path;

use acclimate_adapt::Patch;
use acclimate_data::{Encoder, RandomStream};
use acclimate_model::{Base, Params, TensorFile};
use acclimate_plan::{BagColumn, Columns, Rows, Scratch};
use acclimate_serve::engine::{Ask, Model, ModelError};
use acclimate_train::{NextItemQuery, Scorer};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::Reads;
use crate::ExperimentError;
use crate::lab::pretraining;
use crate::sequences::SequenceFile;
use crate::serving::golden::{GOLDEN, held, opened, wrong};

/// Histories, and items asked for after each.
const HISTORIES: usize = 24;
const ITEMS: usize = 16;
/// Items of the longest history: a base may set no bound.
const LONGEST: usize = 256;

/// What the file says beside its arrays.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    format: u32,
    histories: usize,
}

/// Golden histories of a base, or of a patch of it. `encoder` is that of the requests.
///
/// # Errors
/// The patch belongs to another base, or can not be applied.
pub(crate) fn golden(base: &Base, file: &SequenceFile, encoder: &Encoder, patch: Option<&Patch>) -> Result<Vec<u8>, ExperimentError> {
    let (adaptation, patched, own) = match patch {
        Some(patch) => (patch.adaptation(base)?, patch.apply(base)?, patch.own.clone()),
        None => (pretraining(base)?, base.clone(), Params::default()),
    };
    let reads = Reads::new(file, encoder);
    let mut random = RandomStream::new(RandomStream::seed_for(14, "histories"), 0, 0);
    let (mut offsets, mut histories, mut items) = (vec![0_u32], Vec::new(), Vec::new());
    let longest = file.plan.examples.length.clamp(1, LONGEST);
    for i in 0..HISTORIES {
        // The shortest, the longest, and what lies between; unknown items among them.
        let length = match i {
            0 => 1,
            1 => longest,
            _ => 1 + random.below(longest as u64) as usize,
        };
        histories.extend((0..length).map(|_| random.below(reads.inputs.len() as u64) as u32));
        offsets.push(histories.len() as u32);
        items.extend((0..ITEMS).map(|_| 1 + random.below(reads.asked.max(1) as u64) as u32));
    }
    let of = |i: usize| reads.input(&histories[offsets[i] as usize..offsets[i + 1] as usize]).into_vec();
    let queries: Vec<NextItemQuery> = (0..HISTORIES).map(|i| NextItemQuery { input: of(i), ..NextItemQuery::default() }).collect();
    let scores = Scorer::new(&patched, adaptation.as_ref(), &own, &Device::flex()).head_scores(&queries)?;
    let asked = items.chunks_exact(ITEMS).zip(&scores);
    let scores: Vec<f32> = asked.flat_map(|(items, scores)| items.iter().map(|&item| scores[item as usize - 1])).collect();
    let mut file = TensorFile::new(&About { format: 1, histories: HISTORIES });
    file.put_indices("offsets", &offsets);
    file.put_indices("histories", &histories);
    file.put_indices("items", &items);
    file.put("scores", &[scores.len()], &scores);
    Ok(file.to_bytes())
}

/// Whether a model gives the golden scores of its version; else the first that differs. The bytes have been hashed.
///
/// # Errors
/// It does not, or the file is damaged.
pub(crate) fn check(bytes: &[u8], model: &dyn Model) -> Result<(), ModelError> {
    let path = Path::new(GOLDEN);
    let (mut file, about): (TensorFile, About) = opened(bytes, |about: &About| about.format)?;
    let mut indices = |name: &str| file.take_indices(name).ok_or_else(|| wrong(format!("`{name}` is missing")));
    let [offsets, histories, items] = [indices("offsets")?, indices("histories")?, indices("items")?];
    let expected = file.take(path, "scores", &[items.len()]).map_err(|error| ModelError(error.to_string()))?;
    let n = about.histories;
    let fits = offsets.len() == n + 1 && offsets.is_sorted() && offsets.last().is_some_and(|&end| end as usize == histories.len());
    if n == 0 || !fits || items.len() != n * ITEMS {
        return Err(wrong("its arrays do not fit each other".into()));
    }
    for (i, (items, expected)) in items.chunks_exact(ITEMS).zip(expected.chunks_exact(ITEMS)).enumerate() {
        let history = histories[offsets[i] as usize..offsets[i + 1] as usize].to_vec();
        let bag = BagColumn { offsets: vec![0, history.len() as u32], codes: history };
        let shared = Columns { bags: vec![bag], ..Columns::default() };
        let own = Columns { fields: 1, codes: items.to_vec(), ..Columns::default() };
        let (rows, mut scores) = (Rows { n: ITEMS, shared, own }, Vec::new());
        model.score(&mut Scratch::default(), &[Ask { rows: &rows, domain: u32::MAX, adapted: None }], &mut scores)?;
        for (&found, &expected) in scores.iter().zip(expected) {
            held(found, expected, || format!("an item after history {i}"))?;
        }
    }
    Ok(())
}
