//! What the base says as it was before training, for methods whose loss compares with it.

use acclimate_data::Batch;
use acclimate_model::kernel::leaf;
use acclimate_model::{Base, Bound, Modulation, Output, Pass};
use burn::tensor::Device;

/// The base before training. Its values are bound once, and no gradient enters it.
pub(crate) struct Teacher {
    base: Base,
    bound: Bound,
    device: Device,
}

impl Teacher {
    /// With tensors on the device of those that its answers are compared with.
    pub(crate) fn new(base: &Base, device: &Device) -> Self {
        Self { bound: base.params.bind(device, |_| false), base: base.clone(), device: device.clone() }
    }

    /// What it says of a batch, scored as it would be served: without input dropout, normalised by running moments.
    pub(crate) fn says(&self, batch: &Batch) -> Output {
        let gathered = self.base.backbone.gather(&self.base.tables, batch).into_iter();
        let inputs: Vec<_> = gathered.map(|g| leaf(g.values, g.shape, &self.device, false)).collect();
        self.base.backbone.forward(&Pass::new(&self.bound, &Modulation::none()), batch, &inputs)
    }
}
