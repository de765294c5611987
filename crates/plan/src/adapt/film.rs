//! Scales and shifts from a condition, without a step: what the method `film` serves where all rows of a request have one condition.
//!
//! With e the condition's embedding, one vector for all sites, `[δ_1, β_1, δ_2, β_2, ..]`, is `e` itself (rows of a table), `e V + c`, or `ReLU(e V1 + c1) V2 + c2`, times `[γ0, β0]` where there are learned
//! factors behind it. Then `z <- (1 + δ) ⊙ z + β` of the output z of each site's linear map, before its norm.
//!
//! # References
//! E. Perez et al., *FiLM: Visual Reasoning with a General Conditioning Layer*, AAAI 2018.

use std::sync::Arc;

use super::dense::{View, product};
use super::error::{bounded, sized};
use crate::{AdaptError, Linear, Network, Personal, Scale};

/// What turns a condition into scales and shifts of hidden layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Film {
    /// Linear maps with ReLU between them: none for a table, one or two.
    pub maps: Vec<Linear>,
    /// Factors behind them, `[2 Σ d]`.
    pub post: Option<Arc<Vec<f32>>>,
    /// The hidden layers that are modulated, in the order of their parts.
    pub sites: Vec<usize>,
}

impl Film {
    /// The scales of a network under a condition.
    ///
    /// # Shapes
    /// `condition [c]`: the embedding of the condition, or the sum of its rows of tables, `[2 Σ d]`.
    ///
    /// # Errors
    /// Maps, factors or a condition that do not fit the network, and values that are no numbers.
    pub fn run(&self, network: &Network, condition: &[f32]) -> Result<Personal, AdaptError> {
        let layers = network.layers.len() + 1;
        bounded("condition", condition, f32::MAX)?;
        let mut e = condition.to_vec();
        for (i, Linear { d_in, d_out, weight, bias }) in self.maps.iter().enumerate() {
            sized("condition", e.len(), *d_in)?;
            sized("weights of the generator", weight.len(), d_in.saturating_mul(*d_out))?;
            sized("biases of the generator", bias.len(), *d_out)?;
            let mut out = vec![0.0; *d_out];
            if !weight.is_empty() {
                product(View::rows(&e, *d_in), weight, &mut out, *d_out);
            }
            let open = i + 1 == self.maps.len();
            out.iter_mut().zip(&bias[..]).for_each(|(z, b)| *z = if open || *z + b > 0.0 { *z + b } else { 0.0 });
            e = out;
        }
        if let Some(post) = &self.post {
            sized("factors of the generator", post.len(), e.len())?;
            e.iter_mut().zip(&post[..]).for_each(|(x, factor)| *x *= factor);
        }
        bounded("scales and shifts", &e, f32::MAX)?;
        let mut scales = vec![None; network.layers.len()];
        let mut rest = &e[..];
        for &site in &self.sites {
            let out_of_place = AdaptError::Layers { start: site, end: site + 1, enters: 0, layers };
            let (Some(layer), Some(scale)) = (network.layers.get(site), scales.get_mut(site)) else { return Err(out_of_place) };
            let d = layer.linear.d_out;
            if scale.is_some() {
                return Err(out_of_place);
            }
            let Some((own, others)) = rest.split_at_checked(d.saturating_mul(2)) else {
                return Err(AdaptError::Size { what: "scales and shifts of a layer", found: rest.len(), expected: d.saturating_mul(2) });
            };
            let (delta, beta) = own.split_at(d);
            let gain = delta.iter().map(|delta| 1.0 + delta).collect();
            *scale = Some(Scale { gain: Some(Arc::new(gain)), shift: Some(Arc::new(beta.to_vec())) });
            rest = others;
        }
        sized("scales and shifts", e.len(), e.len() - rest.len())?;
        Ok(Personal { scales, ..Personal::default() })
    }
}
