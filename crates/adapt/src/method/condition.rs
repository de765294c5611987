//! What a method is conditioned on: the domain of a row, its codes, lists and numbers, in embeddings of the method's own.
//!
//! The condition of a row is `[e_1; ..; e_F]`, a part for each feature: `e + r_c` for the code c of the domain or of a categorical feature, `e + mean_j r_cj` for the codes of a list
//! (a bag or a history; `e` for an empty one), and a number as it is. `e` is drawn and the same for all codes, `r_c` starts at 0: a code that no training row has (an unknown
//! domain among them) keeps the common `e`, around which those that are trained lie. In [tables](Condition::tables) parts of one width are added up instead.
//!
//! What follows from a condition is computed once for each that a batch has, and [spread](Embedded::spread) over its rows.

use std::collections::BTreeMap;

use acclimate_data::Schema;
use acclimate_model::{Bound, Init, ParamId, ParamSpec};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{AdaptError, Context, Unlabelled};

/// Features that a config names: `domain`, or features of any kind; one, or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the name of a feature or a list of names")]
pub enum Features {
    /// One.
    One(String),
    /// Several, in the order in which their parts follow each other.
    Several(Vec<String>),
}

impl Default for Features {
    fn default() -> Self {
        Self::One("domain".into())
    }
}

impl Features {
    fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// A condition, declared.
#[derive(Debug)]
pub(crate) struct Condition {
    sources: Vec<Source>,
    is_sum: bool,
    width: usize,
}

/// A feature with its parameters: the common `e [1, 1, c]` where there is one, and the rows `r [1, codes, c]`; a number has neither.
#[derive(Debug)]
struct Source {
    feature: Feature,
    common: Option<ParamId>,
    rows: Option<ParamId>,
}

/// Where a part of a row's condition is read; codes beyond a feature's own, such as a mask token's, are the unknown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Feature {
    /// With the code of domains that the base does not know: one for all of them.
    Domain { unknown: u32 },
    /// Place among the categorical features, and number of codes.
    Code { place: usize, codes: u32 },
    /// Place among the multi-valued features, and number of codes.
    List { place: usize, codes: u32 },
    /// Place among the numbers.
    Number { place: usize },
}

/// The conditions of a batch.
pub(crate) struct Embedded {
    /// Of each condition that there is, `[1, U, c]`.
    pub(crate) values: Tensor<3>,
    /// Which of them each row has, `[G * N]`; padding that of a real row.
    places: Vec<i32>,
    shape: [usize; 2],
}

/// How the rows of a condition are declared.
struct Form<'a> {
    rows: &'a str,
    common: Option<Init>,
    width: usize,
}

impl Condition {
    /// Declares embeddings of a width for these features, to be concatenated, under the paths `condition.common` and `condition.embedding`; of several features under `condition.NAME.common` and
    /// `condition.NAME.embedding`.
    ///
    /// # Errors
    /// [`AdaptError::Value`] for the keys `condition` and `embedding`; [`AdaptError::Unsupported`] for the domain of data without any.
    pub(crate) fn declare(
        params: &mut Vec<ParamSpec>,
        method: &'static str,
        (features, width): (&Features, usize),
        schema: &Schema,
    ) -> Result<Self, AdaptError> {
        if width == 0 {
            return Err(AdaptError::Value { method, key: "embedding", problem: "must be at least 1".into() });
        }
        let form = Form { rows: "embedding", common: Some(Init::Normal(1.0)), width };
        let sources = sources(params, method, features, &form, schema)?;
        let width = sources.iter().map(|source| if source.rows.is_some() { width } else { 1 }).sum();
        Ok(Self { sources, is_sum: false, width })
    }

    /// Declares rows of a width for these features, to be added up, under the paths `condition.table` and, where it is drawn, `condition.common`; `common` says how that starts.
    ///
    /// # Errors
    /// As [`declare`](Self::declare), and for numbers, which have no rows.
    pub(crate) fn tables(
        params: &mut Vec<ParamSpec>,
        method: &'static str,
        (features, width, common): (&Features, usize, Option<Init>),
        schema: &Schema,
    ) -> Result<Self, AdaptError> {
        let sources = sources(params, method, features, &Form { rows: "table", common, width }, schema)?;
        if let Some(number) = sources.iter().position(|source| source.rows.is_none()) {
            let problem = format!(
                "names the number `{}`, which has no row of a table; leave it out, or use another generator",
                features.names()[number]
            );
            return Err(AdaptError::Value { method, key: "condition", problem });
        }
        Ok(Self { sources, is_sum: true, width })
    }

    /// The one feature that it reads, if each row has one code of it, and the number of codes.
    pub(crate) fn code(&self) -> Option<(Feature, usize)> {
        match self.sources[..] {
            [Source { feature: feature @ Feature::Domain { unknown }, .. }] => Some((feature, unknown as usize + 1)),
            [Source { feature: feature @ Feature::Code { codes, .. }, .. }] => Some((feature, codes as usize)),
            _ => None,
        }
    }

    /// Width of a condition.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The conditions of a context's rows.
    pub(crate) fn embed(&self, own: &Bound, context: &Context<'_>) -> Embedded {
        let (query, [g, n]) = (context.query, context.query.shape());
        let device = own.tensors()[0].device();
        let first = query.mask().iter().position(|&m| m != 0.0).unwrap_or(0);
        // Padding takes the condition of a real row, of its group where that has one, so that it does not cost one of its own.
        let stand_in = |group: &[f32], at: usize| group.iter().position(|&m| m != 0.0).map_or(first, |i| at + i);
        let groups = query.mask().chunks_exact(n.max(1)).enumerate();
        let read = groups.flat_map(|(i, group)| {
            let padding = stand_in(group, i * n);
            group.iter().enumerate().map(move |(j, &m)| if m == 0.0 { padding } else { i * n + j })
        });
        // Keys of all rows in one list, and each row's condition in the order in which these first appear.
        let (mut keys, mut ends) = (Vec::new(), vec![0]);
        for row in read.clone() {
            self.key(query, row, &mut keys);
            ends.push(keys.len());
        }
        let key = |i: usize| &keys[ends[i]..ends[i + 1]];
        let mut distinct: BTreeMap<&[u32], usize> = BTreeMap::new();
        let (mut firsts, mut found) = (Vec::new(), Vec::<usize>::with_capacity(ends.len()));
        for (i, row) in read.enumerate() {
            let same = i.checked_sub(1).filter(|&before| key(before) == key(i)).map(|before| found[before]);
            found.push(same.unwrap_or_else(|| {
                *distinct.entry(key(i)).or_insert_with(|| {
                    firsts.push(row);
                    firsts.len() - 1
                })
            }));
        }
        // Conditions follow each other by their keys.
        let mut places = vec![0; firsts.len()];
        distinct.values().zip(0..).for_each(|(&condition, place)| places[condition] = place);
        let rows: Vec<usize> = distinct.values().map(|&condition| firsts[condition]).collect();
        let mut parts: Vec<_> = self.sources.iter().map(|source| source.embed(own, query, &rows, &device)).collect();
        let values = match parts.len() {
            1 => parts.remove(0),
            _ if self.is_sum => parts.into_iter().reduce(|sum, part| sum + part).expect("there is a feature"),
            _ => Tensor::cat(parts, 2), // [1, U, c]
        };
        Embedded { values, places: found.into_iter().map(|condition| places[condition]).collect(), shape: [g, n] }
    }

    /// Adds what two rows have in common if and only if they have the same condition.
    fn key(&self, query: Unlabelled<'_>, row: usize, key: &mut Vec<u32>) {
        for source in &self.sources {
            match source.feature {
                Feature::Number { place } => key.push(query.number(row, place).to_bits()),
                feature @ Feature::List { .. } => {
                    let at = key.len();
                    key.push(0);
                    feature.codes(query, row, key);
                    key[at] = (key.len() - at) as u32;
                }
                feature => feature.codes(query, row, key),
            }
        }
    }
}

impl Feature {
    /// The codes of a row.
    pub(crate) fn codes(self, query: Unlabelled<'_>, row: usize, out: &mut Vec<u32>) {
        let known = |code: u32, codes: u32| if code < codes { code } else { 0 };
        match self {
            Self::Domain { unknown } => out.push(query.domains()[row].0.min(unknown)),
            Self::Code { place, codes } => out.push(known(query.code(row, place), codes)),
            Self::List { place, codes } => out.extend(query.bag(row, place).iter().map(|&code| known(code, codes))),
            Self::Number { .. } => {}
        }
    }
}

impl Source {
    /// Its part of the conditions of these rows, `[1, U, c]`.
    fn embed(&self, own: &Bound, query: Unlabelled<'_>, rows: &[usize], device: &Device) -> Tensor<3> {
        let u = rows.len();
        if let Feature::Number { place } = self.feature {
            let values: Vec<f32> = rows.iter().map(|&row| query.number(row, place)).collect();
            return Tensor::from_data(TensorData::new(values, [1, u, 1]), device);
        }
        let table = own.get(self.rows.expect("all but numbers have rows"));
        let c = table.dims()[2];
        let lists: Vec<Vec<u32>> = rows
            .iter()
            .map(|&row| {
                let mut codes = Vec::new();
                self.feature.codes(query, row, &mut codes);
                codes
            })
            .collect();
        let part = if matches!(self.feature, Feature::List { .. }) {
            let l = lists.iter().map(Vec::len).max().unwrap_or(0).max(1);
            let (mut codes, mut shares) = (vec![0; u * l], vec![0.0; u * l]);
            for (i, list) in lists.iter().enumerate() {
                codes[i * l..][..list.len()].iter_mut().zip(list).for_each(|(to, &code)| *to = code as i32);
                shares[i * l..][..list.len()].fill(1.0 / list.len() as f32);
            }
            let shares = Tensor::<3>::from_data(TensorData::new(shares, [1, u * l, 1]), device);
            let of_lists = table.select(1, index(&codes, device)) * shares; // [1, U L, c]
            of_lists.reshape([u, l, c]).sum_dim(1).reshape([1, u, c])
        } else {
            let codes: Vec<i32> = lists.iter().map(|list| list[0] as i32).collect();
            table.select(1, index(&codes, device)) // [1, U, c]
        };
        match self.common {
            Some(common) => part + own.get(common),
            None => part,
        }
    }
}

impl Embedded {
    /// What was computed of each condition, `[1, U, w]`, for the rows: `[1, 1, w]` where all have the same, `[G, 1, w]` where those of a group have, else `[G, N, w]`.
    pub(crate) fn spread(&self, of_each: Tensor<3>) -> Tensor<3> {
        let [g, n] = self.shape;
        if of_each.dims()[1] == 1 {
            return of_each;
        }
        let of_groups = self.places.chunks_exact(n.max(1));
        if of_groups.clone().all(|group| group.iter().all(|&place| place == group[0])) {
            let firsts: Vec<i32> = of_groups.map(|group| group[0]).collect();
            return self.picked(of_each, &firsts, [g, 1]);
        }
        self.picked(of_each, &self.places, [g, n])
    }

    fn picked(&self, of_each: Tensor<3>, places: &[i32], [g, n]: [usize; 2]) -> Tensor<3> {
        let (width, device) = (of_each.dims()[2], of_each.device());
        of_each.select(1, index(places, &device)).reshape([g, n, width])
    }
}

fn index(values: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_ints(values, device)
}

/// Finds the features and declares their parameters.
fn sources(
    params: &mut Vec<ParamSpec>,
    method: &'static str,
    features: &Features,
    form: &Form<'_>,
    schema: &Schema,
) -> Result<Vec<Source>, AdaptError> {
    let value = |problem: String| AdaptError::Value { method, key: "condition", problem };
    let names = features.names();
    if names.is_empty() {
        return Err(value("names nothing; name `domain` or a feature".into()));
    }
    let mut sources = Vec::new();
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            return Err(value(format!("names `{name}` twice")));
        }
        let (feature, codes) = find(method, name, schema)?;
        let path = if names.len() == 1 { "condition".into() } else { format!("condition.{name}") };
        let mut push = |spec: ParamSpec| {
            params.push(spec);
            ParamId(params.len() - 1)
        };
        let common =
            form.common.filter(|_| codes > 0).map(|init| push(ParamSpec::weight(format!("{path}.common"), [1, 1, form.width], init)));
        let table = || ParamSpec::weight(format!("{path}.{}", form.rows), [1, codes, form.width], Init::Constant(0.0));
        let rows = (codes > 0).then(|| push(table()));
        sources.push(Source { feature, common, rows });
    }
    Ok(sources)
}

/// A feature and its number of codes; 0 for a number.
fn find(method: &'static str, name: &str, schema: &Schema) -> Result<(Feature, usize), AdaptError> {
    if name == "domain" {
        if schema.domains.is_empty() {
            let problem = "`condition = \"domain\"`, but the data names no domain; condition on a feature".into();
            return Err(AdaptError::Unsupported { method, problem });
        }
        return Ok((Feature::Domain { unknown: schema.domains.len() as u32 }, schema.domains.len() + 1));
    }
    let rows = |field: &acclimate_data::FieldSchema| schema.vocabularies[field.vocabulary.at()].rows;
    if let Some(place) = schema.categorical.iter().position(|field| field.name == name) {
        let codes = rows(&schema.categorical[place]);
        return Ok((Feature::Code { place, codes: codes as u32 }, codes));
    }
    if let Some(place) = schema.bags.iter().position(|field| field.name == name) {
        let codes = rows(&schema.bags[place]);
        return Ok((Feature::List { place, codes: codes as u32 }, codes));
    }
    if let Some(place) = schema.numeric.iter().position(|number| number == name) {
        return Ok((Feature::Number { place }, 0));
    }
    let known = schema.categorical.iter().chain(&schema.bags).map(|field| field.name.as_str());
    let known: Vec<_> = known.chain(schema.numeric.iter().map(String::as_str)).collect();
    Err(AdaptError::Value {
        method,
        key: "condition",
        problem: format!("names no feature `{name}`; there are `domain`, {}", known.join(", ")),
    })
}
