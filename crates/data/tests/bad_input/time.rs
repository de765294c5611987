//! Times.

use acclimate_data::{DataError, RowFault, TimeUnit};

use super::{CONFIG, Folder, LOG, fault, log_error};

#[test]
fn dates_among_seconds() {
    let error = log_error(LOG.replacen("1650000001", "20220415", 1), &["20220415"]);
    assert!(matches!(error, DataError::MixedTime { .. }), "{error}");
}

#[test]
fn timestamps_outside_their_unit() {
    let error = log_error(LOG.replace("1650000001", "1650000001000"), &["line 3", "1970..2100", "set `unit = \"ms\"`"]);
    assert!(matches!(fault(&error), RowFault::TimeOutOfRange { likely: Some(TimeUnit::Ms), .. }));
    log_error(LOG.replace("1650000001", "-1"), &["line 3", "holds -1"]);
}

#[test]
fn numbers_without_a_unit_are_told_which_they_have() {
    let config = CONFIG.replace(", unit = \"s\"", "");
    let error = Folder::new(LOG).error(&config, &["line 2", "1650000000", "set `unit = \"s\"`"]);
    assert!(matches!(fault(&error), RowFault::TimeIsNumber { likely: TimeUnit::S, .. }));
    Folder::new(LOG.replace("1650000000", "soon")).error(&config, &["`soon`", "2022-04-25 13:05:41 UTC", "`format`"]);
}

#[test]
fn times_keep_their_order_inside_a_second() {
    for (unit, later, earlier) in
        [("s", "1650000000.5", "1650000000.25"), ("ms", "1650000000500", "1650000000250"), ("us", "1650000000500000", "1650000000250000")]
    {
        let log = LOG.replace("1650000000", later).replace("1650000001", earlier);
        let (raw, _) = Folder::new(log).read(&CONFIG.replace("\"s\"", &format!("\"{unit}\""))).unwrap();
        assert_eq!(raw.dataset().log.time, [1_650_000_000_500_000, 1_650_000_000_250_000], "{unit}");
    }
}

#[test]
fn a_format_stands_in_place_of_a_unit_and_a_zone_moves_local_times() {
    let log = LOG.replace("1650000000", "15.04.2022 05:20:00").replace("1650000001", "15.04.2022 05:20:01");
    let config = CONFIG.replace("unit = \"s\"", "format = \"%d.%m.%Y %H:%M:%S\"");
    let times = |config: &str| Folder::new(log.clone()).read(config).unwrap().0.dataset().log.time.clone();
    assert_eq!(times(&config), [1_650_000_000_000_000, 1_650_000_001_000_000]);
    let east = config.replace("%S\"", "%S\", zone = \"+08:00\"");
    assert_eq!(times(&east), [1_649_971_200_000_000, 1_649_971_201_000_000]);
    Folder::new(log.clone()).error(&config.replace("%d.%m", "%m.%d"), &["line 2", "15.04.2022 05:20:00", "%m.%d.%Y"]);
    Folder::new(log.clone()).error(&config.replace("format", "unit = \"s\", format"), &["`unit` does not go with `format`"]);
    Folder::new(log.clone()).error(&config.replace("%d.%m.%Y %H:%M:%S", "%Q"), &["`format` must hold fields"]);
    Folder::new(log).error(&config.replace("%S\"", "%S\", zone = \"Berlin\""), &["`Berlin` is no time zone"]);
}

#[test]
fn timestamps_of_two_units() {
    let config = CONFIG.replace("unit = \"s\"", "unit = \"ms\"");
    let mixed = LOG.replace("1650000000", "1650000000000");
    let folder = Folder::new(&mixed);
    let error = folder.error(&config, &["mixes units", "1650000000000 in", "line 2", "1650000001 in", "line 3", "unit `s`"]);
    assert!(matches!(error, DataError::MixedTime { .. }));
    let (_, report) = Folder::new(LOG).read(&config).unwrap();
    assert!(report.problems.iter().any(|p| p.contains("no value looks like its unit `ms`")), "{:?}", report.problems);
}
