//! How fast a published base scores in process: the plan that a server makes of it, on random rows, one thread. No text is read and no feature of earlier rows made.
//!
//! `served ROOT NAME [rounds]` prints a line of JSON: the median milliseconds of one request of 200 candidates, and of 64 such requests in one pass.

use std::path::PathBuf;
use std::time::Instant;

use acclimate::serving::PublishedLoader;
use acclimate_data::{Encoder, Encoding, RandomStream};
use acclimate_plan::{BagColumn, Columns, Rows, Scratch};
use acclimate_registry::{Kind, Name, Registry, Settings};
use acclimate_serve::engine::{Ask, Files, Loader, Model};
use acclimate_serve::layout::Layout;
use anyhow::Context;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CANDIDATES: usize = 200;
const REQUESTS: usize = 64;
/// Values of a list.
const LIST: u64 = 5;

/// One request of random rows.
fn request(encoder: &Encoder, layout: &Layout, random: &mut RandomStream) -> Rows {
    let mut columns = Columns::default();
    let sizes: Vec<(Encoding, usize)> = encoder
        .features()
        .iter()
        .map(|feature| match feature.encoding {
            Encoding::Categorical(vocabulary) | Encoding::Bag(vocabulary) => {
                (feature.encoding, encoder.vocabularies()[vocabulary.at()].rows())
            }
            Encoding::Numeric(_) => (feature.encoding, 0),
        })
        .collect();
    for _ in 0..CANDIDATES {
        for (encoding, size) in &sizes {
            match encoding {
                Encoding::Categorical(_) => columns.codes.push(random.below(*size as u64) as u32),
                Encoding::Numeric(_) => columns.numeric.push(random.normal() as f32),
                Encoding::Bag(_) => {}
            }
        }
    }
    for (_, size) in sizes.iter().filter(|(encoding, _)| matches!(encoding, Encoding::Bag(_))) {
        let mut bag = BagColumn { offsets: vec![0], codes: Vec::new() };
        for _ in 0..CANDIDATES {
            bag.codes.extend((0..LIST).map(|_| random.below(*size as u64) as u32));
            bag.offsets.push(bag.codes.len() as u32);
        }
        columns.bags.push(bag);
    }
    layout.rows(CANDIDATES, &columns.codes, &columns.numeric, &columns.bags)
}

/// The median milliseconds of a pass over some requests.
fn time(model: &dyn Model, requests: &[Rows], rounds: usize) -> anyhow::Result<f64> {
    let (mut scratch, mut scores, mut times) = (Scratch::default(), Vec::new(), Vec::new());
    let asks: Vec<Ask<'_>> = requests.iter().map(|rows| Ask { rows, domain: 0, adapted: None }).collect();
    for round in 0..rounds + rounds / 4 {
        scores.clear();
        let began = Instant::now();
        model.score(&mut scratch, &asks, &mut scores)?;
        let taken = began.elapsed().as_secs_f64() * 1e3;
        anyhow::ensure!(scores.len() == requests.len() * CANDIDATES, "a score is missing");
        if round >= rounds / 4 {
            times.push(taken);
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, name, more @ ..] = &arguments[..] else { anyhow::bail!("served ROOT NAME [rounds]") };
    let rounds: usize = more.first().map_or(Ok(400), |rounds| rounds.parse()).context("rounds")?;
    let (registry, name): (Registry, Name) = (Registry::open(&PathBuf::from(root), Settings::default())?, name.parse()?);
    let version = registry.versions(Kind::Base, &name)?.last().copied().context("no version of this base")?;
    let stored = registry.verify(Kind::Base, &name, version)?;
    let loaded = PublishedLoader::default().base(&Files { registry: &registry, kind: Kind::Base, stored: &stored })?;
    let mut random = RandomStream::new(1, 0, 0);
    let requests: Vec<Rows> = (0..REQUESTS).map(|_| request(&loaded.encoder, &loaded.layout, &mut random)).collect();
    let (one, many) = (time(loaded.model.as_ref(), &requests[..1], rounds)?, time(loaded.model.as_ref(), &requests, rounds.div_ceil(16))?);
    println!(
        "{}",
        serde_json::json!({ "system": "ours", "features": loaded.encoder.features().len(), "ms_1x200": one, "ms_64x200": many })
    );
    Ok(())
}
