//! The contract suite: laws that every method keeps on every backbone it supports.
//!
//! A [`Ground`] is a trained base with data to adapt it to; a [`Case`] is one method on one ground. [`LAWS`] lists the laws;
//! [`Case::check`] tries one and says what was found where it does not hold. A method of another crate is tested the same way as those of the list:
//!
//! ```no_run
//! # use acclimate_train::contract::{Case, Ground, LAWS};
//! # use acclimate_model::{BackboneConfig, DnnConfig};
//! let ground = Ground::simulate("dnn", BackboneConfig::Dnn(DnnConfig::default()))?;
//! let case = Case::listed("adapter", &toml::Table::new(), &ground)?;
//! for law in LAWS {
//!     case.check(law).unwrap();
//! }
//! # Ok::<(), acclimate_train::TrainError>(())
//! ```

mod files;
mod gradient;
mod ground;
mod isolation;
mod resume;
mod scores;
mod training;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use acclimate_adapt::{Adaptation, Target, build_method};
use acclimate_model::Params;
use burn::tensor::Device;

use crate::feed::Feeding;
use crate::{Observer, Run, TrainError, Trained, Trainee, train};
pub use ground::Ground;
use ground::Setting;

/// One law: its name and how it is tried.
#[derive(Clone, Copy)]
pub struct Law {
    /// What always holds.
    pub name: &'static str,
    check: fn(&Case<'_>) -> Finding,
}

/// What a law's check found where it does not hold.
type Finding = Result<(), String>;

/// The laws, in the order in which they are best read.
pub const LAWS: &[Law] = &[
    Law { name: "untrained, it is the base", check: scores::identity_at_start },
    Law { name: "missing context is a typed error before any tensor work", check: scores::missing_context },
    Law { name: "only declared parameters change", check: training::only_declared },
    Law { name: "every trainable parameter gets a gradient", check: training::gradients_everywhere },
    Law { name: "running values are declared, and training moves them", check: training::running_values },
    Law { name: "the outer gradient is the derivative of the loss", check: gradient::is_the_derivative },
    Law { name: "it learns a shifted domain, or nothing from labels", check: training::learns },
    Law { name: "a row's score depends on nothing else in the batch", check: isolation::rows_and_groups },
    Law { name: "what a request does is in its declared set", check: isolation::declared_set },
    Law { name: "what is hidden is not read", check: isolation::hidden },
    Law { name: "folded into the weights it scores as before", check: scores::folded },
    Law { name: "extreme legal input stays finite", check: scores::finite },
    Law { name: "a saved patch scores as before", check: files::saved },
    Law { name: "a wrong base is an error that names both hashes", check: files::wrong_base },
    Law { name: "a damaged patch is a typed error", check: files::damaged },
    Law { name: "merged patches are their mean", check: files::merged },
    Law { name: "same seed, same bytes", check: training::same_seed },
    Law { name: "another seed, other bytes", check: training::other_seed },
    Law { name: "a resumed run gives the bytes of one that never stopped", check: resume::exact },
];

/// A law that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("method `{method}` on backbone `{backbone}` breaks the law \"{law}\": {finding}")]
pub struct Violation {
    /// The law.
    pub law: &'static str,
    /// The method.
    pub method: String,
    /// The backbone.
    pub backbone: String,
    /// What was found.
    pub finding: String,
}

/// A method on a ground.
pub struct Case<'a> {
    method: String,
    config: toml::Table,
    adaptation: Box<dyn Adaptation>,
    ground: &'a Ground,
    trained: OnceLock<Trained>,
}

impl<'a> Case<'a> {
    /// A method or preset of the list.
    ///
    /// # Errors
    /// The method does not know the config or does not support the backbone.
    pub fn listed(method: &str, config: &toml::Table, ground: &'a Ground) -> Result<Self, TrainError> {
        let spec = &ground.base.spec;
        let target = Target { backbone: ground.base.backbone.as_ref(), schema: &spec.schema, objective: spec.objective };
        let adaptation = build_method(method, config, target)?;
        Ok(Self { config: config.clone(), ..Self::new(method, adaptation, ground) })
    }

    /// A method that is built by its owner. Only the laws of patch files need it to be in the list.
    #[must_use]
    pub fn new(method: &str, adaptation: Box<dyn Adaptation>, ground: &'a Ground) -> Self {
        Self { method: method.into(), config: toml::Table::new(), adaptation, ground, trained: OnceLock::new() }
    }

    /// The same case with this as what training gave.
    #[must_use]
    pub fn with_result(mut self, trained: Trained) -> Self {
        self.trained = trained.into();
        self
    }

    /// Tries one law.
    ///
    /// # Errors
    /// It does not hold; a panic counts as such.
    pub fn check(&self, law: &Law) -> Result<(), Violation> {
        let outcome =
            catch_unwind(AssertUnwindSafe(|| (law.check)(self))).unwrap_or_else(|panic| Err(format!("it panics: {}", said(&panic))));
        outcome.map_err(|finding| Violation { law: law.name, method: self.method.clone(), backbone: self.ground.name.clone(), finding })
    }

    /// What training on the ground gives; trained once for all laws.
    fn trained(&self) -> Result<&Trained, String> {
        if self.trained.get().is_none() {
            let trained = self.train(ground::SEED)?;
            return Ok(self.trained.get_or_init(|| trained));
        }
        Ok(self.trained.get().expect("checked above"))
    }

    fn train(&self, seed: u64) -> Result<Trained, String> {
        let setting = self.ground.setting(self.adaptation.needs(), seed).map_err(text)?;
        let stop = AtomicBool::new(false);
        train(self.run(&setting, &mut (), &stop)).map_err(text)
    }

    fn run<'r>(&'r self, setting: &'r Setting<'_>, observer: &'r mut dyn Observer, stop: &'r AtomicBool) -> Run<'r> {
        Run {
            base: &self.ground.base,
            adaptation: self.adaptation.as_ref(),
            feed: setting.feed.as_ref(),
            config: &setting.config,
            seed: setting.seed,
            device: device(),
            intercept: None,
            validate: None,
            observer,
            checkpoint: None,
            stop,
        }
    }

    /// A few groups of unequal size, as the method's needs have them.
    fn probe(&self) -> Feeding {
        self.ground.probe(self.adaptation.needs())
    }

    /// Data of the target that no training sees.
    fn held_out(&self) -> Vec<Feeding> {
        self.ground.held_out(self.adaptation.needs())
    }

    /// The state before the first step.
    fn untrained(&self) -> Result<Trainee<'_>, String> {
        Trainee::new(&self.ground.base, self.adaptation.as_ref(), ground::SEED, device()).map_err(text)
    }
}

fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(Device::flex)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn said(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_else(|| "without a message".into())
}

/// `Err(finding())` unless `holds`.
fn require(holds: bool, finding: impl FnOnce() -> String) -> Finding {
    if holds { Ok(()) } else { Err(finding()) }
}

/// The first parameter whose bits differ.
fn first_difference(a: &Params, b: &Params) -> Option<String> {
    let differs = |(x, y): (&Vec<f32>, &Vec<f32>)| x.len() != y.len() || x.iter().zip(y).any(|(x, y)| x.to_bits() != y.to_bits());
    a.values.iter().zip(&b.values).position(differs).map(|i| a.specs[i].path.clone())
}
