//! Embedding rows that move in the inner loop: those that a task's support set reads, and no others.
//!
//! A gathered row is linear in the rows of its tables: `x[i, f] = Σ_e M_f[i, e] E[e]`, with `M_f[i, e]` 1 where slot f of row i is value e, and 1/m where it is one of m.
//! So `∂L/∂E = Σ_f M_fᵀ ∂L/∂x[:, f]`, which is 0 for every value that no support row reads. What these have moved by is `Δ`, and rows of support and query enter as `x[i, f] + M_f[i] Δ`:
//! a value that the support set shares is read as adapted, any other as the base has it.
//!
//! Everything here is linear with constant M, so that gradients reach the base's rows through the gathered ones.

use std::collections::BTreeMap;
use std::ops::Range;

use acclimate_data::{Batch, Schema};
use acclimate_model::{Architecture, Pooling};
use burn::tensor::{Device, Tensor, TensorData};

use crate::Unlabelled;

/// Where a batch has the codes of a slot.
#[derive(Clone, Copy, Debug)]
enum Column {
    Field(usize),
    Bag(usize),
}

/// One embedded slot of the gathered row.
#[derive(Clone, Debug)]
struct Reads {
    table: usize,
    columns: Range<usize>,
    column: Column,
}

/// How gathered rows are made of the rows of tables.
#[derive(Clone, Debug)]
pub(crate) struct RowMap {
    slots: Vec<Reads>,
    /// Positions of the tables that are read.
    tables: Vec<usize>,
    /// Width of a gathered row.
    width: usize,
}

impl RowMap {
    /// Reads the slots of a network whose gathered rows are embeddings, means of embeddings, and numbers.
    pub(crate) fn new(architecture: &Architecture, schema: &Schema) -> Self {
        let field = |name: &String| schema.categorical.iter().position(|f| f.name == *name).map(Column::Field);
        let bag = |name: &String| schema.bags.iter().position(|f| f.name == *name).map(Column::Bag);
        let reads = |slot: &acclimate_model::Slot| {
            let column = match slot.pooling {
                Pooling::One => field(&slot.feature),
                Pooling::Mean | Pooling::Attention => bag(&slot.feature),
                Pooling::Number => None,
            };
            Some(Reads { table: slot.table?, columns: slot.columns.clone(), column: column? })
        };
        let slots: Vec<_> = architecture.slots.iter().filter_map(reads).collect();
        let mut tables: Vec<_> = slots.iter().map(|slot| slot.table).collect();
        tables.sort_unstable();
        tables.dedup();
        Self { slots, tables, width: architecture.slots.last().map_or(0, |slot| slot.columns.end) }
    }

    /// Whether anything is embedded.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The values that the support sets of a batch read, and how its rows read them.
    pub(crate) fn touched(&self, support: &Batch, query: Unlabelled<'_>, device: &Device) -> Touched {
        let of_support = Unlabelled::new(support);
        // Of each table and task: the values that support rows read, in order of their codes.
        let values: Vec<Vec<BTreeMap<u32, usize>>> = self.tables.iter().map(|&table| self.values(table, of_support)).collect();
        let longest = |at: usize| values[at].iter().map(BTreeMap::len).max().unwrap_or(0).max(1);
        let slots = self.slots.iter().map(|slot| {
            let at = self.tables.binary_search(&slot.table).expect("the list holds every slot's table");
            let map = |rows: Unlabelled<'_>| slot.map(rows, &values[at], longest(at), device);
            TouchedSlot { at, columns: slot.columns.clone(), support: map(of_support), query: map(query) }
        });
        let slots: Vec<_> = slots.collect();
        let widths: Vec<_> =
            self.tables.iter().map(|&table| self.slots.iter().find(|s| s.table == table).map_or(0, |s| s.columns.len())).collect();
        let shapes = widths.iter().enumerate().map(|(at, &d)| [support.groups, longest(at), d]).collect();
        Touched { slots, shapes, width: self.width, device: device.clone() }
    }

    /// The place of each value of a table that a task's support rows read.
    fn values(&self, table: usize, support: Unlabelled<'_>) -> Vec<BTreeMap<u32, usize>> {
        let [groups, rows] = support.shape();
        let of_task = |task: usize| {
            let mut values = BTreeMap::new();
            for slot in self.slots.iter().filter(|slot| slot.table == table) {
                for row in task * rows..(task + 1) * rows {
                    slot.read(support, row, |code, _| {
                        values.insert(code, 0);
                    });
                }
            }
            values.values_mut().enumerate().for_each(|(place, value)| *value = place);
            values
        };
        (0..groups).map(of_task).collect()
    }
}

impl Reads {
    /// The values of a real row, and what each counts for.
    fn read(&self, rows: Unlabelled<'_>, row: usize, mut each: impl FnMut(u32, f32)) {
        if rows.mask()[row] == 0.0 {
            return;
        }
        match self.column {
            Column::Field(field) => each(rows.code(row, field), 1.0),
            Column::Bag(bag) => {
                let codes = rows.bag(row, bag);
                codes.iter().for_each(|&code| each(code, 1.0 / codes.len() as f32));
            }
        }
    }

    /// M, `[T, N, R]`: how rows read the values that have a place; what has none counts for nothing.
    fn map(&self, rows: Unlabelled<'_>, values: &[BTreeMap<u32, usize>], longest: usize, device: &Device) -> Tensor<3> {
        let [groups, n] = rows.shape();
        let mut map = vec![0.0; groups * n * longest];
        for row in 0..groups * n {
            self.read(rows, row, |code, weight| {
                if let Some(place) = values[row / n].get(&code) {
                    map[row * longest + place] += weight;
                }
            });
        }
        Tensor::from_data(TensorData::new(map, [groups, n, longest]), device)
    }
}

/// The rows of tables that the support sets of a batch read.
#[derive(Debug)]
pub(crate) struct Touched {
    slots: Vec<TouchedSlot>,
    /// Of each table: T, R values at most in one task, d.
    shapes: Vec<[usize; 3]>,
    width: usize,
    device: Device,
}

#[derive(Debug)]
struct TouchedSlot {
    /// Which of the tables.
    at: usize,
    columns: Range<usize>,
    /// M of support and query rows.
    support: Tensor<3>,
    query: Tensor<3>,
}

impl Touched {
    /// Δ before the first step: 0, `[T, R, d]` for each table.
    pub(crate) fn start(&self) -> Vec<Tensor<3>> {
        self.shapes.iter().map(|&shape| Tensor::zeros(shape, &self.device)).collect()
    }

    /// `∂L/∂E` of the values that are read, from `∂L/∂x [T, S, d_x]`.
    pub(crate) fn gradient(&self, of_x: &Tensor<3>) -> Vec<Tensor<3>> {
        let [tasks, rows, _] = of_x.dims();
        let of_slot =
            |slot: &TouchedSlot| slot.support.clone().transpose().matmul(of_x.clone().slice([0..tasks, 0..rows, slot.columns.clone()]));
        let of_table = |at: usize| self.slots.iter().filter(|slot| slot.at == at).map(of_slot).reduce(|a, b| a + b);
        (0..self.shapes.len()).filter_map(of_table).collect()
    }

    /// What support rows read when the values have moved by Δ.
    pub(crate) fn support(&self, x: &Tensor<3>, moved: &[Tensor<3>]) -> Tensor<3> {
        x.clone() + self.shift(moved, |slot| &slot.support)
    }

    /// What is added to gathered query rows `[T, N, d_x]` when the values have moved by Δ.
    pub(crate) fn query(&self, moved: &[Tensor<3>]) -> Tensor<3> {
        self.shift(moved, |slot| &slot.query)
    }

    /// `M Δ` of each slot, in the order of their columns; 0 for numbers.
    fn shift<'s>(&'s self, moved: &[Tensor<3>], map: impl Fn(&'s TouchedSlot) -> &'s Tensor<3>) -> Tensor<3> {
        let (mut parts, mut end) = (Vec::new(), 0);
        let [tasks, rows, _] = map(&self.slots[0]).dims();
        let zeros = |columns: usize| Tensor::zeros([tasks, rows, columns], &self.device);
        for slot in &self.slots {
            if slot.columns.start > end {
                parts.push(zeros(slot.columns.start - end));
            }
            parts.push(map(slot).clone().matmul(moved[slot.at].clone())); // [T, N, d]
            end = slot.columns.end;
        }
        if self.width > end {
            parts.push(zeros(self.width - end));
        }
        Tensor::cat(parts, 2) // [T, N, d_x]
    }
}
