//! Settings that are places of a curve: sizes as `k=0`, `new_user,k=5`, `n=100`, `n=all`, and times as `day=20220501`, `week=20220501`.

use crate::leaderboard::distinct;

/// One size of a curve, taken from a setting: `both,k=5` is size 5 of the curve `both` over `k`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Size<'a> {
    pub(crate) setting: &'a str,
    /// The setting without its size.
    pub(crate) curve: String,
    /// `k`, `n`, `day` or `week`.
    pub(crate) letter: &'a str,
    pub(crate) label: &'a str,
}

impl<'a> Size<'a> {
    pub(crate) fn of(setting: &'a str) -> Option<Self> {
        let is_size = |part: &&str| {
            part.split_once('=').is_some_and(|(name, value)| matches!(name, "k" | "n" | "day" | "week") && order(value).is_some())
        };
        let part = setting.split(',').find(is_size)?;
        let (letter, label) = part.split_once('=')?;
        let rest: Vec<&str> = setting.split(',').filter(|&other| other != part).collect();
        Some(Self { setting, curve: rest.join(", "), letter, label })
    }

    /// With its name, so that days and weeks are told apart.
    pub(crate) fn named(&self) -> String {
        match self.letter {
            "day" | "week" => format!("{}={self}", self.letter),
            _ => self.to_string(),
        }
    }

    /// What the size counts.
    pub(crate) fn what(&self) -> &'static str {
        match self.letter {
            "k" => "support size k",
            "n" => "target rows n",
            "day" => "day",
            _ => "week that begins on",
        }
    }
}

impl std::fmt::Display for Size<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.letter, self.label.get(4..6), self.label.get(6..)) {
            // A date is read without its name, and without the year.
            ("day" | "week", Some(month), Some(day)) => write!(f, "{month}-{day}"),
            _ => write!(f, "{}={}", self.letter, self.label),
        }
    }
}

/// Position of a size among others; `all` is last.
fn order(label: &str) -> Option<f64> {
    if label == "all" { Some(f64::INFINITY) } else { label.parse::<u64>().ok().map(|size| size as f64) }
}

/// The curves that settings make up, each with at least two sizes in ascending order.
pub(crate) fn curves<'a>(settings: impl Iterator<Item = &'a str>) -> Vec<Vec<Size<'a>>> {
    let sizes: Vec<Size<'_>> = distinct(settings.filter_map(Size::of));
    let names = distinct(sizes.iter().map(|size| (size.curve.clone(), size.letter)));
    let of = |name: &(String, &str)| {
        let mut of: Vec<Size<'_>> = sizes.iter().filter(|size| (&size.curve, size.letter) == (&name.0, name.1)).cloned().collect();
        of.sort_by(|a, b| order(a.label).partial_cmp(&order(b.label)).unwrap_or(std::cmp::Ordering::Equal));
        of
    };
    names.iter().map(of).filter(|sizes| sizes.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_give_sizes() {
        let size = Size::of("both,k=5").unwrap();
        assert_eq!((size.curve.as_str(), size.letter, size.label), ("both", "k", "5"));
        assert_eq!(Size::of("n=all").unwrap().label, "all");
        let day = Size::of("day=20220501").unwrap();
        assert_eq!((day.to_string(), day.what()), ("05-01".to_owned(), "day"));
        assert!(Size::of("new_user").is_none() && Size::of("tab=2").is_none() && Size::of("k=many").is_none());
    }

    #[test]
    fn sizes_of_a_curve_ascend() {
        let curves = curves(["n=all", "new_user", "n=100", "a,k=10", "a,k=5", "b,k=5", "n=20"].into_iter());
        let names: Vec<Vec<String>> = curves.iter().map(|sizes| sizes.iter().map(Size::to_string).collect()).collect();
        assert_eq!(names, [vec!["n=20", "n=100", "n=all"], vec!["k=5", "k=10"]]);
    }
}
