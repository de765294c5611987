//! What a column holds, told from all of its values in one pass.
//!
//! A value is put to every reading that is still possible: number, date in one of the usual spellings, list with one of the usual separators. A
//! reading that fails too often is dropped, so that a long column of text costs little. Markers such as `NA` are kept apart from the values.

use std::collections::BTreeMap;

use super::distinct::Distinct;
use crate::config::Decimal;
use crate::source::{Cell, grouped, integer_text};
use crate::time::Spelling;
use crate::{MICROS_PER_SECOND, TimeUnit, Zone};

/// Different values that are counted one by one.
const LEVELS: usize = 256;
/// Different parts of lists that are counted exactly.
const PARTS: usize = 1 << 14;
/// Different texts among numbers that may all mean that the number is missing.
const STRANGERS: usize = 4;
/// Failures that a reading survives: this many, and a hundredth of the values.
const FAILURES: u64 = 5;
/// 2040-01-01: numbers that mean a later date are hardly times of interactions.
const LATEST: i64 = 2_208_988_800 * MICROS_PER_SECOND;

/// Texts that stand for a missing value.
const MARKERS: [&str; 18] =
    ["\\N", "NULL", "null", "Null", "NaN", "nan", "<NA>", "#N/A", "#NV", "NA", "N/A", "n/a", "None", "none", "-", "--", "?", "nil"];
/// Those of [`MARKERS`] that are hardly a category.
const STRONG_MARKERS: usize = 9;

/// Spellings of dates that are no year first, in the fields of `strftime`.
const FORMATS: [&str; 27] = [
    "%Y%m%d%H%M%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y",
    "%d/%m/%Y %I:%M:%S %p",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y",
    "%d-%m-%Y %H:%M:%S",
    "%d-%m-%Y %H:%M",
    "%d-%m-%Y",
    "%m %d, %Y",
    "%d-%b-%Y",
    "%d-%b-%Y %H:%M:%S",
    "%d %b %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%a %b %d %H:%M:%S %z %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%d.%m.%y",
    "%m/%d/%y",
    "%d/%m/%y",
];

/// Separators of lists inside a value.
const SEPARATORS: [&str; 4] = ["|", ",", ";", " "];

/// A number as text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    value: f64,
    /// Written with a decimal comma.
    has_comma: bool,
    /// Written as `007`.
    has_leading_zero: bool,
}

impl Number {
    /// Reads a number with a decimal point or comma.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let first = digits.bytes().next()?;
        if !(first.is_ascii_digit() || matches!(first, b'.' | b',')) {
            return None;
        }
        let (comma, point) = (text.rfind(','), text.rfind('.'));
        if let (Some(comma), Some(point)) = (comma, point) {
            let has_comma = comma > point;
            let value = if has_comma { grouped(text, '.', ',') } else { grouped(text, ',', '.') }?;
            return Some(Self { value, has_comma, has_leading_zero: false });
        }
        let has_comma = comma.is_some();
        let value: f64 = if has_comma { text.replacen(',', ".", 1).parse().ok()? } else { text.parse().ok()? };
        let fraction = digits.split_once(['.', ',']).map(|(_, fraction)| fraction);
        Some(Self { value, has_comma, has_leading_zero: fraction.is_none() && digits.len() > 1 && first == b'0' })
    }
}

/// Whether a text is a number with a decimal point or comma.
pub(super) fn is_number(text: &str) -> bool {
    Number::parse(text).is_some()
}

/// How a column may write time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    Unit(TimeUnit),
    Format(&'static str),
    /// Dates or timestamps of a Parquet file.
    Typed,
}

/// A reading of a column as time.
#[derive(Clone, Copy, Debug)]
struct ClockTally {
    clock: Clock,
    fits: u64,
    fails: u64,
    /// First and last moment, microseconds since 1970.
    range: [i64; 2],
}

impl ClockTally {
    fn push(&mut self, moment: Option<i64>) {
        match moment {
            Some(micros) => {
                self.range = if self.fits == 0 { [micros, micros] } else { [self.range[0].min(micros), self.range[1].max(micros)] };
                self.fits += 1;
            }
            None => self.fails += 1,
        }
    }

    fn survives(&self) -> bool {
        self.fails <= FAILURES + (self.fits + self.fails) / 100
    }
}

/// A reading of a column as lists with one separator.
#[derive(Clone, Debug)]
struct ListTally {
    separator: &'static str,
    /// Values with a separator, and the parts of these.
    lists: u64,
    parts: u64,
    /// Separators that a blank follows.
    spaced: u64,
    distinct: Distinct,
    /// Different values with a separator.
    whole: Distinct,
    /// Parts that are no whole number.
    words: u64,
}

impl ListTally {
    fn push(&mut self, part: &str) {
        self.parts += 1;
        self.words += u64::from(!part.bytes().all(|b| b.is_ascii_digit()));
        self.distinct.insert(part);
    }

    /// Whether a blank follows every separator.
    fn is_spaced(&self) -> bool {
        self.lists > 0 && self.spaced == self.parts - self.lists
    }
}

/// Everything that is counted of a column.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub(super) name: String,
    /// The name under which the files are read.
    pub(super) source: String,
    pub(super) values: u64,
    pub(super) missing: u64,
    pub(super) distinct: Distinct,
    /// The same with whole numbers written as `5863.0` or `05863` read as `5863`; only where there are such values.
    pub(super) whole_distinct: Option<Distinct>,
    /// Each value with its count, while there are few.
    levels: Option<BTreeMap<String, u64>>,
    /// Markers of missing values, with their counts.
    markers: BTreeMap<&'static str, u64>,
    numbers: u64,
    commas: u64,
    points: u64,
    whole: u64,
    leading_zeros: u64,
    range: [f64; 2],
    sum: f64,
    squares: f64,
    clocks: Vec<ClockTally>,
    lists: Vec<ListTally>,
    brackets: u64,
    typed_lists: u64,
    /// Rows whose value is one more than that of the row before.
    steps: u64,
    last: f64,
    /// Values that are no number, while there are few.
    strangers: Option<BTreeMap<String, u64>>,
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, or markers of missing values only.
    Empty,
    /// Dates in a spelling that is no number, or typed ones.
    Time(Clock),
    Number,
    /// True and false in words.
    Boolean,
    /// Lists with this text between two values, or in brackets, or typed.
    List(String),
    Text,
}

/// Pairs of words for false and true, in small letters.
const BOOLEANS: [[&str; 2]; 5] = [["false", "true"], ["no", "yes"], ["n", "y"], ["f", "t"], ["nein", "ja"]];

impl Profile {
    pub(super) fn new(name: impl Into<String>) -> Self {
        let clocks = [Clock::Unit(TimeUnit::Iso)].into_iter().chain(UNITS.map(Clock::Unit)).chain(FORMATS.map(Clock::Format));
        let list = |separator| ListTally {
            separator,
            lists: 0,
            parts: 0,
            spaced: 0,
            distinct: Distinct::within(PARTS),
            whole: Distinct::within(PARTS),
            words: 0,
        };
        let name = name.into();
        Self {
            source: name.clone(),
            name,
            values: 0,
            missing: 0,
            distinct: Distinct::default(),
            whole_distinct: None,
            levels: Some(BTreeMap::new()),
            markers: BTreeMap::new(),
            numbers: 0,
            commas: 0,
            points: 0,
            whole: 0,
            leading_zeros: 0,
            range: [f64::INFINITY, f64::NEG_INFINITY],
            sum: 0.0,
            squares: 0.0,
            clocks: clocks.map(|clock| ClockTally { clock, fits: 0, fails: 0, range: [0, 0] }).collect(),
            lists: SEPARATORS.map(list).into(),
            brackets: 0,
            typed_lists: 0,
            steps: 0,
            last: f64::NAN,
            strangers: Some(BTreeMap::new()),
        }
    }

    /// Counts a value.
    pub(super) fn push(&mut self, cell: &Cell<'_>, buffer: &mut String) {
        match cell {
            Cell::Missing => self.missing += 1,
            Cell::List(values, range) => {
                self.values += 1;
                self.typed_lists += 1;
                for i in range.clone() {
                    if let Ok(cell) = values.cell(i, &self.name)
                        && let Ok(text) = cell.text(buffer)
                    {
                        self.lists.iter_mut().filter(|tally| tally.separator == ",").for_each(|tally| tally.push(text));
                    }
                }
            }
            Cell::Moment { micros, .. } => {
                self.values += 1;
                let typed = self.clocks.iter().position(|tally| tally.clock == Clock::Typed);
                let at = typed.unwrap_or_else(|| {
                    self.clocks = vec![ClockTally { clock: Clock::Typed, fits: 0, fails: 0, range: [0, 0] }];
                    0
                });
                self.clocks[at].push(Some(*micros));
                self.distinct.insert(&micros.to_string());
            }
            cell => {
                if let Ok(text) = cell.text(buffer) {
                    self.push_text(text);
                }
            }
        }
    }

    fn push_text(&mut self, text: &str) {
        if let Some(marker) = MARKERS.iter().find(|&&marker| marker == text) {
            *self.markers.entry(marker).or_default() += 1;
            return;
        }
        self.values += 1;
        let number = Number::parse(text);
        self.push_number(text, number);
        self.distinct.insert(text);
        if let Some(levels) = &mut self.levels {
            *levels.entry(text.to_owned()).or_default() += 1;
            if levels.len() > LEVELS {
                self.levels = None;
            }
        }
        for tally in &mut self.clocks {
            tally.push(moment(text, number, tally.clock));
        }
        self.clocks.retain(ClockTally::survives);
        self.brackets += u64::from(text.starts_with('[') && text.ends_with(']'));
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        for tally in self.lists.iter_mut().filter(|tally| text.contains(tally.separator)) {
            tally.lists += 1;
            tally.whole.insert(text);
            for (i, part) in inner.split(tally.separator).enumerate() {
                tally.spaced += u64::from(i > 0 && part.starts_with(' '));
                tally.push(part.trim_matches([' ', '\'', '"']));
            }
        }
    }

    fn push_number(&mut self, text: &str, number: Option<Number>) {
        let mut buffer = String::new();
        let whole = if number.is_some() { whole_text(text, &mut buffer) } else { None };
        if let Some(all) = &mut self.whole_distinct {
            all.insert(whole.unwrap_or(text));
        } else if let Some(whole) = whole {
            let mut all = self.distinct.clone();
            all.insert(whole);
            self.whole_distinct = Some(all);
        }
        let Some(number) = number else {
            if let Some(strangers) = &mut self.strangers {
                *strangers.entry(text.to_owned()).or_default() += 1;
                if strangers.len() > STRANGERS {
                    self.strangers = None;
                }
            }
            return;
        };
        self.numbers += 1;
        self.commas += u64::from(number.has_comma);
        self.points += u64::from(!number.has_comma && number.value.fract() != 0.0);
        self.whole += u64::from(number.value.fract() == 0.0);
        self.leading_zeros += u64::from(number.has_leading_zero);
        self.range = [self.range[0].min(number.value), self.range[1].max(number.value)];
        self.sum += number.value;
        self.squares += number.value * number.value;
        self.steps += u64::from(number.value == self.last + 1.0);
        self.last = number.value;
    }
}

/// A reading of a whole column as time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) clock: Clock,
    /// First and last moment, microseconds since 1970.
    pub(super) range: [i64; 2],
    /// Whether day and month could also be the other way round.
    pub(super) is_ambiguous: bool,
}

impl Profile {
    /// What the column holds, if numbers may have a decimal comma or not.
    pub(super) fn kind(&self, decimal_comma: bool) -> Kind {
        if self.values == 0 {
            return Kind::Empty;
        }
        match self.time() {
            Some(Time { clock: clock @ (Clock::Typed | Clock::Format(_) | Clock::Unit(TimeUnit::Iso)), .. }) => return Kind::Time(clock),
            _ if self.is_numeric(decimal_comma) => return Kind::Number,
            _ => {}
        }
        let words = |levels: &BTreeMap<String, u64>| BOOLEANS.iter().any(|pair| levels.keys().all(|l| pair.contains(&&*l.to_lowercase())));
        if self.levels.as_ref().is_some_and(|levels| levels.len() == 2 && words(levels)) {
            return Kind::Boolean;
        }
        self.list().map_or(Kind::Text, Kind::List)
    }

    fn is_numeric(&self, decimal_comma: bool) -> bool {
        if self.commas > 0 && (!decimal_comma || self.points > 0) {
            return false;
        }
        // Two commas are no number, but a list of some.
        if self.strangers.iter().flatten().any(|(text, _)| text.matches(',').count() > 1) {
            return false;
        }
        let fails = self.values - self.numbers;
        fails * 100 <= self.values || (fails * 5 <= self.values && self.strangers.is_some())
    }

    /// The reading of the column as time; numbers that could be times are one, whatever the column means.
    pub(super) fn time(&self) -> Option<Time> {
        let span = |tally: &ClockTally| tally.range[1] - tally.range[0];
        let whole = self.clocks.iter().filter(|tally| tally.fits > 0 && tally.fails * 100 <= tally.fits);
        let best = whole.clone().min_by_key(|tally| (tally.fails, span(tally)))?;
        // Of two readings that differ in day and month only, the true one spans less.
        let is_ambiguous = whole.filter(|tally| tally.fails == best.fails).any(|tally| tally.range != best.range);
        Some(Time { clock: best.clock, range: best.range, is_ambiguous })
    }

    /// The separator of lists.
    fn list(&self) -> Option<String> {
        if self.typed_lists > 0 || self.brackets == self.values {
            return Some(",".to_owned());
        }
        let values = self.distinct.count();
        let fits = |tally: &&ListTally| {
            // Values without a separator are lists of one part.
            let different = (tally.distinct.count() + self.distinct.count_beyond(&[&tally.distinct, &tally.whole])).max(1);
            let is_bar = tally.separator == "|";
            // A bar hardly stands in a text; a comma or a blank does, so that parts must be met again to be parts.
            let repeats = (tally.parts + self.values - tally.lists) as f64 / different as f64 >= if is_bar { 1.5 } else { 1.99 };
            let often = if is_bar { tally.lists * 100 >= self.values } else { tally.lists * 20 >= self.values };
            // Lists say with few parts what would take many values, or hardly repeat as a whole.
            let combines = is_bar || different < values || values as u64 * 2 > self.values;
            tally.lists > 0 && often && repeats && combines && (tally.separator != " " || tally.words == 0)
        };
        let tally = self.lists.iter().find(fits)?;
        Some(if tally.is_spaced() { format!("{} ", tally.separator) } else { tally.separator.to_owned() })
    }

    /// The parts of the column's lists.
    pub(super) fn parts(&self, separator: &str) -> Option<&Distinct> {
        self.lists.iter().find(|tally| tally.separator.trim() == separator.trim()).map(|tally| &tally.distinct)
    }

    /// Texts that mean that a value is missing: known markers, and what stands among numbers.
    pub(super) fn null_values(&self, decimal_comma: bool) -> Vec<String> {
        let kind = self.kind(decimal_comma);
        let weak = matches!(kind, Kind::Number | Kind::Time(_) | Kind::Empty);
        let markers = self.markers.keys().filter(|marker| weak || MARKERS[..STRONG_MARKERS].contains(marker)).map(|&m| m.to_owned());
        let strangers = self.strangers.iter().flatten().filter(|_| kind == Kind::Number).map(|(text, _)| text.clone());
        markers.chain(strangers).collect()
    }

    /// Values and rows without one.
    pub(super) fn rows(&self) -> u64 {
        self.values + self.lacking()
    }

    /// Rows without a value, markers included.
    pub(super) fn lacking(&self) -> u64 {
        self.missing + self.markers.values().sum::<u64>()
    }

    /// Each value with its count, where there are few.
    pub(super) fn levels(&self) -> Option<&BTreeMap<String, u64>> {
        self.levels.as_ref()
    }

    /// Smallest and largest number.
    pub(super) fn range(&self) -> [f64; 2] {
        self.range
    }

    /// Whether all numbers are whole.
    pub(super) fn is_whole(&self) -> bool {
        self.numbers > 0 && self.whole == self.numbers
    }

    /// Whether some numbers begin with zeros, as codes do.
    pub(super) fn has_leading_zeros(&self) -> bool {
        self.leading_zeros > 0
    }

    /// Whether numbers have a decimal comma.
    pub(super) fn has_commas(&self) -> bool {
        self.commas > 0
    }

    /// Whether the numbers are spread over orders of magnitude and not negative.
    pub(super) fn is_skewed(&self) -> bool {
        let n = self.numbers as f64;
        let mean = self.sum / n;
        let variance = (self.squares / n - mean * mean).max(0.0);
        self.range[0] >= 0.0 && variance.sqrt() > mean
    }

    /// Whether the column only counts the rows.
    pub(super) fn counts_rows(&self) -> bool {
        self.values > 2 && self.is_whole() && self.steps + 1 == self.values && self.missing == 0
    }
}

const UNITS: [TimeUnit; 5] = [TimeUnit::DateYyyymmdd, TimeUnit::S, TimeUnit::Ms, TimeUnit::Us, TimeUnit::Ns];

/// A whole number as it is usually written, where it is written otherwise.
fn whole_text<'a>(text: &str, buffer: &'a mut String) -> Option<&'a str> {
    let is_unusual = text.starts_with(['0', '+', ' ']) || text.contains(['.', ' ', 'e', 'E']);
    if !is_unusual {
        return None;
    }
    let cell = integer_text(text, Decimal::Point)?;
    let usual = cell.text(&mut String::new()).ok()?.to_owned();
    if usual == text {
        return None;
    }
    *buffer = usual;
    Some(buffer.as_str())
}

/// The moment that a text is by a clock. Numbers count only where they are a usual date.
fn moment(text: &str, number: Option<Number>, clock: Clock) -> Option<i64> {
    let (unit, format) = match clock {
        Clock::Unit(unit) => (unit, None),
        Clock::Format(format) => (TimeUnit::Iso, Some(format)),
        Clock::Typed => return None,
    };
    let micros = Spelling { unit, format, zone: Zone::UTC }.parse(text).ok()?;
    let is_usual = |number: Number| TimeUnit::plausible(number.value as i64).any(|likely| likely == unit) && micros < LATEST;
    match number {
        Some(number) if format.is_none() => is_usual(number).then_some(micros),
        _ => Some(micros),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A column of these values; the empty text is a missing value.
    pub(in super::super) fn column<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Profile {
        let mut profile = Profile::new(name);
        for value in values {
            let cell = if value.is_empty() { Cell::Missing } else { Cell::Text(value, Decimal::Point) };
            profile.push(&cell, &mut String::new());
        }
        profile
    }

    fn kind(values: &str) -> Kind {
        column("x", values.split('~')).kind(true)
    }

    fn list(separator: &str) -> Kind {
        Kind::List(separator.to_owned())
    }

    #[test]
    fn kinds_of_columns() {
        let iso = Kind::Time(Clock::Unit(TimeUnit::Iso));
        for (values, expected) in [
            ("", Kind::Empty),
            ("NA~\\N~", Kind::Empty),
            ("1~2~3", Kind::Number),
            ("1.5~-2~3e4", Kind::Number),
            ("1,5~2~3,25", Kind::Number),
            ("1~NA~3~-", Kind::Number),
            ("1~2~3~4~5~unknown~7~8~9", Kind::Number),
            ("1~2~3~soon~5~late~7~never~9", Kind::Text),
            ("TRUE~FALSE~TRUE", Kind::Boolean),
            ("yes~no", Kind::Boolean),
            ("TRUE~TRUE", Kind::Text),
            ("2022-04-25~2022-04-26", iso.clone()),
            ("2022-04-25 13:05:41 UTC~2019-10-01 00:00:00 UTC", iso),
            ("14.11.2023 22:13~15.11.2023 01:00", Kind::Time(Clock::Format("%d.%m.%Y %H:%M"))),
            ("11/13/2019 9:05:58 AM~11/14/2019 12:00:00 PM", Kind::Time(Clock::Format("%m/%d/%Y %I:%M:%S %p"))),
            ("09 13, 2009~10 02, 2012", Kind::Time(Clock::Format("%m %d, %Y"))),
            ("01-Jan-1995~14-Feb-1996", Kind::Time(Clock::Format("%d-%b-%Y"))),
            ("drama|war~comedy~drama|comedy~war", list("|")),
            ("39~9,12~39~9~12,39,9~39", list(",")),
            ("Anna Ek, Bo Li~Bo Li, Cy Ox~Anna Ek, Cy Ox~Cy Ox, Bo Li", list(", ")),
            ("[3, 9]~[3]~[]~[9, 3]", list(",")),
            ("['a','b']~['a']", list(",")),
            ("7136 909~909~1527 909 7136", list(" ")),
            ("Heat (1995)~Godfather, The (1972)~Postman, The (1994)~Alien (1979)~Up (2009)", Kind::Text),
            ("one two~two one~one", Kind::Text),
            ("[30,60)~[60,90)~30+", Kind::Text),
            ("red~green~red", Kind::Text),
        ] {
            assert_eq!(kind(values), expected, "{values}");
        }
    }

    #[test]
    fn a_comma_inside_numbers_is_decimal_or_a_list() {
        let tags = column("tags", ["1,2", "2", "1", "1,2", "2,3", "3"]);
        assert_eq!((tags.kind(true), tags.kind(false)), (Kind::Number, list(",")));
        assert_eq!(column("x", ["1,5", "2.5", "3"]).kind(true), Kind::Text, "comma and point");
    }

    #[test]
    fn markers_of_missing_values_are_told_from_categories() {
        let nulls = |values: &[&str]| column("x", values.iter().copied()).null_values(true).join(" ");
        assert_eq!(nulls(&["1", "NA", "3", "-", "2"]), "- NA");
        assert_eq!(nulls(&["NA", "DE", "FR", "\\N"]), "\\N", "Namibia");
        assert_eq!(nulls(&["5", "5", "5", "5", "k.A.", "6"]), "k.A.");
        let column = column("x", ["1", "NA", "", "3"]);
        assert_eq!((column.values, column.lacking(), column.rows()), (2, 2, 4));
    }

    #[test]
    fn times_are_numbers_in_one_unit() {
        let clock = |values: &[&str]| column("x", values.iter().copied()).time().map(|time| time.clock);
        assert_eq!(clock(&["1650812741436", "1650812741999"]), Some(Clock::Unit(TimeUnit::Ms)));
        assert_eq!(clock(&["1650812741.5", "1650812742"]), Some(Clock::Unit(TimeUnit::S)));
        assert_eq!(clock(&["20220425", "20220501"]), Some(Clock::Unit(TimeUnit::DateYyyymmdd)));
        assert_eq!(clock(&["1", "2", "3", "4", "5", "6", "7"]), None);
        assert_eq!(clock(&["1650812741", "x", "1650812742", "y"]), None);
    }

    #[test]
    fn of_day_and_month_the_reading_that_spans_less_is_taken() {
        let december = column("x", ["01/12/2022", "02/12/2022", "03/12/2022"]).time().unwrap();
        assert_eq!((december.clock, december.is_ambiguous), (Clock::Format("%d/%m/%Y"), true));
        let plain = column("x", ["12/31/2022", "12/01/2022"]).time().unwrap();
        assert_eq!((plain.clock, plain.is_ambiguous), (Clock::Format("%m/%d/%Y"), false));
    }

    #[test]
    fn whole_numbers_written_as_fractions_are_counted_as_whole() {
        let floats = column("x", ["5", "5.0", "7.0", "abc"]);
        assert_eq!(floats.distinct.count(), 4);
        assert_eq!(floats.whole_distinct.unwrap().count(), 3, "5, 7 and abc");
        assert!(column("x", ["007", "12"]).has_leading_zeros() && !column("x", ["0", "0.5"]).has_leading_zeros());
    }

    #[test]
    fn numbers_over_orders_of_magnitude_are_skewed() {
        assert!(column("x", ["1", "10", "100", "100000", "3"]).is_skewed());
        assert!(!column("x", ["18", "25", "40", "61"]).is_skewed() && !column("x", ["-1", "100000", "0", "0"]).is_skewed());
        assert!(column("x", ["0", "1", "2", "3"]).counts_rows() && !column("x", ["1", "2", "2"]).counts_rows());
    }
}
