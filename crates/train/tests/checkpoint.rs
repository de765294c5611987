//! A checkpoint belongs to one run: another config of the same method does not go on from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use acclimate_adapt::{Needs, Target, build_method};
use acclimate_data::SimulatorConfig;
use acclimate_model::{BackboneConfig, Base, BaseSpec, DnnConfig, Objective};
use acclimate_train::feed::RowFeed;
use acclimate_train::{Observer, Run, StepReport, TrainConfig, TrainError, train};
use burn::tensor::Device;

struct StopAt<'a>(u64, &'a AtomicBool);

impl Observer for StopAt<'_> {
    fn step(&mut self, report: &StepReport) {
        self.1.store(report.step >= self.0, Ordering::Relaxed);
    }
}

#[test]
fn another_config_of_the_method_is_refused() {
    let simulation = SimulatorConfig { users: 100, items: 100, rows: 1000, cold_users: 10, cold_rows: 10, ..SimulatorConfig::default() };
    let simulation = simulation.simulate(1).expect("the settings fit together");
    let rows: Vec<u32> = (0..200).collect();
    let backbone = BackboneConfig::Dnn(DnnConfig { embedding: 2, hidden: vec![4], ..DnnConfig::default() });
    let spec = BaseSpec { backbone, schema: simulation.dataset.schema(), objective: Objective::Logistic };
    let base = Base::init(spec, 1).expect("a valid config");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let attempt = |keys: &str, stop_at: u64| {
        let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
        let adaptation = build_method("adapter", &keys.parse().expect("valid TOML"), target).expect("a valid config");
        let stop = AtomicBool::new(false);
        train(Run {
            base: &base,
            adaptation: adaptation.as_ref(),
            feed: &RowFeed::new(&simulation.dataset, &rows, 50, 1, Needs::default()).expect("there are rows"),
            config: &TrainConfig { epochs: 1, ..TrainConfig::default() },
            seed: 1,
            device: &Device::flex(),
            intercept: None,
            validate: None,
            observer: &mut StopAt(stop_at, &stop),
            checkpoint: Some((folder.path().join("run"), Duration::MAX)),
            stop: &stop,
        })
        .map(|trained| trained.summary.steps)
    };
    assert!(matches!(attempt("gelu = 'exact'", 2), Err(TrainError::Interrupted { .. })));
    // The parameters have the same names and shapes.
    assert!(matches!(attempt("gelu = 'tanh'", u64::MAX), Err(TrainError::OtherRun { what: "method", .. })));
    assert_eq!(attempt("gelu = 'exact'", u64::MAX).expect("its own checkpoint"), 4);
}
