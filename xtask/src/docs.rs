//! `cargo xtask docs`: the measured numbers of the docs, written from the files of `docs/evidence`.
//!
//! A region of a page begins with a line `<!-- evidence: NAME ID -->` and ends with `<!-- /evidence -->`. What stands between is made from
//! `docs/evidence/NAME.json` by the template `[region.NAME.ID]` of `docs/evidence/tables.toml`. Outside of regions and code no page holds a number with
//! three decimals, but for the quoted ones that `tables.toml` lists. Plots are files beside the pages, made the same way (`docs/plot.rs`). Sentences without numbers are held to the files by `[[claim]]`.

mod claim;
mod loose;
mod page;
mod plot;
mod reference;
mod region;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, bail, ensure};

use crate::evidence::{self, Evidence};
use crate::{Task, root};
use region::Templates;

pub(crate) const TASK: Task = Task {
    name: "docs",
    about: "write the measured numbers of the docs from docs/evidence; --check only says where they differ",
    run: |arguments| crate::said(run(arguments)),
};

/// Pages with measured numbers.
const PAGES: [&str; 5] = ["README.md", "docs/methods.md", "docs/new-domain.md", "docs/cold-start.md", "docs/online.md"];

fn run(arguments: &[String]) -> anyhow::Result<bool> {
    let check = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        _ => bail!("unknown arguments; there is --check"),
    };
    let root = root();
    for warning in evidence::warnings(&root)? {
        println!("{warning}");
    }
    let pages = rendered(&root)?;
    for page in &pages {
        if check {
            page.differences.iter().for_each(|difference| println!("{difference}"));
        } else if !page.differences.is_empty() {
            std::fs::write(root.join(page.name), &page.text).with_context(|| page.name.to_owned())?;
            println!("{}: {} regions written", page.name, page.differences.len());
        }
        page.problems.iter().for_each(|problem| println!("{problem}"));
    }
    let mut plots_agree = true;
    for (path, text) in plots(&root)? {
        if std::fs::read_to_string(root.join(&path)).is_ok_and(|held| held == text) {
            continue;
        }
        plots_agree = !check;
        if check {
            println!("{path} differs from its evidence");
        } else {
            std::fs::create_dir_all(root.join("docs/plots"))?;
            std::fs::write(root.join(&path), text).with_context(|| path.clone())?;
            println!("{path} written");
        }
    }
    Ok(plots_agree && pages.iter().all(|page| page.problems.is_empty() && (!check || page.differences.is_empty())))
}

/// Every plot, by its file, as it should be.
fn plots(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let templates = Templates::read(&root.join("docs/evidence/tables.toml"))?;
    let render = |(name, plot): (&String, &plot::Plot)| {
        let evidence = Evidence::read(&evidence::path(root, &plot.evidence)).with_context(|| format!("plot {name}"))?;
        let context = reference::Context { evidence: &evidence, names: &templates.names, place: None, method: None };
        let text = plot.render(&evidence, context).with_context(|| format!("plot {name}"))?;
        Ok((format!("docs/plots/{name}.svg"), text))
    };
    templates.plot.iter().map(render).collect()
}

/// A page as it should be.
struct Page {
    name: &'static str,
    text: String,
    /// Regions whose text is another, with both texts.
    differences: Vec<String>,
    /// What no file bears out: numbers that come from nowhere, claims that do not hold, runs that are not named.
    problems: Vec<String>,
}

fn rendered(root: &Path) -> anyhow::Result<Vec<Page>> {
    let templates = Templates::read(&root.join("docs/evidence/tables.toml"))?;
    let (mut used, mut quoted) = (BTreeSet::new(), BTreeSet::new());
    let mut pages = Vec::new();
    for name in PAGES {
        let text = std::fs::read_to_string(root.join(name)).with_context(|| format!("can not read {name}"))?;
        let mut page = Page { name, text: String::new(), differences: Vec::new(), problems: Vec::new() };
        for piece in page::pieces(&text).context(name)? {
            match piece {
                page::Piece::Plain { line, text } => {
                    for (at, number) in loose::numbers(text) {
                        if templates.quoted.contains_key(&number) {
                            quoted.insert(number);
                        } else {
                            let advice = "put it into a region, or list it under [quoted] of docs/evidence/tables.toml with its source";
                            page.problems.push(format!("{name}:{}: {number} comes from no evidence: {advice}", line + at));
                        }
                    }
                    page.text.push_str(text);
                }
                page::Piece::Region { line, name: of, id, opening, text: held, closing } => {
                    let region = templates.region(of, id).with_context(|| format!("{name}:{line}"))?;
                    used.insert((of.to_owned(), id.to_owned()));
                    let evidence = Evidence::read(&evidence::path(root, of)).with_context(|| format!("{name}:{line}"))?;
                    let now = region.render(&evidence, &templates.names).with_context(|| format!("{name}:{line}: region {of} {id}"))?;
                    if now != held {
                        page.differences.push(format!("{name}:{line}: region {of} {id} differs; it holds\n{held}and should hold\n{now}"));
                    }
                    page.text.extend([opening, &now, closing]);
                    let command = format!("`{}`", evidence.provenance.command);
                    if !text.contains(&command) {
                        page.problems.push(format!("{name}:{line}: the page does not say that these numbers come from {command}"));
                    }
                }
            }
        }
        pages.push(page);
    }
    for claim in &templates.claim {
        let page = pages.iter_mut().find(|page| page.name == claim.page).with_context(|| format!("no page {}", claim.page))?;
        let said = format!("{}: \"{}\"", claim.page, claim.text.trim());
        ensure!(claim.stands_in(&page.text), "{said}: the page does not say that; change or remove the claim in docs/evidence/tables.toml");
        let evidence = Evidence::read(&evidence::path(root, &claim.evidence)).with_context(|| said.clone())?;
        let broken = claim.broken(&evidence, &templates.names).with_context(|| said.clone())?;
        page.problems.extend(broken.iter().map(|broken| format!("{said}: does not hold: {broken}")));
    }
    let unused: Vec<String> = templates.ids().filter(|id| !used.contains(id)).map(|(name, id)| format!("{name} {id}")).collect();
    ensure!(unused.is_empty(), "docs/evidence/tables.toml has regions that no page shows: {}", unused.join(", "));
    let unused: Vec<&str> = templates.quoted.keys().filter(|number| !quoted.contains(*number)).map(String::as_str).collect();
    ensure!(unused.is_empty(), "docs/evidence/tables.toml quotes numbers that no page shows: {}", unused.join(", "));
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measured_number_of_the_docs_is_that_of_its_file() {
        let pages = rendered(&root()).unwrap();
        let problems: Vec<&String> = pages.iter().flat_map(|page| page.differences.iter().chain(&page.problems)).collect();
        assert!(problems.is_empty(), "{problems:#?}\n`cargo xtask docs` writes the regions");
    }

    #[test]
    fn every_plot_of_the_docs_is_that_of_its_file() {
        for (path, text) in plots(&root()).unwrap() {
            let held = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
            assert!(held == text, "{path} differs from its evidence; `cargo xtask docs` writes it");
        }
    }
}
