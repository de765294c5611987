//! Protocol KRL-1 on the real KuaiRand-Pure log: partition sizes, vocabulary sizes, scales, and the check sum of every code.

mod skipped;

use std::fmt::Write;

use acclimate_data::{DatasetConfig, Encoder, Encoding, RawDataset};
use sha2::{Digest, Sha256};

const SIZES: [usize; 35] =
    [20940, 5217, 10, 3, 3, 9, 10, 8, 9, 3, 8, 50, 1402, 16, 34, 4, 111, 444, 8, 6, 6, 3, 3, 3, 3, 3, 3, 4757, 4, 13, 4977, 6, 43, 10, 25];
/// Per tab in domain order, five large ones: training rows and clicks, validation rows and clicks, test rows and clicks.
const LARGE: [[usize; 6]; 5] = [
    [129_822, 64_711, 10_245, 4_875, 32_941, 15_864],
    [15_362, 1_294, 1_121, 100, 3_771, 341],
    [10_189, 6_112, 792, 452, 2_666, 1_570],
    [9_079, 1_295, 568, 80, 1_561, 290],
    [4_784, 2_242, 449, 224, 1_676, 854],
];
/// The ten tiny tabs together.
const TINY: [usize; 6] = [2_435, 445, 215, 48, 653, 103];

#[test]
fn the_encoding_of_krl1_is_reproduced() {
    if std::env::var_os("ACCLIMATE_DATA").is_none() {
        skipped::say();
        return;
    }
    let config = DatasetConfig::load(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/kuairand.toml")).unwrap();
    let (raw, report) = RawDataset::read(&config).unwrap();
    assert_eq!((report.rows, report.users, report.rows_skipped()), (228_329, 25_156, 0));
    let date = &raw.dataset().attribute("date").unwrap().values;
    let split: Vec<usize> = date.iter().map(|&d| usize::from(d > 20_220_504) + usize::from(d > 20_220_505)).collect();

    let mut counts = [[0; 6]; 15];
    for ((domain, &part), &label) in raw.dataset().log.domain.iter().zip(&split).zip(&raw.dataset().log.label) {
        counts[domain.at()][2 * part] += 1;
        counts[domain.at()][2 * part + 1] += usize::from(label == 1.0);
    }
    assert_eq!(counts[..5], LARGE);
    let tiny = counts[5..].iter().fold([0; 6], |sum, tab| std::array::from_fn(|i| sum[i] + tab[i]));
    assert_eq!(tiny, TINY);

    let train: Vec<u32> = (0..).zip(&split).filter(|&(_, &part)| part == 0).map(|(row, _)| row).collect();
    let encoder = Encoder::fit(&raw, &train).unwrap();
    check_scales(&encoder);
    let data = raw.encode_with(&encoder).unwrap();
    let sizes: Vec<usize> = data.features.categorical[..35].iter().map(|c| data.features.vocabularies[c.vocabulary.at()].rows()).collect();
    assert_eq!(sizes, SIZES);
    assert_eq!(sizes.iter().sum::<usize>(), 38_154);
    let tab = &data.features.categorical[35];
    assert!(tab.codes.iter().zip(&data.log.domain).all(|(&code, domain)| code == domain.0 + 1), "row 0 is left for the unknown domain");

    let (mut hash, mut line) = (Sha256::new(), String::new());
    for (row, part) in split.iter().enumerate() {
        line.clear();
        write!(line, "{part},{},{}", data.domains[data.log.domain[row].at()], data.log.label[row]).unwrap();
        for column in &data.features.categorical[..35] {
            write!(line, ",{}", column.codes[data.entity(column.side, row)]).unwrap();
        }
        line.push('\n');
        hash.update(&line);
    }
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "ccf38119df5f6f0959ac4d6633753dd55b6f8931f0fcf2877efb71fffa7bd33a");

    let videos = data.features.categorical[1].vocabulary;
    for bag in &data.features.bags {
        assert_eq!(bag.vocabulary, videos, "histories share the videos' rows");
        assert!(bag.lists.iter().all(|codes| codes.len() <= 50 && !codes.contains(&0)));
    }
}

fn check_scales(encoder: &Encoder) {
    let expected = [(0.0, 8.517_992_87), (0.0, 14.501_759), (0.0, 8.516_392_87), (2.708_050_2, 8.195_609_57)];
    let scalers = encoder.features().iter().filter_map(|f| match f.encoding {
        Encoding::Numeric(scaler) => Some(scaler),
        _ => None,
    });
    let scalers: Vec<_> = scalers.collect();
    assert_eq!(scalers.len(), expected.len(), "numeric features");
    for (scaler, (min, max)) in scalers.into_iter().zip(expected) {
        let found = (scaler.shift, scaler.shift + scaler.scale);
        assert!((found.0 - min).abs() < 1e-6 && (found.1 - max).abs() < 1e-6, "{found:?} is not {min}..{max}");
    }
}
