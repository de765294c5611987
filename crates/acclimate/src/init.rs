//! A first experiment for a data set that nobody has written one for: what `acclimate init` writes beside the data-set file.
//!
//! The scenario follows from what the log has:
//!
//! - clicks or ratings in two domains or more: `new_domain`, with the smallest domain of a reasonable size as the target;
//! - clicks or ratings of one domain, of users with a handful of rows each: `cold_start`;
//! - positives with time in two domains that share users: `cold_sequence`;
//! - other clicks or ratings: `multi_domain`.
//!
//! There is no draft for positives without time, or in one domain. Sizes are such that 100,000 rows are compared within minutes on two cores.

use std::collections::HashSet;
use std::fmt::Write as _;

use acclimate_data::{Dataset, DatasetConfig, FeatureKind, GivenSplit, LabelKind, LogView, Split, SplitConfig};
use thiserror::Error;

/// Smallest target of `new_domain` in rows, and as a part of the log; rows of it that a part must have.
const TARGET: (usize, usize) = (300, 100);
const TARGET_TRAIN: usize = 120;
const TARGET_TEST: usize = 30;
/// Users with enough rows that `cold_start` needs.
const COLD_USERS: usize = 150;
/// Users of both domains that `cold_sequence` needs.
const SHARED_USERS: usize = 150;
/// Items from which on the next one is told from a sample of others.
const MANY_ITEMS: usize = 2000;

/// Share of the log that validation and test rows may be where a tenth is wanted: equal times move the bounds.
const NEAR_A_TENTH: std::ops::RangeInclusive<f64> = 0.03..=0.3;
/// Splits in the order in which they are tried: whether they need time, their keys, and why.
const CUTS: [(bool, &str, &str); 4] = [
    (
        true,
        "kind = \"global_time\"\nvalidation = 0.1\ntest = 0.1\n",
        "The last tenth of the rows in time is test and the tenth before it validation: models are judged on what comes later.",
    ),
    (true, "kind = \"leave_last_out\"\n", "The last row of each user is test, the one before it validation."),
    (
        false,
        "kind = \"random\"\nvalidation = 0.1\ntest = 0.1\n",
        "The log has no times that cut it, so a hash draws a tenth of the rows for test and a tenth for validation.",
    ),
    (false, "kind = \"leave_last_out\"\n", "One row of each user is test, another one validation."),
];

/// An experiment file and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstExperiment {
    /// The text of the file.
    pub text: String,
    /// Which scenario it is, and why.
    pub why: String,
}

/// Why there is no experiment for a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoExperiment {
    /// Every row is a positive, and there is no second domain to be new in.
    #[error(
        "every row is a positive, and there is no first draft for such a log without time and two domains that share users (150 of them): scenarios \
         `next_item` (with time), `fresh_users` and `bridge` take it, by an experiment that is written by hand; if a column says what did not succeed, make it the label of dataset.toml and write an experiment after docs/experiments.md"
    )]
    Positives,
    /// No split leaves rows in every part.
    #[error("the log is too small to be cut into training, validation and test rows")]
    TooSmall,
}

/// What an experiment is made from.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The data-set file, as the experiment names it.
    pub file: &'a str,
    /// Its entries.
    pub config: &'a DatasetConfig,
    /// Its rows.
    pub dataset: &'a Dataset,
    /// Parts that the data brings.
    pub given: Option<&'a GivenSplit>,
}

impl FirstExperiment {
    /// The experiment that suits a data set.
    ///
    /// # Errors
    /// No scenario takes the data set.
    pub fn of(ground: Ground<'_>) -> Result<Self, NoExperiment> {
        if ground.dataset.label == LabelKind::Implicit {
            return ground.cold_sequence().ok_or(NoExperiment::Positives);
        }
        ground.new_domain().or_else(|| ground.cold_start()).or_else(|| ground.multi_domain()).ok_or(NoExperiment::TooSmall)
    }
}

/// A split, its table in TOML, and why it is this one.
struct Cut {
    split: Split,
    text: String,
    why: String,
}

impl Ground<'_> {
    fn rows(&self) -> usize {
        self.dataset.log.len()
    }

    /// Rows in a batch: small data wants small batches, some fifty steps an epoch.
    fn batch(&self) -> usize {
        (self.rows() / 64).clamp(64, 1024)
    }

    /// Training keys of a base.
    fn base_train(&self, more: &str) -> String {
        let (epochs, patience) = if self.rows() > 300_000 { (10, 2) } else { (30, 3) };
        let rate = if self.batch() == 1024 { "3e-4" } else { "1e-3" };
        let batch = self.batch();
        format!(
            "train = {{ epochs = {epochs}, batch = {batch}, patience = {patience}{more}, optimizer = {{ rate = {rate}, weight_decay = 1e-4 }} }}\n"
        )
    }

    /// The beginning of every experiment file.
    fn head(&self, scenario: &str, metrics: &str) -> String {
        let name = format!("{}-{}", self.dataset.name.replace(['/', '\\'], "-"), scenario.replace('_', "-"));
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let mut text = String::from(
            "# Written by `acclimate init` from what the log has. Every line may be changed; docs/experiments.md has all keys.\n",
        );
        let _ = writeln!(text, "#   acclimate compare experiment.toml    (more seeds: --seeds 3; to choose settings: --validation)");
        let _ = writeln!(text, "name = {}\ndataset = {}\nmetrics = [{metrics}]\n", quoted(&name), quoted(self.file));
        text
    }

    fn metrics(&self) -> &'static str {
        match self.dataset.label {
            LabelKind::Rating { .. } => "\"mae\", \"rmse\"",
            _ => "\"auc\", \"log_loss\", \"pcoc\"",
        }
    }

    /// The parts that the data brings, else the first of [`CUTS`] that leaves no part empty or with one kind of click.
    fn cut(&self) -> Option<Cut> {
        let has_time = !self.dataset.log.time.is_empty();
        let cut = |(needs_time, keys, why): (bool, &str, &str)| {
            let split = self.split(&toml::from_str(keys).ok()?).filter(|split| self.tells_apart(split))?;
            let near = |part: &str| split.rows(part).is_ok_and(|rows| NEAR_A_TENTH.contains(&(rows.len() as f64 / self.rows() as f64)));
            let of_some_size = keys.contains("leave_last_out") || (near("validation") && near("test"));
            (of_some_size && (has_time || !needs_time)).then(|| Cut { split, text: format!("[split]\n{keys}"), why: why.to_owned() })
        };
        self.given_cut().or_else(|| CUTS.into_iter().find_map(cut))
    }

    /// Whether every part has both kinds of clicks, where labels are clicks.
    fn tells_apart(&self, split: &Split) -> bool {
        self.dataset.label != LabelKind::Click || split.parts().all(|(_, rows)| self.labels(rows) > 1)
    }

    /// Number of different labels.
    fn labels(&self, rows: &[u32]) -> usize {
        rows.iter().map(|&row| self.dataset.log.label[row as usize].to_bits()).collect::<HashSet<_>>().len()
    }

    fn given_cut(&self) -> Option<Cut> {
        let given = self.given?;
        let list = |texts: &[String]| toml::Value::Array(texts.iter().cloned().map(toml::Value::String).collect()).to_string();
        let parts: Vec<String> = given.parts.iter().map(|(part, values)| format!("{part} = {}", list(values))).collect();
        let parts = parts.join(", ");
        let (text, why) = match &given.column {
            Some(column) => {
                let quoted = toml::Value::String(column.clone());
                (
                    format!("column = {quoted}\nparts = {{ {parts} }}\n"),
                    format!("Column `{column}` of the log says which part a row belongs to."),
                )
            }
            None => (format!("files = {{ {parts} }}\n"), "The files are named like the parts of a split.".to_owned()),
        };
        let keys = format!("kind = \"given\"\n{text}");
        Some(Cut { split: self.split(&toml::from_str(&keys).ok()?)?, text: format!("[split]\n{keys}"), why })
    }

    fn split(&self, config: &SplitConfig) -> Option<Split> {
        let split = config.split(LogView::from(self.dataset)).ok()?;
        let whole = split.parts().all(|(_, rows)| !rows.is_empty());
        whole.then_some(split)
    }

    fn multi_domain(&self) -> Option<FirstExperiment> {
        let Cut { text: split, why, .. } = self.cut()?;
        let several = self.dataset.domains.len() > 1;
        let mut text = self.head("multi_domain", self.metrics());
        let _ = write!(
            text,
            "# {why}\n{split}\n[scenario]\nkind = \"multi_domain\"\n\n[base]\nbackbone = {{ kind = \"dnn\", hidden = [64, 32] }}\n{}",
            self.base_train("")
        );
        let batch = self.batch();
        let _ = write!(
            text,
            "\n# Shared by all methods.\n[train]\nepochs = 5\nbatch = {batch}\noptimizer = {{ rate = 3e-4, weight_decay = 1e-4 }}\n"
        );
        text.push_str("\n[[method]]\nname = \"adapter\"\n");
        text.push_str(if several { "config = { per_domain = true }\n\n[[method]]\nname = \"film\"\n" } else { "" });
        text.push_str("\n[[method]]\nname = \"fine_tune_all\"\n");
        let why = if several {
            "no domain of the log is large enough to be a new one"
        } else {
            "one domain, and few users with a handful of rows"
        };
        Some(FirstExperiment { text, why: format!("multi_domain: {why}") })
    }

    fn new_domain(&self) -> Option<FirstExperiment> {
        let (log, domains) = (&self.dataset.log, &self.dataset.domains);
        let mut rows = vec![0_usize; domains.len()];
        log.domain.iter().for_each(|domain| rows[domain.at()] += 1);
        let mut by_size: Vec<usize> = (0..domains.len()).collect();
        by_size.sort_by_key(|&d| rows[d]);
        let Cut { split, text: split_text, why } = self.cut()?;
        let part = |name: &str, domain: usize| -> Vec<u32> {
            let rows = split.rows(name).unwrap_or_default().iter().copied();
            rows.filter(|&row| log.domain[row as usize].at() == domain).collect()
        };
        let tells = |rows: &[u32]| self.dataset.label != LabelKind::Click || self.labels(rows) > 1;
        let target = by_size.into_iter().find(|&d| {
            let large = rows[d] >= TARGET.0.max(log.len() / TARGET.1) && 2 * rows[d] <= log.len();
            let (train, validation, test) = (part("train", d), part("validation", d), part("test", d));
            large && train.len() >= TARGET_TRAIN && test.len() >= TARGET_TEST && tells(&train) && tells(&test) && !validation.is_empty()
        })?;
        let (name, target_rows) = (&domains[target], part("train", target).len());
        let hide: Vec<String> =
            self.config.features.iter().filter(|f| f.kind == FeatureKind::Domain).map(|f| format!("{} = 0.1", key(&f.name))).collect();
        let hide = if hide.is_empty() { String::new() } else { format!(", hide = {{ {} }}", hide.join(", ")) };
        let quoted = toml::Value::String(name.clone());
        let mut text = self.head("new_domain", self.metrics());
        let _ = write!(text, "# {why}\n{split_text}\n");
        let _ = writeln!(
            text,
            "# The base learns from all domains but the target; methods adapt it with 0, 100 and all {target_rows} training rows of the target."
        );
        let _ = write!(text, "[scenario]\nkind = \"new_domain\"\ntargets = [{quoted}]\nsizes = [0, 100, \"all\"]\n\n");
        if !hide.is_empty() {
            text.push_str("# The domain is hidden in a tenth of the rows, so that the unknown domain is trained.\n");
        }
        let _ = write!(text, "[base]\nbackbone = {{ kind = \"dnn\", hidden = [64, 32] }}\n{}", self.base_train(&hide));
        let batch = (target_rows / 64).clamp(32, 256);
        let _ = write!(
            text,
            "\n# Shared by all methods. No target row is spent on early stopping.\n[train]\nepochs = 3\nbatch = {batch}\nintercept = true\noptimizer = {{ rate = 1e-3 }}\n"
        );
        let methods = [
            ("fine_tune_all", ""),
            ("adapter", "config = { unfreeze = [\"norms\", \"head\", \"rows\"] }\n"),
            ("film", "config = { unfreeze = [\"norms\", \"head\", \"rows\"] }\n"),
        ];
        for (method, config) in methods {
            let _ = write!(
                text,
                "\n[[method]]\nname = \"{method}\"\n{config}train_by_size.\"n=100\" = {{ steps = 8, optimizer = {{ rate = 3e-4 }} }}\n"
            );
        }
        let why =
            format!("new_domain: of {} domains, `{name}` ({} rows) is the smallest that can be measured", domains.len(), rows[target]);
        Some(FirstExperiment { text, why })
    }

    fn cold_start(&self) -> Option<FirstExperiment> {
        let mut rows = vec![0_usize; self.dataset.users.len()];
        self.dataset.log.user.iter().for_each(|user| rows[user.at()] += 1);
        let of_size = |least: usize| rows.iter().filter(|&&n| (least..=100).contains(&n)).count();
        let enough = |least: usize| of_size(least) >= COLD_USERS && (of_size(least) >= 1000 || 4 * of_size(least) >= rows.len());
        let sizes: [(usize, usize, &[usize]); 3] = [(10, 13, &[0, 1, 3, 5, 10, 20]), (5, 8, &[0, 1, 3]), (3, 5, &[0, 1, 2])];
        let (query, least, support) = sizes.into_iter().find(|&(_, least, _)| enough(least))?;
        // Sizes that a quarter of these users can show; a curve of nobody says nothing.
        let support: Vec<usize> =
            support.iter().copied().filter(|&size| size == 0 || 4 * of_size(query + size) >= of_size(least)).collect();
        let metrics = match self.dataset.label {
            LabelKind::Rating { .. } => "\"mae\", \"rmse\", \"ndcg@3[gain=linear]\"",
            _ => "\"auc\", \"log_loss\", \"gauc[user]\"",
        };
        let mut text = self.head("cold_start", metrics);
        text.push_str("# A fifth of the users is new: none of their rows is learned from. A fifth of the others choose between models.\n");
        text.push_str("[split]\nkind = \"cold_users\"\nusers = { rule = \"rank\", prefix = \"user:\", existing_percent = 80, validation_percent = 20 }\n");
        let _ = write!(text, "\n# Of each new user {query} rows are asked for, and the others are there to adapt from.\n");
        let _ = write!(text, "[scenario]\nkind = \"cold_start\"\nsettings = [\"test\"]\nbase_rows = \"all\"\n");
        let _ = writeln!(text, "tasks = {{ query = {query}, min_rows = {least}, max_rows = 100, support_sizes = {support:?} }}\n");
        let id = self.config.features.iter().find(|f| f.kind == FeatureKind::Categorical && f.column() == self.config.interactions.user);
        let hide = id.map_or(String::new(), |f| format!(", hide = {{ {} = 0.3 }}", key(&f.name)));
        if id.is_some() {
            text.push_str("# A user is the unknown one in a third of the rows, so that layers learn what to say of somebody new.\n");
        }
        let _ = write!(text, "[base]\nbackbone = {{ kind = \"dnn\", embedding_std = 0.1, hidden = [64, 32] }}\n{}", self.base_train(&hide));
        if matches!(self.dataset.label, LabelKind::Rating { .. }) {
            text.push_str("\n# Solved, not trained; what it stands on, and how far it is trusted after so many ratings, is chosen on users that are held out of the training rows.\n[[method]]\nname = \"acclimate_user\"\n");
        }
        text.push_str("\n# Batches of 32 users; a small rate, so that the start stays near the base.\n[train]\nepochs = 10\nbatch = 32\npatience = 2\noptimizer = { rate = 1e-4 }\n");
        text.push_str("\n# Support sizes drawn at random and steps that grow with n / (n + 100): each row helps, from the first on.\n");
        for (label, order) in [("maml", "second"), ("maml_first_order", "first")] {
            let _ = write!(text, "[[method]]\nname = \"maml\"\nlabel = \"{label}\"\nsupport = \"random\"\n");
            let _ =
                write!(text, "config = {{ adapt = \"all\", inner_steps = 5, inner_rate = 0.1, shrink = 100.0, order = \"{order}\" }}\n\n");
        }
        let why = format!("cold_start: {} of {} users have {least} to 100 rows", of_size(least), rows.len());
        Some(FirstExperiment { text: text.trim_end().to_owned() + "\n", why })
    }

    fn cold_sequence(&self) -> Option<FirstExperiment> {
        let (log, domains) = (&self.dataset.log, &self.dataset.domains);
        if log.time.is_empty() || domains.len() < 2 {
            return None;
        }
        let mut rows = vec![0_usize; domains.len()];
        let mut users: Vec<HashSet<u32>> = vec![HashSet::new(); domains.len()];
        for (user, domain) in log.user.iter().zip(&log.domain) {
            rows[domain.at()] += 1;
            users[domain.at()].insert(user.0);
        }
        let pairs = (0..domains.len())
            .flat_map(|a| (0..domains.len()).map(move |b| (a, b)))
            .filter(|&(a, b)| a != b && (rows[a], a) > (rows[b], b));
        let (shared, (source, target)) = pairs.map(|(a, b)| (users[a].intersection(&users[b]).count(), (a, b))).max()?;
        if shared < SHARED_USERS {
            return None;
        }
        let of_target = log.item.iter().zip(&log.domain).filter(|(_, d)| d.at() == target).map(|(item, _)| item.0);
        let items = of_target.collect::<HashSet<u32>>().len();
        let quoted = |domain: usize| toml::Value::String(domains[domain].clone());
        let mut text = self.head("cold_sequence", "\"mrr[full]\", \"hr@10[full]\", \"ndcg@10[full]\"");
        text.push_str("# A fifth of the users is new to the target. A tenth of the others choose between models.\n");
        text.push_str("[split]\nkind = \"cold_users\"\nusers = { rule = \"rank\", prefix = \"user:\", existing_percent = 80, validation_percent = 10 }\n");
        text.push_str("\n# What a user did in the source tells what comes next in the target.\n");
        let _ = write!(text, "[scenario]\nkind = \"cold_sequence\"\nsource = {}\ntarget = {}\n", quoted(source), quoted(target));
        text.push_str("examples = { input = \"both\", length = 20, min_input = 3 }\n");
        if items > MANY_ITEMS {
            text.push_str("training_negatives = { count = 256 }\n");
        }
        let epochs = if self.rows() > 300_000 { 2 } else { 4 };
        let _ = write!(text, "\n[base]\nbackbone = {{ kind = \"nextitnet\", width = 32, dilations = [1, 4] }}\n");
        let _ = writeln!(text, "train = {{ epochs = {epochs}, batch = 128, optimizer = {{ rate = 2e-3, row_rate = 6e-3 }} }}");
        let _ = write!(
            text,
            "\n# Shared by all methods.\n[train]\nepochs = {epochs}\npatience = 2\nbatch = 128\noptimizer = {{ rate = 2e-3 }}\n"
        );
        text.push_str(
            "\n[[method]]\nname = \"scratch\"\n\n[[method]]\nname = \"fine_tune_all\"\ntrain = { optimizer = { rate = 1e-3 } }\n",
        );
        text.push_str("\n[[method]]\nname = \"adapter\"\nconfig = { bottleneck = 16, gelu = \"tanh\" }\n");
        let why = format!("cold_sequence: {shared} users have events in `{}` and in `{}`", domains[source], domains[target]);
        Some(FirstExperiment { text, why })
    }
}

/// A key of a TOML table.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if bare { name.to_owned() } else { toml::Value::String(name.to_owned()).to_string() }
}
