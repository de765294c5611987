//! Everything that can keep an experiment from finishing.

use std::path::PathBuf;

use acclimate_adapt::AdaptError;
use acclimate_data::{DataError, Dataset, ExtremeColumn, SimulatorError, SplitError, TaskError, WriteError};
use acclimate_eval::{EvalError, floor::FloorError};
use acclimate_model::{ModelError, TensorFileError};
use acclimate_registry::RegistryError;
use acclimate_train::TrainError;
use thiserror::Error;

/// Why an experiment, or a part of it, did not finish.
#[derive(Debug, Error)]
pub enum ExperimentError {
    /// The experiment file is not the TOML that is expected.
    #[error("{}: {source}", file.display())]
    Syntax {
        /// The experiment file.
        file: PathBuf,
        /// Line, column and what is expected there.
        source: Box<toml::de::Error>,
    },
    /// An entry of the experiment file contradicts the rest or the data.
    #[error("{}: {entry}: {problem}", file.display())]
    Config {
        /// The experiment file.
        file: PathBuf,
        /// The entry, such as "method `adapter`".
        entry: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A file that was named and can not be read.
    #[error("can not read {}: {source}; check the path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of the output folder that can not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A folder that is no base, or a damaged one.
    #[error("{}: {problem}", path.display())]
    Artifact {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A base that says something else the second time.
    #[error(
        "preflight: `{base}` scored the same {rows} rows of {place} twice, and {different} scores differ. No number of this run can be trusted: this is a \
         fault of the program or of the machine. Try --threads 1 and report it"
    )]
    Unrepeatable {
        /// The base.
        base: String,
        /// Data set, scenario and setting.
        place: String,
        /// Number of rows.
        rows: usize,
        /// How many scores differ in their bits.
        different: usize,
    },
    /// A base that is not equal to itself.
    #[error(
        "preflight: `{base}` against itself in {place} differs by {value:e} in {metric}, where it must differ by 0. No interval of this run can be trusted: \
         this is a fault of the program; report it"
    )]
    DiffersFromItself {
        /// The base.
        base: String,
        /// Data set, scenario and setting.
        place: String,
        /// The metric.
        metric: String,
        /// The difference, or an end of its interval.
        value: f64,
    },
    /// Stopped from outside; what was done is kept.
    #[error("interrupted; finished runs are kept and the current one has a checkpoint: give the same command again to go on")]
    Interrupted,
    /// The data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The simulator's settings.
    #[error(transparent)]
    Simulator(#[from] SimulatorError),
    /// The split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The tasks.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The network's config.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A method.
    #[error(transparent)]
    Adapt(#[from] AdaptError),
    /// Training or scoring.
    #[error(transparent)]
    Train(TrainError),
    /// A named run of training.
    #[error("`{name}`: {source}")]
    Run {
        /// Name of the run, such as `adapter-seed1`.
        name: String,
        /// Why it ended.
        source: Box<Self>,
    },
    /// Training that ended in no number, on data with numbers so large that they are the likely cause.
    #[error("{source} The likely cause: {columns}; give them a `scale` or a `transform`")]
    Extreme {
        /// How training ended.
        source: Box<Self>,
        /// The features and their largest magnitudes.
        columns: String,
    },
    /// Measuring.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The registry or its gate.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A floor.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// A table of scores that can not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A tensor file.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// A damaged file of a run that can be made again.
    #[error("{0}; it belongs to a run that can be done again: remove the file and give the same command")]
    Damaged(TensorFileError),
}

impl From<TrainError> for ExperimentError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Interrupted { .. } => Self::Interrupted,
            TrainError::Adapt(error) => Self::Adapt(error),
            other => Self::Train(other),
        }
    }
}

impl ExperimentError {
    /// The error of a named run; an interruption is nobody's.
    #[must_use]
    pub fn of_run(name: impl Into<String>, error: TrainError) -> Self {
        match Self::from(error) {
            Self::Interrupted => Self::Interrupted,
            source => Self::Run { name: name.into(), source: Box::new(source) },
        }
    }

    /// Names the numbers of the data that are the likely cause of training that ended in none.
    #[must_use]
    pub(crate) fn naming_extremes(self, dataset: &Dataset) -> Self {
        let diverged = match &self {
            Self::Run { source, .. } => matches!(**source, Self::Train(TrainError::Diverged { .. })),
            _ => false,
        };
        let extreme = if diverged { dataset.extreme_columns() } else { Vec::new() };
        if extreme.is_empty() {
            return self;
        }
        let column = |c: &ExtremeColumn| format!("feature `{}` holds numbers up to {:e}", c.feature, c.largest);
        let columns = extreme.iter().map(column).collect::<Vec<_>>().join(", ");
        Self::Extreme { source: Box::new(self), columns }
    }

    /// Says of a damaged file of the output folder what to do: nothing in it is needed that can not be computed again.
    #[must_use]
    pub(crate) fn advising_removal(self) -> Self {
        match self {
            Self::File(error) if !matches!(error, TensorFileError::Io { .. }) => Self::Damaged(error),
            Self::Train(TrainError::File(error)) => Self::File(error).advising_removal(),
            Self::Run { name, source } => Self::Run { name, source: Box::new(source.advising_removal()) },
            other => other,
        }
    }

    /// Whether the input (data, experiment file, saved artifact) is to blame rather than the run.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Interrupted | Self::Io { .. } | Self::Write(_) | Self::Unrepeatable { .. } | Self::DiffersFromItself { .. } => false,
            Self::Run { source, .. } | Self::Extreme { source, .. } => source.is_bad_input(),
            Self::Train(error) => matches!(error, TrainError::Config { .. } | TrainError::Nothing { .. }),
            Self::Eval(error) => !matches!(error, EvalError::NotFinite { .. } | EvalError::File { .. } | EvalError::Json { .. }),
            Self::File(error) => !matches!(error, TensorFileError::Io { .. }),
            _ => true,
        }
    }
}
