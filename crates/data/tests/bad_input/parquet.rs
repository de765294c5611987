//! Parquet files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int96, Int96Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use acclimate_data::{DataError, RawDataset, ReadReport, RowFault};
use arrow_array::builder::{FixedSizeBinaryBuilder, ListBuilder, StringDictionaryBuilder};
use arrow_array::types::{ArrowPrimitiveType, Decimal256Type, Float16Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, Decimal256Array,
    DictionaryArray, FixedSizeListArray, Float16Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    LargeListArray, LargeStringArray, ListArray, NullArray, RecordBatch, StringArray, StringViewArray, StructArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt8Array, UInt16Array,
    UInt32Array, UInt64Array,
};

use super::{CONFIG, Folder, LOG, fault, with};

fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    parquet_with(path, columns, None);
}

fn parquet_with(path: &Path, columns: Vec<(&str, ArrayRef)>, properties: Option<WriterProperties>) {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), properties).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn log_columns() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("user", Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef),
        ("item", Arc::new(StringArray::from(vec!["i1", "i2"]))),
        ("time", Arc::new(TimestampMillisecondArray::from(vec![1_650_000_000_500, 1_650_000_001_000]))),
        ("click", Arc::new(BooleanArray::from(vec![true, false]))),
        ("age", Arc::new(Float64Array::from(vec![Some(0.5), None]))),
        ("seen", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), Some(2)]), Some(vec![Some(2)])]))),
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
    assert_eq!(data.features.bags[0].lists.iter().collect::<Vec<_>>(), [[1], [1]]);
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

type F16 = <Float16Type as ArrowPrimitiveType>::Native;
type I256 = <Decimal256Type as ArrowPrimitiveType>::Native;

/// The log with another column of items, read with them as the only feature.
fn read_items(items: ArrayRef, features: &str) -> (RawDataset, ReadReport) {
    let folder = Folder::new(LOG);
    let mut columns = log_columns();
    columns[1].1 = items;
    parquet(&folder.path("log.parquet"), columns);
    folder.read(&with(features).replace("log.csv", "log.parquet")).unwrap()
}

#[test]
fn every_type_of_number_and_text_is_an_id() {
    let text = || StringArray::from(vec!["a", "b"]);
    let (numbers, texts) = (["7", "8"], ["a", "b"]);
    let mut fixed = FixedSizeBinaryBuilder::new(1);
    [b"a", b"b"].iter().for_each(|bytes| fixed.append_value(bytes).unwrap());
    let dictionary: DictionaryArray<Int32Type> = ["a", "b"].into_iter().collect();
    let decimals = |scale: i8, one: i128| Decimal128Array::from(vec![7 * one, 8 * one]).with_precision_and_scale(20, scale).unwrap();
    let wide: Vec<I256> = [7, 8].map(I256::from_i128).to_vec();
    let items: [(ArrayRef, [&str; 2]); 22] = [
        (Arc::new(Int8Array::from(vec![7, -8])), ["7", "-8"]),
        (Arc::new(Int16Array::from(vec![7, 8])), numbers),
        (Arc::new(Int32Array::from(vec![7, 8])), numbers),
        (Arc::new(Int64Array::from(vec![7, i64::MIN])), ["7", "-9223372036854775808"]),
        (Arc::new(UInt8Array::from(vec![7, 255])), ["7", "255"]),
        (Arc::new(UInt16Array::from(vec![7, 65_535])), ["7", "65535"]),
        (Arc::new(UInt32Array::from(vec![7, u32::MAX])), ["7", "4294967295"]),
        (Arc::new(UInt64Array::from(vec![7, u64::MAX])), ["7", "18446744073709551615"]),
        (Arc::new(Float16Array::from(vec![F16::from_f32(7.0), F16::from_f32(0.5)])), ["7", "0.5"]),
        (Arc::new(Float32Array::from(vec![7.0, 0.1])), ["7", "0.1"]),
        (Arc::new(Float64Array::from(vec![7.0, 8.0])), numbers),
        (Arc::new(decimals(0, 1)), numbers),
        (Arc::new(decimals(2, 100)), numbers),
        (Arc::new(Decimal128Array::from(vec![725, 800]).with_precision_and_scale(9, 2).unwrap()), ["7.25", "8"]),
        (Arc::new(Decimal256Array::from(wide).with_precision_and_scale(60, 0).unwrap()), numbers),
        (Arc::new(LargeStringArray::from(vec!["a", "b"])), texts),
        (Arc::new(StringViewArray::from(vec!["a", "b"])), texts),
        (Arc::new(BinaryArray::from(vec![&b"a"[..], b"b"])), texts),
        (Arc::new(BinaryViewArray::from(vec![&b"a"[..], b"b"])), texts),
        (Arc::new(fixed.finish()), texts),
        (Arc::new(dictionary), texts),
        (Arc::new(BooleanArray::from(vec![true, false])), ["true", "false"]),
    ];
    let feature = "[[feature]]\nname = \"kind\"\ncolumn = \"item\"\nkind = \"categorical\"\ntransform = { prefix = 99 }\n";
    for (array, expected) in items {
        let of = array.data_type().clone();
        let (raw, _) = read_items(array, feature);
        assert_eq!(*raw.dataset().items, expected, "{of}");
        let data = raw.encode(&[0, 1]).unwrap();
        let kinds: Vec<_> =
            data.features.categorical[0].codes.iter().map(|&code| data.features.vocabularies[0].value(code).unwrap()).collect();
        assert_eq!(kinds, expected, "{of}");
    }
    assert_eq!(read_items(Arc::new(text()), "").0.dataset().items.to_vec(), texts);
}

#[test]
fn every_type_of_number_is_a_number_and_what_is_none_is_missing() {
    let columns: [(ArrayRef, Option<[f64; 2]>, usize); 8] = [
        (Arc::new(UInt64Array::from(vec![Some(1 << 63), None])), Some([9_223_372_036_854_775_808.0; 2]), 1),
        (Arc::new(Float16Array::from(vec![F16::from_f32(0.5), F16::NAN])), Some([0.5; 2]), 1),
        (Arc::new(Float32Array::from(vec![Some(f32::NAN), Some(2.5)])), Some([2.5; 2]), 1),
        (Arc::new(Float64Array::from(vec![Some(f64::NAN), None])), None, 2),
        (Arc::new(BooleanArray::from(vec![Some(true), Some(false)])), Some([0.0, 1.0]), 0),
        (Arc::new(Decimal128Array::from(vec![Some(-1250), None]).with_precision_and_scale(9, 2).unwrap()), Some([-12.5; 2]), 1),
        (Arc::new(StringArray::from(vec!["True", "0.25"])), Some([0.25, 1.0]), 0),
        (Arc::new(NullArray::new(2)), None, 2),
    ];
    let feature = "[[feature]]\nname = \"x\"\ncolumn = \"age\"\nkind = \"numeric\"\n";
    for (array, range, missing) in columns {
        let folder = Folder::new(LOG);
        let (of, mut columns) = (array.data_type().clone(), log_columns());
        columns[4].1 = array;
        parquet(&folder.path("log.parquet"), columns);
        let (_, report) = folder.read(&with(feature).replace("log.csv", "log.parquet")).unwrap();
        assert_eq!((report.columns[0].range, report.columns[0].missing), (range, missing), "{of}");
    }
}

#[test]
fn every_type_of_time_is_the_same_moment() {
    // 2022-04-15 05:20:00 and a second later; the first midnight before is 1,649,980,800.
    let seconds = || vec![1_650_000_000_i64, 1_650_000_001];
    let times = |factor: i64| seconds().into_iter().map(|s| s * factor).collect::<Vec<_>>();
    let (moments, east) = ([1_650_000_000_000_000, 1_650_000_001_000_000], 8 * 3_600_000_000_i64);
    let midnight = [1_649_980_800_000_000; 2];
    let columns: [(ArrayRef, [i64; 2], bool); 11] = [
        (Arc::new(TimestampSecondArray::from(seconds())), moments, true),
        (Arc::new(TimestampMillisecondArray::from(times(1_000))), moments, true),
        (Arc::new(TimestampMicrosecondArray::from(times(1_000_000))), moments, true),
        (Arc::new(TimestampNanosecondArray::from(times(1_000_000_000))), moments, true),
        (Arc::new(TimestampSecondArray::from(seconds()).with_timezone("+02:00")), moments, false),
        (Arc::new(TimestampMillisecondArray::from(times(1_000)).with_timezone("UTC")), moments, false),
        (Arc::new(TimestampMicrosecondArray::from(times(1_000_000)).with_timezone("Europe/Berlin")), moments, false),
        (Arc::new(TimestampNanosecondArray::from(times(1_000_000_000)).with_timezone("UTC")), moments, false),
        (Arc::new(Date32Array::from(vec![19_097; 2])), midnight, true),
        (Arc::new(Date64Array::from(vec![1_649_980_800_000; 2])), midnight, true),
        (Arc::new(StringArray::from(vec!["2022-04-15 05:20:00", "2022-04-15T05:20:01Z"])), moments, false),
    ];
    for (i, (array, expected, is_local)) in columns.into_iter().enumerate() {
        let folder = Folder::new(LOG);
        let (of, mut columns) = (array.data_type().clone(), log_columns());
        columns[2].1 = array;
        parquet(&folder.path("log.parquet"), columns);
        let config = CONFIG.replace("log.csv", "log.parquet").replace(", unit = \"s\"", "");
        assert_eq!(folder.read(&config).unwrap().0.dataset().log.time, expected, "{of}");
        if i < 10 {
            let config = config.replace("column = \"time\"", "column = \"time\", zone = \"+08:00\"");
            let moved = expected.map(|micros| if is_local { micros - east } else { micros });
            assert_eq!(folder.read(&config).unwrap().0.dataset().log.time, moved, "{of}: a clock on the wall shows the data set's zone");
        }
    }
}

/// Types that Arrow does not write: times of 96 bits (nanoseconds of the day and the Julian day, as Spark writes them), and UUIDs.
#[test]
fn times_of_96_bits_are_moments_and_uuids_are_text() {
    let folder = Folder::new(LOG);
    let schema = "message log { required binary user (UTF8); required fixed_len_byte_array(16) item (UUID); required int96 time; required int32 click; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(fs::File::create(folder.path("log.parquet")).unwrap(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let text = [ByteArray::from("a"), ByteArray::from("b")];
    let uuids = [0, 1].map(|first: u8| FixedLenByteArray::from((first..first + 16).collect::<Vec<u8>>()));
    let time = |julian_day: u32, nanos: u64| {
        let mut time = Int96::new();
        time.set_data(nanos as u32, (nanos >> 32) as u32, julian_day);
        time
    };
    // 2022-04-15 is day 2,459,685; 05:20:00 is 19,200 seconds. The other moment, in 2099, is beyond no unit's end.
    let times = [time(2_459_685, 19_200_000_001_000), time(2_487_827, 0)];
    for column in 0..4 {
        let mut writer = group.next_column().unwrap().unwrap();
        match column {
            0 => _ = writer.typed::<ByteArrayType>().write_batch(&text, None, None).unwrap(),
            1 => _ = writer.typed::<FixedLenByteArrayType>().write_batch(&uuids, None, None).unwrap(),
            2 => _ = writer.typed::<Int96Type>().write_batch(&times, None, None).unwrap(),
            _ => _ = writer.typed::<::parquet::data_type::Int32Type>().write_batch(&[0, 1], None, None).unwrap(),
        }
        writer.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    let config = CONFIG.replace("log.csv", "log.parquet").replace("unit = \"s\"", "zone = \"+08:00\"");
    let (raw, _) = folder.read(&config).unwrap();
    assert_eq!(raw.dataset().items[0], "00010203-0405-0607-0809-0a0b0c0d0e0f");
    assert_eq!(raw.dataset().log.time, [1_650_000_000_000_001, (2_487_827 - 2_440_588) * 86_400_000_000]);
}

#[test]
fn lists_of_every_kind_are_lists() {
    let ints = |rows: [Option<Vec<Option<i64>>>; 2]| ListArray::from_iter_primitive::<Int64Type, _, _>(rows);
    let rows = || [Some(vec![Some(3), None, Some(9)]), None];
    let large = LargeListArray::from_iter_primitive::<Int64Type, _, _>(rows());
    let fixed = FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(3), Some(9)]), Some(vec![None, None])], 2);
    let floats = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(3.0), Some(f64::NAN), Some(9.0)]), Some(vec![])]);
    let mut texts = ListBuilder::new(StringDictionaryBuilder::<Int32Type>::new());
    texts.values().append_value("3");
    texts.values().append_null();
    texts.values().append_value("9");
    texts.append(true);
    texts.append(false);
    let feature = "[[feature]]\nname = \"seen\"\nkind = \"multi\"\n";
    let columns: [ArrayRef; 6] = [
        Arc::new(ints(rows())),
        Arc::new(large),
        Arc::new(fixed),
        Arc::new(floats),
        Arc::new(texts.finish()),
        Arc::new(StringArray::from(vec![Some("[3, 9]"), None])),
    ];
    for array in columns {
        let folder = Folder::new(LOG);
        let (of, mut columns) = (array.data_type().clone(), log_columns());
        columns[5].1 = array;
        parquet(&folder.path("log.parquet"), columns);
        let (raw, report) = folder.read(&with(feature).replace("log.csv", "log.parquet")).unwrap();
        assert_eq!((report.columns[0].distinct, report.columns[0].missing), (Some(2), 1), "{of}");
        let data = raw.encode(&[0, 1]).unwrap();
        let values: Vec<_> =
            data.features.bags[0].lists.iter().flatten().map(|&code| data.features.vocabularies[0].value(code).unwrap()).collect();
        assert_eq!(values, ["3", "9"], "{of}");
    }
}

#[test]
fn every_codec_is_read() {
    for codec in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::ZSTD(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::BROTLI(Default::default()),
    ] {
        let folder = Folder::new(LOG);
        let properties = WriterProperties::builder().set_compression(codec).build();
        parquet_with(&folder.path("log.parquet"), log_columns(), Some(properties));
        assert_eq!(folder.read(&CONFIG.replace("log.csv", "log.parquet")).unwrap().1.rows, 2, "{codec}");
    }
}

#[test]
fn written_and_typed_values_share_a_vocabulary() {
    let folder = Folder::new("user,item,time,click,brand,member\nu1,i1,1650000000,True,3,True\nu2,i2,1650000001,FALSE,2.0,false\n");
    let features = with("[[feature]]\nname = \"brand\"\nkind = \"categorical\"\n[[feature]]\nname = \"member\"\nkind = \"categorical\"\n");
    let (written, report) = folder.read(&features).unwrap();
    assert_eq!(report.label_mean, 0.5);
    let mut columns = log_columns();
    columns.push(("brand", Arc::new(Float64Array::from(vec![Some(3.0), Some(2.0)]))));
    columns.push(("member", Arc::new(BooleanArray::from(vec![true, false]))));
    parquet(&folder.path("log.parquet"), columns);
    let (typed, _) = folder.read(&features.replace("log.csv", "log.parquet")).unwrap();
    let data = [written, typed].map(|raw| raw.encode(&[0, 1]).unwrap().features);
    assert_eq!(data[0], data[1]);
    assert_eq!([1, 2].map(|row| data[0].vocabularies[1].value(row).unwrap()), ["false", "true"]);
}

#[test]
fn bytes_that_are_no_text_and_floats_without_a_number() {
    let folder = Folder::new(LOG);
    let config = CONFIG.replace("log.csv", "log.parquet");
    let mut columns = log_columns();
    columns[1].1 = Arc::new(BinaryArray::from(vec![&b"\xff\xfe"[..], b"b"]));
    parquet(&folder.path("log.parquet"), columns);
    let error = folder.error(&config, &["log.parquet, row 1", "`item`", "no text"]);
    assert!(matches!(fault(&error), RowFault::NotText { .. }));
    let mut columns = log_columns();
    columns[1].1 = Arc::new(Float64Array::from(vec![1.0, f64::NAN]));
    parquet(&folder.path("log.parquet"), columns);
    folder.error(&config, &["row 2", "`item` is empty"]);
}
