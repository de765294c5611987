//! Tables, vocabularies, splits, tasks, batches and the simulator. No tensor library in here.

mod batch;
mod dataset;
mod index;
mod vocabulary;

pub use batch::{BagColumn, Batch};
pub use dataset::{Attribute, Bag, Categorical, Dataset, Features, FieldSchema, LabelKind, Log, Numeric, Schema, Side, VocabularySchema};
pub use index::{DomainIndex, ItemIndex, UserIndex, VocabularyIndex};
pub use vocabulary::Vocabulary;
