//! Folding: a modulation that is the same for every row becomes part of the weights, and serving pays nothing for it.

use acclimate_model::kernel::to_vec;
use acclimate_model::{Affine, Base, Bound, Modulation, Moments, ParamId, SiteId, SiteKind, Weights};

/// The base with the modulation's effect written into its weights; `None` if the modulation can not be expressed that way, because it is not
/// linear, differs between rows or groups, or changes the gathered rows.
///
/// `bound` are the base's parameters on a device without autodiff, as they were given to the adaptation.
#[must_use]
pub fn fold(base: &Base, bound: &Bound, modulation: &Modulation<'_>) -> Option<Base> {
    let architecture = base.backbone.architecture();
    if !modulation.is_foldable(&architecture.sites) {
        return None;
    }
    let mut folded = base.clone();
    for (i, site) in architecture.sites.iter().enumerate() {
        let at = |name: &str| base.params.find(&format!("{}.{name}", site.path));
        let site_id = SiteId(i);
        match site.kind {
            SiteKind::Linear { .. } => {
                let (Some(weight), Some(bias)) = (at("weight"), at("bias")) else { continue };
                let own = Weights { weight: bound.get(weight), bias: Some(bound.get(bias)), low_rank: None };
                let changed = modulation.folded(site_id, own);
                write(&mut folded, bias, to_vec(changed.bias.clone()?))?;
                write(&mut folded, weight, to_vec(changed.full()))?;
            }
            SiteKind::Norm { .. } => {
                let (Some(gain), Some(shift)) = (at("gain"), at("shift")) else { continue };
                let moments = at("mean").zip(at("variance"));
                let running = moments.map(|(mean, variance)| Moments { mean: bound.get(mean), variance: bound.get(variance) });
                let own = Affine { gain: bound.get(gain), shift: bound.get(shift), moments: running, own: None };
                let changed = modulation.norm(site_id, own);
                write(&mut folded, gain, to_vec(changed.gain))?;
                write(&mut folded, shift, to_vec(changed.shift))?;
                if let (Some((mean, variance)), Some(moments)) = (moments, changed.moments) {
                    write(&mut folded, mean, to_vec(moments.mean))?;
                    write(&mut folded, variance, to_vec(moments.variance))?;
                }
            }
            SiteKind::Hidden { .. } | SiteKind::Attention { .. } | SiteKind::Rows { .. } => {}
        }
    }
    Some(folded)
}

/// Replaces a parameter; `None` if the values are not of its size (weights per group).
fn write(base: &mut Base, id: ParamId, values: Vec<f32>) -> Option<()> {
    let own = &mut base.params.values[id.0];
    (own.len() == values.len()).then(|| *own = values)
}
