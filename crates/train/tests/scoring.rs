//! Scores of a row do not depend on what is scored beside it.

use acclimate_adapt::{Target, build_method};
use acclimate_data::SimulatorConfig;
use acclimate_model::{BackboneConfig, Base, BaseSpec, DnnConfig, Objective, Params};
use acclimate_train::Scorer;
use burn::tensor::Device;

#[test]
fn a_long_query_is_scored_as_its_rows_are() {
    let simulation = SimulatorConfig { users: 100, items: 100, rows: 2000, cold_users: 10, cold_rows: 10, ..SimulatorConfig::default() };
    let dataset = simulation.simulate(1).expect("the settings fit together").dataset;
    let backbone = BackboneConfig::Dnn(DnnConfig { embedding: 4, embedding_std: 1.0, hidden: vec![8], ..DnnConfig::default() });
    let base = Base::init(BaseSpec { backbone, schema: dataset.schema(), objective: Objective::Logistic }, 1).expect("a valid config");
    let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
    for method in ["maml", "adapter"] {
        let adaptation = build_method(method, &toml::Table::new(), target).expect("a valid config");
        let own = Params::init(adaptation.params(), 1);
        let device = Device::flex();
        let scorer = Scorer::new(&base, adaptation.as_ref(), &own, &device);
        let support: Vec<u32> = (0..20).collect();
        let long: Vec<u32> = (20..820).collect();
        let scores =
            scorer.tasks(&dataset, &[(support.clone(), long.clone()), (Vec::new(), vec![900]), (support.clone(), Vec::new())]).unwrap();
        assert_eq!(scores.iter().map(Vec::len).collect::<Vec<_>>(), [800, 1, 0], "{method}");
        for at in [0, 255, 256, 511, 512, 799] {
            let alone = scorer.tasks(&dataset, &[(support.clone(), vec![long[at]])]).unwrap()[0][0];
            assert!((scores[0][at] - alone).abs() < 1e-5, "{method}, row {at}: {} against {alone}", scores[0][at]);
        }
        let distinct: std::collections::BTreeSet<u32> = scores[0].iter().map(|s| s.to_bits()).collect();
        assert!(distinct.len() > 400, "{method}: rows are told apart");
    }
}
