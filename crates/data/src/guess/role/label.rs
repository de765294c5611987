//! Which column is the label, and what its values mean.

use super::super::column::Kind;
use super::{CLICKS, Label, OUTCOMES, RATINGS, SUMMARIES, Search, usual_range, word_place};

impl Search<'_> {
    /// How likely a column is the label, small is likely; `None` if it is none.
    pub(super) fn rank_of_label(&self, column: usize) -> Option<usize> {
        let name = self.name(column);
        let is_binary = self.is_binary(column);
        let is_numeric = self.kind(column) == Kind::Number;
        let few = is_numeric && (3..=21).contains(&self.columns[column].distinct.count());
        if self.context.is_nameless {
            let [min, max] = self.columns[column].range();
            return if is_binary { Some(0) } else { (few && min >= -10.0 && max <= 100.0).then_some(1) };
        }
        if word_place(&SUMMARIES, name).is_some() {
            return None;
        }
        let rating = word_place(&RATINGS, name).filter(|_| is_numeric || is_binary);
        let open = ["label", "target", "response", "y", "interaction"];
        let of_two = is_binary || self.columns[column].levels().is_some_and(|levels| levels.len() == 2);
        let click = word_place(&CLICKS, name).filter(|_| of_two || (few && word_place(&open, name).is_some()));
        let other = word_place(&OUTCOMES, name).filter(|_| is_binary);
        rating.or(click.map(|at| 100 + at)).or(other.map(|at| 200 + at))
    }

    /// Whether a column holds 0 and 1, or true and false.
    fn is_binary(&self, column: usize) -> bool {
        let Some(levels) = self.columns[column].levels() else { return false };
        let legal = |level: &str| matches!(level.to_lowercase().as_str(), "0" | "1" | "0.0" | "1.0" | "true" | "false");
        levels.len() == 2 && levels.keys().all(|level| legal(level))
    }

    pub(super) fn label(&mut self) -> (Option<Label>, Vec<usize>) {
        let mut ranked: Vec<(usize, usize)> = self.free().filter_map(|c| Some((self.rank_of_label(c)?, c))).collect();
        ranked.sort_unstable();
        let others = ranked.iter().skip(1).map(|&(_, c)| c).collect();
        let Some(&(_, column)) = ranked.first() else { return (self.click_that_never_is(), others) };
        self.take(column);
        let levels = self.columns[column].levels().map_or(usize::MAX, |levels| levels.len());
        if self.is_binary(column) || (levels == 2 && !self.context.is_nameless && word_place(&RATINGS, self.name(column)).is_none()) {
            return (Some(Label::Click(column)), others);
        }
        let [min, max] = usual_range(self.columns[column].range());
        if self.columns[column].range()[0] < 0.0 && self.columns[column].range()[0] > -2.0 && self.columns[column].range()[1] > 1.0 {
            let doubt = format!(
                "`{}` has ratings below 0, read as ratings from {min} to {max}; if they mean \"not rated\", name them in `null_values`",
                self.name(column)
            );
            self.doubts.push(doubt);
        }
        (Some(Label::Rating { column, min, max }), others)
    }

    /// A column named like a click that holds nothing but zeros; what is said of one that holds too many values, if there is one.
    fn click_that_never_is(&mut self) -> Option<Label> {
        let named: Vec<usize> = (0..self.columns.len())
            .filter(|&c| !self.taken[c] && !self.context.is_nameless && word_place(&CLICKS, self.name(c)).is_some())
            .filter(|&c| word_place(&SUMMARIES, self.name(c)).is_none())
            .collect();
        let zero = |&c: &usize| {
            let levels = self.columns[c].levels();
            levels.is_some_and(|levels| levels.len() == 1 && levels.keys().all(|l| ["0", "0.0", "false"].contains(&&*l.to_lowercase())))
        };
        if let Some(column) = named.iter().copied().find(zero) {
            self.doubts.push(format!("every `{}` is 0: nothing can be learned from it", self.name(column)));
            return Some(Label::Click(self.take(column)));
        }
        let events =
            |c: &usize| self.kind(*c) == Kind::Text && self.columns[*c].levels().is_some_and(|levels| (2..=20).contains(&levels.len()));
        let others = self.free().filter(|&c| word_place(&OUTCOMES, self.name(c)).is_some());
        let several = named.iter().copied().chain(others).find(events);
        if let Some((column, levels)) = several.and_then(|c| Some((c, self.columns[c].levels()?))) {
            let name = self.name(column);
            let doubt = format!(
                "`{name}` holds {}, and every row is taken for a positive; if one of them is the label, write label = {{ column = \"{name}\", kind = \"click\", positive = \"...\" }}",
                levels.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
            );
            self.doubts.push(doubt);
        }
        None
    }

    /// Which of two values of a click is the positive one, where they are not 0 and 1: the one that says yes, the larger number, or the rarer one.
    pub(super) fn positive(&mut self, label: Label) -> Option<String> {
        let Label::Click(column) = label else { return None };
        let levels = self.columns[column].levels()?;
        if levels.len() < 2 || self.is_binary(column) {
            return None;
        }
        let says_yes = |level: &&String| ["yes", "y", "ja", "j", "true", "t", "1", "oui", "si", "x"].contains(&&*level.to_lowercase());
        let number = |level: &String| level.replace(',', ".").parse::<f64>().ok();
        let numbers: Option<Vec<f64>> = levels.keys().map(number).collect();
        let (chosen, why) = match (levels.keys().find(says_yes), numbers) {
            (_, Some(_)) => {
                (levels.keys().max_by(|a, b| number(a).partial_cmp(&number(b)).unwrap_or(std::cmp::Ordering::Equal)), "the larger one")
            }
            (Some(yes), None) => (Some(yes), "the one that says yes"),
            (None, None) => (levels.iter().min_by_key(|(_, rows)| **rows).map(|(level, _)| level), "the rarer one"),
        };
        let chosen = chosen?.clone();
        let both = levels.keys().map(String::as_str).collect::<Vec<_>>().join(" and ");
        self.doubts.push(format!("`{}` holds {both}; {chosen}, {why}, counts as a click", self.name(column)));
        Some(chosen)
    }
}
