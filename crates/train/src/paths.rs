//! Scores of rows that are taken along several paths, each without other codes.

use acclimate_adapt::Reading;
use acclimate_data::Batch;

use crate::TrainError;
use crate::rearrange::{Places, real, rearrange};

/// Replaces the scores of the rows that a reading takes along its paths by the mean of what `score` says there. They go through the network in batches of their own, each with its group's
/// `support`; where groups are requests the set stays what it was.
///
/// # Errors
/// Those of `score`.
pub(crate) fn averaged(
    (reading, are_requests): (&Reading, bool),
    (batch, support): (&Batch, Option<&Batch>),
    scores: &mut [f32],
    score: impl Fn(&Batch, Option<&Batch>) -> Result<Vec<f32>, TrainError>,
) -> Result<(), TrainError> {
    let Some(paths) = &reading.paths else { return Ok(()) };
    let (read, fields) = (reading.read(batch), batch.fields);
    let is_taken = |place: &Option<usize>| place.is_some_and(|i| reading.takes_paths(&read.categorical[i * fields..][..fields]));
    let whole = real(&read);
    let taken: Vec<Vec<Option<usize>>> = whole.iter().map(|group| group.iter().copied().filter(is_taken).collect()).collect();
    let groups: Vec<usize> = (0..taken.len()).filter(|&g| !taken[g].is_empty()).collect();
    if groups.is_empty() {
        return Ok(());
    }
    let chosen = |places: &Places| groups.iter().map(|&g| places[g].clone()).collect::<Places>();
    let places = chosen(&taken);
    let beside = match support {
        Some(support) => Some(rearrange(support, &chosen(&real(support)))),
        None => are_requests.then(|| rearrange(&read, &chosen(&whole))),
    };
    let mut query = rearrange(&read, &places);
    let codes = query.categorical.clone();
    let mut along = vec![Vec::new(); query.len()];
    for path in 0..paths.count {
        query.categorical.copy_from_slice(&codes);
        for (to, from) in query.categorical.chunks_exact_mut(fields).zip(codes.chunks_exact(fields)) {
            reading.dropped(from, path).for_each(|field| to[field] = 0);
        }
        along.iter_mut().zip(score(&query, beside.as_ref())?).for_each(|(along, score)| along.push(score));
    }
    for (group, along) in places.iter().zip(along.chunks_exact(query.rows)) {
        group.iter().flatten().zip(along).for_each(|(&i, along)| scores[i] = paths.mean(along));
    }
    Ok(())
}
