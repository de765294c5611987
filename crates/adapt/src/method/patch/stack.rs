//! `stack`: several methods as one patch.
//!
//! The effects of the methods follow each other in the order of the list, at each site first what changes weights and then what changes outputs (see
//! [`acclimate_model::Effect`]); own parameters carry the method's name as a prefix, scopes and needs are united. Methods that are solved are solved before training
//! and again after it, the others are trained together. Identity at start, folding and sizes follow from the parts.
//!
//! The default holds what moves to a new domain: the exact intercept, the embedding rows that the domain touches, and a low-rank addition to the tower.
//!
//! # References
//! A composition of this project's methods, after the taxonomy of J. He et al., *Towards a Unified View of Parameter-Efficient Transfer Learning*, ICLR 2022.

use std::ops::Range;

use acclimate_model::{Bound, Modulation, ParamSpec};
use serde::{Deserialize, Serialize};

use crate::adaptation::{Answered, Stage};
use crate::method::build_method;
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, Start, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<StackConfig>("stack", Kind::Adaptation, "several methods as one patch").tested_with(&[
    "methods = [{ name = 'lora', rank = 2 }, { name = 'ia3' }, { name = 'adapter', bottleneck = 4 }]",
    "methods = [{ name = 'intercept', per_domain = true }, { name = 'star', unfreeze = [] }, { name = 'film' }]",
]);

/// Configuration of [`Stack`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StackConfig {
    /// The methods in their order, each a table with its `name` (or that of a preset) and its keys.
    pub methods: Vec<toml::Table>,
}

impl Default for StackConfig {
    fn default() -> Self {
        let named = |name: &str| toml::Table::from_iter([("name".to_owned(), name.into())]);
        Self { methods: ["intercept", "fine_tune_rows", "lora"].map(named).to_vec() }
    }
}

/// The method `stack`.
#[derive(Debug)]
pub struct Stack {
    parts: Vec<Part>,
    params: Vec<ParamSpec>,
    scope: Scope,
}

#[derive(Debug)]
struct Part {
    adaptation: Box<dyn Adaptation>,
    /// Its parameters among those of all.
    own: Range<usize>,
}

impl MethodConfig for StackConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |problem: String| AdaptError::Value { method: METHOD.name, key: "methods", problem };
        if self.methods.is_empty() {
            return Err(value("names no method".into()));
        }
        let (mut parts, mut params, mut scope) = (Vec::new(), Vec::<ParamSpec>::new(), Scope::default());
        for mut keys in self.methods {
            let name = match keys.remove("name") {
                Some(toml::Value::String(name)) => name,
                _ => return Err(value("needs a `name` in each of its tables".into())),
            };
            if name == METHOD.name {
                return Err(value("can not hold a `stack`; list its methods instead".into()));
            }
            let adaptation = build_method(&name, &keys, target)?;
            if adaptation.start() == Start::Fresh {
                return Err(value(format!("can not hold `{name}`, which starts from fresh values: a stack starts from the base")));
            }
            let begin = params.len();
            let taken = |prefix: &str| params.iter().any(|spec| spec.path.starts_with(prefix));
            let numbered = (2..).map(|n| format!("{name}{n}."));
            let prefix = std::iter::once(format!("{name}.")).chain(numbered).find(|prefix| !taken(prefix)).expect("numbers do not end");
            params.extend(adaptation.params().iter().map(|spec| ParamSpec { path: format!("{prefix}{}", spec.path), ..spec.clone() }));
            scope.params.extend(&adaptation.scope().params);
            scope.tables.extend(&adaptation.scope().tables);
            parts.push(Part { adaptation, own: begin..params.len() });
        }
        scope.params.sort_unstable();
        scope.params.dedup();
        scope.tables.sort_unstable();
        scope.tables.dedup();
        Ok(Box::new(Stack { parts, params, scope }))
    }
}

impl Adaptation for Stack {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        self.parts.iter().fold(Needs::default(), |all, part| {
            let Needs { domain_groups, support, token } = part.adaptation.needs();
            Needs { domain_groups: all.domain_groups || domain_groups, support: all.support || support, token: all.token || token }
        })
    }

    fn is_exact(&self) -> bool {
        self.parts.iter().all(|part| part.adaptation.is_exact())
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

    fn solve(&self, own: &mut [Vec<f32>], rows: &mut Answered<'_>, stage: Stage) {
        for Part { adaptation, own: range } in &self.parts {
            adaptation.solve(&mut own[range.clone()], rows, stage);
        }
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        self.parts.iter().try_fold(Modulation::none(), |all, Part { adaptation, own: range }| {
            Ok(all.then(adaptation.adapt(base, &own.part(range.clone()), context)?))
        })
    }
}
