//! Commands that tasks are made of.

use std::process::Command;
use std::time::Instant;

/// A command with the environment it needs.
pub(crate) struct Step {
    pub(crate) line: &'static str,
    pub(crate) environment: &'static [(&'static str, &'static str)],
}

impl Step {
    /// Runs it and says how long it took; whether it went well.
    pub(crate) fn run(&self) -> bool {
        println!("== {}", self.line);
        let began = Instant::now();
        let words: Vec<&str> = self.line.split(' ').collect();
        let done = shell(&words, &[], self.environment);
        println!("== {} after {:.0} s", if done { "done" } else { "FAILED" }, began.elapsed().as_secs_f64());
        done
    }
}

/// Runs a program; whether it went well.
pub(crate) fn shell(words: &[&str], more: &[String], environment: &[(&str, &str)]) -> bool {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(more).envs(environment.iter().copied());
    command.status().is_ok_and(|status| status.success())
}
