//! Scores of a row do not depend on what is scored beside it.

use std::sync::atomic::AtomicBool;

use acclimate_adapt::{Adaptation, Answered, Stage, Target, build_method};
use acclimate_data::{Batch, Dataset, LabelKind, SimulatorConfig, TaskConfig, TasksOf};
use acclimate_model::{BackboneConfig, Base, BaseSpec, DnnConfig, Interaction, Objective, Params};
use acclimate_train::feed::{SupportSize, TaskFeed};
use acclimate_train::{Run, Scorer, TrainConfig, Trained, train};
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

/// What a reading says of codes, with a pass for each path made by hand.
#[test]
fn rows_of_rare_codes_are_scored_along_their_paths() {
    let simulation = SimulatorConfig { users: 100, items: 100, rows: 2000, cold_users: 10, cold_rows: 10, ..SimulatorConfig::default() };
    let dataset = simulation.simulate(1).expect("the settings fit together").dataset;
    let backbone = BackboneConfig::Dnn(DnnConfig { embedding: 4, embedding_std: 1.0, hidden: vec![8], ..DnnConfig::default() });
    let base = Base::init(BaseSpec { backbone, schema: dataset.schema(), objective: Objective::Logistic }, 1).expect("a valid config");
    let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
    let keys = "least = 3\npaths = 4\nthreshold = 0.6\ndrop = 0.8".parse().expect("valid TOML");
    let method = build_method("rare_ids", &keys, target).expect("a valid config");
    let untrained = Params::init(method.params(), 1);
    let (mut own, counted) = (untrained.clone(), Batch::single(&dataset, &(0..600).collect::<Vec<_>>()));
    let mut answered = Answered { codes: &counted.categorical, fields: counted.fields, ..Answered::default() };
    method.solve(&mut own.values, &mut answered, Stage::After);

    let (rows, device) = ((600..1900).collect::<Vec<u32>>(), Device::flex());
    let found = Scorer::new(&base, method.as_ref(), &own, &device).rows(&dataset, &rows).expect("rows are enough");
    // Without counts it is the network as it is.
    let plain = Scorer::new(&base, method.as_ref(), &untrained, &device);
    let reading = method.reading(&own.values).expect("it says how rows are read");
    let paths = reading.paths.as_ref().expect("four");
    let read = reading.read(&Batch::single(&dataset, &rows)).into_owned();
    let at_once = plain.batch(&read, None).expect("rows are enough");
    let along: Vec<Vec<f32>> = (0..paths.count)
        .map(|path| {
            let mut batch = read.clone();
            for (to, from) in batch.categorical.chunks_exact_mut(read.fields).zip(read.categorical.chunks_exact(read.fields)) {
                reading.dropped(from, path).for_each(|field| to[field] = 0);
            }
            plain.batch(&batch, None).expect("rows are enough")
        })
        .collect();
    let mut taken = 0;
    for (row, codes) in read.categorical.chunks_exact(read.fields).enumerate() {
        let takes = reading.takes_paths(codes);
        taken += usize::from(takes);
        let expected = if takes { paths.mean(&along.iter().map(|scores| scores[row]).collect::<Vec<_>>()) } else { at_once[row] };
        assert!((found[row] - expected).abs() < 1e-5, "row {row}: {} and not {expected}", found[row]);
    }
    assert!((100..1200).contains(&taken), "{taken} of 1300 rows take them");
}

#[test]
fn a_spread_is_in_the_unit_of_the_label_and_of_each_row_alone() {
    let simulation = SimulatorConfig { users: 200, items: 160, rows: 6000, cold_users: 10, cold_rows: 10, ..SimulatorConfig::default() };
    let clicks = simulation.simulate(1).expect("the settings fit together").dataset;
    let spread = |unit: f32, method: &str| {
        let mut dataset = clicks.clone();
        dataset.label = LabelKind::Rating { min: 0.0, max: 4.0 * unit };
        let log = std::sync::Arc::make_mut(&mut dataset.log);
        let rating = |row: usize| (log.user[row].0 % 3 + log.item[row].0 % 2 + log.label[row] as u32) as f32 * unit;
        log.label = (0..log.len()).map(rating).collect();
        let config = DnnConfig { embedding: 2, hidden: vec![4], ..DnnConfig::default() };
        let (adaptation, trained) = solved(&dataset, config, Objective::SquaredError, TasksOf::Users, method);
        let scorer = Scorer::new(&trained.base, adaptation.as_ref(), &trained.own, &Device::flex());
        let all = [
            ((0..9).collect::<Vec<u32>>(), (4000..4030).collect::<Vec<u32>>()),
            (Vec::new(), vec![4100]),
            ((20..24).collect(), vec![4200, 4201]),
        ];
        let together = scorer.spread(&dataset, &all).expect("there are support sets");
        if let Some(together) = &together {
            let alone = all.iter().flat_map(|task| scorer.spread(&dataset, std::slice::from_ref(task)).unwrap().unwrap().deviations);
            // What a network says of a row rounds with the length of its batch.
            assert!(together.deviations.iter().zip(alone).all(|(together, alone)| (together / alone - 1.0).abs() < 1e-6), "{method}");
        }
        together
    };
    for method in ["acclimate_user", "fold_in", "bayes_head"] {
        let [one, two] = [1.0, 2.0].map(|unit| spread(unit, method).expect("it says one"));
        assert_eq!((one.deviations.len(), &one.grid[..]), (33, &[0.0, 1.0, 2.0, 3.0, 4.0][..]), "{method}");
        assert!(one.deviations.iter().all(|sd| *sd > 0.0) && one.deviations[0] != one.deviations[30], "{method}");
        let twice = |values: &[f32]| values.iter().map(|value| 2.0 * value).collect::<Vec<_>>();
        assert_eq!(two.deviations, twice(&one.deviations), "{method}");
        assert_eq!((two.grid, two.cuts), (twice(&one.grid), twice(&one.cuts)), "{method}");
    }
    assert!(spread(1.0, "maml").is_none());
}

#[test]
fn a_methods_own_answer_is_the_whole_score_whatever_a_network_adds_to_its_head() {
    let simulation = SimulatorConfig { users: 100, items: 160, rows: 3000, cold_users: 10, cold_rows: 10, ..SimulatorConfig::default() };
    let dataset = simulation.simulate(1).expect("the settings fit together").dataset;
    let methods = [("acclimate_user", TasksOf::Users), ("acclimate_item", TasksOf::Items), ("dropoutnet", TasksOf::Items)];
    for (method, of) in methods {
        let scores = |interaction| {
            // Products that are no rounding, though nothing has trained them.
            let config = DnnConfig { embedding: 4, embedding_std: 1.0, hidden: vec![4], interaction, ..DnnConfig::default() };
            let (adaptation, trained) = solved(&dataset, config, Objective::Logistic, of, method);
            let scorer = Scorer::new(&trained.base, adaptation.as_ref(), &trained.own, &Device::flex());
            scorer.tasks(&dataset, &[((0..9).collect::<Vec<u32>>(), vec![2500, 2501]), (Vec::new(), vec![2510])]).unwrap()
        };
        let [plain, fm, cross] = [Interaction::None, Interaction::Fm, Interaction::Cross].map(scores);
        assert_eq!(plain, fm, "{method}");
        assert_eq!(plain, cross, "{method}");
    }
}

#[test]
fn a_head_of_each_user_is_refused_where_something_is_added_to_heads() {
    let dataset = SimulatorConfig::default().simulate(1).expect("the settings fit together").dataset;
    let backbone = BackboneConfig::Dnn(DnnConfig { interaction: Interaction::Fm, ..DnnConfig::default() });
    let base = Base::init(BaseSpec { backbone, schema: dataset.schema(), objective: Objective::Logistic }, 1).expect("a valid config");
    let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
    let error = build_method("bayes_head", &toml::Table::new(), target).expect_err("its head is not the whole score");
    let text = error.to_string();
    assert!(text.contains("`bayes_head`") && text.contains("interaction = \"fm\""), "{text}");
}

/// A method that is solved for on the tasks of a log, and what that gives.
fn solved(dataset: &Dataset, config: DnnConfig, objective: Objective, of: TasksOf, method: &str) -> (Box<dyn Adaptation>, Trained) {
    let backbone = BackboneConfig::Dnn(config);
    let base = Base::init(BaseSpec { backbone, schema: dataset.schema(), objective }, 1).expect("a valid config");
    let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective };
    let adaptation = build_method(method, &toml::Table::new(), target).expect("a valid config");
    let rows: Vec<u32> = (0..dataset.log.len() as u32 * 2 / 3).collect();
    let tasks = TaskConfig { of, min_rows: 2, max_rows: usize::MAX, query: 1, ..TaskConfig::default() };
    let tasks = tasks.tasks(dataset.into(), &rows).expect("tasks with rows").tasks;
    let feed = TaskFeed::new(dataset, tasks, 32, false, SupportSize::Full, 1).expect("there are tasks").with_most(usize::MAX);
    let trained = train(Run {
        base: &base,
        adaptation: adaptation.as_ref(),
        feed: &feed,
        config: &TrainConfig { epochs: 1, ..TrainConfig::default() },
        seed: 1,
        device: &Device::flex(),
        intercept: None,
        validate: None,
        observer: &mut (),
        checkpoint: None,
        stop: &AtomicBool::new(false),
    });
    (adaptation, trained.expect("there is something to learn from"))
}
