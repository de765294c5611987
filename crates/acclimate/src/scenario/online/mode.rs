//! What happens between two days of a stream.

use acclimate_data::{MICROS_PER_DAY, Span};
use acclimate_fit::shift::ShiftSettings;
use serde::{Deserialize, Serialize};

use crate::{Experiment, ExperimentError};

/// An entry `[[scenario.mode]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    /// What it does.
    pub kind: ModeKind,
    /// Name in reports; default the kind, with `[state=frozen]` where the state is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The base it serves; default the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Whether histories and statistics go on with the stream (default) or end with the rows before it.
    #[serde(default)]
    pub state: Served,
    /// How long it takes until a label is known; default 0. Labels count for a day if they are known when it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// Of `refit_daily` and `per_request`: the `[[method]]` that is trained, by its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Of `per_request`: whether the base answers unless the method is shown better than it on the rows before the stream that choose, and worse by nothing; default true. Without it the mode is a control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarded: Option<bool>,
    /// Of `refit_daily`: how far back labels are used; default all of the stream, and the validation rows before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Span>,
    /// Of `incremental` and `retrain_daily`: training keys that differ from the base's.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub train: toml::Table,
    /// Of `per_window`: what is corrected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<Correction>,
    /// Of `per_window`: how much traffic is looked at; default a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// Of `per_window`: how often; default every hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
}

/// What a mode does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeKind {
    /// Nothing: the base as it was trained.
    Frozen,
    /// Without labels, in the pass: a method that was trained before the stream, and looks at a row and at the rows of its request.
    PerRequest,
    /// Without labels, from the traffic that has gone by.
    PerWindow,
    /// Levels of people and items learn from every rating as it comes in, in closed form; see [`StreamLevels`](acclimate_fit::stream::StreamLevels). It has no base.
    PerEvent,
    /// A patch of the base is fitted anew each day to labels that have come in.
    RefitDaily,
    /// Training goes on each day, from where it was, with the labels that have come in since.
    Incremental,
    /// A new base is trained each day, on everything.
    RetrainDaily,
}

/// Which rows features of earlier rows are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Served {
    /// All of an earlier time.
    #[default]
    Moving,
    /// Those before the stream.
    Frozen,
}

/// A correction that needs no labels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Correction {
    /// The offset of the logit for another share of positives, behind guards; see [`PriorShift`](acclimate_fit::shift::PriorShift).
    PriorShift {
        /// Whether it abstains; default true. Without its guards it is a control.
        #[serde(default = "yes")]
        guarded: bool,
    },
    /// The offset that makes predictions surest: a control that loses where positives are few.
    Entropy,
    /// Batch norms with the moments of the window, blended with those of the base; see [`Scorer::window_norms`](acclimate_train::Scorer::window_norms). It abstains where the base has no batch norm, on windows
    /// of few rows, and unless all labels of the stream that have come in show a gain, and those of the last window no loss.
    Moments {
        /// The rows that the base's moments count as; default 256.
        #[serde(default = "pseudo_count")]
        pseudo_count: f64,
        /// Rows below which a window says too little; default 200.
        #[serde(default = "least")]
        least: usize,
        /// Whether it waits for a gain; default true. Without it it is a control.
        #[serde(default = "yes")]
        guarded: bool,
    },
}

impl Correction {
    /// Whether it is fitted to rows before the stream.
    pub(super) fn is_fitted(self) -> bool {
        matches!(self, Self::PriorShift { .. })
    }

    pub(super) fn settings(self) -> ShiftSettings {
        let guarded = !matches!(self, Self::PriorShift { guarded: false } | Self::Moments { guarded: false, .. } | Self::Entropy);
        ShiftSettings { guarded, ..ShiftSettings::default() }
    }
}

fn yes() -> bool {
    true
}

fn pseudo_count() -> f64 {
    256.0
}

fn least() -> usize {
    200
}

impl ModeKind {
    /// Name in configs and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::PerRequest => "per_request",
            Self::PerWindow => "per_window",
            Self::PerEvent => "per_event",
            Self::RefitDaily => "refit_daily",
            Self::Incremental => "incremental",
            Self::RetrainDaily => "retrain_daily",
        }
    }
}

impl Mode {
    /// Name in reports.
    #[must_use]
    pub fn label(&self) -> String {
        let state = if self.state == Served::Frozen { "[state=frozen]" } else { "" };
        self.label.clone().unwrap_or_else(|| format!("{}{state}", self.kind.name()))
    }

    /// Microseconds until a label is known.
    pub(super) fn delay(&self) -> i64 {
        self.delay.map_or(0, Span::micros)
    }

    /// Microseconds of traffic that is looked at, and between two looks.
    pub(super) fn windows(&self) -> [i64; 2] {
        [self.window.map_or(MICROS_PER_DAY, Span::micros), self.every.map_or(MICROS_PER_DAY / 24, Span::micros)]
    }

    /// Whether the base answers where nothing speaks for the method.
    pub(super) fn is_guarded(&self) -> bool {
        self.kind == ModeKind::PerRequest && self.guarded != Some(false)
    }

    /// Whether it is what this program is for; the others are what it is compared with.
    pub(super) fn adapts(&self) -> bool {
        match self.kind {
            ModeKind::PerRequest => self.is_guarded(),
            ModeKind::PerEvent | ModeKind::RefitDaily => true,
            ModeKind::PerWindow => self.correction.is_some_and(|correction| correction.settings().guarded),
            ModeKind::Frozen | ModeKind::Incremental | ModeKind::RetrainDaily => false,
        }
    }

    /// Whether it needs labels that are clicks.
    pub(super) fn corrects_clicks(&self) -> bool {
        self.correction.is_some()
    }

    /// Whether ids that are new in the stream get rows of their own, from the day on that follows.
    pub(super) fn learns(&self) -> bool {
        matches!(self.kind, ModeKind::RefitDaily | ModeKind::Incremental | ModeKind::RetrainDaily)
    }

    pub(super) fn check(&self, experiment: &Experiment) -> Result<(), ExperimentError> {
        let problem = |problem: String| Err(experiment.problem(format!("[[scenario.mode]] `{}`", self.label()), problem));
        if self.label.as_ref().is_some_and(|label| label.trim().is_empty()) {
            return problem("has an empty `label`; leave it out to use the kind's name".into());
        }
        if crate::experiment::is_taken(&self.label()) {
            return problem("has the name of a floor or of the ceiling; choose another `label`".into());
        }
        if let Some(base) = &self.base {
            let bases = experiment.bases()?;
            if !bases.iter().any(|known| known.name == *base) {
                let known: Vec<&str> = bases.iter().map(|base| base.name.as_str()).collect();
                return problem(format!("names no base `{base}`; there are {}", known.join(", ")));
            }
        }
        let labels = || experiment.methods.iter().map(|entry| entry.label().to_owned()).collect::<Vec<_>>().join(", ");
        let needs_method = matches!(self.kind, ModeKind::RefitDaily | ModeKind::PerRequest);
        match &self.method {
            None if needs_method => {
                return problem(format!("names no `method`; say which [[method]] it trains (there are: {})", labels()));
            }
            Some(_) if !needs_method => {
                return problem("names a `method`, which only `refit_daily` and `per_request` have; remove it".into());
            }
            Some(name) if !experiment.methods.iter().any(|entry| entry.label() == name) => {
                return problem(format!("names no method `{name}`; there are {}", labels()));
            }
            _ => {}
        }
        match (self.kind, self.correction) {
            (ModeKind::PerWindow, None) => return problem("says not what it corrects; add `correction = { kind = \"prior_shift\" }`".into()),
            (ModeKind::PerWindow, Some(Correction::Moments { pseudo_count, .. })) if !(pseudo_count >= 0.0 && pseudo_count.is_finite()) => {
                return problem(format!("counts the base's moments as {pseudo_count} rows; set `pseudo_count` to a number of at least 0"));
            }
            (ModeKind::PerWindow, Some(_)) | (_, None) => {}
            _ => return problem("has a `correction`, which only `per_window` has; remove it".into()),
        }
        if !self.train.is_empty() && !matches!(self.kind, ModeKind::Incremental | ModeKind::RetrainDaily) {
            return problem("has training keys, which only `incremental` and `retrain_daily` have: those of a method stand in its [[method]]".into());
        }
        if self.guarded.is_some() && self.kind != ModeKind::PerRequest {
            return problem("has `guarded`, which only `per_request` has; remove it (a correction has one of its own)".into());
        }
        if self.last.is_some() && self.kind != ModeKind::RefitDaily {
            return problem("has `last`, which only `refit_daily` has; remove it".into());
        }
        if self.kind == ModeKind::PerEvent && (self.delay.is_some() || self.base.is_some() || self.state == Served::Frozen) {
            return problem("learns every label as it comes in and has no base; remove `delay`, `base` and `state`".into());
        }
        if (self.window.is_some() || self.every.is_some()) && self.kind != ModeKind::PerWindow {
            return problem("has `window` or `every`, which only `per_window` has; remove it".into());
        }
        Ok(())
    }
}
