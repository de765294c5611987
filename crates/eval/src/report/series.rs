//! One colour and one mark for each method, the same all over the page.

use super::chart::Mark;
use super::text::{Html, escape, push};
use crate::leaderboard::ordered_methods;
use crate::record::{Kind, ResultRecord};

/// Number of colours in the style sheet for methods that are not floors.
const COLOURS: usize = 8;

/// How one method is drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Look {
    pub(super) method: String,
    pub(super) kind: Kind,
    pub(super) class: String,
    pub(super) mark: Mark,
}

/// The looks of all methods of a report.
pub(super) struct Series(Vec<Look>);

impl Series {
    pub(super) fn of(results: &[ResultRecord]) -> Self {
        let methods = ordered_methods(&results.iter().collect::<Vec<_>>());
        let (mut judged, mut floors) = (0, 0);
        let looks = methods.into_iter().map(|(method, kind)| {
            let (class, mark) = match kind {
                Kind::Floor => {
                    floors += 1;
                    ("floor".to_owned(), Mark::open(floors - 1))
                }
                Kind::Ceiling => ("ceiling".to_owned(), Mark::Bar),
                Kind::Control | Kind::Adaptation => {
                    judged += 1;
                    (format!("c{}", (judged - 1) % COLOURS), Mark::filled(judged - 1))
                }
            };
            Look { method: method.to_owned(), kind, class, mark }
        });
        Self(looks.collect())
    }

    /// Looks of these methods, in the order of the page.
    pub(super) fn looks<'a>(&'a self, methods: &[&str]) -> Vec<&'a Look> {
        self.0.iter().filter(|look| methods.contains(&look.method.as_str())).collect()
    }
}

/// The key below a chart.
pub(super) fn legend(page: &mut Html, looks: &[&Look]) {
    push!(page, r#"<ul class="legend">"#);
    for look in looks {
        push!(page, r#"<li><svg width="22" height="12" class="{}" aria-hidden="true"><line x1="0" x2="22" y1="6" y2="6"/>"#, look.class);
        push!(page, r#"<g transform="translate(11 6)">{}</g></svg>{}</li>"#, look.mark.path(), escape(&look.method));
    }
    push!(page, "</ul>");
}
