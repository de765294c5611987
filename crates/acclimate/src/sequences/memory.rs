//! What a memory of earlier states adds to the networks of a comparison.

use acclimate_data::{ExampleConfig, NextItem, Take};
use acclimate_eval::suspicion::sample;
use acclimate_train::{FittedMemory, Kernel, Memory, MemoryConfig, NextItemQuery, NextItemRanks, Scorer, TrainError};
use serde::{Deserialize, Deserializer};

use super::comparison::Stage;
use super::prepared::{Prepared, Questions};

/// Validation queries that choose: more would cost time and change little.
const MOST: usize = 2_000;

/// What stands behind the name of an entrant whose answers have a memory mixed in.
pub(super) const WITH_MEMORY: &str = " + memory";

/// Reads `memory`: `true` for the defaults, `false`, or a table of settings.
pub(crate) fn memory_choice<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MemoryConfig>, D::Error> {
    let error = || serde::de::Error::custom("expected true, false, or a table such as { neighbours = [0, 300], temperature = [0.1, 1] }");
    match toml::Value::deserialize(deserializer)? {
        toml::Value::Boolean(wanted) => Ok(wanted.then(MemoryConfig::default)),
        toml::Value::Table(table) => table.try_into().map(Some).map_err(serde::de::Error::custom),
        _ => Err(error()),
    }
}

impl Prepared {
    /// Target events that may be remembered, those that floors may count: the input before each, as queries have it, the item and the time.
    fn memories(&self) -> Vec<NextItemQuery> {
        let all = ExampleConfig {
            length: self.plan.examples.length,
            min_input: 0,
            max_per_user: usize::MAX,
            take: Take::First,
            ..self.plan.queries
        };
        let events = self.pair.examples(&self.counted, |_, _| true, &all);
        let of_event = |e: NextItem| {
            let (input, positive) = self.coded(&e);
            (positive != 0).then(|| NextItemQuery { input, positive, time: e.time, ..NextItemQuery::default() })
        };
        events.into_iter().filter_map(of_event).collect()
    }
}

impl Stage<'_> {
    /// Ranks by a network with what its memory says mixed in; the memory is fitted on validation queries.
    pub(super) fn ranks_with_memory(
        &self,
        name: &str,
        config: &MemoryConfig,
        scorer: &Scorer<'_>,
        asked: &Questions,
    ) -> Result<Vec<NextItemRanks>, TrainError> {
        let histories = &self.prepared.histories;
        let queries = |examples: &[u32]| examples.iter().filter_map(|&e| histories.get(e).query.clone()).collect::<Vec<_>>();
        let memory = Memory::new(scorer, self.prepared.memories(), self.prepared.file.target.len())?;
        let chosen_on = queries(&sample(&self.validation.examples, MOST));
        let fitted = memory.fit(config, scorer, histories.catalogue(), &chosen_on, histories.recent())?;
        self.lab.progress.say(&said(name, &fitted));
        scorer.next_items_with(histories.catalogue(), &queries(&asked.examples), histories.recent(), (&memory, fitted))
    }
}

/// What was chosen, for people.
fn said(name: &str, fitted: &FittedMemory) -> String {
    let FittedMemory { kernel: Kernel { neighbours, temperature, half_life_days }, gate } = fitted;
    let events = if *neighbours == 0 { "all events".to_owned() } else { format!("{neighbours} events") };
    let life = if *half_life_days == 0.0 { "no decay".to_owned() } else { format!("half-life {half_life_days} days") };
    format!("memory of {name}: {events}, temperature {temperature}, {life}, gate a {:.2} b {:.2} c {:.2}", gate.a, gate.b, gate.c)
}
