//! Sentences without numbers that the numbers must bear out.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::reference::Context;
use crate::evidence::Evidence;

/// What a sentence of a page says of a measurement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claim {
    /// The page.
    pub(crate) page: String,
    /// Words of the page, so that a sentence that has gone takes its claim with it.
    pub(crate) text: String,
    /// Name of the evidence.
    pub(crate) evidence: String,
    /// Holds in each of these places ...
    #[serde(default)]
    places: Vec<String>,
    /// ... for each of these methods.
    #[serde(default)]
    methods: Vec<String>,
    /// Comparisons `A = B`, `A != B`, `A < B`, `A > B`; both sides are templates.
    holds: Vec<String>,
}

impl Claim {
    /// The comparisons that do not hold.
    pub(crate) fn broken(&self, evidence: &Evidence, names: &BTreeMap<String, String>) -> anyhow::Result<Vec<String>> {
        let mut broken = Vec::new();
        for place in or_none(&self.places) {
            for method in or_none(&self.methods) {
                let context = Context { evidence, names, place, method };
                for comparison in &self.holds {
                    let (holds, found) = compare(&context, comparison).with_context(|| format!("`{comparison}`"))?;
                    if !holds {
                        let of: Vec<&str> = place.into_iter().chain(method).collect();
                        broken.push(format!("{} {comparison}: {found}", of.join(", ")).trim_start().to_owned());
                    }
                }
            }
        }
        Ok(broken)
    }

    /// Whether a page still says it.
    pub(crate) fn stands_in(&self, page: &str) -> bool {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        words(page).contains(&words(&self.text))
    }
}

fn or_none(names: &[String]) -> Vec<Option<&str>> {
    if names.is_empty() { vec![None] } else { names.iter().map(|name| Some(name.as_str())).collect() }
}

/// Whether a comparison holds, and what its sides are.
fn compare(context: &Context<'_>, comparison: &str) -> anyhow::Result<(bool, String)> {
    let sign = [" != ", " = ", " < ", " > "].into_iter().find(|sign| comparison.contains(sign)).context("compares nothing")?;
    let (left, right) = comparison.split_once(sign).unwrap_or_default();
    let (left, right) = (context.expand(left)?, context.expand(right)?);
    let number = |text: &str| text.parse::<f64>().with_context(|| format!("`{text}` is no number"));
    let holds = match sign.trim() {
        "=" => left == right,
        "!=" => left != right,
        "<" => number(&left)? < number(&right)?,
        ">" => number(&left)? > number(&right)?,
        _ => bail!("compares nothing"),
    };
    Ok((holds, format!("{left}{sign}{right}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::tests::evidence;

    fn broken(holds: &str) -> Result<Vec<String>, String> {
        let claim = format!(
            "page = \"p.md\"\ntext = \"no  patch\\nis worse\"\nevidence = \"toy\"\nplaces = [\"n=10\", \"n=all\"]\nmethods = [\"film\"]\nholds = [\"{holds}\"]"
        );
        let claim: Claim = toml::from_str(&claim).unwrap();
        assert!(claim.stands_in("Here no patch is\nworse.") && !claim.stands_in("A patch is worse."));
        claim.broken(&evidence(&[], &[]), &BTreeMap::new()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_claim_holds_in_every_place_or_is_broken_where_it_does_not() {
        for holds in
            ["{auc | beats base} != no", "{auc | beats floor} = yes", "{auc | .3} > {base | auc | .3}", "{n=10 | bias | auc | .1} < 0.7"]
        {
            assert_eq!(broken(holds), Ok(vec![]), "{holds}");
        }
        let found = broken("{auc | .2} < 0.71").unwrap();
        assert_eq!(found, ["n=10, film {auc | .2} < 0.71: 0.71 < 0.71", "n=all, film {auc | .2} < 0.71: 0.71 < 0.71"]);
        assert_eq!(broken("{auc | beats base} = no").unwrap().len(), 2);
        assert!(broken("{auc | .3}").unwrap_err().contains("compares nothing"));
        assert!(broken("{auc | beats base} > 1").unwrap_err().contains("`yes` is no number"));
    }
}
