//! References of templates: `{METRIC | HOW}`, `{METHOD | METRIC | HOW}` or `{PLACE | METHOD | METRIC | HOW}`.
//!
//! What is left out comes from the table: the method from the row, the place from the column. PLACE is a setting (`n=all`), or with its scenario where
//! several have it (`new_domain[tab=2] / n=all`). METHOD may be `best floor`. HOW is made of
//!
//! | words | print |
//! |---|---|
//! | `.3`, `+.3` | the value with so many decimals, with a sign |
//! | `ci` | its interval as well |
//! | `over base`, `over floor`, `over NAME` | the paired difference instead of the value: to the base that it starts from, the best floor, another base |
//! | `star` | `*` after the value where it beats the best floor |
//! | `beats floor`, `beats base` | the verdict alone: yes, no, not shown |
//! | `name` | the name of the method alone |
//!
//! In place of METRIC and HOW, `parameters`, `bytes` and `seconds` print what the method trains, the size of its patch and how long it was trained.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};

use crate::evidence::{Evidence, Number, Place, Span};

/// What a reference may leave out.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) evidence: &'a Evidence,
    /// Names of methods in prose.
    pub(crate) names: &'a BTreeMap<String, String>,
    pub(crate) place: Option<&'a str>,
    pub(crate) method: Option<&'a str>,
}

pub(crate) const BEST_FLOOR: &str = "best floor";

impl Context<'_> {
    /// A template with its references filled in.
    pub(crate) fn expand(&self, template: &str) -> anyhow::Result<String> {
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let (reference, after) = after.split_once('}').with_context(|| format!("`{template}` opens a brace and does not close it"))?;
            text.push_str(before);
            text.push_str(&self.resolve(reference).with_context(|| format!("{{{reference}}}"))?);
            rest = after;
        }
        Ok(text + rest)
    }

    fn resolve(&self, reference: &str) -> anyhow::Result<String> {
        let parts: Vec<&str> = reference.split('|').map(str::trim).collect();
        let (&how, before) = parts.split_last().context("is empty")?;
        let is_cost = matches!(how, "parameters" | "bytes" | "seconds");
        let (metric, before) = match before.split_last() {
            _ if is_cost => (None, before),
            Some((metric, before)) => (Some(*metric), before),
            None => bail!("names no metric"),
        };
        let (place, method) = match before {
            [] => (self.place, self.method),
            [method] => (self.place, Some(*method)),
            [place, method] => (Some(*place), Some(*method)),
            _ => bail!("has too many parts"),
        };
        let place = self.place(place.context("names no place, and the table has none")?)?;
        let method = method.context("names no method, and the row has none")?;
        let Some(metric) = metric else { return cost(place, method, how) };
        let method = if method == BEST_FLOOR { best_floor(place, metric)? } else { method };
        if how == "name" {
            return Ok(self.name(method));
        }
        let found = place.results.iter().find(|number| number.method == method && number.metric == metric);
        let number = found.with_context(|| format!("{} has no {metric} of `{method}`", place.name()))?;
        print(number, how)
    }

    /// A place by its setting, or by scenario and setting.
    pub(crate) fn place(&self, name: &str) -> anyhow::Result<&Place> {
        let places = &self.evidence.places;
        let named: Vec<&Place> = places.iter().filter(|place| place.setting == name || place.name() == name).collect();
        match named[..] {
            [place] => Ok(place),
            [] => {
                let known: Vec<String> = places.iter().map(Place::name).collect();
                bail!("there is no place `{name}`; there are {}", known.join(", "))
            }
            _ => bail!("several scenarios have the setting `{name}`; write the scenario before it, as `{}`", named[0].name()),
        }
    }

    /// The name of a method in prose.
    pub(crate) fn name(&self, method: &str) -> String {
        self.names.get(method).cloned().unwrap_or_else(|| format!("`{method}`"))
    }
}

/// The floor with the best value of a metric; the first among equals.
pub(crate) fn best_floor<'a>(place: &'a Place, metric: &str) -> anyhow::Result<&'a str> {
    let is_floor = |name: &str| place.methods.iter().any(|method| method.name == name && method.kind == "floor");
    let floors = place.results.iter().filter(|number| number.metric == metric && is_floor(&number.method));
    let judged = floors.filter_map(|number| Some((number.method.as_str(), badness(metric, number.span.value?))));
    let best = judged.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, _)| name);
    best.with_context(|| format!("{} has no floor with {metric}", place.name()))
}

/// Smaller is better: errors as they are, the ratio of clicks by its distance from 1, all others with the other sign.
fn badness(metric: &str, value: f64) -> f64 {
    let of = |words: &[&str]| words.iter().any(|word| metric.contains(word));
    if of(&["pcoc"]) {
        (value - 1.0).abs()
    } else if of(&["log_loss", "mae", "rmse"]) {
        value
    } else {
        -value
    }
}

fn cost(place: &Place, method: &str, how: &str) -> anyhow::Result<String> {
    let found = place.methods.iter().find(|m| m.name == method);
    let found = found.with_context(|| format!("{} has no method `{method}`", place.name()))?;
    if how == "seconds" {
        return Ok(format!("{:.1}", found.train_seconds.with_context(|| format!("`{method}` has no {how}"))?));
    }
    let value = if how == "bytes" { found.patch_bytes } else { found.trainable_parameters };
    Ok(thousands(value.with_context(|| format!("`{method}` has no {how}"))?))
}

fn print(number: &Number, how: &str) -> anyhow::Result<String> {
    let difference = |over: &str| {
        let found = match over {
            "base" => number.over_base.as_ref(),
            "floor" => number.over_floor.as_ref(),
            name => {
                let all = number.over_others.iter().chain(&number.over_base).chain(&number.over_floor);
                all.into_iter().find(|difference| difference.to == name)
            }
        };
        found.with_context(|| format!("`{}` is compared with no {over}", number.method))
    };
    let (mut decimals, mut signed, mut interval, mut star, mut span) = (None, false, false, false, number.span);
    let mut words = how.split(' ');
    while let Some(word) = words.next() {
        match word {
            "ci" => interval = true,
            "star" => star = true,
            "over" | "beats" => {
                let over = words.next().with_context(|| format!("`{word}` what?"))?;
                if word == "beats" {
                    ensure!(how == format!("beats {over}"), "`beats {over}` stands alone");
                    return Ok(difference(over)?.better.clone());
                }
                span = difference(over)?.span;
            }
            _ => {
                let digits = word.trim_start_matches('+').strip_prefix('.').and_then(|digits| digits.parse::<usize>().ok());
                decimals = Some(digits.with_context(|| format!("`{word}` is no way to print a number"))?);
                signed = word.starts_with('+');
            }
        }
    }
    let decimals = decimals.with_context(|| format!("`{how}` does not say how many decimals"))?;
    let digits = |value: f64| if signed { format!("{value:+.decimals$}") } else { format!("{value:.decimals$}") };
    let Span { value, low, high } = span;
    let mut text = digits(value.with_context(|| format!("{} of `{}` is undefined", number.metric, number.method))?);
    // A floor is compared with none.
    if star && number.over_floor.as_ref().is_some_and(|difference| difference.better == "yes") {
        text.push('*');
    }
    if interval {
        let ends = low.zip(high).with_context(|| format!("{} of `{}` has no interval", number.metric, number.method))?;
        text += &format!(" [{}, {}]", digits(ends.0), digits(ends.1));
    }
    Ok(text)
}

/// 1234567 as 1,234,567.
fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let start = digits.len() % 3;
    let groups = digits.as_bytes()[start..].chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    (start > 0).then(|| digits[..start].to_owned()).into_iter().chain(groups).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::tests::evidence;

    fn expanded(template: &str) -> Result<String, String> {
        let (evidence, names) = (evidence(&[], &[]), BTreeMap::from([("bias".to_owned(), "bias model".to_owned())]));
        let context = Context { evidence: &evidence, names: &names, place: Some("n=all"), method: Some("film") };
        context.expand(template).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn references_print_values_differences_and_verdicts() {
        for (template, text) in [
            ("a {auc | .3}, b", "a 0.712, b"),
            ("{auc | .4 star} / {pcoc | .2 star}", "0.7123* / 1.50"),
            ("{auc | .3 ci}", "0.712 [0.702, 0.722]"),
            ("{base | auc | .3}", "0.610"),
            ("{n=10 | bias | auc | .1}", "0.6"),
            ("{new_domain[shop=a] / n=10 | best floor | auc | name}", "bias model"),
            ("{best floor | auc | .2}", "0.60"),
            ("{film | auc | name}", "`film`"),
            ("{best floor | log_loss | name}", "`mean`"),
            ("{auc | +.3 ci over base}", "+0.102 [+0.092, +0.112]"),
            ("{auc | .2 over floor}", "0.11"),
            ("{auc | beats floor}{base | auc | beats floor}", "yesnot shown"),
            ("{parameters} {n=10 | base | parameters}", "1,234,567 1,234,567"),
            ("{seconds}", "1.5"),
        ] {
            assert_eq!(expanded(template).as_deref(), Ok(text), "{template}");
        }
        assert_eq!([0, 12, 123, 1234, 123_456].map(thousands), ["0", "12", "123", "1,234", "123,456"]);
    }

    #[test]
    fn references_to_nothing_are_errors() {
        for (template, error) in [
            ("{auc | .3", "does not close"),
            ("{auk | .3}", "has no auk of `film`"),
            ("{n=9 | film | auc | .3}", "there is no place `n=9`; there are new_domain[shop=a] / n=10"),
            ("{auc | ci}", "how many decimals"),
            ("{auc | 3}", "no way to print"),
            ("{bias | auc | .3 over base}", "compared with no base"),
            ("{auc | .3 over}", "`over` what?"),
            ("{bytes}", "`film` has no bytes"),
            ("{.3}", "names no metric"),
        ] {
            let found = expanded(template).unwrap_err();
            assert!(found.contains(error), "{template}: {found}");
        }
    }
}
