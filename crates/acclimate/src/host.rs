//! What this process runs on, for the environment of a report.

use acclimate_eval::Environment;

/// Version, threads, device and processor; what is known of a run alone (seeds, times, memory) is left to it.
pub(crate) fn environment() -> Environment {
    Environment {
        version: env!("CARGO_PKG_VERSION").into(),
        threads: rayon::current_num_threads(),
        device: "cpu".into(),
        processor: processor(),
        ..Environment::default()
    }
}

/// Most memory that this process has held at once, in MiB; `None` where the system does not tell.
pub(crate) fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = entry(&status, "VmHWM")?.trim_end_matches(" kB").parse::<f64>().ok()?;
    Some((kib / 1024.0).round())
}

/// Model and number of cores; the architecture where the system does not tell the model.
fn processor() -> String {
    let known = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = entry(&known, "model name").unwrap_or(std::env::consts::ARCH);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} core{}", if cores == 1 { "" } else { "s" })
}

/// The value of the first line `name : value`.
fn entry<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_their_whole_name() {
        let text = "VmHWMx:\t1 kB\nVmHWM:\t  2048 kB\nmodel name\t: A: processor\n";
        assert_eq!((entry(text, "VmHWM"), entry(text, "model name"), entry(text, "model")), (Some("2048 kB"), Some("A: processor"), None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_a_peak() {
        assert!(peak_memory_mib().unwrap() >= 1.0);
        assert!(processor().contains(" core"));
    }
}
