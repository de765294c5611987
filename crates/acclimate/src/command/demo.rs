//! `acclimate demo`: everything once, on simulated data with known answers.

mod files;

use std::borrow::Cow;
use std::path::PathBuf;

use acclimate::eval::Report;
use acclimate::{Experiment, Measure, Setup, SimulatorConfig, find_method, interrupt};

use super::Global;
use super::shared::{Seeds, check_json, print, publish, typed};

/// The two parts of the demo: a new domain and new users.
const EXPERIMENTS: [(&str, &str); 2] =
    [("new-domain.toml", include_str!("demo/new-domain.toml")), ("new-users.toml", include_str!("demo/new-users.toml"))];

/// Train, adapt and compare on simulated data; needs no files
#[derive(clap::Args)]
#[command(after_help = "Example:\n  acclimate demo --out my-demo")]
pub(crate) struct Args {
    #[command(flatten)]
    seeds: Seeds,
    /// Folder for the report and everything else.
    #[arg(long, default_value = "acclimate-demo", value_name = "FOLDER")]
    out: PathBuf,
    /// Write every result to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure on validation rows instead of test rows.
    #[arg(long)]
    validation: bool,
    /// A tenth of the data: a look at the machinery, not at the numbers.
    #[arg(long)]
    small: bool,
}

pub(crate) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    check_json(args.json.as_ref())?;
    let measure = if args.validation { Measure::Validation } else { Measure::Test };
    let stop = interrupt::stop_flag()?;
    let progress = global.progress();
    let mut whole: Option<Report> = None;
    for (file, text) in EXPERIMENTS {
        let mut experiment = Experiment::parse(&known_methods(text)?, file)?;
        if args.small {
            shrink(&mut experiment);
        }
        let setup = Setup {
            folder: args.out.join(file.trim_end_matches(".toml")),
            seeds: args.seeds.list(experiment.seeds),
            measure,
            stop: &stop,
            progress: &progress,
            command: typed(),
        };
        let part = acclimate::compare(&experiment, setup)?;
        match &mut whole {
            Some(whole) => whole.join(part),
            None => whole = Some(part),
        }
    }
    let mut whole = whole.expect("there are two experiments");
    whole.title = "Demo: a new domain and new users".into();
    publish(&whole, &args.out, measure, args.json.as_ref(), 2)?;
    let data = args.out.join("data");
    let simulator = Experiment::parse(EXPERIMENTS[0].1, EXPERIMENTS[0].0)?.simulator.unwrap_or_default();
    files::write(&data, &if args.small { small() } else { simulator }, 1)?;
    print(format_args!(
        "\nThe new domain's data is in {}; docs/serving.md trains, publishes and serves on it.\n",
        data.display()
    ))?;
    print(
        "\nNext:\n  acclimate init YOUR-LOG.csv         reads your own log, and writes dataset.toml and experiment.toml\n\
         \x20 acclimate inspect dataset.toml      what is in it; docs/data-sets.md says what else the file may hold\n\
         \x20 acclimate compare experiment.toml   the same comparison on it; more experiments are in examples/\n",
    )?;
    Ok(())
}

/// The experiment without methods that this build does not have.
fn known_methods(text: &str) -> anyhow::Result<Cow<'_, str>> {
    let mut table: toml::Table = text.parse()?;
    let Some(toml::Value::Array(methods)) = table.get_mut("method") else { return Ok(text.into()) };
    let before = methods.len();
    methods.retain(|m| m.get("name").and_then(toml::Value::as_str).is_some_and(|name| find_method(name).is_ok()));
    Ok(if methods.len() == before { text.into() } else { toml::to_string(&table)?.into() })
}

fn shrink(experiment: &mut Experiment) {
    experiment.simulator = Some(small());
    experiment.bootstrap.draws = 50;
}

fn small() -> SimulatorConfig {
    SimulatorConfig { users: 600, items: 200, rows: 8000, cold_users: 90, target_rows: 500, ..SimulatorConfig::default() }
}
