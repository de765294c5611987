//! Canonical names of metrics, as they stand in result records.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Gain;
use crate::EvalError;

/// Which rows a probability metric is taken over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All rows together: `auc`. Mixes domains, so never the only number.
    Pooled,
    /// Unweighted mean over domains: `macro_auc`.
    Macro,
    /// Rows of one domain: `auc[tab=2]`. The column name is the data set's.
    Domain {
        /// Name of the domain column.
        column: String,
        /// Name of the domain.
        value: String,
    },
}

/// How an error over ratings is averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Average {
    /// Inside each user, then over users: `mae`.
    User,
    /// Over all rows: `mae[pooled]`.
    Pooled,
}

/// What a positive was ranked among.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Candidates {
    /// Every legal item: `mrr[full]`.
    Full,
    /// This many negatives drawn uniformly without replacement: `mrr[sampled=99]`. Sampled values can reverse the order of methods.
    Sampled(usize),
    /// This many negatives drawn by popularity without replacement: `mrr[sampled=99,popularity]`.
    SampledByPopularity(usize),
}

/// What a better value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Goal {
    /// Higher is better.
    Higher,
    /// Lower is better.
    Lower,
    /// Closer to 1 is better.
    One,
    /// Closer to so many hundredths is better.
    Percent(u32),
}

impl Goal {
    /// How far a value is from good: smaller is better for every goal.
    ///
    /// ```
    /// use acclimate_eval::Goal;
    /// assert_eq!((Goal::Higher.badness(0.7), Goal::Lower.badness(0.7), Goal::One.badness(0.75)), (-0.7, 0.7, 0.25));
    /// assert_eq!(Goal::Percent(50).badness(0.75), 0.25);
    /// ```
    #[must_use]
    pub fn badness(self, value: f64) -> f64 {
        match self {
            Self::Higher => -value,
            Self::Lower => value,
            Self::One => (value - 1.0).abs(),
            Self::Percent(percent) => (value - f64::from(percent) / 100.0).abs(),
        }
    }

    /// Whether a value can be too large as well as too small: differences are then of the distances to what is best.
    #[must_use]
    pub fn is_a_value(self) -> bool {
        matches!(self, Self::One | Self::Percent(_))
    }
}

/// A metric with every decision that changes its value; parses from and prints as its canonical name.
///
/// ```
/// use acclimate_eval::{Goal, Metric};
/// for name in ["macro_auc", "auc[tab=2]", "accuracy", "macro_f1", "gauc[user,tab]", "mae", "mae[offset]", "coverage@90", "nlpd", "ndcg@3[gain=linear]", "p@10[multiset]", "mrr[full]", "hr@5[sampled=99]"] {
///     let metric: Metric = name.parse()?;
///     assert_eq!(metric.to_string(), name);
/// }
/// assert_eq!("mae".parse::<Metric>()?.goal(), Goal::Lower);
/// # Ok::<(), acclimate_eval::EvalError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// `auc`, `macro_auc`, `auc[COLUMN=VALUE]`: see [`auc`](super::auc()).
    Auc(Scope),
    /// `log_loss`, `macro_log_loss`, `log_loss[COLUMN=VALUE]`: see [`log_loss`](super::log_loss). `log_loss` is also taken of answers in classes: see
    /// [`class_log_loss`](super::class_log_loss).
    LogLoss(Scope),
    /// `pcoc`, `macro_pcoc`, `pcoc[COLUMN=VALUE]`: see [`pcoc`](super::pcoc).
    Pcoc(Scope),
    /// `accuracy` of answers in classes: see [`accuracy`](super::accuracy).
    Accuracy,
    /// `macro_f1` of answers in classes: see [`macro_f1`](super::macro_f1).
    MacroF1,
    /// `gauc[user]` or, inside (user, domain), `gauc[user,COLUMN]`: see [`gauc`](super::gauc).
    Gauc {
        /// Name of the domain column that splits each user's rows, if any.
        within: Option<String>,
    },
    /// `mae` (mean over users) or `mae[pooled]`: see [`mae`](super::mae).
    Mae(Average),
    /// `mae[offset]`: [`mae`](super::mae()) as a mean over users, of predictions to which the [constant](super::best_offset) is added that suits the method's predictions for validation users.
    MaeOffset,
    /// `coverage@PERCENT` of methods that say a spread, mean over users: see [`covers`](super::covers).
    Coverage {
        /// The share of labels that the interval is to hold, in hundredths.
        percent: u32,
    },
    /// `nlpd` of methods that say a spread, mean over users: see [`negative_log_density`](super::negative_log_density).
    Nlpd,
    /// `rmse` (mean over users) or `rmse[pooled]`: see [`rmse`](super::rmse).
    Rmse(Average),
    /// `ndcg@K[gain=linear]` or `ndcg@K[gain=exponential]` over each user's labelled rows, mean over users: see [`ndcg_at`](super::ndcg_at).
    GradedNdcg {
        /// Cut-off.
        k: usize,
        /// What a label is worth.
        gain: Gain,
    },
    /// `p@K[label>=VALUE]` over each user's labelled rows, mean over users: see [`precision_at`](super::precision_at).
    GradedPrecision {
        /// Cut-off.
        k: usize,
        /// Smallest relevant label.
        relevant: i32,
    },
    /// `p@K[multiset]` over each user's labelled rows, mean over users: see [`multiset_precision_at`](super::multiset_precision_at).
    MultisetPrecision {
        /// Cut-off.
        k: usize,
    },
    /// `ndcg@K[CANDIDATES]` of single positives: see [`ndcg_from_rank`](super::ndcg_from_rank).
    Ndcg {
        /// Cut-off.
        k: usize,
        /// What the positive was ranked among.
        candidates: Candidates,
    },
    /// `hr@K[CANDIDATES]`: see [`hit_rate_at`](super::hit_rate_at).
    HitRate {
        /// Cut-off.
        k: usize,
        /// What the positive was ranked among.
        candidates: Candidates,
    },
    /// `mrr[CANDIDATES]` uncut, or `mrr@K[CANDIDATES]`: see [`reciprocal_rank`](super::reciprocal_rank).
    Mrr {
        /// Cut-off; `None` is uncut.
        k: Option<usize>,
        /// What the positive was ranked among.
        candidates: Candidates,
    },
    /// `p@K[CANDIDATES]` of single positives: see [`precision_from_rank`](super::precision_from_rank).
    Precision {
        /// Cut-off.
        k: usize,
        /// What the positive was ranked among.
        candidates: Candidates,
    },
}

const KNOWN: &str = "auc, macro_auc, auc[COLUMN=VALUE] (log_loss and pcoc alike), accuracy, macro_f1, gauc[user], gauc[user,COLUMN], mae, mae[pooled], mae[offset], coverage@PERCENT, nlpd, rmse, rmse[pooled], \
     ndcg@K[gain=linear|exponential], p@K[label>=N], p@K[multiset], and mrr[full], mrr@K[full], hr@K[full], ndcg@K[full], p@K[full] or [sampled=N] in place of [full]";

impl Metric {
    /// What a better value looks like.
    #[must_use]
    pub fn goal(&self) -> Goal {
        match self {
            Self::LogLoss(_) | Self::Mae(_) | Self::MaeOffset | Self::Rmse(_) | Self::Nlpd => Goal::Lower,
            Self::Pcoc(_) => Goal::One,
            Self::Coverage { percent } => Goal::Percent(*percent),
            _ => Goal::Higher,
        }
    }

    /// Whether the metric is computed from ranks of positives (else from labelled rows or classes).
    #[must_use]
    pub fn needs_ranks(&self) -> bool {
        matches!(self, Self::Ndcg { .. } | Self::HitRate { .. } | Self::Mrr { .. } | Self::Precision { .. })
    }

    /// Whether the metric is computed from probabilities of classes only; `log_loss` is computed from them or from labelled rows.
    #[must_use]
    pub fn needs_classes(&self) -> bool {
        matches!(self, Self::Accuracy | Self::MacroF1)
    }

    /// Whether it is computed from a spread beside the predictions, which not every method says.
    #[must_use]
    pub fn needs_spread(&self) -> bool {
        matches!(self, Self::Coverage { .. } | Self::Nlpd)
    }

    /// Whether a method may have no value for want of a spread, or of predictions for validation users.
    #[must_use]
    pub fn is_of_some(&self) -> bool {
        self.needs_spread() || *self == Self::MaeOffset
    }

    /// The same metric over all rows together, where it was taken over one domain or as a mean over domains.
    #[must_use]
    pub fn pooled(&self) -> Self {
        match self {
            Self::Auc(_) => Self::Auc(Scope::Pooled),
            Self::LogLoss(_) => Self::LogLoss(Scope::Pooled),
            Self::Pcoc(_) => Self::Pcoc(Scope::Pooled),
            other => other.clone(),
        }
    }

    /// The scope of a probability metric; `None` for the others.
    #[must_use]
    pub fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Auc(scope) | Self::LogLoss(scope) | Self::Pcoc(scope) => Some(scope),
            _ => None,
        }
    }

    /// The name without its scope, shared by all domains: `auc` for `auc[tab=2]`.
    #[must_use]
    pub fn family(&self) -> String {
        match self {
            Self::Auc(_) => "auc".to_owned(),
            Self::LogLoss(_) => "log_loss".to_owned(),
            Self::Pcoc(_) => "pcoc".to_owned(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pooled | Self::Macro => Ok(()),
            Self::Domain { column, value } => write!(f, "[{column}={value}]"),
        }
    }
}

impl fmt::Display for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "full"),
            Self::Sampled(n) => write!(f, "sampled={n}"),
            Self::SampledByPopularity(n) => write!(f, "sampled={n},popularity"),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.scope() == Some(&Scope::Macro) { "macro_" } else { "" };
        match self {
            Self::Auc(scope) => write!(f, "{prefix}auc{scope}"),
            Self::LogLoss(scope) => write!(f, "{prefix}log_loss{scope}"),
            Self::Pcoc(scope) => write!(f, "{prefix}pcoc{scope}"),
            Self::Accuracy => write!(f, "accuracy"),
            Self::MacroF1 => write!(f, "macro_f1"),
            Self::Gauc { within: None } => write!(f, "gauc[user]"),
            Self::Gauc { within: Some(column) } => write!(f, "gauc[user,{column}]"),
            Self::Mae(Average::User) => write!(f, "mae"),
            Self::Mae(Average::Pooled) => write!(f, "mae[pooled]"),
            Self::MaeOffset => write!(f, "mae[offset]"),
            Self::Coverage { percent } => write!(f, "coverage@{percent}"),
            Self::Nlpd => write!(f, "nlpd"),
            Self::Rmse(Average::User) => write!(f, "rmse"),
            Self::Rmse(Average::Pooled) => write!(f, "rmse[pooled]"),
            Self::GradedNdcg { k, gain: Gain::Linear } => write!(f, "ndcg@{k}[gain=linear]"),
            Self::GradedNdcg { k, gain: Gain::Exponential } => write!(f, "ndcg@{k}[gain=exponential]"),
            Self::GradedPrecision { k, relevant } => write!(f, "p@{k}[label>={relevant}]"),
            Self::MultisetPrecision { k } => write!(f, "p@{k}[multiset]"),
            Self::Ndcg { k, candidates } => write!(f, "ndcg@{k}[{candidates}]"),
            Self::HitRate { k, candidates } => write!(f, "hr@{k}[{candidates}]"),
            Self::Mrr { k: None, candidates } => write!(f, "mrr[{candidates}]"),
            Self::Mrr { k: Some(k), candidates } => write!(f, "mrr@{k}[{candidates}]"),
            Self::Precision { k, candidates } => write!(f, "p@{k}[{candidates}]"),
        }
    }
}

/// `family`, `@k` and `[option]` of a name.
struct Parts<'a> {
    family: &'a str,
    k: Option<usize>,
    option: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(name: &'a str) -> Result<Self, &'static str> {
        let (head, option) = match name.split_once('[') {
            None => (name, None),
            Some((head, rest)) => (head, Some(rest.strip_suffix(']').ok_or("`[` without a closing `]` at the end")?)),
        };
        let (family, k) = match head.split_once('@') {
            None => (head, None),
            Some((family, k)) => {
                let k: usize = k.parse().map_err(|_| "the cut-off after `@` is not a number")?;
                (family, Some(k).filter(|&k| k > 0).ok_or("the cut-off must be at least 1").map(Some)?)
            }
        };
        Ok(Self { family, k, option })
    }

    fn scope(&self) -> Result<Scope, &'static str> {
        match self.option {
            None => Ok(Scope::Pooled),
            Some(option) => match option.split_once('=') {
                Some((column, value)) if !column.is_empty() && !value.is_empty() => {
                    Ok(Scope::Domain { column: column.to_owned(), value: value.to_owned() })
                }
                _ => Err("inside the brackets stands COLUMN=VALUE"),
            },
        }
    }

    fn average(&self) -> Result<Average, &'static str> {
        match self.option {
            None => Ok(Average::User),
            Some("pooled") => Ok(Average::Pooled),
            Some(_) => Err("inside the brackets stands `pooled` or nothing"),
        }
    }

    fn candidates(&self) -> Result<Candidates, &'static str> {
        let option = self.option.ok_or("say what the positive is ranked among: [full] or [sampled=N]")?;
        if option == "full" {
            return Ok(Candidates::Full);
        }
        let sampled = option.strip_prefix("sampled=").ok_or("inside the brackets stands `full` or `sampled=N`")?;
        let number = |text: &str| match text.parse() {
            Ok(0) => Err("the number of negatives must be at least 1"),
            other => other.map_err(|_| "the number of negatives is not a number"),
        };
        match sampled.strip_suffix(",popularity") {
            Some(n) => Ok(Candidates::SampledByPopularity(number(n)?)),
            None => Ok(Candidates::Sampled(number(sampled)?)),
        }
    }

    fn cut(&self) -> Result<usize, &'static str> {
        self.k.ok_or("it needs a cut-off, for example @10")
    }

    /// Cut-off and candidates of a metric that asks only whether the positive is above the cut.
    fn hits(&self) -> Result<(usize, Candidates), &'static str> {
        let (k, candidates) = (self.cut()?, self.candidates()?);
        match candidates {
            Candidates::Sampled(n) | Candidates::SampledByPopularity(n) if k > n => {
                Err("the positive is always above a cut-off beyond the number of negatives")
            }
            _ => Ok((k, candidates)),
        }
    }

    fn no_option(&self, scope: Scope) -> Result<Scope, &'static str> {
        if self.option.is_some() { Err("a macro mean takes no brackets") } else { Ok(scope) }
    }

    fn plain(&self, metric: Metric) -> Result<Metric, &'static str> {
        if self.option.is_some() { Err("it takes no brackets") } else { Ok(metric) }
    }

    fn metric(&self) -> Result<Metric, &'static str> {
        let takes_cut = matches!(self.family, "ndcg" | "hr" | "mrr" | "p" | "coverage");
        if self.k.is_some() && !takes_cut {
            return Err("it takes no cut-off");
        }
        Ok(match self.family {
            "auc" => Metric::Auc(self.scope()?),
            "macro_auc" => Metric::Auc(self.no_option(Scope::Macro)?),
            "log_loss" => Metric::LogLoss(self.scope()?),
            "macro_log_loss" => Metric::LogLoss(self.no_option(Scope::Macro)?),
            "pcoc" => Metric::Pcoc(self.scope()?),
            "macro_pcoc" => Metric::Pcoc(self.no_option(Scope::Macro)?),
            "accuracy" => self.plain(Metric::Accuracy)?,
            "macro_f1" => self.plain(Metric::MacroF1)?,
            "gauc" => Metric::Gauc { within: self.gauc_column()? },
            "mae" if self.option == Some("offset") => Metric::MaeOffset,
            "mae" => Metric::Mae(self.average()?),
            "coverage" => {
                let percent = self
                    .k
                    .filter(|percent| *percent < 100)
                    .ok_or("it needs the share of an interval in hundredths, 1 to 99, for example @90")?;
                self.plain(Metric::Coverage { percent: percent as u32 })?
            }
            "nlpd" => self.plain(Metric::Nlpd)?,
            "rmse" => Metric::Rmse(self.average()?),
            "ndcg" => match self.option {
                Some("gain=linear") => Metric::GradedNdcg { k: self.cut()?, gain: Gain::Linear },
                Some("gain=exponential") => Metric::GradedNdcg { k: self.cut()?, gain: Gain::Exponential },
                _ => Metric::Ndcg { k: self.cut()?, candidates: self.candidates()? },
            },
            "p" if self.option == Some("multiset") => Metric::MultisetPrecision { k: self.cut()? },
            "p" => match self.option.and_then(|option| option.strip_prefix("label>=")) {
                Some(relevant) => Metric::GradedPrecision {
                    k: self.cut()?,
                    relevant: relevant.parse().map_err(|_| "the smallest relevant label is not a whole number")?,
                },
                None => self.hits().map(|(k, candidates)| Metric::Precision { k, candidates })?,
            },
            "hr" => self.hits().map(|(k, candidates)| Metric::HitRate { k, candidates })?,
            "mrr" => Metric::Mrr { k: self.k, candidates: self.candidates()? },
            _ => return Err("no such family"),
        })
    }

    fn gauc_column(&self) -> Result<Option<String>, &'static str> {
        match self.option {
            Some("user") => Ok(None),
            Some(option) => match option.strip_prefix("user,") {
                Some(column) if !column.is_empty() => Ok(Some(column.to_owned())),
                _ => Err("inside the brackets stands `user` or `user,COLUMN`"),
            },
            None => Err("say what the groups are: [user] or [user,COLUMN]"),
        }
    }
}

impl FromStr for Metric {
    type Err = EvalError;

    fn from_str(name: &str) -> Result<Self, EvalError> {
        Parts::of(name).and_then(|parts| parts.metric()).map_err(|reason| EvalError::UnknownMetric {
            name: name.to_owned(),
            reason: reason.to_owned(),
            known: KNOWN,
        })
    }
}

impl Serialize for Metric {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}
