//! The audit log: who has moved what, and what was refused, as lines that each hold the hash of the one before.
//!
//! ```text
//! audit/2026-11-29.jsonl    one line an event, only ever added to
//! audit/head.json           how many lines there are, the hash of the last, and where it ends
//! ```
//!
//! A line is durable before what it tells of is done, under the same lock. So nothing is done without its line; a crash between leaves a line of something that
//! was not done, which the next line of the same alias shows, since it begins at the same generation. A crash within a line leaves a part of one, which the next
//! writer clears away. The chain shows a line that was changed, removed or put elsewhere to whoever compares; it does not stop somebody who may write the whole
//! folder from writing another chain, so keep a copy of `head.json` elsewhere.

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, Name, RegistryError, Route, Verdict, Version, json};

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Version of this format.
    pub format: u32,
    /// Its number in the whole log, from 1.
    pub number: u64,
    /// SHA-256 of the line before, without its line break; of the first the hash of a fixed text.
    pub before: Digest,
    /// When, in Unix seconds.
    pub at: i64,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What.
    #[serde(flatten)]
    pub event: AuditEvent,
}

/// What was done, or refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum AuditEvent {
    /// An alias was moved to a version.
    Moved(AliasStep),
    /// An alias was moved back to what it named before.
    RolledBack(AliasStep),
    /// The route of a domain was set, or taken away.
    Routed {
        /// The domain.
        domain: String,
        /// Generation of the routes before.
        from: u64,
        /// And after.
        to: u64,
        /// Where its requests went.
        old: Option<Route>,
        /// Where they go.
        new: Option<Route>,
    },
    /// The gate has judged a version.
    Judged {
        /// Of a base, a patch or patches of many users.
        kind: Kind,
        /// Of which.
        name: Name,
        /// The version.
        version: Version,
        /// SHA-256 of its manifest.
        digest: Digest,
        /// What the gate said.
        verdict: Verdict,
        /// SHA-256 of the whole judgement as JSON.
        judgement: Digest,
    },
    /// A move or a route that would have broken what always holds.
    Refused {
        /// What was to be moved or set.
        subject: String,
        /// Why it was not.
        problem: String,
    },
}

/// A move of an alias.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AliasStep {
    /// Of a base, a patch or patches of many users.
    pub kind: Kind,
    /// Of which.
    pub name: Name,
    /// The alias.
    pub alias: Name,
    /// Its generation before; 0 for an alias that is new.
    pub from: u64,
    /// And after.
    pub to: u64,
    /// The version that it named.
    pub old: Option<Version>,
    /// The version that it names.
    pub new: Version,
    /// SHA-256 of that version's manifest.
    pub digest: Digest,
    /// What the gate said of it.
    pub verdict: Verdict,
    /// Whether it was moved there against the gate.
    pub forced: bool,
}

impl AuditLine {
    /// Version of the format that is written.
    pub const FORMAT: u32 = 1;
    /// Most bytes of a line.
    pub const LARGEST: usize = 1 << 14;

    /// Its bytes, with the line break.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = serde_json::to_vec(self).expect("a line is plain data with string keys");
        if bytes.len() > Self::LARGEST {
            let problem = format!("its line has {} bytes, at most {} are written; shorten the reason", bytes.len(), Self::LARGEST);
            return Err(RegistryError::Draft { what: "audit".to_owned(), problem });
        }
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a line that stands after another; only what [`to_bytes`](Self::to_bytes) gives is one.
    pub(crate) fn read(bytes: &[u8], number: u64, before: Digest) -> Result<Self, String> {
        let line: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if line.format != Self::FORMAT {
            return Err(format!("it has format {}, this program knows {}", line.format, Self::FORMAT));
        }
        if line.to_bytes().map_or(true, |written| written[..written.len() - 1] != *bytes) {
            return Err("it is not written as the registry writes it".to_owned());
        }
        if line.number != number {
            return Err(format!("it has number {}, expected was {number}: a line was removed, added or put elsewhere", line.number));
        }
        if line.before != before {
            return Err("it does not follow the line before: one of both was changed".to_owned());
        }
        Ok(line)
    }
}

/// `audit/head.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    format: u32,
    /// Number of the last line.
    pub(crate) number: u64,
    /// Its SHA-256.
    pub(crate) last: Digest,
    /// The file that it stands in.
    pub(crate) file: String,
    /// Where it ends there, in bytes.
    pub(crate) end: u64,
}

impl Head {
    pub(crate) const FILE: &str = "audit/head.json";

    /// Of a log without a line.
    pub(crate) fn none() -> Self {
        Self { format: AuditLine::FORMAT, number: 0, last: Digest::of(b"acclimate registry audit 1\n"), file: String::new(), end: 0 }
    }

    /// After one more line, which ends at byte `end` of a file.
    pub(crate) fn after(&self, line: &[u8], file: &str, end: u64) -> Self {
        Self { format: self.format, number: self.number + 1, last: Digest::of(line), file: file.to_owned(), end }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        json::written(self)
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, RegistryError> {
        let head: Self = json::read(Self::FILE, bytes)?;
        if head.format == AuditLine::FORMAT {
            Ok(head)
        } else {
            Err(RegistryError::Format { path: Self::FILE.to_owned(), found: head.format, known: AuditLine::FORMAT })
        }
    }
}

/// What a look at the whole log has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Lines.
    pub lines: u64,
    /// Lines of what was not done, since a crash came between: their numbers.
    pub undone: Vec<u64>,
    /// A part of a line at the end, which a writer that died has left: the file. The next writer clears it away.
    pub cut_off: Option<String>,
    /// Aliases that have moved without a line.
    pub unlogged: Vec<String>,
}

/// The day of a moment, `YYYY-MM-DD`, as a proleptic Gregorian date in UTC.
///
/// After H. Hinnant, *chrono-compatible low-level date algorithms*, 2013: years begin in March, so that a leap day is a year's last.
pub(crate) fn day(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400).clamp(-719_528, 2_932_896);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let (day, month) =
        (of_year - (153 * shifted_month + 2) / 5 + 1, if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        // From `date -u -d @SECONDS +%F`.
        let known = [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
            (1_795_983_258, "2026-11-29"),
            (i64::MAX, "9999-12-31"),
            (i64::MIN, "0000-01-01"),
        ];
        known.into_iter().for_each(|(seconds, expected)| assert_eq!(day(seconds), expected, "{seconds}"));
    }
}
