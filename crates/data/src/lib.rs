//! Tables, vocabularies, splits, tasks, batches and the simulator. No tensor library in here.

mod batch;
mod buckets;
mod dataset;
mod hash;
mod index;
mod negatives;
mod split;
mod stream;
mod task;
mod vocabulary;

pub use batch::{BagColumn, Batch};
pub use buckets::{EpochRows, GroupPlan, RowOrder, plan_groups};
pub use dataset::{Attribute, Bag, Categorical, Dataset, Features, FieldSchema, LabelKind, Log, Numeric, Schema, Side, VocabularySchema};
pub use hash::{hash64, mix, sha256, sha256_hex, sha256_order, subset_by_hash};
pub use index::{DomainIndex, ItemIndex, UserIndex, VocabularyIndex};
pub use negatives::{NegativeConfig, NegativeError, NegativeSampler, smallest_by_key};
pub use split::{Existing, ItemRule, LogView, Split, SplitConfig, SplitError, UserRule};
pub use stream::RandomStream;
pub use task::{Task, TaskConfig, TaskError, TaskOrder, TaskSet};
pub use vocabulary::Vocabulary;
