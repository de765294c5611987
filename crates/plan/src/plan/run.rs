//! Scoring: blocks of rows through all stages.

use super::scratch::{Segment, Widths};
use super::stage::{Affine, Map, RowsOf, Stage, Step, scaled};
use super::{BLOCK, Plan, Scratch};
use crate::kernel::{Product, Start, Weight, affine, dot, padded, product, relu};
use crate::{Linear, Personal, PlanError, Precision, Query, Rows, Scale};

impl Plan {
    /// Scores the rows of some queries, one query after the other; `out` holds these scores and nothing else. They are what the network says, times
    /// its unit: a logistic objective's are log-odds. Finite inputs can still give a score that is not, if they are very large.
    ///
    /// # Errors
    /// For the first query that does not fit the plan; nothing is scored then. [`Plan::accepts`] says beforehand which do.
    pub fn score(&self, scratch: &mut Scratch, queries: &[Query<'_>], out: &mut Vec<f32>) -> Result<(), PlanError> {
        out.clear();
        self.accepts_all(queries)?;
        out.reserve(queries.iter().map(|query| query.rows.n).sum());
        self.run(scratch, queries, self.stages.len(), |values, stride| {
            out.extend(values.chunks_exact(stride).map(|score| self.unit * score[0]));
        });
        Ok(())
    }

    /// What goes into the head, of all rows of some queries: `[N, hidden_width]`.
    ///
    /// # Errors
    /// As for [`Plan::score`].
    pub fn hidden(&self, scratch: &mut Scratch, queries: &[Query<'_>], out: &mut Vec<f32>) -> Result<(), PlanError> {
        out.clear();
        self.accepts_all(queries)?;
        let (layers, width) = (self.stages.len() - 1, self.hidden_width());
        out.reserve(queries.iter().map(|query| query.rows.n).sum::<usize>() * width);
        if layers == 0 {
            queries.iter().for_each(|query| self.append_inputs(query.rows, out));
        } else {
            self.run(scratch, queries, layers, |values, stride| {
                values.chunks_exact(stride).for_each(|row| out.extend_from_slice(&row[..width]));
            });
        }
        Ok(())
    }

    /// What goes into the first layer, of all rows: `[N, width]`.
    ///
    /// # Errors
    /// As for [`Plan::score`].
    pub fn inputs(&self, rows: &Rows, out: &mut Vec<f32>) -> Result<(), PlanError> {
        out.clear();
        self.accepts(&Query { rows, personal: None })?;
        self.append_inputs(rows, out);
        Ok(())
    }

    fn append_inputs(&self, rows: &Rows, out: &mut Vec<f32>) {
        let begin = out.len();
        out.resize(begin + rows.n * self.width, 0.0);
        if rows.n > 0 {
            self.whole(rows, 0..rows.n, &mut out[begin..], self.width);
        }
    }

    /// All columns of some rows: `out` `[rows, width]`, rows `stride` apart.
    fn whole(&self, rows: &Rows, range: std::ops::Range<usize>, out: &mut [f32], stride: usize) {
        for slot in &self.slots {
            if slot.shared {
                out.chunks_mut(stride).take(range.len()).for_each(|out| self.gather(slot, &rows.shared, 0..1, out, stride, slot.at));
            } else {
                self.gather(slot, &rows.own, range.clone(), out, stride, slot.at);
            }
        }
    }

    fn accepts_all(&self, queries: &[Query<'_>]) -> Result<(), PlanError> {
        queries.iter().enumerate().try_for_each(|(q, query)| self.accepts_as(q, query))
    }

    /// How wide the rows of a scratch must be.
    pub(super) fn widths(&self) -> Widths {
        let columns = self.first.parts.iter().map(|part| part.packed.panels.depth()).max().unwrap_or(0);
        let layer = self.stages.iter().map(|stage| stage.d_out).max().unwrap_or(0);
        let inner = self.stages.iter().flat_map(|stage| &stage.steps).map(|step| match step {
            Step::Branch(beside) => beside.inner,
            Step::Scale(_) | Step::Norm { .. } => 0,
        });
        let inner = inner.max().unwrap_or(0);
        let pairs = match self.kernels.precision() {
            Precision::F32 => 0,
            Precision::Bf16 => self.width.max(layer).max(inner).div_ceil(2),
        };
        Widths { columns, inputs: self.width, layer, inner, pairs }
    }

    /// Runs the first `stages` stages and hands each block's values on, with what lies between their rows.
    fn run(&self, scratch: &mut Scratch, queries: &[Query<'_>], stages: usize, mut take: impl FnMut(&[f32], usize)) {
        scratch.fit(self, queries.len());
        let expect = |segments: &[Segment]| {
            segments.iter().for_each(|next| self.expect(&queries[next.query].rows.own, next.from..next.from + next.rows));
        };
        let mut at = (0, 0);
        fill(&mut scratch.block, queries, &mut at);
        expect(&scratch.block);
        self.share(scratch, queries);
        while let Some(last) = scratch.block.last() {
            let rows = last.at + last.rows;
            fill(&mut scratch.following, queries, &mut at);
            expect(&scratch.following);
            self.block(scratch, queries, rows, stages);
            let stride = padded(self.stages[stages - 1].d_out);
            take(&scratch.here[..rows * stride], stride);
            std::mem::swap(&mut scratch.block, &mut scratch.following);
        }
    }

    /// What the rows of each query share of the first layer.
    fn share(&self, scratch: &mut Scratch, queries: &[Query<'_>]) {
        let (part, first) = (&self.first.parts[0], &self.stages[0]);
        let (d, stride, depth) = (first.d_out, padded(first.d_out), part.packed.panels.depth());
        let Scratch { shared, columns, inputs, room, line, .. } = scratch;
        for (queries, z) in queries.chunks(BLOCK).zip(shared.chunks_mut(BLOCK * stride)) {
            for (q, query) in queries.iter().enumerate().filter(|(_, query)| query.rows.n > 0) {
                let z = &mut z[q * stride..][..stride];
                part.begin(self.kernels, &query.rows.shared, 0..1, &self.first.start[..d], z, line);
                let mut at = 0;
                for slot in &part.slots {
                    self.gather(slot, &query.rows.shared, 0..1, &mut columns[q * depth..][..depth], depth, at);
                    at += slot.width;
                }
            }
            let (x, weight) = (&columns[..], Weight::Panels(&part.packed.panels));
            let (rows, floor) = (queries.len(), f32::NEG_INFINITY);
            product(self.kernels, Product { rows, x, stride: depth, weight, start: Start::Out, floor, room, out: &mut *z });
            for (q, query) in queries.iter().enumerate().filter(|(_, query)| query.rows.n > 0) {
                let Some(linear) = query.personal.and_then(|personal| self.linear_of(personal, 0)) else { continue };
                let z = &mut z[q * stride..][..stride];
                z[..d].copy_from_slice(&linear.bias);
                self.slots.iter().filter(|slot| slot.shared).for_each(|slot| {
                    self.gather(slot, &query.rows.shared, 0..1, inputs, padded(self.width), slot.at);
                });
                self.personal_first(true, linear, 1, inputs, z);
            }
        }
    }

    /// `z += x W` of the shared or the own slots, with personal weights, in the order of the slots.
    fn personal_first(&self, shared: bool, linear: &Linear, rows: usize, inputs: &[f32], z: &mut [f32]) {
        let (n, stride) = (linear.d_out, padded(self.width));
        for slot in self.slots.iter().filter(|slot| slot.shared == shared) {
            let weight = Weight::Rows { values: &linear.weight[slot.at * n..(slot.at + slot.width) * n], columns: n };
            let (x, floor) = (&inputs[slot.at..], f32::NEG_INFINITY);
            product(self.kernels, Product { rows, x, stride, weight, start: Start::Out, floor, room: &mut [], out: &mut *z });
        }
    }

    /// One block through some stages; the result is in `here`.
    fn block(&self, scratch: &mut Scratch, queries: &[Query<'_>], rows: usize, stages: usize) {
        let personal = |segment: &Segment| queries[segment.query].personal;
        for (s, stage) in self.stages[..stages].iter().enumerate() {
            let stride = padded(stage.d_out);
            if s == 0 && stage.reads_input() {
                for segment in &scratch.block {
                    let inputs = &mut scratch.inputs[segment.at * padded(self.width)..];
                    self.whole(queries[segment.query].rows, segment.from..segment.from + segment.rows, inputs, padded(self.width));
                }
            }
            let mut at = 0;
            while at < scratch.block.len() {
                let apart = |segment: &Segment| personal(segment).is_some_and(|personal| self.changes(personal, s));
                let special = apart(&scratch.block[at]);
                let len = match special {
                    true => 1,
                    false => scratch.block[at..].iter().take_while(|segment| !apart(segment)).count(),
                };
                let floor = if stage.fused() && !special { 0.0 } else { f32::NEG_INFINITY };
                let own = personal(&scratch.block[at]).filter(|_| special);
                self.map(scratch, queries, s, at..at + len, own.and_then(|own| self.linear_of(own, s)), floor);
                if let Some(own) = own {
                    let Segment { at, rows, .. } = scratch.block[at];
                    self.personal_after(stage, own, s, &mut scratch.there[at * stride..(at + rows) * stride], &mut scratch.line);
                }
                at += len;
            }
            if !stage.steps.is_empty() {
                let x = match s {
                    0 => RowsOf { values: &scratch.inputs, stride: padded(self.width) },
                    _ => RowsOf { values: &scratch.here, stride: padded(stage.d_in) },
                };
                let z = &mut scratch.there[..rows * stride];
                stage.after(self.kernels, rows, x, z, [&mut scratch.inner, &mut scratch.beside, &mut scratch.room]);
            }
            std::mem::swap(&mut scratch.here, &mut scratch.there);
        }
    }

    /// The linear map of a stage for neighbouring segments of the block, from `here` into `there`.
    fn map(
        &self,
        scratch: &mut Scratch,
        queries: &[Query<'_>],
        s: usize,
        segments: std::ops::Range<usize>,
        personal: Option<&Linear>,
        floor: f32,
    ) {
        let stage = &self.stages[s];
        let (d, stride, kernels) = (stage.d_out, padded(stage.d_out), self.kernels);
        let Scratch { shared, columns, inputs, here, there, room, line, block, .. } = scratch;
        let segments = &block[segments];
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return };
        let rows = last.at + last.rows - first.at;
        let out = &mut there[first.at * stride..][..rows * stride];
        match (&stage.map, personal) {
            (Map::First, Some(linear)) => {
                let asked = queries[first.query].rows;
                let x = &mut inputs[first.at * padded(self.width)..];
                self.whole(asked, first.from..first.from + rows, x, padded(self.width));
                out.chunks_exact_mut(stride).for_each(|z| z[..d].copy_from_slice(&shared[first.query * stride..][..d]));
                self.personal_first(false, linear, rows, x, out);
            }
            (Map::First, None) => {
                let part = &self.first.parts[1];
                let depth = part.packed.panels.depth();
                for segment in segments {
                    let own = &queries[segment.query].rows.own;
                    let range = segment.from..segment.from + segment.rows;
                    let at = segment.at - first.at;
                    let z = &mut out[at * stride..][..segment.rows * stride];
                    part.begin(kernels, own, range.clone(), &shared[segment.query * stride..][..d], z, line);
                    let mut column = 0;
                    for slot in &part.slots {
                        self.gather(slot, own, range.clone(), &mut columns[at * depth..], depth, column);
                        column += slot.width;
                    }
                }
                let weight = Weight::Panels(&part.packed.panels);
                product(kernels, Product { rows, x: columns, stride: depth, weight, start: Start::Out, floor, room, out });
            }
            (Map::Dot { weight, bias }, personal) => {
                let (weight, bias) = personal.map_or((&weight[..], *bias), |linear| (&linear.weight[..], linear.bias[0]));
                let x = here[first.at * padded(stage.d_in)..].chunks_exact(padded(stage.d_in));
                for (z, x) in out.chunks_exact_mut(stride).zip(x) {
                    z[0] = bias + dot(kernels, &x[..stage.d_in], weight);
                }
            }
            (Map::Panels { packed, start }, personal) => {
                let (weight, start) = match personal {
                    Some(linear) => {
                        line[..d].copy_from_slice(&linear.bias);
                        (Weight::Rows { values: &linear.weight, columns: d }, &line[..])
                    }
                    None => (Weight::Panels(&packed.panels), &start[..]),
                };
                let (x, stride) = (&here[first.at * padded(stage.d_in)..], padded(stage.d_in));
                product(kernels, Product { rows, x, stride, weight, start: Start::Bias(start), floor, room, out });
            }
        }
    }

    /// What personal weights change after the map of a stage, up to what stands there for all.
    fn personal_after(&self, stage: &Stage, own: &Personal, s: usize, z: &mut [f32], line: &mut [f32]) {
        let d = stage.d_out;
        let scale = own.scales.get(s).and_then(Option::as_ref);
        match (&stage.folded, self.linear_of(own, s)) {
            // What is folded into the network's map is not in the personal one.
            (Some(Affine { gain, shift }), Some(_)) => {
                scale.inspect(|scale| scaled(self.kernels, z, d, scale));
                z.chunks_exact_mut(padded(d)).for_each(|z| affine(self.kernels, &mut z[..d], Some(gain), Some(shift)));
            }
            // `(z ⊙ p + q) ⊙ gain + shift = (z ⊙ gain + shift) ⊙ p + (q ⊙ gain + shift - shift ⊙ p)`
            (Some(Affine { gain, shift }), None) => {
                let Some(Scale { gain: p, shift: q }) = scale else { return };
                let (p, q) = (p.as_ref().map(|p| &p[..]), q.as_ref().map(|q| &q[..]));
                for (i, value) in line[..d].iter_mut().enumerate() {
                    *value = q.map_or(0.0, |q| q[i]) * gain[i] + shift[i] - shift[i] * p.map_or(1.0, |p| p[i]);
                }
                z.chunks_exact_mut(padded(d)).for_each(|z| affine(self.kernels, &mut z[..d], p, Some(&line[..d])));
            }
            (None, _) => {
                scale.inspect(|scale| scaled(self.kernels, z, d, scale));
            }
        }
        if stage.fused() {
            relu(self.kernels, z);
        }
    }

    /// Whether personal weights change the map of a stage, or scale its output.
    fn changes(&self, personal: &Personal, s: usize) -> bool {
        self.linear_of(personal, s).is_some() || personal.scales.get(s).is_some_and(Option::is_some)
    }

    /// The personal linear map of a stage.
    fn linear_of<'a>(&self, personal: &'a Personal, s: usize) -> Option<&'a Linear> {
        if s + 1 == self.stages.len() { personal.head.as_ref() } else { personal.layers.get(s).and_then(Option::as_ref) }
    }
}

/// The next rows, at most [`BLOCK`] of them, from a query and a row on.
fn fill(block: &mut Vec<Segment>, queries: &[Query<'_>], (query, from): &mut (usize, usize)) {
    block.clear();
    let mut at = 0;
    while at < BLOCK && *query < queries.len() {
        let rows = (queries[*query].rows.n - *from).min(BLOCK - at);
        if rows > 0 {
            block.push(Segment { query: *query, from: *from, at, rows });
        }
        (at, *from) = (at + rows, *from + rows);
        if *from == queries[*query].rows.n {
            (*query, *from) = (*query + 1, 0);
        }
    }
}
