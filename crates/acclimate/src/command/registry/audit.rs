//! `acclimate registry audit`: who has moved what, and whether the log is as it was written.

use std::collections::VecDeque;

use acclimate_registry::{AliasStep, AuditEvent, AuditLine, AuditReport, Registry, RegistryError, Route};

use crate::command::shared::{at_least_one, print};

#[derive(clap::Args)]
pub(super) struct Audit {
    /// Say only whether the log is whole; exit code 1 says that it is not, and names the first line that is wrong.
    #[arg(long)]
    verify: bool,
    /// Only the last lines.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    last: Option<usize>,
}

pub(super) fn run(registry: &Registry, wish: &Audit) -> anyhow::Result<String> {
    let mut lines = VecDeque::new();
    let most = if wish.verify { 0 } else { wish.last.unwrap_or(usize::MAX) };
    let report = registry.audit(&mut |line| {
        lines.push_back(said(line));
        if lines.len() > most {
            lines.pop_front();
        }
    });
    let AuditReport { lines: number, undone, cut_off, unlogged } = report.map_err(|error| match error {
        RegistryError::Audit { .. } => anyhow::anyhow!("the audit log is not as it was written: {error}"),
        other => other.into(),
    })?;
    let mut text: String = lines.into_iter().collect();
    if wish.verify {
        text += &format!("{number} lines, one chain\n");
    }
    undone.iter().for_each(|line| text += &format!("note: line {line} was not done: a crash came between\n"));
    if let Some(file) = cut_off {
        text += &format!("note: {file} ends with a part of a line; the next writer clears it away\n");
    }
    if !unlogged.is_empty() {
        print(text)?;
        anyhow::bail!("something has moved without a line in the audit log:\n  {}", unlogged.join("\n  "));
    }
    Ok(if text.is_empty() { "nothing has moved yet\n".into() } else { text })
}

fn said(line: &AuditLine) -> String {
    let AuditLine { number, at, by, reason, event, .. } = line;
    let route = |route: &Option<Route>| route.as_ref().map_or_else(|| "nowhere".to_owned(), |route| format!("{}/{}", route.patch, route.alias));
    let step = |verb: &str, step: &AliasStep| {
        let AliasStep { kind, name, alias, old, new, verdict, forced, .. } = step;
        let old = old.map_or_else(|| "nothing".to_owned(), |version| version.to_string());
        let forced = if *forced { ", by force" } else { "" };
        format!("{verb} {}/{name}/{alias} from {old} to {new} ({verdict}{forced})", kind.folder())
    };
    let what = match event {
        AuditEvent::Moved(moved) => step("moved", moved),
        AuditEvent::RolledBack(moved) => step("rolled back", moved),
        AuditEvent::Routed { domain, old, new, .. } => format!("routed domain `{domain}` from {} to {}", route(old), route(new)),
        AuditEvent::Judged { kind, name, version, verdict, .. } => format!("judged {}/{name}/{version}: {verdict}", kind.folder()),
        AuditEvent::Refused { subject, problem } => format!("was refused {subject}: {problem}"),
    };
    format!("{number}  {}  {by} {what}; {reason}\n", acclimate_data::date(at.saturating_mul(1_000_000)))
}
