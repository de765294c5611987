//! What learns from every rating as it comes in: the floor `bias_per_event`, and the mode `per_event`, which adds what contents, newcomers and tastes say.

use std::time::Instant;

use acclimate_data::{Dataset, LabelKind, Side};
use acclimate_eval::{Cost, Entrant, Kind};
use acclimate_fit::stream::{Event, StreamLevels, StreamSettings};

use super::learn::World;
use super::{Mode, Stream};
use crate::scenario::newcomers::chosen;
use crate::{ExperimentError, Lab};

/// Name of the floor.
pub(crate) const BIAS_PER_EVENT: &str = "bias_per_event";

/// A log in the order of time.
struct Course {
    rows: Vec<u32>,
    /// Codes of what the item of each row is, `contents[offsets[i]..offsets[i + 1]]`.
    contents: Vec<u32>,
    offsets: Vec<usize>,
    /// Where validation and the stream begin.
    begins: [usize; 2],
    bounds: [f64; 2],
}

impl Course {
    fn new(dataset: &Dataset, (train, validation, stream): (&[u32], &[u32], &[u32])) -> Self {
        let LabelKind::Rating { min, max } = dataset.label else { unreachable!("asked of ratings only") };
        let time = |row: &u32| (dataset.log.time[*row as usize], *row);
        let sorted = |rows: &[u32]| {
            let mut rows = rows.to_vec();
            rows.sort_by_key(time);
            rows
        };
        let rows = [sorted(train), sorted(validation), sorted(stream)].concat();
        let bags: Vec<_> = dataset.features.bags.iter().filter(|bag| bag.side == Side::Item).collect();
        let (mut contents, mut offsets) = (Vec::new(), vec![0]);
        for &row in &rows {
            let mut first = 0;
            for bag in &bags {
                let codes = bag.lists.of(dataset.entity(Side::Item, row as usize));
                contents.extend(codes.iter().map(|code| first + code));
                first += dataset.features.vocabularies[bag.vocabulary.at()].rows() as u32;
            }
            offsets.push(contents.len());
        }
        Self { rows, contents, offsets, begins: [train.len(), train.len() + validation.len()], bounds: [min.into(), max.into()] }
    }

    fn event(&self, dataset: &Dataset, at: usize) -> Event<'_> {
        let row = self.rows[at] as usize;
        let contents = &self.contents[self.offsets[at]..self.offsets[at + 1]];
        Event { person: dataset.log.user[row].0, item: dataset.log.item[row].0, contents, rating: dataset.log.label[row].into() }
    }

    fn events(&self, dataset: &Dataset, until: usize) -> Vec<Event<'_>> {
        (0..until).map(|at| self.event(dataset, at)).collect()
    }

    /// Chosen on validation rows, each said before it is learned.
    fn chosen(&self, dataset: &Dataset, settings: &[StreamSettings]) -> StreamSettings {
        let events = self.events(dataset, self.begins[1]);
        StreamLevels::choose(settings, &events, self.begins[0], self.bounds)
    }
}

/// The floor, where labels are ratings.
pub(super) fn streaming(
    lab: &Lab<'_>,
    dataset: &Dataset,
    parts: (&[u32], &[u32], &[u32]),
) -> Result<Option<Entrant<f32>>, ExperimentError> {
    if !matches!(dataset.label, LabelKind::Rating { .. }) || !lab.experiment.floors.wants(BIAS_PER_EVENT) {
        return Ok(None);
    }
    lab.check_stop()?;
    let course = Course::new(dataset, parts);
    let settings = course.chosen(dataset, &StreamSettings::biases());
    let said = StreamLevels::replay(settings, &course.events(dataset, course.rows.len()), course.begins[1], course.bounds);
    let grid = ["person_shrink", "item_shrink"].map(|name| (name, StreamSettings::SHRINKS.to_vec()));
    let chosen = chosen(&grid, &[settings.person_shrink, settings.item_shrink]);
    let values = said.into_iter().map(|value| value as f32).collect();
    Ok(Some(Entrant::deterministic(BIAS_PER_EVENT, Kind::Floor, values).with_settings(vec![chosen])))
}

/// The mode. What is said of a row is said before its rating is looked at; then it is learned.
pub(super) fn per_event(world: &World<'_>, mode: &Mode) -> Result<Stream, ExperimentError> {
    let dataset = world.dataset(mode);
    let stream = world.clock.rows();
    let course = Course::new(dataset, (world.train, world.validation, &stream));
    let bias = course.chosen(dataset, &StreamSettings::biases());
    let settings = course.chosen(dataset, &StreamSettings::all(bias));
    let mut levels = StreamLevels::new(settings);
    course.events(dataset, course.begins[1]).iter().for_each(|event| levels.learn(event));
    let (mut values, began) = (Vec::with_capacity(stream.len()), Instant::now());
    let (mut place, mut ages) = (course.begins[1], 0.0);
    for (day, today) in world.clock.days().iter().enumerate() {
        world.lab.check_stop()?;
        let arriving = world.clock.arriving(dataset, day, 0);
        for _ in &today.rows {
            let said = levels.expect(&course.event(arriving.dataset(), place));
            values.push(said.clamp(course.bounds[0], course.bounds[1]) as f32);
            levels.learn(&course.event(dataset, place));
            place += 1;
        }
        ages += world.ages(dataset, day, i64::MIN, true);
    }
    let rows = values.len().max(1) as f64;
    let cost = Cost { request_seconds: Some(began.elapsed().as_secs_f64() / rows), newest_event_hours: Some(ages / rows), ..Cost::default() };
    let shown = |value: f64| if value.is_finite() { value.to_string() } else { "none".to_owned() };
    let note = format!(
        "`{}`: person_shrink {}, item_shrink {}, content_shrink {}, newcomer_memory {}, taste_shrink {}, chosen on validation rows.",
        mode.label(),
        settings.person_shrink,
        settings.item_shrink,
        shown(settings.content_shrink),
        settings.newcomer_memory,
        shown(settings.taste_shrink)
    );
    Ok(Stream { values, cost, notes: vec![note] })
}
