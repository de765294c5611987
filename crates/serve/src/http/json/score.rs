use std::fmt;
use std::time::Duration;

use acclimate_data::RawValue;
use acclimate_registry::{Name, Version};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::row::{AtMost, Columns, Counted, Item, Labelled};
use super::{Cell, Keys, read, shortened};
use crate::api::{At, Choice, Given, Refusal, ScoreAsk, SupportRow, SupportSet};
use crate::http::Limits;

const SCORE: &[&str] = &["base", "patch", "domain", "fallback", "user", "time", "features", "items", "support", "adapted", "deadline_ms"];
const RANK: &[&str] =
    &["base", "patch", "domain", "fallback", "user", "time", "features", "items", "support", "adapted", "deadline_ms", "k"];
const ADAPT: &[&str] = &["base", "patch", "domain", "fallback", "user", "time", "features", "support", "deadline_ms"];

/// Columns that have a key of their own.
const OWN: &[&str] = &["user", "item", "time"];

/// Reads the body of `/v1/score`.
///
/// # Errors
///
/// Where in the body what is wrong, or a list above its limit.
pub fn parse_score(bytes: &[u8], limits: &Limits) -> Result<ScoreAsk, Refusal> {
    let body = read(bytes, BodySeed { keys: SCORE, limits })?;
    ask(body, limits)
}

/// What `/v1/rank` asks for.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// The rows to order.
    pub ask: ScoreAsk,
    /// How many of the first are wanted; all by default.
    pub k: Option<usize>,
}

/// Reads the body of `/v1/rank`.
///
/// # Errors
///
/// Those of [`parse_score`], and a `k` of 0.
pub fn parse_rank(bytes: &[u8], limits: &Limits) -> Result<Ranking, Refusal> {
    let mut body = read(bytes, BodySeed { keys: RANK, limits })?;
    let k = body.k.take().map(|k| usize::try_from(k).unwrap_or(usize::MAX));
    if k == Some(0) {
        return Err(Refusal::invalid("k", "0 items are no ranking; leave it out to rank all"));
    }
    Ok(Ranking { ask: ask(body, limits)?, k })
}

/// Reads the body of `/v1/adapt`.
///
/// # Errors
///
/// Those of [`parse_score`], and a body without a support set.
pub fn parse_adapt(bytes: &[u8], limits: &Limits) -> Result<ScoreAsk, Refusal> {
    let mut body = read(bytes, BodySeed { keys: ADAPT, limits })?;
    if body.support.is_none() {
        return Err(Refusal::invalid("support", "there is none; give the rows to adapt from, each with its `label`"));
    }
    body.items = Some(Counted { kept: Vec::new(), found: 0 });
    rows(&body, limits)?;
    made(body)
}

/// A body as it is written.
#[derive(Default)]
struct Body {
    base: Option<String>,
    patch: Option<String>,
    domain: Option<String>,
    fallback: Option<bool>,
    user: Option<RawValue>,
    time: Option<RawValue>,
    features: Option<Given>,
    items: Option<Counted<Given>>,
    support: Option<Counted<SupportRow>>,
    adapted: Option<String>,
    deadline_ms: Option<f64>,
    k: Option<u64>,
}

#[derive(Clone, Copy)]
struct BodySeed<'a> {
    keys: &'static [&'static str],
    limits: &'a Limits,
}

impl<'de> DeserializeSeed<'de> for BodySeed<'_> {
    type Value = Body;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Body, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_> {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an object with the keys {}", self.keys.join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
        let (mut keys, mut body, limits) = (Keys::new(self.keys), Body::default(), self.limits);
        let cell = Cell { list: limits.list };
        while let Some(key) = keys.next(&mut map)? {
            match key {
                "base" => body.base = map.next_value()?,
                "patch" => body.patch = map.next_value()?,
                "domain" => body.domain = map.next_value()?,
                "fallback" => body.fallback = map.next_value()?,
                "user" => body.user = Some(map.next_value_seed(cell)?),
                "time" => body.time = Some(map.next_value_seed(cell)?),
                "features" => body.features = Some(map.next_value_seed(Columns(limits))?),
                "items" => {
                    body.items = Some(map.next_value_seed(AtMost { seed: Item(limits), limit: limits.rows, what: "items" })?);
                }
                "support" => {
                    let rows = AtMost { seed: Labelled(limits), limit: limits.support_rows, what: "rows with labels" };
                    body.support = Some(map.next_value_seed(rows)?);
                }
                "adapted" => body.adapted = map.next_value()?,
                "deadline_ms" => body.deadline_ms = map.next_value()?,
                "k" => body.k = map.next_value()?,
                other => return Err(A::Error::custom(format_args!("the key `{other}` has no meaning"))),
            }
        }
        Ok(body)
    }
}

/// Whether the lists are within their limits.
fn rows(body: &Body, limits: &Limits) -> Result<(), Refusal> {
    let within = |what: &str, found: Option<usize>, limit: usize| match found {
        Some(found) if found > limit => Err(Refusal::TooLarge { what: what.to_owned(), found: found as u64, limit: limit as u64 }),
        _ => Ok(()),
    };
    within("items", body.items.as_ref().map(|items| items.found), limits.rows)?;
    within("support", body.support.as_ref().map(|rows| rows.found), limits.support_rows)?;
    if body.support.as_ref().is_some_and(|rows| rows.found == 0) {
        return Err(Refusal::invalid("support", "it is empty; leave it out, or give rows with their `label`"));
    }
    Ok(())
}

fn ask(body: Body, limits: &Limits) -> Result<ScoreAsk, Refusal> {
    rows(&body, limits)?;
    if body.items.as_ref().is_none_or(|items| items.found == 0) {
        return Err(Refusal::invalid("items", "there are none; give at least one item"));
    }
    made(body)
}

fn made(body: Body) -> Result<ScoreAsk, Refusal> {
    let mut shared = body.features.unwrap_or_default();
    for own in OWN {
        if shared.contains_key(*own) {
            let place = if *own == "item" { "a key of each of `items`" } else { "a key of its own beside `features`" };
            return Err(Refusal::invalid(format!("features.{own}"), format!("`{own}` is {place}")));
        }
    }
    shared.extend(body.user.map(|user| ("user".to_owned(), user)));
    shared.extend(body.time.map(|time| ("time".to_owned(), time)));
    // The rows are of this domain, whether or not it says which patch is meant.
    if let Some(domain) = body.domain.clone().map(RawValue::Text)
        && let Some(other) = shared.insert("domain".to_owned(), domain.clone()).filter(|other| *other != domain)
    {
        let other = if let RawValue::Text(text) = &other { shortened(text).to_string() } else { "a value".to_owned() };
        return Err(Refusal::invalid("features.domain", format!("`{other}` is another one than `domain` names; give it once")));
    }
    let support = match (body.support, body.adapted) {
        (None, None) => None,
        (Some(rows), None) => Some(SupportSet::Rows(rows.kept)),
        (None, Some(key)) => Some(SupportSet::Kept(
            key.parse().map_err(|error| Refusal::invalid("adapted", format!("{error}; it is the key that /v1/adapt answered")))?,
        )),
        (Some(_), Some(_)) => return Err(Refusal::invalid("adapted", "`support` and `adapted` are both there; give one of them")),
    };
    Ok(ScoreAsk {
        base: body.base.map(|base| name("base", &base)).transpose()?,
        choice: choice(body.patch.as_deref(), body.domain)?,
        ladder: body.fallback.unwrap_or(false),
        shared,
        items: body.items.map(|items| items.kept).unwrap_or_default(),
        support,
        deadline: body.deadline_ms.map(|ms| deadline("deadline_ms", ms / 1e3)).transpose()?,
    })
}

/// Reads a name.
fn name(what: &str, text: &str) -> Result<Name, Refusal> {
    text.parse().map_err(|error: acclimate_registry::RegistryError| Refusal::invalid(what, error.to_string()))
}

/// Which patch is meant by `films-tab2`, `films-tab2@challenger`, `films-tab2@v3` or a domain.
pub(crate) fn choice(patch: Option<&str>, domain: Option<String>) -> Result<Choice, Refusal> {
    let text = match (patch, domain) {
        (None, None) => return Ok(Choice::Base),
        (None, Some(domain)) if domain.is_empty() || domain.len() > 256 => {
            return Err(Refusal::invalid("domain", format!("`{}` is no domain; write it as in `tab=2`", shortened(&domain))));
        }
        (None, Some(domain)) => return Ok(Choice::Domain(domain)),
        (Some(text), _) => text,
    };
    let (patch, version) = text.split_once('@').unwrap_or((text, "champion"));
    Ok(Choice::Patch { name: name("patch", patch)?, at: at("patch", version)? })
}

/// The version or the alias that is meant.
pub(crate) fn at(what: &str, text: &str) -> Result<At, Refusal> {
    version(text).map_or_else(|| name(what, text).map(At::Alias), |version| Ok(At::Version(version)))
}

/// The version that `v3`, `v000003` or `3` names.
pub(crate) fn version(text: &str) -> Option<Version> {
    let digits = text.strip_prefix('v').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    Version::new(digits.parse().ok().filter(|_| plain)?)
}

/// A time to answer in.
pub(crate) fn deadline(what: &str, seconds: f64) -> Result<Duration, Refusal> {
    const LONGEST: f64 = 600.0;
    let sensible = seconds > 0.0 && seconds <= LONGEST;
    let time = sensible.then(|| Duration::from_secs_f64(seconds));
    time.ok_or_else(|| Refusal::invalid(what, format!("{seconds} s is no time to answer in; give more than 0 and at most {LONGEST} s")))
}
