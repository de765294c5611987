//! From a network to a plan.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Weak};

use super::first::{First, Fold, Folded, Part};
use super::stage::{Affine, Beside, Map, Packed, Stage, Step};
use super::table::{Changes, Kept};
use super::{Options, Plan};
use crate::check::{Known, Placed, address, check, same};
use crate::kernel::{Buffer, Kernels, Panels, Product, Start, Weight, padded, product};
use crate::query::Needs;
use crate::{After, Branch, Linear, Network, Norm, PlanError, Source, Table};

impl Plan {
    /// Compiles a network.
    ///
    /// # Errors
    /// For a network whose parts do not fit or hold values that are not finite, and for instructions that the machine lacks.
    pub fn compile(network: &Network, options: &Options) -> Result<Self, PlanError> {
        Compiler::new(options, None)?.compile(network, options)
    }

    /// Compiles a network that shares buffers with another: what is made of the same ones is shared as well, if the instructions are the same. Scores
    /// have the same bits as those of [`Plan::compile`].
    ///
    /// # Errors
    /// As for [`Plan::compile`].
    pub fn compile_like(network: &Network, options: &Options, base: &Self) -> Result<Self, PlanError> {
        Compiler::new(options, Some(base))?.compile(network, options)
    }

    /// Addresses of the buffers of the network that it keeps.
    fn held(&self) -> HashSet<usize> {
        let steps = self.stages.iter().flat_map(|stage| &stage.steps).flat_map(|step| match step {
            Step::Scale(scale) => [scale.gain.as_ref(), scale.shift.as_ref()],
            Step::Norm { gain, shift, .. } => [Some(gain), Some(shift)],
            Step::Branch(_) => [None, None],
        });
        let maps = self.stages.iter().filter_map(|stage| match &stage.map {
            Map::Dot { weight, .. } => Some(weight),
            Map::First | Map::Panels { .. } => None,
        });
        let folded = self.stages.iter().filter_map(|stage| stage.folded.as_ref()).flat_map(|affine| [&affine.gain, &affine.shift]);
        let tables = self.tables.iter().map(|table| &table.values);
        let changed = self.tables.iter().filter_map(|table| table.changes.as_ref()).map(|changes| address(&changes.changed));
        tables.chain(steps.flatten()).chain(maps).chain(folded).map(address).chain(changed).collect()
    }

    /// Addresses of the buffers whose values were looked at: what it keeps, and what it still knows by a weak pointer, so that no other buffer can
    /// have the address.
    fn known(&self) -> Known {
        let parts = self.first.parts.iter().map(|part| &part.packed);
        let packed = self.stages.iter().filter_map(|stage| match &stage.map {
            Map::Panels { packed, .. } => Some(packed),
            Map::First | Map::Dot { .. } => None,
        });
        let beside = self.stages.iter().flat_map(|stage| &stage.steps).flat_map(|step| match step {
            Step::Branch(beside) => [Some(&beside.down), Some(&beside.up)],
            Step::Scale(_) | Step::Norm { .. } => [None, None],
        });
        let packed = parts.chain(packed).chain(beside.flatten());
        self.held().into_iter().chain(packed.map(|packed| packed.weight.as_ptr().addr())).collect()
    }
}

struct Compiler<'a> {
    kernels: Kernels,
    like: Option<&'a Plan>,
    /// Buffers of the network that it or the other plan keeps.
    held: HashSet<usize>,
    bytes: usize,
}

impl<'a> Compiler<'a> {
    fn new(options: &Options, base: Option<&'a Plan>) -> Result<Self, PlanError> {
        let kernels = Kernels::pick(options.isa, options.precision)?;
        let held = base.map(Plan::held).unwrap_or_default();
        Ok(Self { kernels, like: base.filter(|base| base.kernels == kernels), held, bytes: size_of::<Plan>() })
    }

    fn compile(mut self, network: &Network, options: &Options) -> Result<Plan, PlanError> {
        let known = self.like.map(Plan::known).unwrap_or_default();
        let slots = check(network, &known)?;
        let tables: Vec<Kept> = network.tables.iter().enumerate().map(|(t, table)| self.table(t, table)).collect();
        let folded = network.layers.first().and_then(|layer| folded(&layer.after, layer.norm.as_ref()));
        let linear = network.layers.first().map_or(&network.head, |layer| &layer.linear);
        let first = self.first(&tables, linear, folded.as_ref(), &slots, options.fold_rows)?;
        let mut stages = Vec::with_capacity(network.layers.len() + 1);
        for (l, layer) in network.layers.iter().enumerate() {
            let folded = self::folded(&layer.after, layer.norm.as_ref());
            folded.iter().flat_map(|affine| [&affine.gain, &affine.shift]).for_each(|values| self.hold(values));
            let map = if l == 0 { Map::First } else { self.map(l, &layer.linear, folded.as_ref()) };
            let norm = layer.norm.as_ref().filter(|_| folded.is_none());
            let steps = self.steps(l, &layer.after, norm);
            stages.push(Stage { d_in: layer.linear.d_in, d_out: layer.linear.d_out, map, folded, steps, relu: true });
        }
        let head = &network.head;
        let map = match network.layers.is_empty() {
            true => Map::First,
            false => {
                self.hold(&head.weight);
                Map::Dot { weight: Arc::clone(&head.weight), bias: head.bias[0] }
            }
        };
        stages.push(Stage {
            d_in: head.d_in,
            d_out: 1,
            map,
            folded: None,
            steps: self.steps(network.layers.len(), &network.after, None),
            relu: false,
        });
        Ok(Plan {
            kernels: self.kernels,
            tables,
            needs: [Needs::of(&slots, true), Needs::of(&slots, false)],
            width: slots.iter().map(|slot| slot.width).sum(),
            slots,
            first,
            stages,
            unit: network.unit,
            bytes: self.bytes,
        })
    }

    /// Counts a buffer of the network that the plan keeps, unless it is there already.
    fn hold(&mut self, values: &Arc<Vec<f32>>) {
        if self.held.insert(address(values)) {
            self.bytes += 4 * values.len();
        }
    }

    /// A table, of which changed rows are its own.
    fn table(&mut self, t: usize, table: &Table) -> Kept {
        self.hold(&table.values);
        let like = self.like.and_then(|like| like.tables.get(t));
        let kept = Kept::new(table, like);
        if let Some(changes) = &kept.changes {
            if self.held.insert(address(&changes.changed)) {
                self.bytes += Changes::bytes_of(&changes.changed);
            }
            if !like.and_then(|like| like.changes.as_ref()).is_some_and(|like| Arc::ptr_eq(like, changes)) {
                self.bytes += changes.bytes();
            }
        }
        kept
    }

    fn first(
        &mut self,
        tables: &[Kept],
        linear: &Linear,
        folded: Option<&Affine>,
        slots: &[Placed],
        fold_rows: usize,
    ) -> Result<First, PlanError> {
        let like = self.like.filter(|like| like.slots == slots && like.stages[0].d_out == linear.d_out);
        let mut part = |part: usize| {
            let like = like.map(|like| &like.first.parts[part]);
            let (mut folds, mut unfolded) = (Vec::new(), Vec::new());
            for (slot, &placed) in slots.iter().enumerate().filter(|(_, slot)| slot.shared == (part == 0)) {
                match placed.source {
                    Source::Field { table, .. } | Source::Bag { table, .. } if tables[table].rows <= fold_rows => {
                        let find = |like: &'a Part| Some(&like.folds[like.folds.binary_search_by_key(&slot, |fold| fold.slot).ok()?]);
                        let like = like.and_then(find);
                        folds.push(self.fold(slot, placed, &tables[table], linear, folded, like)?);
                    }
                    _ => unfolded.push(placed),
                }
            }
            let picks = runs(&unfolded);
            let packed = self.pack(linear, folded, picks, like.map(|like| &like.packed));
            Ok(Part { folds, slots: unfolded, packed })
        };
        let parts = [part(0)?, part(1)?];
        Ok(First { parts, start: self.start(linear, folded) })
    }

    /// `E W` of a slot, and of the rows that are changed beside it.
    fn fold(
        &mut self,
        slot: usize,
        placed: Placed,
        table: &Kept,
        linear: &Linear,
        folded: Option<&Affine>,
        like: Option<&Fold>,
    ) -> Result<Fold, PlanError> {
        let gain = folded.map(|affine| &affine.gain);
        let same =
            |like: &&Fold| same(&like.table, &table.values) && same(&like.weight, &linear.weight) && same_gain(like.gain.as_ref(), gain);
        let like = like.filter(same);
        let values = match like {
            Some(like) => Arc::clone(&like.values),
            None => self.multiplied(slot, placed, &table.values, linear, gain)?,
        };
        let changed = match (&table.changes, like.and_then(|like| like.changed.as_ref())) {
            (None, _) => None,
            (Some(changes), Some(like)) if Arc::ptr_eq(&like.changes, changes) => Some(like.clone()),
            (Some(changes), _) => {
                let values = self.multiplied(slot, placed, &changes.changed.values, linear, gain)?;
                Some(Folded { changes: Arc::clone(changes), values })
            }
        };
        Ok(Fold {
            slot,
            source: placed.source,
            table: Arc::downgrade(&table.values),
            weight: Arc::downgrade(&linear.weight),
            gain: gain.map(Arc::downgrade),
            values,
            changed,
        })
    }

    /// Rows of a table times the rows of the first weight that belong to a slot.
    fn multiplied(
        &mut self,
        slot: usize,
        placed: Placed,
        x: &[f32],
        linear: &Linear,
        gain: Option<&Arc<Vec<f32>>>,
    ) -> Result<Arc<Buffer>, PlanError> {
        let (n, stride) = (linear.d_out, placed.width);
        let rows = x.len() / stride;
        let size = || PlanError::Shape { what: format!("slot {slot}, folded") };
        let mut values = Buffer::zeros(rows.checked_mul(padded(n)).ok_or_else(size)?);
        if rows > 0 {
            let mut weight = linear.weight[placed.at * n..(placed.at + stride) * n].to_vec();
            if let Some(gain) = gain {
                weight.chunks_exact_mut(n).for_each(|row| row.iter_mut().zip(&gain[..]).for_each(|(value, gain)| *value *= gain));
            }
            let (weight, zeros) = (Weight::Rows { values: &weight, columns: n }, Buffer::zeros(n));
            let (start, floor) = (Start::Bias(&zeros), f32::NEG_INFINITY);
            product(self.kernels, Product { rows, x, stride, weight, start, floor, room: &mut [], out: &mut values });
        }
        self.bytes += values.bytes();
        Ok(Arc::new(values))
    }

    fn map(&mut self, stage: usize, linear: &Linear, folded: Option<&Affine>) -> Map {
        let like = self.like.and_then(|like| like.stages.get(stage)).and_then(|stage| match &stage.map {
            Map::Panels { packed, .. } => Some(packed),
            Map::First | Map::Dot { .. } => None,
        });
        let packed = self.pack(linear, folded, whole(linear), like);
        Map::Panels { packed, start: self.start(linear, folded) }
    }

    fn pack(&mut self, linear: &Linear, folded: Option<&Affine>, picks: Vec<Range<usize>>, like: Option<&Packed>) -> Packed {
        let gain = folded.map(|affine| &affine.gain);
        if let Some(like) = like
            && like.picks == picks
            && same(&like.weight, &linear.weight)
            && same_gain(like.gain.as_ref(), gain)
            && like.panels.columns() == linear.d_out
        {
            return like.clone();
        }
        let panels = Panels::pack(self.kernels, &linear.weight, linear.d_out, &picks, gain.map(|gain| &gain[..]));
        self.bytes += panels.bytes();
        Packed { weight: Arc::downgrade(&linear.weight), gain: gain.map(Arc::downgrade), picks, panels: Arc::new(panels) }
    }

    /// The bias, with what is folded into it.
    fn start(&mut self, linear: &Linear, folded: Option<&Affine>) -> Buffer {
        let mut start = Buffer::copied(&linear.bias);
        if let Some(Affine { gain, shift }) = folded {
            for ((value, gain), shift) in start.iter_mut().zip(&gain[..]).zip(&shift[..]) {
                *value = *value * gain + shift;
            }
        }
        self.bytes += start.bytes();
        start
    }

    fn steps(&mut self, stage: usize, after: &[After], norm: Option<&Norm>) -> Vec<Step> {
        let like = self.like.and_then(|like| like.stages.get(stage)).map_or(&[][..], |stage| &stage.steps);
        let mut steps = Vec::with_capacity(after.len() + 1);
        for (a, after) in after.iter().enumerate() {
            steps.push(match after {
                After::Scale(scale) => {
                    scale.gain.iter().chain(&scale.shift).for_each(|values| self.hold(values));
                    Step::Scale(scale.clone())
                }
                After::Branch(branch) => {
                    let like = match like.get(a) {
                        Some(Step::Branch(like)) => Some(&**like),
                        _ => None,
                    };
                    Step::Branch(Box::new(self.branch(branch, like)))
                }
            });
        }
        if let Some(Norm::Layer { gain, shift, .. } | Norm::Affine { gain, shift }) = norm {
            [gain, shift].into_iter().for_each(|values| self.hold(values));
        }
        match norm.cloned() {
            Some(Norm::Layer { gain, shift, epsilon }) => steps.push(Step::Norm { gain, shift, epsilon }),
            Some(Norm::Affine { gain, shift }) => steps.push(Step::Scale(crate::Scale { gain: Some(gain), shift: Some(shift) })),
            None => {}
        }
        steps
    }

    fn branch(&mut self, branch: &Branch, like: Option<&Beside>) -> Beside {
        let Branch { read, skip, activation, down, up } = branch;
        Beside {
            read: *read,
            skip: *skip,
            activation: *activation,
            down: self.pack(down, None, whole(down), like.map(|like| &like.down)),
            up: self.pack(up, None, whole(up), like.map(|like| &like.up)),
            starts: [self.start(down, None), self.start(up, None)],
            inner: down.d_out,
        }
    }
}

/// All rows of a weight.
fn whole(linear: &Linear) -> Vec<Range<usize>> {
    std::iter::once(0..linear.d_in).collect()
}

/// An affine norm right after the linear map is part of it.
fn folded(after: &[After], norm: Option<&Norm>) -> Option<Affine> {
    match norm {
        Some(Norm::Affine { gain, shift }) if after.is_empty() => Some(Affine { gain: Arc::clone(gain), shift: Arc::clone(shift) }),
        _ => None,
    }
}

fn same_gain(seen: Option<&Weak<Vec<f32>>>, gain: Option<&Arc<Vec<f32>>>) -> bool {
    match (seen, gain) {
        (None, None) => true,
        (Some(seen), Some(gain)) => same(seen, gain),
        _ => false,
    }
}

/// Rows of the first weight that belong to some slots; neighbours as one.
fn runs(slots: &[Placed]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for slot in slots {
        match runs.last_mut() {
            Some(run) if run.end == slot.at => run.end += slot.width,
            _ => runs.push(slot.at..slot.at + slot.width),
        }
    }
    runs
}
