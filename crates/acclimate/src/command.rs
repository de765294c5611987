//! The list of commands. A command is one file and one line here: `Args` is what was typed, `run` resolves it and does the work.

mod shared;

use std::time::Instant;

use acclimate::{ExperimentError, interrupt};
use acclimate_serve::http::ServeError;
use clap::{Parser, Subcommand};

pub(crate) use shared::Global;

/// What was typed.
#[derive(Parser)]
#[command(
    name = "acclimate",
    version,
    about = "Train a recommender once, adapt it to every domain and every new user, and compare methods honestly.",
    after_help = "Examples:\n  acclimate demo\n  acclimate init clicks.csv --items items.csv\n  acclimate inspect examples/kuairand.toml\n  acclimate compare examples/krl1-multi-domain.toml --seeds 3 --json out.json\n\n\
        Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad data or config, 130 interrupted (the same command goes on).",
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

macro_rules! commands {
    ($($file:ident => $name:ident),* $(,)?) => {
        $(mod $file;)*

        #[derive(Subcommand)]
        enum Command {
            $($name($file::Args),)*
        }

        /// Does what was typed.
        pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
            let Arguments { global, command } = arguments;
            global.apply()?;
            let began = Instant::now();
            match command {
                $(Command::$name(args) => $file::run(&global, args)?,)*
            }
            // Nobody waits for what takes no second; and results are the same each time, so this is none of them.
            if began.elapsed().as_secs() > 0 {
                global.progress().say(&format!("done after {:.0} s", began.elapsed().as_secs_f64()));
            }
            Ok(())
        }
    };
}

commands! {
    demo => Demo,
    init => Init,
    inspect => Inspect,
    pretrain => Pretrain,
    adapt => Adapt,
    merge => Merge,
    evaluate => Evaluate,
    evidence => Evidence,
    predict => Predict,
    compare => Compare,
    registry => Registry,
    serve => Serve,
}

/// Whether a command ended because nobody reads its output any more.
pub(crate) fn is_closed_output(error: &anyhow::Error) -> bool {
    error.downcast_ref::<shared::OutputError>().is_some_and(shared::OutputError::is_closed)
}

/// The exit code that an error means; see `acclimate --help`.
pub(crate) fn exit_code(error: &anyhow::Error) -> i32 {
    match error.downcast_ref::<ExperimentError>() {
        Some(ExperimentError::Interrupted) => interrupt::EXIT_CODE,
        Some(error) if error.is_bad_input() => 3,
        _ if error.is::<shared::UsageError>() => 2,
        _ if error.is::<acclimate_registry::RegistryError>() || error.is::<acclimate_serve::engine::EngineError>() => 3,
        _ => match error.downcast_ref::<ServeError>() {
            Some(ServeError::Setting { .. } | ServeError::Open { .. } | ServeError::File { .. }) => 3,
            _ => 1,
        },
    }
}
