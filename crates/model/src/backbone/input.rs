//! The input side of the networks that score rows: which features, which tables, what is gathered and where gradients go.
//!
//! The first leaf is the row, `x0 = [E_1[c_1]; ..; E_F[c_F]; mean_j E_b[c_bj] for each list b; numbers]`. A list under target attention has a leaf of its own with
//! the rows of its entries, and with first-order weights there is one with the weight of each feature.

use std::collections::BTreeMap;
use std::sync::Arc;

use acclimate_data::{BagColumn, Batch, FieldSchema, Schema, Side, VocabularyIndex};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::Gathered;
use super::attention::{Attended, Attention};
use crate::{Architecture, Ids, Init, ModelError, Pass, Pooling, Role, RowGradients, SiteId, SiteKind, Slot, Table, TableSpec};

/// Rows of the batch whose embeddings are asked for ahead of their turn.
const AHEAD: usize = 4;

/// What an input is built from.
#[derive(Clone, Copy, Debug)]
pub(super) struct InputConfig<'a> {
    /// The backbone, for messages.
    pub(super) owner: &'static str,
    /// Width of every embedding.
    pub(super) embedding: usize,
    /// Standard deviation of the embeddings' start.
    pub(super) std: f32,
    /// Rows of multi-valued features start as the weights of a linear map do.
    pub(super) fan_in: bool,
    /// Features left out, by name.
    pub(super) without: &'a [String],
    /// Lists pooled by target attention, each with its target where one is named, and the width of the unit's hidden layer.
    pub(super) attention: &'a [String],
    pub(super) attention_on: &'a BTreeMap<String, String>,
    pub(super) attention_hidden: usize,
    /// Whether every value has a weight of its own too.
    pub(super) first_order: bool,
}

static NO_TARGET: BTreeMap<String, String> = BTreeMap::new();

impl<'a> InputConfig<'a> {
    /// Embeddings, means and numbers, and nothing else.
    pub(super) fn plain(owner: &'static str, embedding: usize, std: f32, without: &'a [String]) -> Self {
        let (attention, attention_on) = (&[], &NO_TARGET);
        Self { owner, embedding, std, fan_in: false, without, attention, attention_on, attention_hidden: 0, first_order: false }
    }
}

/// One embedded feature: which column of the batch, which table, and which table of first-order weights.
#[derive(Clone, Copy, Debug)]
struct Field {
    column: usize,
    table: usize,
    first: usize,
}

/// The input side.
#[derive(Debug)]
pub(super) struct Input {
    fields: Vec<Field>,
    bags: Vec<Field>,
    numbers: Vec<usize>,
    attended: Vec<Attention>,
    first_order: bool,
    d: usize,
    /// Width of the row.
    pub(super) width: usize,
    rows: SiteId,
}

impl Input {
    /// Declares tables, slots and sites.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a width of 0 or a name that the schema does not have; [`ModelError::NoFeature`] if no feature is left.
    pub(super) fn new(architecture: &mut Architecture, config: &InputConfig<'_>, schema: &Schema) -> Result<Self, ModelError> {
        let d = config.embedding;
        if d == 0 {
            return Err(ModelError::config(config.owner, "embedding", "must be at least 1"));
        }
        check_names(config, schema)?;
        let kept = |name: &String| !config.without.contains(name);
        let mut tables: Vec<Option<usize>> = vec![None; schema.vocabularies.len()];
        let mut field = |(column, field): (usize, &FieldSchema), pooling: Pooling| {
            let table = *tables[field.vocabulary.at()].get_or_insert_with(|| {
                let vocabulary = &schema.vocabularies[field.vocabulary.at()];
                // A pooled list is a linear map of a multi-hot row, so its fan-in is the vocabulary.
                let fan_in = Init::Uniform(1.0 / (vocabulary.rows as f32).sqrt());
                let init = if pooling != Pooling::One && config.fan_in { fan_in } else { Init::Normal(config.std) };
                let name = vocabulary.name.clone();
                architecture.table(TableSpec { name, rows: vocabulary.rows, d, init, zero_row: false, spared: 0 })
            });
            let (feature, side) = (field.name.clone(), schema.side(&field.name));
            architecture.slot(Slot { feature, side, table: Some(table), columns: 0..0, pooling }, d);
            Field { column, table, first: 0 }
        };
        let pooled = |name: &String| if config.attention.contains(name) { Pooling::Attention } else { Pooling::Mean };
        let fields = schema.categorical.iter().enumerate().filter(|(_, f)| kept(&f.name));
        let mut fields: Vec<_> = fields.map(|f| field(f, Pooling::One)).collect();
        let bags = schema.bags.iter().enumerate().filter(|(_, f)| kept(&f.name));
        let mut bags: Vec<_> = bags.map(|f| field(f, pooled(&f.1.name))).collect();
        let numbers: Vec<_> = schema.numeric.iter().enumerate().filter(|(_, n)| kept(n)).map(|(i, _)| i).collect();
        for name in numbers.iter().map(|&i| &schema.numeric[i]) {
            let (feature, side) = (name.clone(), schema.side(name));
            architecture.slot(Slot { feature, side, table: None, columns: 0..0, pooling: Pooling::Number }, 1);
        }
        let width = (fields.len() + bags.len()) * d + numbers.len();
        if width == 0 {
            return Err(ModelError::NoFeature);
        }
        let rows = architecture.site("input", SiteKind::Rows { d: width }, Role::Body);
        if config.first_order {
            let embedded: Vec<usize> = tables.iter().flatten().copied().collect();
            let mut first = BTreeMap::new();
            for table in embedded {
                let spec = TableSpec { d: 1, init: Init::Constant(0.0), ..architecture.tables[table].clone() };
                first.insert(table, architecture.table(TableSpec { name: format!("first.{}", spec.name), ..spec }));
            }
            fields.iter_mut().chain(&mut bags).for_each(|field| field.first = first[&field.table]);
        }
        let mut input = Self { fields, bags, numbers, attended: Vec::new(), first_order: config.first_order, d, width, rows };
        for name in config.attention {
            let of = input.attended(name, config, schema)?;
            input.attended.push(Attention::new(architecture, name, of, [d, config.attention_hidden]));
        }
        Ok(input)
    }

    /// Which list a target attention pools, and by which field.
    fn attended(&self, name: &str, config: &InputConfig<'_>, schema: &Schema) -> Result<Attended, ModelError> {
        let error = |key, problem: String| Err(ModelError::config(config.owner, key, &problem));
        let Some(bag) = self.bags.iter().position(|bag| schema.bags[bag.column].name == name) else {
            let known: Vec<_> = self.bags.iter().map(|bag| schema.bags[bag.column].name.as_str()).collect();
            return error("attention", format!("names no multi-valued feature `{name}`; there are {}", known.join(", ")));
        };
        let vocabulary: VocabularyIndex = schema.bags[self.bags[bag].column].vocabulary;
        let of_field = |field: &Field| &schema.categorical[field.column];
        let sharing = || self.fields.iter().enumerate().filter(|(_, field)| of_field(field).vocabulary == vocabulary);
        let named = config.attention_on.get(name);
        let of_item = || sharing().find(|(_, field)| schema.side(&of_field(field).name) == Side::Item);
        let target = match named {
            Some(wanted) => sharing().find(|(_, field)| of_field(field).name == *wanted),
            None => of_item().or_else(|| sharing().next()),
        };
        match target {
            Some((target, _)) => Ok(Attended { bag, list: (self.fields.len() + bag) * self.d, target: target * self.d }),
            None => {
                let known: Vec<_> = sharing().map(|(_, field)| of_field(field).name.as_str()).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                let key = if named.is_some() { "attention_on" } else { "attention" };
                error(key, format!("needs for `{name}` a categorical feature with the same vocabulary as its target; there is {known}"))
            }
        }
    }

    /// Number of embedded features: the row begins with as many vectors.
    pub(super) fn embedded(&self) -> usize {
        self.fields.len() + self.bags.len()
    }

    /// Number of numeric features: the row ends with them.
    pub(super) fn numbers(&self) -> usize {
        self.numbers.len()
    }

    /// The leaves of a batch.
    pub(super) fn gather(&self, tables: &[Arc<Table>], batch: &Batch) -> Vec<Gathered> {
        let mut leaves = vec![self.gather_rows(tables, batch)];
        for attention in &self.attended {
            let bag = self.bags[attention.of.bag];
            let (column, table) = (&batch.bags[bag.column], &tables[bag.table]);
            let longest = longest(column);
            let mut values = vec![0.0; batch.len() * longest * self.d];
            for (i, values) in values.chunks_exact_mut(longest * self.d).enumerate() {
                values.chunks_exact_mut(self.d).zip(bag_codes(column, i)).for_each(|(to, &code)| to.copy_from_slice(table.row(code)));
            }
            leaves.push(Gathered { shape: [batch.groups, batch.rows * longest, self.d], values });
        }
        if self.first_order {
            let mut values = vec![0.0; batch.len() * self.embedded()];
            for (i, values) in values.chunks_exact_mut(self.embedded()).enumerate() {
                let (of_fields, of_bags) = values.split_at_mut(self.fields.len());
                for (value, field) in of_fields.iter_mut().zip(&self.fields) {
                    *value = tables[field.first].row(batch.categorical[i * batch.fields + field.column])[0];
                }
                for (value, bag) in of_bags.iter_mut().zip(&self.bags) {
                    pool(&tables[bag.first], bag_codes(&batch.bags[bag.column], i), std::slice::from_mut(value));
                }
            }
            leaves.push(Gathered { shape: [batch.groups, batch.rows, self.embedded()], values });
        }
        leaves
    }

    fn gather_rows(&self, tables: &[Arc<Table>], batch: &Batch) -> Gathered {
        let mut values = Vec::with_capacity(batch.len() * self.width);
        let codes = |i: usize| batch.categorical.get(i * batch.fields..(i + 1) * batch.fields);
        for i in 0..batch.len() {
            if let Some(codes) = codes(i + AHEAD) {
                self.fields.iter().for_each(|field| tables[field.table].prefetch(codes[field.column]));
            }
            let codes = codes(i).unwrap_or_default();
            for field in &self.fields {
                values.extend_from_slice(tables[field.table].row(codes[field.column]));
            }
            for bag in &self.bags {
                let at = values.len();
                values.resize(at + self.d, 0.0);
                pool(&tables[bag.table], bag_codes(&batch.bags[bag.column], i), &mut values[at..]);
            }
            values.extend(self.numbers.iter().map(|column| batch.numeric[i * batch.numbers + column]));
        }
        Gathered { shape: [batch.groups, batch.rows, self.width], values }
    }

    /// Whether a leaf holds rows of a table.
    pub(super) fn reads(&self, leaf: usize, table: usize) -> bool {
        let mut embedded = self.fields.iter().chain(&self.bags);
        match leaf.checked_sub(1) {
            None => embedded.any(|field| field.table == table),
            Some(list) => match self.attended.get(list) {
                Some(attention) => self.bags[attention.of.bag].table == table,
                None => embedded.any(|field| field.first == table),
            },
        }
    }

    /// Sends gradients of the leaves back to the rows of the tables.
    pub(super) fn scatter(&self, batch: &Batch, gradients: &[Vec<f32>], sink: &mut [Option<RowGradients>]) {
        // Threads own tables; within one, field by field, so that its slots stay in cache.
        sink.par_iter_mut().enumerate().filter_map(|(table, rows)| Some((table, rows.as_mut()?))).for_each(|(table, rows)| {
            self.scatter_rows(batch, |field| (field.table == table).then_some(self.d), (&gradients[0], self.width), rows);
            for (attention, gradients) in self.attended.iter().zip(&gradients[1..]) {
                let bag = self.bags[attention.of.bag];
                if bag.table == table {
                    let column = &batch.bags[bag.column];
                    for (i, gradients) in gradients.chunks_exact(longest(column) * self.d).enumerate() {
                        bag_codes(column, i).iter().zip(gradients.chunks_exact(self.d)).for_each(|(&code, g)| rows.add(code, g, 1.0));
                    }
                }
            }
            if self.first_order {
                let weights = (gradients[1 + self.attended.len()].as_slice(), self.embedded());
                self.scatter_rows(batch, |field| (field.first == table).then_some(1), weights, rows);
            }
        });
    }

    /// The features of a leaf whose vectors, of the width that `d` gives, are rows of one table.
    fn scatter_rows(
        &self,
        batch: &Batch,
        d: impl Fn(&Field) -> Option<usize>,
        (gradients, width): (&[f32], usize),
        rows: &mut RowGradients,
    ) {
        let gradients = || gradients.chunks_exact(width).enumerate();
        for (f, field) in self.fields.iter().enumerate() {
            let Some(d) = d(field) else { continue };
            for (i, gradient) in gradients().filter(|&(i, _)| batch.mask[i] != 0.0) {
                rows.add(batch.categorical[i * batch.fields + field.column], &gradient[f * d..][..d], 1.0);
            }
        }
        for (b, bag) in self.bags.iter().enumerate() {
            let Some(d) = d(bag) else { continue };
            let at = (self.fields.len() + b) * d;
            for (i, gradient) in gradients() {
                let codes = bag_codes(&batch.bags[bag.column], i);
                for &code in codes {
                    rows.add(code, &gradient[at..][..d], 1.0 / codes.len() as f32);
                }
            }
        }
    }

    /// The row that enters the network, `[G, N, width]`: gathered, with its lists pooled by their targets, and as the modulation changes it.
    pub(super) fn row(&self, pass: &Pass<'_>, batch: &Batch, inputs: &[Tensor<3>]) -> Tensor<3> {
        let pooled = |x, (attention, entries): (&Attention, &Tensor<3>)| attention.forward(pass, x, entries.clone());
        let x = self.attended.iter().zip(&inputs[1..]).fold(inputs[0].clone(), pooled);
        pass.modulation.rows(self.rows, Ids::Codes { codes: &batch.categorical, fields: batch.fields }, x)
    }

    /// The sum of the first-order weights, `[G, N, 1]`, where there are any.
    pub(super) fn first_order(&self, inputs: &[Tensor<3>]) -> Option<Tensor<3>> {
        self.first_order.then(|| inputs[1 + self.attended.len()].clone().sum_dim(2))
    }

    /// Whether the row is the gathered one, as methods with an inner loop of their own need it.
    pub(super) fn is_plain(&self) -> bool {
        self.attended.is_empty() && !self.first_order
    }
}

fn check_names(config: &InputConfig<'_>, schema: &Schema) -> Result<(), ModelError> {
    let names = || schema.categorical.iter().chain(&schema.bags).map(|f| &f.name).chain(&schema.numeric);
    if let Some(unknown) = config.without.iter().find(|w| !names().any(|n| n == *w)) {
        let known: Vec<_> = names().map(String::as_str).collect();
        let problem = format!("names no feature `{unknown}`; there are {}", known.join(", "));
        return Err(ModelError::config(config.owner, "without", &problem));
    }
    if let Some(idle) = config.attention_on.keys().find(|name| !config.attention.contains(name)) {
        let problem = format!("names `{idle}`, which is not in `attention`");
        return Err(ModelError::config(config.owner, "attention_on", &problem));
    }
    if !config.attention.is_empty() && config.attention_hidden == 0 {
        return Err(ModelError::config(config.owner, "attention_hidden", "must be at least 1"));
    }
    Ok(())
}

/// Entries of the longest list of a batch, at least 1.
fn longest(bag: &BagColumn) -> usize {
    bag.offsets.windows(2).map(|ends| (ends[1] - ends[0]) as usize).max().unwrap_or(0).max(1)
}

fn bag_codes(bag: &BagColumn, row: usize) -> &[u32] {
    &bag.codes[bag.offsets[row] as usize..bag.offsets[row + 1] as usize]
}

/// Mean of the rows; zero for an empty list.
fn pool(table: &Table, codes: &[u32], out: &mut [f32]) {
    for &code in codes {
        for (o, x) in out.iter_mut().zip(table.row(code)) {
            *o += x;
        }
    }
    if codes.len() > 1 {
        let scale = 1.0 / codes.len() as f32;
        out.iter_mut().for_each(|o| *o *= scale);
    }
}
