//! Tables, vocabularies, splits, tasks, batches and the simulator. No tensor library in here.

mod batch;
mod buckets;
mod column;
mod config;
mod dataset;
mod encode;
mod error;
mod guess;
mod hash;
mod index;
mod inspect;
mod nearest;
mod negatives;
mod raw_value;
mod read;
mod recent;
mod request;
mod sequence;
mod simulator;
mod source;
mod split;
mod state;
mod stream;
mod strings;
pub mod tagged;
mod task;
mod time;
mod vocabulary;
mod write;

pub use batch::{BagColumn, Batch};
pub use buckets::{EpochRows, GroupPlan, RowOrder, cut_groups, plan_groups};
pub use config::{
    AttributeConfig, AttributeKind, Condition, ConfigProblem, DatasetConfig, Decimal, DerivedKeyError, DomainConfig, DomainOrigin, Domains,
    FeatureConfig, FeatureKind, Format, InteractionsConfig, ItemScope, LabelConfig, LabelType, Lag, Missing, OnBadRow, Origin, Scale,
    SideTableConfig, Since, Span, StatisticValue, TableDomain, TimeConfig, Transform,
};
pub use dataset::{
    Attribute, Bag, Categorical, Dataset, ExtremeColumn, Features, FieldSchema, LabelKind, Lists, Log, LogFile, Numeric, Schema, Side,
    VocabularySchema,
};
pub use encode::{
    ASKED_ITEM, AskedRow, AskedRows, EncodedRows, Encoder, Encoding, FeatureEncoder, ITEMS_BEFORE, ItemRows, Reading, RowColumns,
    RowEncoder, RowError, RowEvent, RowWriting, Scaler, UnknownShare, Writing,
};
pub use error::{Compression, Container, DataError, Expected, HeaderAdvice, IdRemedy, IdSpelling, Place, Position, RowFault, TimeReading};
pub use guess::{Files, GivenSplit, Guess, NoTable, guess};
pub use hash::{hash64, mix, sha256, sha256_hex, sha256_order, subset_by_hash};
pub use index::{DomainIndex, ItemIndex, UserIndex, VocabularyIndex};
pub use inspect::{ColumnReport, DomainReport, FileReport, ReadReport, RepeatReport, TableKind, TieReport};
pub use nearest::nearest;
pub use negatives::{NegativeConfig, NegativeError, NegativeSampler, smallest_by_key};
pub use raw_value::RawValue;
pub use read::RawDataset;
pub use recent::RecentEvents;
pub use request::{RequestConfig, RequestKey, RequestRule};
pub use sequence::{
    CrossDomain, Event, ExampleConfig, InputEvents, NextItem, Queries, SequenceError, Sequences, Take, hashed_negatives, id_number,
    id_numbers, rank_in_domain, trailing_number,
};
pub use simulator::{Requests, Shift, ShiftKind, Simulation, SimulatorConfig, SimulatorError};
pub use split::{
    Existing, Given, ItemRule, ItemShare, LeaveLastOut, LogView, Moment, Proposal, Random, ShareOf, Split, SplitConfig, SplitError,
    TimeCut, Unit, UserRule, Values,
};
pub use state::{Event as StateEvent, FeatureState, Followed, Known, Level, Overlay, StateColumns, StateFeatures};
pub use stream::RandomStream;
pub use task::{Owner, Task, TaskConfig, TaskError, TaskOrder, TaskSet, TasksOf};
pub use time::{MICROS_PER_DAY, MICROS_PER_SECOND, TimePart, TimeUnit, Zone, ZoneError, date};
pub use vocabulary::Vocabulary;
pub use write::{OutColumn, WriteError, check_table_name, write_table};
