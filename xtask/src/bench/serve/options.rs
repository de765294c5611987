//! What is to be measured, and how long.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde::Serialize;

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// Our server and the peer.
    Http,
    /// Many patches of three kinds at once.
    Mixed,
    /// More and more patches in memory, and loading one.
    Residents,
    /// A request by where its patch lies.
    Paths,
    /// The plan alone, beside runtimes that score networks, and adapting beside PyTorch.
    Plan,
    /// Boosted trees on a real log: what they are worth, and how long they take.
    Trees,
}

impl Part {
    pub(crate) const ALL: [Self; 6] = [Self::Http, Self::Mixed, Self::Residents, Self::Paths, Self::Plan, Self::Trees];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Mixed => "mixed",
            Self::Residents => "residents",
            Self::Paths => "paths",
            Self::Plan => "plan",
            Self::Trees => "trees",
        }
    }
}

/// What was asked for, resolved.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Options {
    /// Where the figures go.
    #[serde(skip)]
    pub(crate) json: PathBuf,
    /// The program that is measured.
    #[serde(skip)]
    pub(crate) acclimate: PathBuf,
    /// Where base, patches and registry are kept between runs.
    #[serde(skip)]
    pub(crate) work: PathBuf,
    /// The Python of the peers.
    #[serde(skip)]
    pub(crate) python: Option<PathBuf>,
    pub(crate) parts: Vec<Part>,
    /// Seconds of a step of the search; what is reported takes three times as long.
    pub(crate) seconds: f64,
    /// How often servers take turns.
    pub(crate) rounds: usize,
    /// How often forms that are compared as ratios take turns.
    pub(crate) turns: usize,
    /// Milliseconds that 99 of 100 requests must keep to.
    pub(crate) bound_ms: f64,
    /// Rows of a request.
    pub(crate) candidates: usize,
    /// Threads that score, on either side.
    pub(crate) threads: usize,
    /// Patches in memory; at least one of each kind is.
    pub(crate) residents: Vec<usize>,
}

impl Options {
    /// Reads the arguments after `bench serve`.
    ///
    /// # Errors
    /// An argument that has no meaning, or a value that makes none.
    pub(crate) fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let target = super::target();
        let mut options = Self {
            json: target.join("bench-serve.json"),
            acclimate: target.join("release/acclimate"),
            work: target.join("bench-serve"),
            python: std::env::var_os("ACCLIMATE_BENCH_PYTHON").filter(|python| !python.is_empty()).map(PathBuf::from),
            parts: Part::ALL.to_vec(),
            seconds: 4.0,
            rounds: 2,
            turns: 7,
            bound_ms: 20.0,
            candidates: 200,
            threads: 2,
            residents: vec![3, 100, 10_000],
        };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().with_context(|| format!("`{name}` needs a value"))?;
            let number = || {
                value
                    .parse::<f64>()
                    .ok()
                    .filter(|x| *x > 0.0 && x.is_finite())
                    .with_context(|| format!("{name} {value} is no number above 0"))
            };
            let count = |text: &str| {
                text.parse::<usize>().ok().filter(|&count| count > 0).with_context(|| format!("{name} {value}: `{text}` is no count"))
            };
            match name.as_str() {
                "--json" => options.json = value.into(),
                "--acclimate" => options.acclimate = value.into(),
                "--work" => options.work = value.into(),
                "--only" => options.parts = value.split(',').map(part).collect::<anyhow::Result<_>>()?,
                "--seconds" => options.seconds = number()?,
                "--bound-ms" => options.bound_ms = number()?,
                "--rounds" => options.rounds = count(value)?,
                "--turns" => options.turns = count(value)?,
                "--candidates" => options.candidates = count(value)?,
                "--threads" => options.threads = count(value)?,
                "--residents" => options.residents = value.split(',').map(count).collect::<anyhow::Result<_>>()?,
                other => bail!(
                    "`{other}` has no meaning here; there are --json FILE, --acclimate FILE, --work FOLDER, --only PARTS, --seconds, --rounds, --turns, --bound-ms, --candidates, --threads and --residents"
                ),
            }
        }
        options.residents.sort_unstable();
        options.parts.sort_unstable();
        options.parts.dedup();
        Ok(options)
    }
}

fn part(name: &str) -> anyhow::Result<Part> {
    Part::ALL
        .into_iter()
        .find(|part| part.name() == name)
        .with_context(|| format!("`{name}` is no part; there are {}", Part::ALL.map(Part::name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> anyhow::Result<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_become_options() {
        let options = parsed("--json out.json --only mixed,http --residents 100,1 --seconds 0.5").unwrap();
        assert_eq!((options.json, options.parts, options.residents), ("out.json".into(), vec![Part::Http, Part::Mixed], vec![1, 100]));
        for wrong in ["--jsno out.json", "--seconds", "--seconds 0", "--seconds inf", "--residents 1,x", "--only all", "--threads 0"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
