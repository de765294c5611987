//! Levels of people and items that learn from every rating as it comes in.
//!
//! A rating r of person u for item i with contents C (genres, say) is expected as `μ + b_u + b_i + t_ui`, from what has come in before it:
//!
//! ```text
//! μ    = mean of all ratings
//! c_g  = Σ (r - μ - b_u) / (n_g + γ)                       over ratings of items with content g
//! b_i  = (Σ (r - μ - b_u - t) + λ_i mean_C c_g) / (n_i + λ_i)
//! p    = Σ d^(age) (r - μ - b_i) / (Σ d^(age) + 30)         over first ratings of people; age = how many first ratings ago
//! b_u  = (Σ (r - μ - b_i) + λ_u p) / (n_u + λ_u)
//! t_ui = mean_C Σ (r - μ - b_u - b_i) / (n_ug + τ)          over the person's ratings of items with content g
//! ```
//!
//! Every sum holds residuals as they were when their rating came in: an event costs as much as its item has contents, whatever has gone before. Without content, newcomers' level and taste it
//! is the bias model, learned per event.
//!
//! Settings are chosen by the squared error of what was said before each rating of a stretch of the stream.
//!
//! # References
//! Y. Koren, *Factorization Meets the Neighborhood*, KDD 2008, section 2.1 (baseline estimates); the order of updates is that of stochastic approximation with steps `1 / (n + λ)`.

use std::collections::HashMap;

use rayon::prelude::*;

/// First ratings of weight that the newcomers' level is shrunken by.
const NEWCOMERS: f64 = 30.0;

/// A rating.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event<'a> {
    /// Who rates.
    pub person: u32,
    /// What.
    pub item: u32,
    /// What it is.
    pub contents: &'a [u32],
    /// The rating.
    pub rating: f64,
}

/// Settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamSettings {
    /// λ_u.
    pub person_shrink: f64,
    /// λ_i.
    pub item_shrink: f64,
    /// γ; infinite: contents say nothing.
    pub content_shrink: f64,
    /// d; 0: the level of newcomers is that of all.
    pub newcomer_memory: f64,
    /// τ; infinite: nobody has a taste.
    pub taste_shrink: f64,
}

impl StreamSettings {
    /// The bias model.
    #[must_use]
    pub fn bias(person_shrink: f64, item_shrink: f64) -> Self {
        Self { person_shrink, item_shrink, content_shrink: f64::INFINITY, newcomer_memory: 0.0, taste_shrink: f64::INFINITY }
    }

    /// The shrinkages that the bias model is chosen from.
    pub const SHRINKS: [f64; 7] = [0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 25.0];

    /// The bias models that one is chosen from.
    #[must_use]
    pub fn biases() -> Vec<Self> {
        Self::SHRINKS.iter().flat_map(|&person| Self::SHRINKS.map(|item| Self::bias(person, item))).collect()
    }

    /// What everything is chosen from, around a bias model.
    #[must_use]
    pub fn all(bias: Self) -> Vec<Self> {
        let near = |at: f64| [at, 1.5 * at];
        let (mut all, memories) = (Vec::new(), [0.0, 0.99, 0.999]);
        for content_shrink in [f64::INFINITY, 20.0] {
            for taste_shrink in [f64::INFINITY, 10.0, 30.0, 100.0] {
                for newcomer_memory in memories {
                    for person_shrink in near(bias.person_shrink) {
                        for item_shrink in near(bias.item_shrink) {
                            all.push(Self { person_shrink, item_shrink, content_shrink, newcomer_memory, taste_shrink });
                        }
                    }
                }
            }
        }
        all
    }
}

/// A sum and its count.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    sum: f64,
    n: f64,
}

impl Sum {
    /// `(sum + shrink prior) / (n + shrink)`.
    fn level(self, shrink: f64, prior: f64) -> f64 {
        (self.sum + shrink * prior) / (self.n + shrink)
    }

    /// `sum / (n + shrink)`, and 0 where the shrinkage is infinite.
    fn shrunken(self, shrink: f64) -> f64 {
        self.sum / (self.n + shrink)
    }

    fn add(&mut self, value: f64) {
        (self.sum, self.n) = (self.sum + value, self.n + 1.0);
    }
}

/// What has come in so far.
#[derive(Clone, Debug)]
pub struct StreamLevels {
    settings: StreamSettings,
    all: Sum,
    people: HashMap<u32, Sum>,
    items: HashMap<u32, Sum>,
    contents: HashMap<u32, Sum>,
    tastes: HashMap<(u32, u32), Sum>,
    newcomers: Sum,
}

/// The parts of what is expected.
struct Parts {
    mean: f64,
    person: f64,
    item: f64,
    taste: f64,
}

impl StreamLevels {
    /// Nothing has come in.
    #[must_use]
    pub fn new(settings: StreamSettings) -> Self {
        let none = Sum::default();
        Self {
            settings,
            all: none,
            people: HashMap::new(),
            items: HashMap::new(),
            contents: HashMap::new(),
            tastes: HashMap::new(),
            newcomers: none,
        }
    }

    fn parts(&self, event: &Event<'_>) -> Parts {
        let StreamSettings { person_shrink, item_shrink, content_shrink, taste_shrink, .. } = self.settings;
        let mean = if self.all.n > 0.0 { self.all.sum / self.all.n } else { 0.0 };
        let of_contents = |level: &dyn Fn(u32) -> f64| match event.contents {
            [] => 0.0,
            contents => contents.iter().map(|&g| level(g)).sum::<f64>() / contents.len() as f64,
        };
        let found = |sum: Option<&Sum>| sum.copied().unwrap_or_default();
        let prior = if content_shrink.is_finite() { of_contents(&|g| found(self.contents.get(&g)).shrunken(content_shrink)) } else { 0.0 };
        let item = found(self.items.get(&event.item)).level(item_shrink, prior);
        let person = found(self.people.get(&event.person)).level(person_shrink, self.newcomers.shrunken(NEWCOMERS));
        let taste = match taste_shrink.is_finite() {
            true => of_contents(&|g| found(self.tastes.get(&(event.person, g))).shrunken(taste_shrink)),
            false => 0.0,
        };
        Parts { mean, person, item, taste }
    }

    /// What is expected of a rating; its own value is not read.
    #[must_use]
    pub fn expect(&self, event: &Event<'_>) -> f64 {
        let Parts { mean, person, item, taste } = self.parts(event);
        mean + person + item + taste
    }

    /// Learns a rating.
    pub fn learn(&mut self, event: &Event<'_>) {
        let Parts { mean, person, item, taste } = self.parts(event);
        let beyond = event.rating - mean;
        let of_person = self.people.entry(event.person).or_default();
        if of_person.n == 0.0 && self.settings.newcomer_memory > 0.0 {
            let Sum { sum, n } = self.newcomers;
            let memory = self.settings.newcomer_memory;
            self.newcomers = Sum { sum: memory * sum + beyond - item, n: memory * n + 1.0 };
        }
        of_person.add(beyond - item);
        self.items.entry(event.item).or_default().add(beyond - person - taste);
        for &g in event.contents {
            if self.settings.content_shrink.is_finite() {
                self.contents.entry(g).or_default().add(beyond - person);
            }
            if self.settings.taste_shrink.is_finite() {
                self.tastes.entry((event.person, g)).or_default().add(beyond - person - item);
            }
        }
        self.all.add(event.rating);
    }

    /// What was expected of each event from `first` on, each before it was learned; `bounds` are the smallest and largest rating.
    #[must_use]
    pub fn replay(settings: StreamSettings, events: &[Event<'_>], first: usize, bounds: [f64; 2]) -> Vec<f64> {
        let mut levels = Self::new(settings);
        let mut said = Vec::with_capacity(events.len().saturating_sub(first));
        for (at, event) in events.iter().enumerate() {
            if at >= first {
                said.push(levels.expect(event).clamp(bounds[0], bounds[1]));
            }
            levels.learn(event);
        }
        said
    }

    /// Of several settings that with the smallest squared error over events from `first` on, each said before it was learned; the first of equals.
    ///
    /// # Panics
    /// Without settings.
    #[must_use]
    pub fn choose(settings: &[StreamSettings], events: &[Event<'_>], first: usize, bounds: [f64; 2]) -> StreamSettings {
        let error = |settings: &StreamSettings| {
            let said = Self::replay(*settings, events, first, bounds);
            said.iter().zip(&events[first..]).map(|(said, event)| (said - event.rating).powi(2)).sum::<f64>()
        };
        let errors: Vec<f64> = settings.par_iter().map(error).collect();
        let best = (0..settings.len()).min_by(|&a, &b| errors[a].total_cmp(&errors[b])).expect("some settings");
        settings[best]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(person: u32, item: u32, contents: &[u32], rating: f64) -> Event<'_> {
        Event { person, item, contents, rating }
    }

    #[test]
    fn the_bias_model_is_as_it_is_written_down() {
        let mut levels = StreamLevels::new(StreamSettings::bias(2.0, 3.0));
        levels.learn(&event(0, 0, &[], 4.0));
        // μ was 0 then: residuals of 4 for the person and the item.
        let said = levels.expect(&event(0, 0, &[], f64::NAN));
        assert!((said - (4.0 + 4.0 / 3.0 + 4.0 / 4.0)).abs() < 1e-12, "{said}");
        assert!((levels.expect(&event(1, 1, &[], f64::NAN)) - 4.0).abs() < 1e-12);
        levels.learn(&event(1, 0, &[], 2.0));
        // μ = 4, b_i = 1, b_u = 0 before; the residuals are -2 - 1 for the person, -2 for the item; then μ = 3.
        let said = levels.expect(&event(1, 0, &[], f64::NAN));
        assert!((said - (3.0 - 3.0 / 3.0 + (4.0 - 2.0) / 5.0)).abs() < 1e-12, "{said}");
    }

    #[test]
    fn contents_speak_for_a_new_item_and_newcomers_for_a_new_person() {
        let settings = StreamSettings { content_shrink: 1.0, newcomer_memory: 0.9, ..StreamSettings::bias(1.0, 1.0) };
        let mut levels = StreamLevels::new(settings);
        for round in 0..200 {
            levels.learn(&event(round, round % 7, &[0], 5.0));
            levels.learn(&event(1000 + round, 10 + round % 7, &[1], 3.0));
        }
        let new = |contents: &[u32]| levels.expect(&event(9999, 999, contents, f64::NAN));
        assert!(new(&[0]) > new(&[0, 1]) && new(&[0, 1]) > new(&[1]), "{} {} {}", new(&[0]), new(&[0, 1]), new(&[1]));
    }

    #[test]
    fn what_is_said_is_said_before_it_is_learned() {
        let events: Vec<Event<'_>> = (0..50).map(|i| event(i % 5, i % 3, &[], f64::from(i % 4))).collect();
        let mut other = events.clone();
        other[20].rating = 100.0;
        let settings = StreamSettings::bias(2.0, 2.0);
        let [a, b] = [&events, &other].map(|events| StreamLevels::replay(settings, events, 0, [-1e9, 1e9]));
        assert_eq!(a[..=20], b[..=20]);
        assert!(a[21..].iter().zip(&b[21..]).all(|(a, b)| a != b));
    }

    #[test]
    fn the_choice_has_the_smallest_error() {
        let events: Vec<Event<'_>> = (0..300).map(|i| event(i % 11, i % 7, &[], f64::from((i * 7) % 5))).collect();
        let settings = StreamSettings::biases();
        let chosen = StreamLevels::choose(&settings, &events, 100, [0.0, 4.0]);
        let error = |s: StreamSettings| {
            let said = StreamLevels::replay(s, &events, 100, [0.0, 4.0]);
            said.iter().zip(&events[100..]).map(|(a, e)| (a - e.rating).powi(2)).sum::<f64>()
        };
        assert!(settings.iter().all(|&s| error(chosen) <= error(s)));
    }
}
