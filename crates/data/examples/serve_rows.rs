//! Rows for `cargo xtask bench serve`: as a client writes them, and as the codes and numbers that a base's encoder makes of them, which is what the peer of the server is given.
//!
//! `serve_rows DATA BASE REQUESTS CANDIDATES` reads the files that `acclimate demo` writes and the folder of a base. It prints a line with what the peer must know of its rows, then one a request.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use acclimate_data::{EncodedRows, Encoder, Encoding, FeatureState, RawValue, RowEncoder};
use serde_json::{Map, Value, json};

type Given = BTreeMap<String, RawValue>;

/// The demo's users, items and moments.
struct Tables {
    users: BTreeMap<String, Given>,
    items: Vec<Given>,
    /// Rows of the log: user, domain and device of each.
    moments: Vec<Given>,
    /// A day after the last one, in Unix seconds.
    time: i64,
}

/// Anything that is wrong with the files is told and ends the program.
type Read<T> = Result<T, Box<dyn std::error::Error>>;

impl Tables {
    /// Reads what `acclimate demo` has written.
    fn read(data: &Path, encoder: &RowEncoder) -> Read<Self> {
        // The demo's tables hold more than its features read.
        let reads = |name: &str| ["user", "item"].contains(&name) || encoder.features().any(|feature| feature.name == name);
        let keyed = |file: &str, key: &str| -> Read<Vec<(String, Given)>> {
            let keyed = |mut row: Given| {
                row.retain(|name, _| reads(name));
                Ok((text(row.get(key)).map_err(|error| format!("{file}: `{key}`: {error}"))?, row))
            };
            table(&data.join(file))?.into_iter().map(keyed).collect()
        };
        let moments = table(&data.join("log.csv"))?;
        let mut last = None;
        for row in &moments {
            last = last.max(encoder.moment_of(row.get("time").ok_or("log.csv has a row without `time`")?)?);
        }
        let time = last.ok_or("log.csv has no rows")? / 1_000_000 + 86_400;
        let kept = ["user", "domain", "device"];
        let moments = moments.into_iter().map(|row| row.into_iter().filter(|(name, _)| kept.contains(&name.as_str())).collect()).collect();
        let items: Vec<Given> = keyed("items.csv", "item")?.into_iter().map(|(_, row)| row).collect();
        if items.is_empty() {
            return Err("items.csv has no rows".into());
        }
        Ok(Self { users: keyed("users.csv", "user")?.into_iter().collect(), items, moments, time })
    }

    /// Makes a request of some candidates: a moment of the log, items in an order of its own. Gives what our server is asked, and the rows.
    fn request(
        &self,
        (request, of): (usize, usize),
        candidates: usize,
        (encoder, state): (&RowEncoder, Option<&FeatureState>),
    ) -> Read<(Value, EncodedRows)> {
        let mut moment = self.moments[request * self.moments.len() / of].clone();
        let user = text(moment.remove("user").as_ref())?;
        // Strides that share no factor with the number of items visit all of them.
        let stride = (1 + request..).find(|&stride| gcd(stride, self.items.len()) == 1).unwrap_or(1);
        let items: Vec<Given> = (0..candidates).map(|at| self.items[(request + at * stride) % self.items.len()].clone()).collect();
        let ids = items.iter().map(|item| text(item.get("item"))).collect::<Read<Vec<_>>>()?;
        let asked = json!({ "user": user, "time": self.time, "features": moment, "items": ids });
        let mut shared = moment;
        shared.extend(self.users.get(&user).ok_or_else(|| format!("users.csv does not know `{user}`"))?.clone());
        Ok((asked, rows(encoder, state, (&shared, &items), self.time * 1_000_000)?))
    }
}

/// Encodes the rows of a request as a server does.
fn rows(encoder: &RowEncoder, state: Option<&FeatureState>, (shared, items): (&Given, &[Given]), time: i64) -> Read<EncodedRows> {
    let mut encoded = EncodedRows::default();
    let columns = encoder.columns(shared, items.iter())?;
    encoder.encode(&columns, &mut encoded)?;
    if let Some(state) = state {
        let asked = encoder.asked(&columns, time)?;
        let nothing: &[acclimate_data::RowEvent] = &[];
        encoder.fill(&state.features_of_rows(&asked.rows(), nothing), &mut encoded);
    }
    Ok(encoded)
}

/// One column of encoded rows.
enum Column<'e> {
    Codes(usize),
    Number(usize),
    List(&'e str, usize),
}

/// The peer's requests, and which features they give once: those that are the same in all rows of each request.
fn peer(encoder: &Encoder, encoded: &[EncodedRows]) -> (Vec<Value>, Value) {
    let mut counts = [0_usize; 3];
    let mut columns = Vec::new();
    for feature in encoder.features() {
        let mut next = |kind: usize| {
            counts[kind] += 1;
            counts[kind] - 1
        };
        columns.push((
            feature.name.as_str(),
            match feature.encoding {
                Encoding::Categorical(_) => Column::Codes(next(0)),
                Encoding::Numeric(_) => Column::Number(next(1)),
                Encoding::Bag(_) => Column::List(&feature.name, next(2)),
            },
        ));
    }
    let is_shared = |column: &Column<'_>| encoded.iter().all(|rows| (1..rows.rows).all(|row| is_same(rows, column, 0, row)));
    let shared: BTreeSet<&str> = columns.iter().filter(|(_, column)| is_shared(column)).map(|&(name, _)| name).collect();
    let mut longest = BTreeMap::new();
    for (name, column) in &columns {
        if let Column::List(_, at) = column {
            let lengths = encoded.iter().flat_map(|rows| rows.bags[*at].offsets.windows(2).map(|ends| ends[1] - ends[0]));
            longest.insert(*name, lengths.max().unwrap_or(0).max(1) as usize);
        }
    }
    let ask = |rows: &EncodedRows| {
        let mut body: Map<String, Value> = Map::new();
        for (side, is_shared) in [("shared", true), ("own", false)] {
            let kept: Vec<&Column<'_>> =
                columns.iter().filter(|(name, _)| shared.contains(name) == is_shared).map(|(_, column)| column).collect();
            let (mut codes, mut numbers) = (Vec::new(), Vec::new());
            for row in 0..if is_shared { 1 } else { rows.rows } {
                for column in &kept {
                    match **column {
                        Column::Codes(at) => codes.push(rows.codes[row * rows.fields + at]),
                        Column::Number(at) => numbers.push(rows.numeric[row * rows.numbers + at]),
                        Column::List(name, at) => {
                            let list = list(rows, at, row);
                            push(&mut body, &format!("length_{name}"), [json!(list.len())]);
                            let padded = list.iter().copied().chain(std::iter::repeat(0)).take(longest[name]);
                            push(&mut body, &format!("list_{name}"), padded.map(|code| json!(code)));
                        }
                    }
                }
            }
            body.insert(format!("{side}_codes"), json!(codes));
            body.insert(format!("{side}_numbers"), json!(numbers));
        }
        Value::Object(body)
    };
    (encoded.iter().map(ask).collect(), json!({ "shared": shared, "lists": longest }))
}

fn push(body: &mut Map<String, Value>, key: &str, values: impl IntoIterator<Item = Value>) {
    if let Value::Array(array) = body.entry(key).or_insert_with(|| json!([])) {
        array.extend(values);
    }
}

fn list(rows: &EncodedRows, at: usize, row: usize) -> &[u32] {
    let bag = &rows.bags[at];
    &bag.codes[bag.offsets[row] as usize..bag.offsets[row + 1] as usize]
}

fn is_same(rows: &EncodedRows, column: &Column<'_>, a: usize, b: usize) -> bool {
    match *column {
        Column::Codes(at) => rows.codes[a * rows.fields + at] == rows.codes[b * rows.fields + at],
        Column::Number(at) => rows.numeric[a * rows.numbers + at].to_bits() == rows.numeric[b * rows.numbers + at].to_bits(),
        Column::List(_, at) => list(rows, at, a) == list(rows, at, b),
    }
}

/// Rows of a plain CSV file, by column; empty cells are left out.
fn table(path: &Path) -> Read<Vec<Given>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if text.contains('"') {
        return Err(format!("{} has quotes, and the demo writes none", path.display()).into());
    }
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let cells = |line: &str| -> Given {
        let cells = names.iter().zip(line.split(',')).filter(|(_, cell)| !cell.is_empty());
        cells.map(|(&name, cell)| (name.to_owned(), RawValue::Text(cell.to_owned()))).collect()
    };
    Ok(lines.map(cells).collect())
}

fn text(value: Option<&RawValue>) -> Read<String> {
    match value {
        Some(RawValue::Text(text)) => Ok(text.clone()),
        other => Err(format!("{other:?} is no id").into()),
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The encoder of a base folder, and what its features know of earlier rows.
fn encoder_of(base: &Path) -> Read<(RowEncoder, Option<FeatureState>)> {
    let path = base.join("encoder.json");
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let encoder: Encoder = serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let state = if encoder.has_state() { Some(FeatureState::load(&encoder, &base.join("state.zst"))?) } else { None };
    Ok((RowEncoder::new(Arc::new(encoder)), state))
}

fn main() -> Read<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, base, requests, candidates] = &arguments[..] else { return Err("serve_rows DATA BASE REQUESTS CANDIDATES".into()) };
    let (requests, candidates): (usize, usize) = (requests.parse()?, candidates.parse()?);
    let (encoder, state) = encoder_of(Path::new(base))?;
    let tables = Tables::read(Path::new(data), &encoder)?;
    let made = (0..requests).map(|request| tables.request((request, requests), candidates, (&encoder, state.as_ref())));
    let (ours, encoded): (Vec<Value>, Vec<EncodedRows>) = made.collect::<Read<Vec<_>>>()?.into_iter().unzip();
    let (theirs, layout) = peer(encoder.encoder(), &encoded);
    println!("{layout}");
    for (ours, peer) in ours.into_iter().zip(theirs) {
        println!("{}", json!({ "ours": ours, "peer": peer }));
    }
    Ok(())
}
