//! The contract suite for every method and preset of the list on every backbone it supports.
//!
//! A new method is tested without an edit here; a new backbone is a line in [`BACKBONES`]. While a method is written, `ACCLIMATE_METHODS=film,lora` tries these alone.

use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use acclimate_adapt::{AdaptError, METHODS};
use acclimate_model::{
    BackboneConfig, DnnConfig, InputNorm, Interaction, MmoeConfig, NextItNetConfig, Norm, PerDomainConfig, PleConfig, SasRecConfig,
    SharedBottomConfig,
};
use acclimate_train::TrainError;
use acclimate_train::contract::{Case, Ground, LAWS};

/// A backbone's name in messages, and its config.
type Named = (&'static str, fn() -> BackboneConfig);

/// Every backbone.
const BACKBONES: &[Named] = &[
    ("dnn", || BackboneConfig::Dnn(small(Norm::None))),
    ("dnn with layer norm", || BackboneConfig::Dnn(small(Norm::Layer))),
    ("dnn with batch norm", || BackboneConfig::Dnn(small(Norm::Batch))),
    ("dnn with input norm", || {
        BackboneConfig::Dnn(DnnConfig {
            input_norm: InputNorm::Batch,
            embedding_std: 1.0,
            hidden: vec![8],
            without: ids(),
            ..small(Norm::None)
        })
    }),
    ("dnn with factorisation machine", || {
        BackboneConfig::Dnn(DnnConfig { interaction: Interaction::Fm, without: ids(), ..small(Norm::None) })
    }),
    ("dnn with cross network", || {
        BackboneConfig::Dnn(DnnConfig { interaction: Interaction::Cross, cross_rank: Some(4), ..small(Norm::None) })
    }),
    ("dnn with target attention", || {
        // Rows of a size at which what the attention adds is no rounding.
        BackboneConfig::Dnn(DnnConfig { attention: vec!["clicked".into()], attention_hidden: 6, embedding_std: 0.5, ..small(Norm::None) })
    }),
    ("shared_bottom", || {
        let widths = SharedBottomConfig { bottom: vec![16], tower: vec![8], ..SharedBottomConfig::default() };
        BackboneConfig::SharedBottom(SharedBottomConfig { embedding: 4, without: ids(), ..widths })
    }),
    ("mmoe", || {
        let mmoe = MmoeConfig { embedding: 4, experts: 2, expert: vec![8], tower: vec![4], without: ids(), ..MmoeConfig::default() };
        BackboneConfig::Mmoe(mmoe)
    }),
    ("ple", || {
        let ple = PleConfig { embedding: 4, levels: 2, shared: 1, expert: vec![8], tower: vec![4], without: ids(), ..PleConfig::default() };
        BackboneConfig::Ple(ple)
    }),
    ("per_domain", || {
        BackboneConfig::PerDomain(PerDomainConfig { embedding: 4, hidden: vec![8], without: ids(), ..PerDomainConfig::default() })
    }),
    ("nextitnet", || BackboneConfig::NextItNet(NextItNetConfig { width: 8, dilations: vec![1], ..NextItNetConfig::default() })),
    ("nextitnet, non-causal", || {
        BackboneConfig::NextItNet(NextItNetConfig { width: 8, dilations: vec![1], causal: false, ..NextItNetConfig::default() })
    }),
    ("nextitnet with fresh counts", || {
        let fresh_half_life_days = vec![1.0, 7.0];
        BackboneConfig::NextItNet(NextItNetConfig { width: 8, dilations: vec![1], fresh_half_life_days, ..NextItNetConfig::default() })
    }),
    ("sasrec", || BackboneConfig::SasRec(SasRecConfig { width: 8, heads: 2, blocks: 2, length: 6, ..SasRecConfig::default() })),
    ("sasrec of both sides", || {
        BackboneConfig::SasRec(SasRecConfig {
            width: 8,
            heads: 2,
            blocks: 2,
            length: 6,
            causal: false,
            std: 1.0,
            ..SasRecConfig::default()
        })
    }),
];

/// A run that hangs is a failure, not a test that never ends.
const LIMIT: Duration = Duration::from_secs(300);

fn small(norm: Norm) -> DnnConfig {
    DnnConfig { embedding: 4, hidden: vec![16, 8], norm, ..DnnConfig::default() }
}

/// Features of which some networks know the small data of the suite by heart, so that nothing is left to learn.
fn ids() -> Vec<String> {
    vec!["user_id".into(), "item_id".into()]
}

/// Methods and presets with their default config, then the configs that their files name.
fn configs() -> Vec<(&'static str, toml::Table)> {
    let named = METHODS.iter().flat_map(|m| std::iter::once(m.name).chain(m.presets.iter().map(|p| p.0)));
    let listed = named.map(|name| (name, toml::Table::new()));
    let tested = METHODS.iter().flat_map(|m| m.tested.iter().map(|keys| (m.name, keys.parse().expect("valid TOML"))));
    let all = listed.chain(tested);
    match chosen() {
        Some(chosen) => all.filter(|(name, _)| chosen.split(',').any(|method| method == *name)).collect(),
        None => all.collect(),
    }
}

/// The methods that are tried, where not all of them are.
fn chosen() -> Option<String> {
    std::env::var("ACCLIMATE_METHODS").ok()
}

/// Runs `work` on a thread of its own and fails when it does not end.
fn within_limit(work: impl FnOnce() -> Vec<String> + Send + 'static) -> Vec<String> {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    ended.recv_timeout(LIMIT).unwrap_or_else(|e| panic!("the contract suite did not end: {e}"))
}

/// Violations on one backbone.
fn violations(index: usize) -> Vec<String> {
    let (name, config) = BACKBONES[index];
    let ground = Ground::simulate(name, config()).expect("the backbone reads the ground's features");
    let mut found = Vec::new();
    let mut tried = 0;
    for (method, config) in configs() {
        let case = match Case::listed(method, &config, &ground) {
            Ok(case) => case,
            Err(TrainError::Adapt(AdaptError::Unsupported { .. })) => continue,
            // A config may name features of the other backbones' data.
            Err(TrainError::Adapt(AdaptError::Value { .. })) if !config.is_empty() => continue,
            Err(error) => panic!("`{method}` on `{name}`: {error}"),
        };
        tried += 1;
        for law in LAWS {
            if let Err(violation) = case.check(law) {
                found.push(format!("{violation} [{}]", config.to_string().trim().replace('\n', ", ")));
            }
        }
    }
    assert!(tried >= 6 || chosen().is_some(), "`{name}` supports hardly any method");
    found
}

fn holds(index: usize) {
    let found = within_limit(move || violations(index));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_law_holds_on_the_first_backbone() {
    holds(0);
}

#[test]
fn every_law_holds_on_sasrec() {
    (1..BACKBONES.len()).filter(|&i| BACKBONES[i].0.starts_with("sasrec")).for_each(holds);
}

#[test]
fn every_law_holds_on_the_other_forms_of_dnn() {
    (1..BACKBONES.len()).filter(|&i| BACKBONES[i].0.starts_with("dnn")).for_each(holds);
}

#[test]
fn every_law_holds_on_the_other_backbones() {
    (1..BACKBONES.len()).filter(|&i| !["dnn", "sasrec"].iter().any(|name| BACKBONES[i].0.starts_with(name))).for_each(holds);
}

#[test]
fn every_method_works_on_some_backbone() {
    static GROUNDS: LazyLock<Vec<Ground>> =
        LazyLock::new(|| BACKBONES.iter().map(|(name, config)| Ground::untrained(name, config()).expect("a valid config")).collect());
    for (method, config) in configs() {
        assert!(GROUNDS.iter().any(|g| Case::listed(method, &config, g).is_ok()), "`{method}` works on no backbone");
    }
}
