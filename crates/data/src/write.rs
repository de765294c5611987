//! Tables that the program writes: CSV or Parquet, told by the file's name.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// Rows of a Parquet record batch.
const BATCH_ROWS: usize = 65_536;

/// One column of a table, one value a row.
#[derive(Clone, Debug, PartialEq)]
pub enum OutColumn<'a> {
    /// Text: a value of `names` for each row.
    Text {
        /// Distinct values.
        names: &'a [String],
        /// Position in `names` of each row.
        of_row: Vec<u32>,
    },
    /// Microseconds since 1970 (UTC): written as `2022-04-25T13:05:41.250000Z`, or as a timestamp.
    Time(Vec<i64>),
    /// Numbers, with as many digits as they need to be read back exactly.
    Number(Vec<f32>),
}

impl OutColumn<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Text { of_row, .. } => of_row.len(),
            Self::Time(values) => values.len(),
            Self::Number(values) => values.len(),
        }
    }
}

/// A table that can not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Neither format's ending.
    #[error("can not tell the format of {}: its name ends neither in .csv nor in .parquet", .0.display())]
    Format(PathBuf),
    /// The system refuses, or the disk is full.
    #[error("can not write {}: {source}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Whether a file name tells a format that can be written.
///
/// # Errors
/// [`WriteError::Format`].
pub fn check_table_name(file: &Path) -> Result<(), WriteError> {
    match file.extension().and_then(|e| e.to_str()) {
        Some("csv" | "parquet") => Ok(()),
        _ => Err(WriteError::Format(file.to_owned())),
    }
}

/// Writes named columns of equal length. The file appears whole or not at all.
///
/// # Errors
/// See [`WriteError`].
///
/// # Panics
/// If columns differ in length.
pub fn write_table(file: &Path, columns: &[(&str, OutColumn<'_>)]) -> Result<(), WriteError> {
    check_table_name(file)?;
    let rows = columns.first().map_or(0, |(_, column)| column.len());
    assert!(columns.iter().all(|(_, column)| column.len() == rows), "columns of one table have one length");
    let beside = file.with_extension(format!("{}.tmp", std::process::id()));
    let io = |source| WriteError::Io { file: file.to_owned(), source };
    let written = File::create(&beside).and_then(|out| {
        let out = BufWriter::new(out);
        let out = if file.extension().is_some_and(|e| e == "csv") { csv(out, columns, rows) } else { parquet(out, columns, rows) }?;
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&beside, file)
    });
    written.map_err(|source| {
        // The rest of a failed write is of no use.
        let _ = std::fs::remove_file(&beside);
        io(source)
    })
}

fn csv(out: BufWriter<File>, columns: &[(&str, OutColumn<'_>)], rows: usize) -> std::io::Result<BufWriter<File>> {
    let mut out = csv::Writer::from_writer(out);
    out.write_record(columns.iter().map(|(name, _)| name))?;
    let mut buffer = String::new();
    for row in 0..rows {
        for (_, column) in columns {
            use std::fmt::Write;
            buffer.clear();
            let text = match column {
                OutColumn::Text { names, of_row } => &names[of_row[row] as usize],
                OutColumn::Time(values) => {
                    match chrono::DateTime::from_timestamp_micros(values[row]) {
                        Some(time) => write!(buffer, "{}", time.format("%Y-%m-%dT%H:%M:%S%.fZ")),
                        None => Ok(()),
                    }
                    .expect("writing to a String can not fail");
                    &buffer
                }
                OutColumn::Number(values) => {
                    write!(buffer, "{}", values[row]).expect("writing to a String can not fail");
                    &buffer
                }
            };
            out.write_field(text)?;
        }
        out.write_record(None::<&[u8]>)?;
    }
    out.into_inner().map_err(|error| std::io::Error::other(error.error().to_string()))
}

fn parquet(out: BufWriter<File>, columns: &[(&str, OutColumn<'_>)], rows: usize) -> std::io::Result<BufWriter<File>> {
    let batch = |range: std::ops::Range<usize>| {
        let column = |column: &OutColumn<'_>| -> ArrayRef {
            match column {
                OutColumn::Text { names, of_row } => {
                    Arc::new(StringArray::from_iter_values(of_row[range.clone()].iter().map(|&at| &names[at as usize])))
                }
                OutColumn::Time(values) => Arc::new(TimestampMicrosecondArray::from(values[range.clone()].to_vec()).with_timezone_utc()),
                OutColumn::Number(values) => Arc::new(Float32Array::from(values[range.clone()].to_vec())),
            }
        };
        RecordBatch::try_from_iter(columns.iter().map(|(name, values)| (*name, column(values)))).map_err(std::io::Error::other)
    };
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let first = batch(0..rows.min(BATCH_ROWS))?;
    let mut writer = ArrowWriter::try_new(out, first.schema(), Some(properties))?;
    writer.write(&first)?;
    for begin in (BATCH_ROWS..rows).step_by(BATCH_ROWS) {
        writer.write(&batch(begin..rows.min(begin + BATCH_ROWS))?)?;
    }
    Ok(writer.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_hold_the_same_table_and_nothing_stands_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["u,1".to_owned(), "u2".to_owned()];
        let of_row: Vec<u32> = (0..70_000).map(|row| row % 2).collect();
        let numbers: Vec<f32> = (0..70_000).map(|row| row as f32 / 3.0).collect();
        let columns = [
            ("user", OutColumn::Text { names: &names, of_row }),
            ("time", OutColumn::Time((0..70_000).map(|row| 1_650_891_941_000_000 + row * 250_000).collect())),
            ("base", OutColumn::Number(numbers.clone())),
        ];
        let (csv, parquet) = (folder.path().join("scores.csv"), folder.path().join("scores.parquet"));
        write_table(&csv, &columns).unwrap();
        write_table(&parquet, &columns).unwrap();
        let text = std::fs::read_to_string(&csv).unwrap();
        let lines: Vec<&str> = text.lines().take(3).collect();
        assert_eq!(lines, ["user,time,base", "\"u,1\",2022-04-25T13:05:41Z,0", "u2,2022-04-25T13:05:41.250Z,0.33333334"]);
        let config = "name = 'x'\n[interactions]\nfiles = ['F']\nuser = 'user'\nitem = 'user'\ntime = { column = 'time' }\n\
                      label = { column = 'base', kind = 'rating', min = 0, max = 1e9 }\n";
        for file in ["scores.csv", "scores.parquet"] {
            let config = crate::DatasetConfig::parse(&config.replace('F', file), folder.path().join("x.toml")).unwrap();
            let (raw, _) = crate::RawDataset::read(&config).unwrap();
            let log = &raw.dataset().log;
            assert_eq!((log.len(), &log.label, log.time[69_999]), (70_000, &numbers, 1_650_891_941_000_000 + 69_999 * 250_000), "{file}");
            assert_eq!(*raw.dataset().users, names);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(matches!(write_table(&folder.path().join("scores.txt"), &columns), Err(WriteError::Format(_))));
        assert!(matches!(write_table(&folder.path().join("no/scores.csv"), &columns), Err(WriteError::Io { .. })));
    }
}
