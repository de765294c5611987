//! Parquet files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use acclimate_data::{DataError, RowFault};
use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StructArray};

use super::{CONFIG, Folder, LOG, fault, with};

fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn log_columns() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("user", Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef),
        ("item", Arc::new(StringArray::from(vec!["i1", "i2"]))),
        ("time", Arc::new(arrow_array::TimestampMillisecondArray::from(vec![1_650_000_000_500, 1_650_000_001_000]))),
        ("click", Arc::new(arrow_array::BooleanArray::from(vec![true, false]))),
        ("age", Arc::new(arrow_array::Float64Array::from(vec![Some(0.5), None]))),
        (
            "seen",
            Arc::new(ListArray::from_iter_primitive::<arrow_array::types::Int64Type, _, _>([
                Some(vec![Some(1), Some(2)]),
                Some(vec![Some(2)]),
            ])),
        ),
    ]
}

#[test]
fn parquet_types_become_the_same_data() {
    let folder = Folder::new(LOG);
    parquet(&folder.path("log.parquet"), log_columns());
    let features = "[[feature]]\nname = \"age\"\nkind = \"numeric\"\n[[feature]]\nname = \"user\"\nkind = \"categorical\"\n\
                    [[feature]]\nname = \"seen\"\nkind = \"sequence\"\nseparator = \" \"\nmax_length = 1\n";
    let (raw, report) = folder.read(&with(features).replace("log.csv", "log.parquet")).unwrap();
    assert_eq!(report.time, Some([1_650_000_000_500_000, 1_650_000_001_000_000]));
    let data = raw.encode(&[0, 1]).unwrap();
    assert_eq!((&data.users[..], &data.log.label[..]), (&["7".to_owned(), "8".to_owned()][..], &[1.0, 0.0][..]));
    assert_eq!(data.features.numeric[0].values, [0.5, 0.5], "a missing number is the training mean");
    assert_eq!((&data.features.bags[0].offsets[..], &data.features.bags[0].codes[..]), (&[0, 1, 2][..], &[1, 1][..]));
}

#[test]
fn parquet_with_other_types() {
    let folder = Folder::new(LOG);
    let config = CONFIG.replace("log.csv", "log.parquet");
    let mut columns = log_columns();
    columns[1].1 = Arc::new(StructArray::from(vec![(
        Arc::new(arrow_schema::Field::new("x", arrow_schema::DataType::Int64, false)),
        Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef,
    )]));
    parquet(&folder.path("log.parquet"), columns);
    let error = folder.error(&config, &["log.parquet", "`item`", "Struct", "store it as"]);
    assert!(matches!(error, DataError::UnsupportedType { .. }));

    let mut columns = log_columns();
    columns[3].1 = Arc::new(StringArray::from(vec!["1", "yes"]));
    parquet(&folder.path("log.parquet"), columns);
    let error = folder.error(&config, &["log.parquet, row 2", "`click`", "`yes`"]);
    assert!(matches!(fault(&error), RowFault::WrongType { .. }));

    folder.write("log.parquet", "not parquet at all");
    assert!(matches!(folder.error(&config, &["log.parquet"]), DataError::Parquet { .. }));
}
