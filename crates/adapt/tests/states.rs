//! Hidden states of support rows: those of a pass, and differentiable in weights, modulation and gathered rows.

use acclimate_adapt::Support;
use acclimate_data::{Batch, Dataset, SimulatorConfig};
use acclimate_model::kernel::{leaf, take_gradient, to_vec};
use acclimate_model::{BackboneConfig, Base, BaseSpec, Bound, DnnConfig, Effect, Modulation, Objective, SiteId};
use burn::tensor::{Device, Tensor};

fn dataset() -> Dataset {
    SimulatorConfig {
        users: 100,
        items: 60,
        domains: 3,
        rows: 500,
        cold_users: 10,
        cold_rows: 10,
        target_rows: 100,
        ..SimulatorConfig::default()
    }
    .simulate(1)
    .expect("the settings fit together")
    .dataset
}

fn base(dataset: &Dataset) -> Base {
    let backbone = BackboneConfig::Dnn(DnnConfig { embedding: 4, embedding_std: 1.0, hidden: vec![6, 5], ..DnnConfig::default() });
    Base::init(BaseSpec { backbone, schema: dataset.schema(), objective: Objective::Logistic }, 3).expect("a valid config")
}

/// `Σ h²` over two sites, with an offset at the first, and the gradients of weights, offset and gathered rows.
struct Found {
    states: Vec<Vec<f32>>,
    loss: f64,
    gradients: Vec<Vec<f32>>,
}

fn find(base: &Base, batch: &Batch, sites: &[SiteId], offset: &[f32], inputs: &[(Vec<f32>, [usize; 3])]) -> Found {
    let device = Device::flex().autodiff();
    let bound: Bound = base.params.bind(&device, |_| true);
    let offset = leaf(offset.to_vec(), [1, 1, offset.len()], &device, true);
    let inputs: Vec<Tensor<3>> = inputs.iter().map(|(values, shape)| leaf(values.clone(), *shape, &device, true)).collect();
    let support = Support { batch, inputs: &inputs, backbone: base.backbone.as_ref() };
    let states = support.states(&bound, Modulation::none().with(sites[0], Effect::offset(offset.clone())), sites);
    let loss = states.iter().map(|state| state.clone().square().sum()).reduce(|a, b| a + b).expect("states");
    let mut gradients = loss.backward();
    let leaves = bound.tensors().iter().chain([&offset]).chain(&inputs);
    let gradients = leaves.map(|t| take_gradient(t, &mut gradients).unwrap_or_else(|| vec![0.0; t.shape().num_elements()])).collect();
    let states: Vec<Vec<f32>> = states.into_iter().map(to_vec).collect();
    let loss = states.iter().flatten().map(|x| f64::from(*x) * f64::from(*x)).sum();
    Found { states, loss, gradients }
}

#[test]
fn states_are_those_of_the_pass_and_differentiable() {
    let dataset = dataset();
    let base = base(&dataset);
    let batch = Batch::single(&dataset, &[3, 50, 120, 200, 399]);
    let architecture = base.backbone.architecture();
    let site = |path: &str| SiteId(architecture.sites.iter().position(|site| site.path == path).expect("a site"));
    let sites = [site("tower.0.linear"), site("tower.1.linear")];
    let gathered: Vec<(Vec<f32>, [usize; 3])> =
        base.backbone.gather(&base.tables, &batch).into_iter().map(|g| (g.values, g.shape)).collect();
    // Far from the kink of the ReLU, where differences say nothing.
    let offset: Vec<f32> = (0..6).map(|i| 8.0 + 0.1 * i as f32).collect();
    let found = find(&base, &batch, &sites, &offset, &gathered);

    // h_0 = x W_0 + b_0 + offset, h_1 = relu(h_0) W_1 + b_1.
    let value = |path: &str| &base.params.values[base.params.specs.iter().position(|spec| spec.path == path).expect("a parameter")];
    let mut rows: Vec<Vec<f32>> = (0..5)
        .map(|i| {
            let d = gathered[0].1[2];
            gathered[0].0[i * d..][..d].to_vec()
        })
        .collect();
    for (layer, d_out) in [(0, 6), (1, 5)] {
        let (weight, bias) = (value(&format!("tower.{layer}.linear.weight")), value(&format!("tower.{layer}.linear.bias")));
        let of_row = |x: &Vec<f32>| -> Vec<f32> {
            (0..d_out)
                .map(|j| {
                    bias[j]
                        + x.iter().enumerate().map(|(i, x)| x * weight[i * d_out + j]).sum::<f32>()
                        + if layer == 0 { offset[j] } else { 0.0 }
                })
                .collect()
        };
        let states: Vec<Vec<f32>> = rows.iter().map(of_row).collect();
        for (a, b) in states.iter().flatten().zip(&found.states[layer]) {
            assert!((a - b).abs() < 1e-4, "layer {layer}: {a} {b}");
        }
        rows = states.into_iter().map(|row| row.into_iter().map(|x| x.max(0.0)).collect()).collect();
    }

    // The derivative along a direction, by central differences, of everything at once.
    let step = 1e-3_f32;
    let along = |i: usize| if i.is_multiple_of(3) { 1.0_f32 } else { -0.5 };
    let moved = |sign: f32| {
        let mut base = base.clone();
        base.params.values.iter_mut().for_each(|values| values.iter_mut().enumerate().for_each(|(i, x)| *x += sign * step * along(i)));
        let shifted = |values: &[f32]| values.iter().enumerate().map(|(i, x)| x + sign * step * along(i)).collect::<Vec<f32>>();
        let gathered: Vec<_> = gathered.iter().map(|(values, shape)| (shifted(values), *shape)).collect();
        find(&base, &batch, &sites, &shifted(&offset), &gathered).loss
    };
    let expected = (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(step));
    let slope: f64 = found.gradients.iter().flat_map(|g| g.iter().enumerate().map(|(i, g)| f64::from(along(i) * g))).sum();
    assert!((slope - expected).abs() < 2e-2 * expected.abs().max(1.0), "{slope} {expected}");
    assert!(found.gradients.last().expect("rows").iter().any(|g| *g != 0.0));
}
