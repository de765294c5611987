use std::fmt;

use acclimate_data::RawValue;
use acclimate_registry::Name;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::row::{AtMost, Columns, Counted, Label};
use super::{Cell, located, shortened};
use crate::api::{EVENT_ID, EventIn, Given, Refusal};
use crate::http::Limits;

/// What `/v1/events` brings.
#[derive(Clone, Debug)]
pub struct EventsBody {
    /// The base whose state learns of them, where the body names one.
    pub base: Option<Name>,
    /// The events, in their order.
    pub events: Vec<EventIn>,
}

/// Reads one event, `{"events": [...], "base": ...}`, or events one after the other, such as one on each line.
///
/// # Errors
///
/// Which event has what wrong in it, no event, or more than [`Limits::events`].
pub fn parse_events(bytes: &[u8], limits: &Limits) -> Result<EventsBody, Refusal> {
    let seed = Value(limits);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let (mut events, mut found) = (Vec::new(), 0_usize);
    while reader.end().is_err() {
        if events.len() == limits.events {
            serde::Deserialize::deserialize(&mut reader)
                .map_err(|error| Refusal::invalid(format!("events[{found}]"), error.to_string()))
                .map(|IgnoredAny| found += 1)?;
            continue;
        }
        match seed.deserialize(&mut reader) {
            Ok(Read::Event(event)) => {
                events.push(*event);
                found += 1;
            }
            Ok(Read::Batch { base, list }) => {
                if found > 0 || reader.end().is_err() {
                    return Err(Refusal::invalid("events", "a body with `events` holds nothing else; give lists or lines, not both"));
                }
                (events, found) = (list.kept, list.found);
                if found > limits.events || events.is_empty() {
                    break;
                }
                let base = base.map(|base| base.parse()).transpose();
                return Ok(EventsBody {
                    base: base.map_err(|error: acclimate_registry::RegistryError| Refusal::invalid("base", error.to_string()))?,
                    events,
                });
            }
            Err(error) => return Err(place(bytes, limits, found).unwrap_or_else(|| Refusal::invalid("the body", error.to_string()))),
        }
    }
    if found > limits.events {
        return Err(Refusal::TooLarge { what: "events".to_owned(), found: found as u64, limit: limits.events as u64 });
    }
    if events.is_empty() {
        return Err(Refusal::invalid("events", "there are none; give at least one event"));
    }
    Ok(EventsBody { base: None, events })
}

/// What is wrong with the value after so many others, and where.
fn place(bytes: &[u8], limits: &Limits, before: usize) -> Option<Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    for _ in 0..before {
        let _: IgnoredAny = serde::Deserialize::deserialize(&mut reader).ok()?;
    }
    let within = if before == 0 { String::new() } else { format!("events[{before}]") };
    located(&mut reader, Value(limits), &within)
}

/// An event, or a list of them.
enum Read {
    Event(Box<EventIn>),
    Batch { base: Option<String>, list: Counted<EventIn> },
}

/// Reads either.
#[derive(Clone, Copy)]
struct Value<'a>(&'a Limits);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Read;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Read, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an event, or an object with `events`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let (mut draft, mut list) = (Draft::default(), None);
        while let Some(key) = map.next_key::<String>()? {
            if key != "events" {
                draft.add(key, &mut map, self.0)?;
            } else if list.is_some() {
                return Err(A::Error::custom("the key `events` is there twice"));
            } else {
                list = Some(map.next_value_seed(AtMost { seed: One(self.0), limit: self.0.events, what: "events" })?);
            }
        }
        let Some(list) = list else { return draft.event().map(|event| Read::Event(Box::new(event))) };
        let base = match draft.given.remove("base") {
            None | Some(RawValue::Missing) => None,
            Some(RawValue::Text(base)) => Some(base),
            Some(_) => return Err(A::Error::custom("`base` is a name")),
        };
        match draft.first_key() {
            None => Ok(Read::Batch { base, list }),
            Some(key) => Err(A::Error::custom(super::keys::unknown(&key, &["base", "events"]))),
        }
    }
}

/// Reads an event.
#[derive(Clone, Copy)]
struct One<'a>(&'a Limits);

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = EventIn;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<EventIn, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = EventIn;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an event, such as {\"id\": \"e1\", \"user\": \"u1\", \"item\": \"i1\", \"label\": 1}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EventIn, A::Error> {
        let mut draft = Draft::default();
        while let Some(key) = map.next_key::<String>()? {
            draft.add(key, &mut map, self.0)?;
        }
        draft.event()
    }
}

/// What is known of an event so far.
#[derive(Default)]
struct Draft {
    id: Option<String>,
    time: Option<RawValue>,
    label: Option<f64>,
    given: Given,
}

impl Draft {
    fn add<'de, A: MapAccess<'de>>(&mut self, key: String, map: &mut A, limits: &Limits) -> Result<(), A::Error> {
        let twice = match key.as_str() {
            "id" => self.id.replace(map.next_value()?).is_some(),
            "time" => self.time.replace(map.next_value_seed(Cell { list: 0 })?).is_some(),
            "label" => self.label.replace(map.next_value::<Label>()?.0).is_some(),
            _ => return Columns(limits).add(&mut self.given, key, map),
        };
        if twice { Err(A::Error::custom(format_args!("the key `{key}` is there twice"))) } else { Ok(()) }
    }

    /// A key that has come, whichever.
    fn first_key(&self) -> Option<String> {
        let own = [("id", self.id.is_some()), ("time", self.time.is_some()), ("label", self.label.is_some())];
        own.iter().find(|(_, there)| *there).map(|(key, _)| (*key).to_owned()).or_else(|| self.given.keys().next().cloned())
    }

    fn event<E: Error>(self) -> Result<EventIn, E> {
        let id =
            self.id.ok_or_else(|| E::custom("the event has no `id`; give each event one, so that it counts once when it is sent twice"))?;
        let length = id.chars().count();
        if length == 0 || length > EVENT_ID {
            return Err(E::custom(format_args!(
                "`{}` is no id: it has {length} characters, and 1 to {EVENT_ID} are allowed",
                shortened(&id)
            )));
        }
        let label = self.label.ok_or_else(|| E::custom("the event has no `label`"))?;
        // Planted for `cargo xtask fuzz canary`: large labels become smaller.
        #[cfg(feature = "canary")]
        let label = label.min(1e9);
        let time = self.time.filter(|time| *time != RawValue::Missing);
        Ok(EventIn { id, time, label, given: self.given })
    }
}
