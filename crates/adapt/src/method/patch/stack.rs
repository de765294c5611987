//! `stack`: several methods as one patch.
//!
//! The effects of the methods follow each other in the order of the list, at each site first what changes weights and then what changes outputs (see
//! [`acclimate_model::Effect`]); own parameters carry the method's name as a prefix, scopes and needs are united. Identity at start, folding and sizes follow from the parts.
//!
//! Training has two forms. With `train = "together"` all are trained at once; methods that are solved are solved before and again after. With `train = "stages"` each is
//! trained or solved with those before it in place and frozen, by training keys of its own where its table has some under `train`. With `train = "cross_fitted"` the halves of the rows (the
//! earlier and the later one) are each scored by what the other has trained, and say for how long a stage is trained and whether it is kept: a trained one unless the loss is shown to rise, by more
//! than its standard error; a solved one if it is shown to fall, under the best of its choices (the prior of `random_effects`). The first stage is always kept, and what is not
//! kept stays at its start. Methods that a network can not take are then left out.
//!
//! The default holds what moves to a new domain: the exact intercept, the embedding rows that the domain touches, and a low-rank addition to the tower, together.
//! The preset `acclimate` is one recipe for any number of rows: the intercept, one a domain where there are several, a low-rank addition to the tower, embedding rows,
//! and an offset for each id.
//!
//! # References
//! A composition of this project's methods, after the taxonomy of J. He et al., *Towards a Unified View of Parameter-Efficient Transfer Learning*, ICLR 2022. Cross-fitting: V. Chernozhukov
//! et al., *Double/debiased machine learning for treatment and structural parameters*, Econometrics Journal 2018.

use std::ops::Range;
use std::sync::Arc;

use acclimate_model::{Bound, Modulation, ParamSpec, Params};
use serde::{Deserialize, Serialize};

use crate::adaptation::{Answered, Stage, Staged, Stages};
use crate::method::build_method;
use crate::{AdaptError, Adaptation, Context, Gauge, Kind, Method, MethodConfig, Needs, Reading, Scope, SourceRows, Start, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<StackConfig>("stack", Kind::Adaptation, "several methods as one patch")
    .with_presets(&[("acclimate", ACCLIMATE)])
    .tested_with(&[
        "methods = [{ name = 'lora', rank = 2 }, { name = 'ia3' }, { name = 'adapter', bottleneck = 4 }]",
        "methods = [{ name = 'intercept', per_domain = true }, { name = 'star', unfreeze = [] }, { name = 'film' }]",
        "methods = [{ name = 'lora' }, { name = 'coral', scope = ['head'] }, { name = 'distillation', scope = ['norms', 'head'] }]",
        "methods = [{ name = 'ia3' }, { name = 'group_dro', start = 'base' }]",
        "methods = [{ name = 'lora', rank = 2 }, { name = 'conditional_batch_norm', moments = 'reestimated' }]",
        "train = 'stages'\nmethods = [{ name = 'lora', train = { epochs = 2, optimizer = { rate = 1e-2 } } }, { name = 'fine_tune_rows' }]",
        "methods = [{ name = 'rare_ids', least = 3, paths = 2, threshold = 0.1 }, { name = 'film' }]",
        "methods = [{ name = 'request_set' }, { name = 'rare_ids', least = 3, paths = 2, threshold = 0.1 }]",
    ]);

/// One recipe for every number of rows. Its numbers were chosen on one tab of KuaiRand (docs/methods.md), what it keeps is chosen on the rows at hand.
const ACCLIMATE: &str = "train = 'cross_fitted'
[[methods]]
name = 'intercept'
per_domain = true
[[methods]]
name = 'intercept'
[[methods]]
name = 'lora'
rank = 4
alpha = 4.0
unfreeze = ['head_rows']
train = { epochs = 5, batch = 256, optimizer = { rate = 3e-3 } }
[[methods]]
name = 'fine_tune_rows'
train = { epochs = 6, batch = 256, optimizer = { rule = 'adagrad', rate = 1e-3 } }
[[methods]]
name = 'random_effects'
";

/// How the methods of a list are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// All at once.
    #[default]
    Together,
    /// One after the other.
    Stages,
    /// One after the other, as cross-fitting decides.
    CrossFitted,
}

/// Configuration of [`Stack`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StackConfig {
    /// The methods in their order, each a table with its `name` (or that of a preset) and its keys, and in stages its `train`.
    pub methods: Vec<toml::Table>,
    /// How they are trained; default together.
    pub train: Form,
}

impl Default for StackConfig {
    fn default() -> Self {
        let named = |name: &str| toml::Table::from_iter([("name".to_owned(), name.into())]);
        Self { methods: ["intercept", "fine_tune_rows", "lora"].map(named).to_vec(), train: Form::Together }
    }
}

/// The method `stack`.
#[derive(Debug)]
pub struct Stack {
    parts: Arc<Vec<Part>>,
    params: Vec<ParamSpec>,
    scope: Scope,
    stages: Option<Stages>,
}

#[derive(Debug)]
struct Part {
    adaptation: Box<dyn Adaptation>,
    /// Its parameters among those of all.
    own: Range<usize>,
}

impl Part {
    /// What it measures, into its parameters among those of all.
    fn gauges(&self) -> Vec<Gauge> {
        self.adaptation.gauges().into_iter().map(|gauge| gauge.placed(self.own.start)).collect()
    }
}

/// The stack while one of its methods is trained.
#[derive(Debug)]
struct OneStage {
    parts: Arc<Vec<Part>>,
    params: Vec<ParamSpec>,
    at: usize,
}

impl MethodConfig for StackConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |problem: String| AdaptError::Value { method: METHOD.name, key: "methods", problem };
        if self.methods.is_empty() {
            return Err(value("names no method".into()));
        }
        let (mut parts, mut params, mut scope) = (Vec::new(), Vec::<ParamSpec>::new(), Scope::default());
        let (mut names, mut refused) = (Vec::<(String, toml::Table)>::new(), None);
        for mut keys in self.methods {
            let name = match keys.remove("name") {
                Some(toml::Value::String(name)) => name,
                _ => return Err(value("needs a `name` in each of its tables".into())),
            };
            let train = match keys.remove("train") {
                None => toml::Table::new(),
                Some(toml::Value::Table(train)) if self.train != Form::Together => train,
                Some(_) => return Err(value(format!("has a `train` for `{name}` that is no table of a stage; set `train = \"stages\"` or `\"cross_fitted\"`"))),
            };
            if crate::find_method(&name)?.0.name == METHOD.name {
                return Err(value(format!("can not hold a stack like `{name}`; list its methods instead")));
            }
            let adaptation = match build_method(&name, &keys, target) {
                Err(error @ AdaptError::Unsupported { .. }) if self.train == Form::CrossFitted => {
                    refused = Some(error);
                    continue;
                }
                built => built?,
            };
            if adaptation.start() == Start::Fresh {
                return Err(value(format!("can not hold `{name}`, which starts from fresh values: a stack starts from the base")));
            }
            if let Some(other) = parts.iter().position(|part: &Part| !part.adaptation.needs().groups.agree(adaptation.needs().groups)) {
                let problem = format!("can not hold `{}` and `{name}`: one needs groups of a domain, the other tasks of users", names[other].0);
                return Err(value(problem));
            }
            if let Some(other) = parts.iter().position(|part: &Part| part.adaptation.needs().hidden != adaptation.needs().hidden) {
                return Err(value(format!("can not hold `{}` and `{name}`: one reads the id of an item that the other hides", names[other].0)));
            }
            let reads = |adaptation: &dyn Adaptation| adaptation.reading(&Params::init(adaptation.params(), 0).values).is_some();
            if let (true, Some(other)) = (reads(adaptation.as_ref()), parts.iter().position(|part: &Part| reads(part.adaptation.as_ref()))) {
                return Err(value(format!("can not hold `{}` and `{name}`: both say which codes are read; keep one", names[other].0)));
            }
            let begin = params.len();
            let taken = |prefix: &str| params.iter().any(|spec| spec.path.starts_with(prefix));
            let numbered = (2..).map(|n| format!("{name}{n}."));
            let prefix = std::iter::once(format!("{name}.")).chain(numbered).find(|prefix| !taken(prefix)).expect("numbers do not end");
            params.extend(adaptation.params().iter().map(|spec| ParamSpec { path: format!("{prefix}{}", spec.path), ..spec.clone() }));
            scope.params.extend(&adaptation.scope().params);
            scope.tables.extend(&adaptation.scope().tables);
            parts.push(Part { adaptation, own: begin..params.len() });
            names.push((name, train));
        }
        if let (true, Some(error)) = (parts.is_empty(), refused) {
            return Err(error);
        }
        let of_sources = parts.iter().zip(&names).find(|(part, _)| part.adaptation.needs().source != SourceRows::None);
        let needs = needs(&parts);
        // What is solved for, and the halves of cross-fitting, would be of the source's rows as well.
        if let Some((_, (name, _))) = of_sources
            && (self.train != Form::Together || needs.groups.are_tasks() || needs.groups.are_domains() || parts.iter().any(|part| part.adaptation.solves()))
        {
            let problem = format!(
                "can hold `{name}`, which trains on rows of the base's domains as well, only with `train = \"together\"` and beside methods that are not solved, know no domains and need no support rows"
            );
            return Err(value(problem));
        }
        scope.params.sort_unstable();
        scope.params.dedup();
        scope.tables.sort_unstable();
        scope.tables.dedup();
        let parts = Arc::new(parts);
        let staged = |(at, (name, train)): (usize, (String, toml::Table))| {
            let frozen = |(i, spec): (usize, &ParamSpec)| if parts[at].own.contains(&i) { spec.clone() } else { spec.clone().solved() };
            let params = params.iter().enumerate().map(frozen).collect();
            Staged { name, adaptation: Box::new(OneStage { parts: Arc::clone(&parts), params, at }), train }
        };
        let stages = (self.train != Form::Together)
            .then(|| Stages { list: names.into_iter().enumerate().map(staged).collect(), cross_fitted: self.train == Form::CrossFitted });
        Ok(Box::new(Stack { parts, params, scope, stages }))
    }
}

/// The effects of all methods.
fn adapt<'a>(parts: &'a [Part], base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
    parts.iter().try_fold(Modulation::none(), |all, Part { adaptation, own: range }| {
        Ok(all.then(adaptation.adapt(base, &own.part(range.clone()), context)?))
    })
}

/// How the one method that says so reads rows.
fn reading(parts: &[Part], own: &[Vec<f32>]) -> Option<Reading> {
    parts.iter().find_map(|part| part.adaptation.reading(&own[part.own.clone()]))
}

fn needs(parts: &[Part]) -> Needs {
    parts.iter().fold(Needs::default(), |all, part| all.and(part.adaptation.needs()))
}

impl Adaptation for Stack {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        needs(&self.parts)
    }

    fn is_exact(&self) -> bool {
        self.parts.iter().all(|part| part.adaptation.is_exact())
    }

    fn is_downhill(&self) -> bool {
        self.parts.iter().all(|part| part.adaptation.is_downhill())
    }

    fn rounds_at_start(&self) -> bool {
        self.parts.iter().any(|part| part.adaptation.rounds_at_start())
    }

    fn solves(&self) -> bool {
        self.parts.iter().any(|part| part.adaptation.solves())
    }

    fn is_solved(&self) -> bool {
        self.parts.iter().all(|part| part.adaptation.is_solved())
    }

    fn learns(&self) -> bool {
        self.parts.iter().any(|part| part.adaptation.learns())
    }

    fn reading(&self, own: &[Vec<f32>]) -> Option<Reading> {
        reading(&self.parts, own)
    }

    fn gauges(&self) -> Vec<Gauge> {
        self.parts.iter().flat_map(Part::gauges).collect()
    }

    fn stages(&self) -> Option<&Stages> {
        self.stages.as_ref()
    }

    fn solve(&self, own: &mut [Vec<f32>], rows: &mut Answered<'_>, stage: Stage) {
        for Part { adaptation, own: range } in self.parts.iter() {
            adaptation.solve(&mut own[range.clone()], rows, stage);
        }
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        adapt(&self.parts, base, own, context)
    }
}

impl OneStage {
    fn part(&self) -> &Part {
        &self.parts[self.at]
    }
}

impl Adaptation for OneStage {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        self.part().adaptation.scope()
    }

    fn needs(&self) -> Needs {
        needs(&self.parts)
    }

    fn is_exact(&self) -> bool {
        self.part().adaptation.is_exact()
    }

    fn is_downhill(&self) -> bool {
        self.part().adaptation.is_downhill()
    }

    fn solves(&self) -> bool {
        self.part().adaptation.solves()
    }

    fn is_solved(&self) -> bool {
        self.part().adaptation.is_solved()
    }

    fn learns(&self) -> bool {
        self.part().adaptation.learns()
    }

    fn reading(&self, own: &[Vec<f32>]) -> Option<Reading> {
        reading(&self.parts, own)
    }

    fn gauges(&self) -> Vec<Gauge> {
        self.part().gauges()
    }

    fn choices(&self) -> usize {
        self.part().adaptation.choices()
    }

    fn solve(&self, own: &mut [Vec<f32>], rows: &mut Answered<'_>, stage: Stage) {
        let Part { adaptation, own: range } = self.part();
        adaptation.solve(&mut own[range.clone()], rows, stage);
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        adapt(&self.parts, base, own, context)
    }
}
