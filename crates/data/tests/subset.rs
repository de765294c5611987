//! Protocol KRL-1, S2: the training subsets of a new domain on KuaiRand-Pure.

mod skipped;

use std::fs::File;
use std::path::Path;

use acclimate_data::subset_by_hash;
use flate2::read::GzDecoder;

#[test]
fn first_rows_of_the_target_subset() {
    let Some(root) = std::env::var_os("ACCLIMATE_DATA") else {
        skipped::say();
        return;
    };
    let file = File::open(Path::new(&root).join("kuairand-pure-late/interactions.csv.gz")).unwrap();
    let mut reader = csv::Reader::from_reader(GzDecoder::new(file));
    let headers = reader.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|h| h == name).unwrap();
    let (date, tab) = (column("date"), column("tab"));
    let (mut rows, mut record, mut index) = (Vec::new(), csv::StringRecord::new(), 0u32);
    while reader.read_record(&mut record).unwrap() {
        if &record[tab] == "2" && &record[date] <= "20220504" {
            rows.push(index);
        }
        index += 1;
    }
    assert_eq!((index, rows.len()), (228_329, 4784));
    assert_eq!(subset_by_hash(&rows, 1, 5), [25_914, 169_643, 144_031, 44_307, 107_051]);
}
