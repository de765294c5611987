//! A trained base with data to adapt it with.

mod rows;
mod sequences;

use acclimate_adapt::{AdaptError, Groups, Needs, SourceRows, Target, build_method};
use acclimate_data::Schema;
use acclimate_model::{Backbone, BackboneConfig, Base, BaseSpec, Objective};

use crate::feed::{Feed, Feeding};
use crate::{Draw, Hide, HideRare, OptimizerConfig, Preparation, Run, TrainConfig, TrainError, train};

/// Seed of the data and of every training that does not try another.
pub(super) const SEED: u64 = 17;
/// Rows in a training batch.
const ROWS: usize = 128;

/// A base trained on source domains, and a shifted target domain to adapt it to: rows of the simulator, or sequences of items for a backbone
/// that reads those.
pub struct Ground {
    /// Name in messages: the backbone and what is special about it.
    pub name: String,
    /// The base that is adapted.
    pub base: Base,
    /// A base of the same shape with other values: the wrong one for every patch.
    pub other: Base,
    material: Material,
}

/// What a ground's feeds and batches are drawn from.
struct Material {
    objective: Objective,
    preparation: Box<dyn Preparation>,
    /// The same data for short runs: with support sets of any size, or negatives.
    varied: Box<dyn Preparation>,
    /// The domains that the base is trained on.
    sources: Vec<u32>,
    /// The domain that it is adapted to.
    target: Vec<u32>,
    /// Both.
    everywhere: Vec<u32>,
    /// A little of the target, for methods without support sets, with those of users and with those of items.
    few: [Vec<u32>; 3],
    /// A little of the sources.
    few_sources: Vec<u32>,
    /// Examples of a batch and of a small one, without and with support sets.
    batch: [[usize; 2]; 2],
    /// The domains that the base knows.
    schema: Schema,
    judged: Judged,
}

/// What trained methods are judged on.
enum Judged {
    /// Batches of users, and the same of items for methods that need those.
    Batches { held_out: [Vec<Feeding>; 2], probe: Box<[Feeding; 2]> },
    /// Examples, to be drawn as one batch.
    Examples { held_out: Vec<u32>, probe: Vec<u32> },
}

impl Material {
    fn feed(&self, examples: &[u32], backbone: &dyn Backbone, needs: Needs, seed: u64) -> Result<Box<dyn Feed + '_>, TrainError> {
        let draw = draw(backbone, self.batch[usize::from(needs.groups.are_tasks())][0], seed, needs);
        self.preparation.feed(examples, draw.with_sources(&self.sources))
    }

    fn few(&self, backbone: &dyn Backbone, needs: Needs) -> Result<Box<dyn Feed + '_>, TrainError> {
        let kind = usize::from(needs.groups.are_tasks());
        self.varied
            .feed(&self.few[kind + of_items(needs)], draw(backbone, self.batch[kind][1], SEED, needs).with_sources(&self.few_sources))
    }

    /// Examples as one batch.
    fn whole(&self, examples: &[u32], backbone: &dyn Backbone, needs: Needs) -> Feeding {
        let feed = self.preparation.feed(examples, draw(backbone, examples.len(), SEED, needs).with_sources(&self.sources));
        feed.expect("examples with something to learn").batch(0, 0)
    }
}

/// 1 where tasks are items, else 0.
fn of_items(needs: Needs) -> usize {
    usize::from(needs.groups == Groups::Item)
}

fn draw(backbone: &dyn Backbone, batch: usize, seed: u64, needs: Needs) -> Draw<'static> {
    Draw::of_sequences(backbone, &TrainConfig { batch, ..TrainConfig::default() }, seed, needs)
}

/// How a case is trained.
pub(super) struct Setting<'a> {
    pub(super) config: TrainConfig,
    pub(super) feed: Box<dyn Feed + 'a>,
    pub(super) seed: u64,
}

impl Ground {
    /// Draws the data and trains a base of this backbone on the sources.
    ///
    /// # Errors
    /// A backbone that does not fit the features of the data.
    pub fn simulate(name: &str, backbone: BackboneConfig) -> Result<Self, TrainError> {
        let ground = Self::untrained(name, backbone)?;
        let base = pretrain(&ground.base, &ground.material)?;
        Ok(Self { base, ..ground })
    }

    /// The same with a base that has learned nothing.
    ///
    /// # Errors
    /// A backbone that does not fit the features of the data.
    pub fn untrained(name: &str, backbone: BackboneConfig) -> Result<Self, TrainError> {
        let material = match &backbone {
            backbone if backbone.reads_sequences() => sequences::draw(),
            BackboneConfig::Dnn(config) => rows::simulate(config.attention.first().map(String::as_str)),
            _ => rows::simulate(None),
        };
        let spec = BaseSpec { backbone, schema: material.schema.clone(), objective: material.objective };
        let init = |seed| Base::init(spec.clone(), seed).map_err(AdaptError::from);
        let (base, other) = (init(SEED)?, init(SEED + 1)?);
        Ok(Self { name: name.into(), base, other, material })
    }

    /// Training on the target.
    pub(super) fn setting(&self, needs: Needs, seed: u64) -> Result<Setting<'_>, TrainError> {
        Ok(Setting { config: config(), feed: self.material.feed(&self.material.target, self.base.backbone.as_ref(), needs, seed)?, seed })
    }

    /// Training on every domain, for methods with parameters of each.
    pub(super) fn everywhere(&self, needs: Needs) -> Result<Setting<'_>, TrainError> {
        // A method with rows of the sources gets them once.
        let examples = if needs.source == SourceRows::None { &self.material.everywhere } else { &self.material.target };
        let feed = self.material.feed(examples, self.base.backbone.as_ref(), needs, SEED)?;
        Ok(Setting { config: config(), feed, seed: SEED })
    }

    /// A short run that uses everything a resumed run has to restore: accumulation, dropout, hidden codes, moments of both kinds.
    pub(super) fn short(&self, needs: Needs) -> Result<Setting<'_>, TrainError> {
        let feed = self.material.few(self.base.backbone.as_ref(), needs)?;
        let forms = [Hide::Always(0.2), Hide::Rare(HideRare { count: 4.0 })];
        let hide = self.base.spec.schema.categorical.iter().zip(forms).map(|(f, hide)| (f.name.clone(), hide)).collect();
        Ok(Setting { config: TrainConfig { epochs: 3, accumulate: 2, input_dropout: 0.1, hide, ..config() }, feed, seed: SEED })
    }

    /// Data of the target that no training sees.
    pub(super) fn held_out(&self, needs: Needs) -> Vec<Feeding> {
        match &self.material.judged {
            Judged::Batches { held_out, .. } => {
                let judged = held_out[of_items(needs)].iter().cloned();
                // A request is judged by its own rows, as it is trained; support rows are others.
                judged.map(|feeding| if needs.groups.are_requests() { Feeding { support: None, ..feeding } } else { feeding }).collect()
            }
            Judged::Examples { held_out, .. } => vec![self.material.whole(held_out, self.base.backbone.as_ref(), needs)],
        }
    }

    /// A few groups of unequal size, of sources and target.
    pub(super) fn probe(&self, needs: Needs) -> Feeding {
        match &self.material.judged {
            Judged::Batches { probe, .. } => probe[of_items(needs)].clone(),
            Judged::Examples { probe, .. } => self.material.whole(probe, self.base.backbone.as_ref(), needs),
        }
    }
}

fn config() -> TrainConfig {
    let optimizer = OptimizerConfig { rate: 0.01, weight_decay: 1e-4, row_decay: 1e-4, ..OptimizerConfig::default() };
    TrainConfig { epochs: 4, batch: ROWS, optimizer, ..TrainConfig::default() }
}

fn pretrain(base: &Base, material: &Material) -> Result<Base, TrainError> {
    let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
    let adaptation = build_method("fine_tune", &toml::Table::new(), target)?;
    let trained = train(Run {
        base,
        adaptation: adaptation.as_ref(),
        feed: material.feed(&material.sources, base.backbone.as_ref(), Needs::default(), SEED)?.as_ref(),
        config: &config(),
        seed: SEED,
        device: super::device(),
        intercept: None,
        validate: None,
        observer: &mut (),
        checkpoint: None,
        stop: &false.into(),
    })?;
    Ok(trained.base)
}
