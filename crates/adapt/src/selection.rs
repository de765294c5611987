//! Naming parts of a backbone in a config.

use acclimate_model::{Architecture, Backbone, ParamId, Role, Site, SiteId, SiteKind};
use serde::{Deserialize, Serialize};

use crate::{AdaptError, Scope};

/// A part of the base that a method may train beside its own parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Every parameter, running moments included, and every touched row.
    All,
    /// The layer before the head, with its norm, and the head.
    Last,
    /// The last residual block, its layers with their norms, and the head.
    LastBlock,
    /// The layer that gives the score, or the table of item vectors where that is the head.
    Head,
    /// The table of item vectors, where that is the head.
    HeadRows,
    /// Gains and shifts of all norms.
    Norms,
    /// Biases of all linear layers of body and head.
    Biases,
    /// Rows of positions in a sequence, where a network has some.
    Positions,
    /// Rows of the input embeddings that training touches.
    Rows,
}

/// The scope that a list of parts names.
#[must_use]
pub fn scope(parts: &[Part], backbone: &dyn Backbone) -> Scope {
    let architecture = backbone.architecture();
    // From the last layer of the body before each head to that head: one range, or one a domain.
    let of_heads = architecture.sites.iter().enumerate().filter(|(_, site)| site.role == Role::Head).map(|(head, _)| {
        let before = architecture.linear_sites().filter(|(id, s, _)| s.role == Role::Body && id.0 < head);
        before.last().map_or(head, |(id, ..)| id.0)..=head
    });
    let last: Vec<_> = of_heads.collect();
    let block = last_block(architecture);
    let selected = |i: usize| {
        let site = architecture.sites.iter().enumerate().find(|(id, _)| architecture.params_of(SiteId(*id)).any(|p| p.0 == i));
        let Some((id, site)) = site else { return parts.contains(&Part::All) };
        parts.iter().any(|part| match part {
            Part::All => true,
            // Running moments move only where everything is trained: those of a patch's few rows would be worse.
            _ if architecture.params[i].moment => false,
            Part::Last => last.iter().any(|range| range.contains(&id)),
            Part::LastBlock => site.role == Role::Head || block.is_some_and(|block| is_below(&site.path, block)),
            Part::Head => site.role == Role::Head,
            Part::Norms => matches!(site.kind, SiteKind::Norm { .. }),
            Part::Biases => site.role != Role::Side && architecture.params[i].path.ends_with(".bias"),
            Part::Positions => architecture.params[i].path.ends_with(".positions"),
            Part::Rows | Part::HeadRows => false,
        })
    };
    let params = (0..architecture.params.len()).filter(|&i| selected(i)).map(ParamId).collect();
    let heads: Vec<usize> = architecture.head_tables().collect();
    let trained = |table: &usize| {
        parts.iter().any(|part| match part {
            Part::All => true,
            Part::Last | Part::LastBlock | Part::Head | Part::HeadRows => heads.contains(table),
            Part::Rows => !heads.contains(table),
            Part::Norms | Part::Biases | Part::Positions => false,
        })
    };
    Scope { params, tables: (0..architecture.tables.len()).filter(trained).collect() }
}

/// The linear sites that give the score: one, or one a domain, of which a row's score is a mean with weights that add up to 1.
#[must_use]
pub(crate) fn heads(backbone: &dyn Backbone) -> Vec<SiteId> {
    let sites = backbone.architecture().linear_sites();
    sites.filter(|(_, site, widths)| site.role == Role::Head && widths[1] == 1).map(|(id, ..)| id).collect()
}

/// The sites of whose outputs the score is made: what is put in their place is the whole score, whatever a network adds beside its [heads]. Empty where there is no such head.
#[must_use]
pub(crate) fn whole_score(backbone: &dyn Backbone) -> Vec<SiteId> {
    added_to(backbone).map_or_else(|| heads(backbone), |score| vec![score])
}

/// The score of a network that adds something to what comes out of its head.
pub(crate) fn added_to(backbone: &dyn Backbone) -> Option<SiteId> {
    let is_score = |site: &Site| site.role == Role::Head && matches!(site.kind, SiteKind::Hidden { .. });
    backbone.architecture().sites.iter().position(is_score).map(SiteId)
}

/// The path of the last residual block: the last hidden state of the body that layers stand below.
pub(crate) fn last_block(architecture: &Architecture) -> Option<&str> {
    let hidden = architecture.sites.iter().filter(|site| site.role == Role::Body && matches!(site.kind, SiteKind::Hidden { .. }));
    hidden.map(|site| site.path.as_str()).rfind(|block| architecture.linear_sites().any(|(_, site, _)| is_below(&site.path, block)))
}

/// Whether a path is that of something in `block`.
fn is_below(path: &str, block: &str) -> bool {
    path.strip_prefix(block).is_some_and(|rest| rest.starts_with('.'))
}

/// The body's linear sites whose path matches one of `patterns`, with their widths; `*` stands for any text.
#[must_use]
pub fn linear_sites(patterns: &[String], backbone: &dyn Backbone) -> Vec<(SiteId, String, [usize; 2])> {
    let body = backbone.architecture().linear_sites().filter(|(_, site, _)| site.role == Role::Body);
    body.filter(|(_, site, _)| patterns.iter().any(|p| matches(p, &site.path))).map(|(id, site, d)| (id, site.path.clone(), d)).collect()
}

/// A norm with running moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormSite {
    /// Its site.
    pub site: SiteId,
    /// The site's path.
    pub path: String,
    /// Width.
    pub d: usize,
    /// The base's running mean.
    pub mean: ParamId,
    /// The base's running variance.
    pub variance: ParamId,
}

/// The body's norms with running moments whose path matches one of `patterns`, in the order of computation.
#[must_use]
pub fn batch_norms(patterns: &[String], backbone: &dyn Backbone) -> Vec<NormSite> {
    let architecture = backbone.architecture();
    let sites = architecture.sites.iter().enumerate().filter(|(_, site)| patterns.iter().any(|p| matches(p, &site.path)));
    let norm = |(id, site): (usize, &acclimate_model::Site)| {
        let SiteKind::Norm { d } = site.kind else { return None };
        let find = |name: &str| architecture.params.iter().position(|spec| spec.path == format!("{}.{name}", site.path)).map(ParamId);
        Some(NormSite { site: SiteId(id), path: site.path.clone(), d, mean: find("mean")?, variance: find("variance")? })
    };
    sites.filter_map(norm).collect()
}

/// The same for a method that changes such norms.
///
/// # Errors
/// [`AdaptError::Unsupported`] for a backbone without any, [`AdaptError::Value`] for the key `sites` where none matches.
pub(crate) fn needed_batch_norms(method: &'static str, patterns: &[String], backbone: &dyn Backbone) -> Result<Vec<NormSite>, AdaptError> {
    if batch_norms(&["*".into()], backbone).is_empty() {
        let problem = "it has no norm with running moments; set `norm = \"batch\"` or `input_norm = \"batch\"` of `dnn`".into();
        return Err(AdaptError::Unsupported { method, problem });
    }
    let norms = batch_norms(patterns, backbone);
    if norms.is_empty() {
        return Err(AdaptError::Value {
            method,
            key: "sites",
            problem: "matches no norm with running moments, such as `tower.0.norm`".into(),
        });
    }
    Ok(norms)
}

/// The body's layer norms whose path matches one of `patterns`, with their widths. A norm with running moments is none.
#[must_use]
pub(crate) fn layer_norms(patterns: &[String], backbone: &dyn Backbone) -> Vec<(SiteId, usize)> {
    let architecture = backbone.architecture();
    let of_rows = |id: SiteId| !architecture.params_of(id).any(|param| architecture.params[param.0].moment);
    let norms = architecture.sites.iter().enumerate().filter_map(|(id, site)| match site.kind {
        SiteKind::Norm { d } if site.role == Role::Body && patterns.iter().any(|p| matches(p, &site.path)) => Some((SiteId(id), d)),
        _ => None,
    });
    norms.filter(|(id, _)| of_rows(*id)).collect()
}

/// The last maps of a Transformer's sub-layers, `*.attention.output` and `*.feed_forward.out`, where `patterns` names no site of its own; of a network without attention every
/// linear site of the body.
#[must_use]
pub fn sub_layer_ends(patterns: &[String], backbone: &dyn Backbone) -> Vec<(SiteId, String, [usize; 2])> {
    let ends: &[&str] = if attention_sites(backbone).next().is_some() { &["*.attention.output", "*.feed_forward.out"] } else { &["*"] };
    let ends: Vec<String> = ends.iter().map(|&pattern| pattern.to_owned()).collect();
    linear_sites(if patterns.is_empty() { &ends } else { patterns }, backbone)
}

/// Paths of the body's attention sites.
pub fn attention_sites(backbone: &dyn Backbone) -> impl Iterator<Item = &str> {
    let sites = backbone.architecture().sites.iter();
    sites.filter(|site| matches!(site.kind, SiteKind::Attention { .. })).map(|site| site.path.as_str())
}

/// Whether a pattern, in which `*` stands for any text, matches a path.
#[must_use]
pub fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((head, rest)) => path
            .strip_prefix(head)
            .is_some_and(|tail| (0..=tail.len()).filter(|&i| tail.is_char_boundary(i)).any(|i| matches(rest, &tail[i..]))),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(matches("*", "tower.0.linear") && matches("tower.*", "tower.0.linear") && matches("*.0.*", "tower.0.linear"));
        assert!(!matches("tower.1*", "tower.0.linear") && !matches("tower", "tower.0.linear"));
    }
}
