//! How a method reads rows otherwise than they are, as data: codes that few training rows have shown are read as the unknown one, or read on some of several paths.

use std::borrow::Cow;

use acclimate_data::Batch;

/// The training rows of a feature's codes.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeRows {
    /// The feature's place among the categorical ones.
    pub field: usize,
    /// Rows of each code.
    pub rows: Vec<f32>,
}

/// What is read of a row, before anything is gathered; it follows from the row alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The features that are counted.
    pub counted: Vec<CodeRows>,
    /// Codes of fewer training rows are read as the unknown one.
    pub least: f32,
    /// Passes in which some of what is read is left out, in scoring alone.
    pub paths: Option<Paths>,
}

/// Passes through the network for rows whose codes are rare, whose scores become one. With the rows c of a code, 0 for what is read as the unknown one:
///
/// ```text
/// u      = 1 - mean_f min(1, ln(1 + c_f) / ln(1 + c0))        rows with u > θ take the paths k = 1..K
/// path k reads f as the unknown one with probability ρ exp(-c_f / c1), by a hash of the row's codes, k and f
/// z      = Σ_k w_k z_k / Σ_k w_k,   w_k = exp(-|z_k - median z| / s)
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Paths {
    /// K.
    pub count: u32,
    /// θ.
    pub threshold: f64,
    /// c0: rows from which on a code is well known.
    pub known: f64,
    /// ρ.
    pub drop: f64,
    /// c1.
    pub fade: f64,
    /// s.
    pub spread: f64,
}

impl Paths {
    /// z of what the paths say.
    #[must_use]
    pub fn mean(&self, scores: &[f32]) -> f32 {
        let mut sorted: Vec<f64> = scores.iter().map(|&z| f64::from(z)).collect();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
        let median = f64::midpoint(sorted[last / 2], sorted[last.div_ceil(2)]);
        let weight = |z: f64| (-(z - median).abs() / self.spread).exp();
        let [sum, all] = [|w: f64, z: f64| w * z, |w: f64, _: f64| w].map(|of| sorted.iter().map(|&z| of(weight(z), z)).sum::<f64>());
        // Far from each other all weights but that of a median may be 0, and of two middle ones both.
        if all > 0.0 { (sum / all) as f32 } else { median as f32 }
    }
}

/// The finaliser of SplitMix64.
fn mixed(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Reading {
    /// Whether a code is read as the unknown one. A code that was never counted has no rows.
    #[must_use]
    pub fn is_unread(&self, field: usize, code: u32) -> bool {
        let counted = self.counted.iter().find(|counted| counted.field == field);
        counted.is_some_and(|counted| counted.rows.get(code as usize).copied().unwrap_or(0.0) < self.least)
    }

    /// The rows of the codes of a row as it is read, feature by feature.
    fn rows_of<'a>(&'a self, codes: &'a [u32]) -> impl Iterator<Item = (usize, f64)> + 'a {
        let rows = |counted: &CodeRows, code: u32| {
            if code == 0 { 0.0 } else { counted.rows.get(code as usize).map_or(0.0, |&rows| f64::from(rows)) }
        };
        self.counted.iter().map(move |counted| (counted.field, rows(counted, codes[counted.field])))
    }

    /// u of a row as it is read; 0 without paths.
    #[must_use]
    pub fn rarity(&self, codes: &[u32]) -> f64 {
        let Some(paths) = &self.paths else { return 0.0 };
        let known = |rows: f64| (rows.ln_1p() / paths.known.ln_1p()).min(1.0);
        1.0 - self.rows_of(codes).map(|(_, rows)| known(rows)).sum::<f64>() / self.counted.len().max(1) as f64
    }

    /// The features of a row as it is read that a path leaves out, the first path being 0.
    pub fn dropped<'a>(&'a self, codes: &'a [u32], path: u32) -> impl Iterator<Item = usize> + 'a {
        let of_row = codes.iter().fold(0, |hash, &code| mixed(hash ^ u64::from(code)));
        let of_path = mixed(of_row ^ u64::from(path));
        let unit = move |field: usize| (mixed(of_path ^ field as u64) >> 11) as f64 / (1_u64 << 53) as f64;
        let is_dropped = move |field: usize, rows: f64| self.paths.as_ref().is_some_and(|p| unit(field) < p.drop * (-rows / p.fade).exp());
        self.rows_of(codes).filter(move |&(field, rows)| codes[field] != 0 && is_dropped(field, rows)).map(|(field, _)| field)
    }

    /// Whether a row as it is read takes the paths: its codes are rare, and on some path one is left out.
    #[must_use]
    pub fn takes_paths(&self, codes: &[u32]) -> bool {
        let Some(paths) = &self.paths else { return false };
        self.rarity(codes) > paths.threshold && (0..paths.count).any(|path| self.dropped(codes, path).next().is_some())
    }

    /// The batch as it is read.
    #[must_use]
    pub fn read<'b>(&self, batch: &'b Batch) -> Cow<'b, Batch> {
        let is_plain = |codes: &[u32]| self.counted.iter().all(|c| codes[c.field] == 0 || !self.is_unread(c.field, codes[c.field]));
        if batch.is_empty() || self.counted.is_empty() || batch.categorical.chunks_exact(batch.fields).all(is_plain) {
            return Cow::Borrowed(batch);
        }
        let mut batch = batch.clone();
        for codes in batch.categorical.chunks_exact_mut(batch.fields) {
            for CodeRows { field, .. } in &self.counted {
                if self.is_unread(*field, codes[*field]) {
                    codes[*field] = 0;
                }
            }
        }
        Cow::Owned(batch)
    }
}
