//! Random networks and rows, and what a network says of rows, in `f64` and written from the formulas of `network.rs` alone.
#![allow(dead_code)]

use std::sync::Arc;

use acclimate_plan::{
    Activation, After, BagColumn, Branch, Columns, Layer, Linear, Network, Norm, Personal, Read, Rows, Scale, Slot, Source, Table,
};

/// SplitMix64: the numbers of a seed are the same on every machine.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 to `n - 1`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    pub(crate) fn flip(&mut self) -> bool {
        self.bits() & 1 == 1
    }

    /// -1 to 1.
    pub(crate) fn number(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn numbers(&mut self, n: usize, scale: f32) -> Arc<Vec<f32>> {
        Arc::new((0..n).map(|_| scale * self.number()).collect())
    }

    /// Around 1.
    pub(crate) fn gains(&mut self, n: usize) -> Arc<Vec<f32>> {
        Arc::new((0..n).map(|_| 1.0 + 0.5 * self.number()).collect())
    }

    pub(crate) fn linear(&mut self, d_in: usize, d_out: usize) -> Linear {
        let weight = self.numbers(d_in * d_out, 1.2 / (d_in as f32).sqrt());
        Linear { d_in, d_out, weight, bias: self.numbers(d_out, 0.5) }
    }

    /// A map inside a branch: small, as a trained one is beside what it is added to.
    fn beside(&mut self, d_in: usize, d_out: usize) -> Linear {
        let weight = self.numbers(d_in * d_out, 0.5 / (d_in as f32).sqrt());
        Linear { d_in, d_out, weight, bias: self.numbers(d_out, 0.5) }
    }

    fn width(&mut self) -> usize {
        [3, 5, 8, 16, 17, 31, 64, 70, 130, 200][self.below(10)]
    }

    fn scale(&mut self, d: usize) -> Scale {
        Scale { gain: self.flip().then(|| self.gains(d)), shift: self.flip().then(|| self.numbers(d, 0.5)) }
    }

    fn after(&mut self, d_in: usize, d_out: usize) -> Vec<After> {
        let count = [0, 0, 0, 1, 2, 3][self.below(6)];
        (0..count)
            .map(|_| {
                if self.flip() {
                    return After::Scale(self.scale(d_out));
                }
                let read = if self.flip() { Read::Output } else { Read::Input };
                let (r, inner) = (if read == Read::Output { d_out } else { d_in }, 1 + self.below(20));
                let activation = [Activation::Gelu, Activation::GeluTanh, Activation::Relu][self.below(3)];
                let skip = r == d_out && self.flip();
                After::Branch(Branch { read, skip, activation, down: self.beside(r, inner), up: self.beside(inner, d_out) })
            })
            .collect()
    }

    /// A network of everything that there is.
    pub(crate) fn network(&mut self) -> Network {
        let tables: Vec<Table> = (0..1 + self.below(4))
            .map(|_| {
                let (rows, d) = ([1, 2, 7, 8, 9, 40][self.below(6)], [1, 3, 8, 16, 20][self.below(5)]);
                Table::new(d, self.numbers(rows * d, 1.0))
            })
            .collect();
        let mut columns = [[0; 3]; 2];
        let slots: Vec<Slot> = (0..1 + self.below(8))
            .map(|_| {
                let (shared, kind, table) = (self.flip(), self.below(3), self.below(tables.len()));
                // A column in seven is one that nothing reads.
                let next = &mut columns[usize::from(shared)][kind];
                *next += 1 + usize::from(self.bits().is_multiple_of(7));
                let column = *next - 1;
                let source = match kind {
                    0 => Source::Field { column, table },
                    1 => Source::Bag { column, table },
                    _ => Source::Number { column },
                };
                Slot { source, shared }
            })
            .collect();
        let mut width = slots.iter().map(|slot| slot_width(&tables, slot)).sum();
        let layers = (0..self.below(5))
            .map(|_| {
                let d = self.width();
                let linear = self.linear(width, d);
                let after = self.after(width, d);
                width = d;
                let norm = match self.below(3) {
                    0 => None,
                    1 => Some(Norm::Affine { gain: self.gains(d), shift: self.numbers(d, 0.5) }),
                    _ => Some(Norm::Layer { gain: self.gains(d), shift: self.numbers(d, 0.5), epsilon: 0.1 }),
                };
                Layer { linear, after, norm }
            })
            .collect();
        let head = self.linear(width, 1);
        Network { tables, slots, layers, after: self.after(width, 1), head, unit: [1.0, 4.0][self.below(2)] }
    }

    /// Rows that the network reads.
    pub(crate) fn rows(&mut self, network: &Network, n: usize) -> Rows {
        Rows { n, shared: self.columns(network, true, 1), own: self.columns(network, false, n) }
    }

    fn columns(&mut self, network: &Network, shared: bool, n: usize) -> Columns {
        let mut columns = Columns::default();
        let (mut bags, mut sizes) = (Vec::new(), (Vec::new(), 0));
        for slot in network.slots.iter().filter(|slot| slot.shared == shared) {
            match slot.source {
                Source::Field { column, table } => {
                    sizes.0.resize(sizes.0.len().max(column + 1), 1);
                    sizes.0[column] = network.tables[table].rows();
                }
                Source::Bag { column, table } => {
                    bags.resize(bags.len().max(column + 1), 1);
                    bags[column] = network.tables[table].rows();
                }
                Source::Number { column } => sizes.1 = sizes.1.max(column + 1),
            }
        }
        (columns.fields, columns.numbers) = (sizes.0.len(), sizes.1);
        for _ in 0..n {
            columns.codes.extend(sizes.0.iter().map(|&rows| self.below(rows) as u32));
            columns.numeric.extend((0..sizes.1).map(|_| self.number()));
        }
        for rows in bags {
            let mut bag = BagColumn { offsets: vec![0], codes: Vec::new() };
            for _ in 0..n {
                let count = self.below(5);
                bag.codes.extend((0..count).map(|_| self.below(rows) as u32));
                bag.offsets.push(bag.codes.len() as u32);
            }
            columns.bags.push(bag);
        }
        columns
    }

    /// Weights that replace some of the network's.
    pub(crate) fn personal(&mut self, network: &Network) -> Personal {
        let mut personal = Personal::default();
        if self.flip() {
            personal.layers = network.layers.iter().map(|l| self.flip().then(|| self.linear(l.linear.d_in, l.linear.d_out))).collect();
        }
        if self.flip() {
            personal.scales = network.layers.iter().map(|l| self.flip().then(|| self.scale(l.linear.d_out))).collect();
        }
        personal.head = self.flip().then(|| self.linear(network.head.d_in, 1));
        personal
    }
}

fn slot_width(tables: &[Table], slot: &Slot) -> usize {
    match slot.source {
        Source::Number { .. } => 1,
        Source::Field { table, .. } | Source::Bag { table, .. } => tables[table].d,
    }
}

/// x, what goes into the head, and the score of each row.
pub(crate) struct Said {
    pub(crate) inputs: Vec<Vec<f64>>,
    pub(crate) hidden: Vec<Vec<f64>>,
    pub(crate) scores: Vec<f64>,
    /// Of each score, the largest sum of absolute terms on its way through the head: what its rounding is measured by.
    pub(crate) sizes: Vec<f64>,
}

/// What a network says of rows.
pub(crate) fn reference(network: &Network, rows: &Rows, personal: Option<&Personal>) -> Said {
    let mut said = Said { inputs: Vec::new(), hidden: Vec::new(), scores: Vec::new(), sizes: Vec::new() };
    for row in 0..rows.n {
        let mut x = Vec::new();
        for slot in &network.slots {
            let (columns, row) = if slot.shared { (&rows.shared, 0) } else { (&rows.own, row) };
            let embedding = |table: usize, code: u32| {
                let table = &network.tables[table];
                assert!(table.changed.is_none(), "the formulas read whole tables");
                let row = &table.values[code as usize * table.d..][..table.d];
                row.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>()
            };
            match slot.source {
                Source::Field { column, table } => x.extend(embedding(table, columns.codes[row * columns.fields + column])),
                Source::Number { column } => x.push(f64::from(columns.numeric[row * columns.numbers + column])),
                Source::Bag { column, table } => {
                    let bag = &columns.bags[column];
                    let codes = &bag.codes[bag.offsets[row] as usize..bag.offsets[row + 1] as usize];
                    let mut mean = vec![0.0; network.tables[table].d];
                    for &code in codes {
                        mean.iter_mut().zip(embedding(table, code)).for_each(|(m, e)| *m += e / codes.len() as f64);
                    }
                    x.extend(mean);
                }
            }
        }
        said.inputs.push(x.clone());
        for (l, layer) in network.layers.iter().enumerate() {
            let own = personal.and_then(|p| p.layers.get(l)).and_then(Option::as_ref);
            let mut z = times(&x, own.unwrap_or(&layer.linear));
            if let Some(scale) = personal.and_then(|p| p.scales.get(l)).and_then(Option::as_ref) {
                scaled(&mut z, scale);
            }
            after(&x, &mut z, &layer.after);
            match &layer.norm {
                None => {}
                Some(Norm::Affine { gain, shift }) => scaled(&mut z, &Scale { gain: Some(gain.clone()), shift: Some(shift.clone()) }),
                Some(Norm::Layer { gain, shift, epsilon }) => {
                    let d = z.len() as f64;
                    let mean = z.iter().sum::<f64>() / d;
                    let variance = z.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / d;
                    z.iter_mut().for_each(|z| *z = (*z - mean) / (variance + f64::from(*epsilon)).sqrt());
                    scaled(&mut z, &Scale { gain: Some(gain.clone()), shift: Some(shift.clone()) });
                }
            }
            x = z.into_iter().map(|z| z.max(0.0)).collect();
        }
        let head = personal.and_then(|p| p.head.as_ref()).unwrap_or(&network.head);
        let mut z = times(&x, head);
        let mut size: f64 = x.iter().zip(&head.weight[..]).map(|(x, w)| (x * f64::from(*w)).abs()).sum();
        for step in network.after.chunks(1) {
            after(&x, &mut z, step);
            size = size.max(z[0].abs());
        }
        said.sizes.push(f64::from(network.unit) * size);
        said.hidden.push(x);
        said.scores.push(f64::from(network.unit) * z[0]);
    }
    said
}

fn times(x: &[f64], linear: &Linear) -> Vec<f64> {
    let n = linear.d_out;
    (0..n)
        .map(|j| f64::from(linear.bias[j]) + x.iter().enumerate().map(|(i, x)| x * f64::from(linear.weight[i * n + j])).sum::<f64>())
        .collect()
}

fn scaled(z: &mut [f64], scale: &Scale) {
    for (j, z) in z.iter_mut().enumerate() {
        *z = *z * scale.gain.as_ref().map_or(1.0, |g| f64::from(g[j])) + scale.shift.as_ref().map_or(0.0, |s| f64::from(s[j]));
    }
}

fn after(x: &[f64], z: &mut [f64], after: &[After]) {
    for step in after {
        match step {
            After::Scale(scale) => scaled(z, scale),
            After::Branch(branch) => {
                let r = if branch.read == Read::Output { z.to_vec() } else { x.to_vec() };
                let inner: Vec<f64> = times(&r, &branch.down)
                    .into_iter()
                    .map(|t| match branch.activation {
                        Activation::Relu => t.max(0.0),
                        Activation::Gelu => 0.5 * t * (1.0 + error_function(t / 2.0_f64.sqrt())),
                        Activation::GeluTanh => {
                            0.5 * t * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (t + 0.044_715 * t.powi(3))).tanh())
                        }
                    })
                    .collect();
                let u = times(&inner, &branch.up);
                for (j, z) in z.iter_mut().enumerate() {
                    *z += u[j] + if branch.skip { r[j] } else { 0.0 };
                }
            }
        }
    }
}

/// `erf(x)` by its series; 1 where it differs by less than `f64` shows.
fn error_function(x: f64) -> f64 {
    if x.abs() > 4.5 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..120 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    2.0 / std::f64::consts::PI.sqrt() * sum
}

/// Largest difference, relative to `max(1, |expected|)`.
pub(crate) fn difference(found: &[f32], expected: impl IntoIterator<Item = f64>) -> f64 {
    difference_of_sizes(found, expected.into_iter().map(|expected| (expected, expected)))
}

/// Largest difference from the first of each pair, relative to `max(1, |first|, |second|)`.
pub(crate) fn difference_of_sizes(found: &[f32], expected: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let expected: Vec<(f64, f64)> = expected.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    let one = |(found, (expected, size)): (&f32, (f64, f64))| {
        assert!(found.is_finite() && expected.is_finite());
        (f64::from(*found) - expected).abs() / expected.abs().max(size.abs()).max(1.0)
    };
    found.iter().zip(expected).map(one).fold(0.0, f64::max)
}
