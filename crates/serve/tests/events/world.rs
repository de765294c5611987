//! A small base, and events about it.

use std::fmt::Write;
use std::sync::Arc;

use acclimate_data::{DatasetConfig, Encoder, FeatureState, Known, RandomStream, RawDataset, RawValue, RowEncoder};
use acclimate_registry::folder::Folder;
use acclimate_serve::api::{EventIn, Given};
use acclimate_serve::events::{EventConfig, EventError, Opened, StateStore};

const CONFIG: &str = r#"
name = "shop"
[interactions]
files = ["log.csv"]
user = "user"
item = "item"
time = { column = "time", unit = "s" }
domain = { column = "shop" }
label = { column = "click", kind = "click" }
[[feature]]
name = "item"
kind = "categorical"
[[feature]]
name = "device"
kind = "categorical"
[[feature]]
name = "seen"
kind = "history"
column = "item"
max_length = 4
vocabulary = "item"
[[feature]]
name = "elsewhere"
kind = "history"
column = "item"
max_length = 3
domains = "other"
vocabulary = "item"
[[feature]]
name = "all"
kind = "statistic"
value = "count"
[[feature]]
name = "visits"
kind = "statistic"
value = "count"
by = ["user", "device"]
[[feature]]
name = "rate"
kind = "statistic"
value = "rate"
by = ["item"]
strength = 3.0
[[feature]]
name = "watched"
kind = "statistic"
value = "mean"
column = "watch"
by = ["user"]
half_life = "12h"
strength = 2.0
[[feature]]
name = "recent"
kind = "statistic"
value = "count"
by = ["item"]
window = "2d"
[[feature]]
name = "devices"
kind = "statistic"
value = "distinct"
column = "device"
by = ["user"]
"#;

/// When the log of the base ends.
const END: i64 = 1_650_100_000;

pub(crate) struct World {
    pub(crate) encoder: Arc<Encoder>,
    pub(crate) base: FeatureState,
    pub(crate) rows: RowEncoder,
    pub(crate) spec: String,
    pub(crate) known: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = RandomStream::new(5, 0, 0);
        let mut pick = |below: u64| stream.below(below);
        let mut log = "user,item,time,shop,click,device,watch\n".to_owned();
        for row in 0..60 {
            let (user, item, shop, click, device, watch) = (pick(5), pick(7), pick(3), pick(2), pick(3), pick(900));
            writeln!(log, "u{user},i{item},{},s{shop},{click},d{device},{}", END - 60 + row, watch as f64 / 7.0).unwrap();
        }
        std::fs::write(folder.path().join("log.csv"), log).unwrap();
        let config = DatasetConfig::parse(CONFIG, folder.path().join("shop.toml")).unwrap();
        let (raw, _) = RawDataset::read(&config).unwrap();
        let encoder = Arc::new(Encoder::fit(&raw, &(0..60).collect::<Vec<_>>()).unwrap());
        let base = FeatureState::after(&encoder, &raw, &Known::all()).unwrap();
        Self { base, rows: RowEncoder::new(encoder.clone()), spec: FeatureState::spec(&encoder), encoder, known: 60 }
    }

    pub(crate) fn open(&self, folder: Arc<dyn Folder>, config: EventConfig) -> Result<(StateStore, Opened), EventError> {
        StateStore::open(folder, self.encoder.clone(), || Ok(self.base.clone()), config)
    }

    /// The state that nothing has disturbed: the base's, and then each event in order.
    pub(crate) fn reference(&self) -> Reference<'_> {
        let mut state = self.base.clone();
        state.expect(config().lateness, self.base.newest().unwrap());
        Reference { world: self, state, done: 0 }
    }
}

pub(crate) struct Reference<'w> {
    world: &'w World,
    pub(crate) state: FeatureState,
    pub(crate) done: u64,
}

impl Reference<'_> {
    pub(crate) fn learn(&mut self, event: &EventIn) {
        let none = Given::new();
        let rows = &self.world.rows;
        let columns = rows.columns(&event.given, std::iter::once(&none)).unwrap();
        let time = rows.moment_of(event.time.as_ref().unwrap()).unwrap().unwrap();
        self.state.update(&rows.event(&columns, 0, time, event.label).unwrap());
        self.done += 1;
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.state.to_bytes(&self.world.spec).unwrap()
    }

    /// A state in a store has these bytes, and stands behind as many events.
    pub(crate) fn check(&self, store: &StateStore, why: &str) {
        store.read(|state, position| {
            assert_eq!(position.position, self.done, "{why}");
            assert!(state.to_bytes(&self.world.spec).unwrap() == self.bytes(), "{why}: another state behind {} events", self.done);
        });
    }
}

pub(crate) fn config() -> EventConfig {
    EventConfig { lateness: "1h".parse().unwrap(), ..EventConfig::default() }
}

/// The event of a number, always the same. Some come late, some too late.
pub(crate) fn event(number: u64) -> EventIn {
    let mut stream = RandomStream::new(11, number, 0);
    let mut pick = |below: u64| stream.below(below);
    let back = if pick(20) == 0 { 7200 } else { pick(1800) as i64 };
    let text = |text: String| RawValue::Text(text);
    let mut given: Given = [
        ("user", text(format!("u{}", pick(6)))),
        ("item", text(format!("i{}", pick(9)))),
        ("domain", text(format!("s{}", pick(3)))),
        ("device", text(format!("d{}", pick(4)))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if pick(3) > 0 {
        given.insert("watched".to_owned(), RawValue::Number(pick(900) as f64 / 7.0));
    }
    EventIn {
        id: format!("event {number}"),
        time: Some(RawValue::Integer(END + 60 * number as i64 - back)),
        label: f64::from(u8::from(pick(2) == 0)),
        given,
    }
}

pub(crate) fn events(numbers: std::ops::Range<u64>) -> Vec<EventIn> {
    numbers.map(event).collect()
}
