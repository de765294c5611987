//! Evaluation: metrics, floors, intervals and the report. No tensors: everything here is plain slices.
//!
//! Start with [`Panel`]: the methods of one data set, scenario and setting, measured on the same rows. It gives [`ResultRecord`]s with paired
//! bootstrap intervals and the verdict against the best floor; a [`Report`] gathers them, writes JSON and HTML, and prints a [`Leaderboard`].

mod choices;
mod error;
pub mod floor;
mod gain;
mod leaderboard;
pub mod metric;
mod panel;
mod preflight;
mod record;
mod reference;
mod report;
mod significance;
mod size;
pub mod suspicion;
mod verdicts;

pub use acclimate_fit::{Ordinal, Spread};
pub use error::EvalError;
pub use gain::{GainRecord, gains};
pub use leaderboard::{Leaderboard, Paint};
pub use metric::{Average, Candidates, Gain, Goal, LabelRange, Metric, Scope, rank_of};
pub use panel::{Entrant, Outcome, Panel};
pub use preflight::{Constant, Preflight, SettingCheck, ShuffledControl};
pub use record::{
    Absence, Cost, DifferenceRecord, DomainRecord, Environment, FloorRecord, Input, Kind, Place, Report, ResultRecord, Verdict,
};
pub use report::to_html;
pub use significance::{
    Bootstrap, Comparison, Difference, DomainSize, Estimate, EvaluationClasses, EvaluationQueries, EvaluationRows, Said, Sample, Statistic,
};
pub use verdicts::{BestFloor, Judged, Role, ScenarioVerdict, ServeRange, Served, SettingVerdict, Verdicts};
