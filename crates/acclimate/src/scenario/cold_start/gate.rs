//! Who is served by a patch, and who by the base below it.

use acclimate_adapt::Serve;
use acclimate_data::Dataset;
use acclimate_model::{Base, Params};
use acclimate_train::{Scorer, TrainError};
use burn::tensor::Device;

use crate::lab::pretraining;

/// Scores of each task's query rows: those of the patch, and where it is not applied for so many support rows those of the base.
pub(super) fn served(
    (scorer, serve): (&Scorer<'_>, Serve),
    (base, device): (&Base, &Device),
    dataset: &Dataset,
    tasks: &[(Vec<u32>, Vec<u32>)],
) -> Result<Vec<Vec<f32>>, TrainError> {
    let mut scores = scorer.tasks(dataset, tasks)?;
    let unserved: Vec<usize> = (0..scores.len()).filter(|&at| !serve.applies(tasks[at].0.len())).collect();
    if !unserved.is_empty() {
        let plain = pretraining(base).expect("every backbone has parameters");
        let (of_base, own) = (unserved.iter().map(|&at| tasks[at].clone()).collect::<Vec<_>>(), Params::default());
        let said = Scorer::new(base, plain.as_ref(), &own, device).tasks(dataset, &of_base)?;
        unserved.into_iter().zip(said).for_each(|(at, said)| scores[at] = said);
    }
    Ok(scores)
}
