//! What the benchmark programs share: timing, memory and one JSON line a program.

use std::time::Instant;

/// Peak resident memory of this process in MiB; 0 where the system does not tell.
#[must_use]
pub fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Seconds of `step` in each of `steps` runs after `warmup` runs that are not counted, sorted.
pub fn time(warmup: usize, steps: usize, mut step: impl FnMut(usize)) -> Vec<f64> {
    (0..warmup).for_each(&mut step);
    let mut seconds: Vec<f64> = (0..steps)
        .map(|i| {
            let began = Instant::now();
            step(warmup + i);
            began.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

/// Prints one JSON line in the form of the PyTorch peers.
pub fn report(name: &str, variant: &str, threads: usize, rows: usize, seconds: &[f64]) {
    let median = seconds[seconds.len() / 2];
    let line = serde_json::json!({
        "name": name,
        "variant": variant,
        "steps_per_s": 1.0 / median,
        "rows_per_s": rows as f64 / median,
        "ms_per_step": 1e3 * median,
        "ms_per_step_min": 1e3 * seconds[0],
        "threads": threads,
        "peak_rss_mib": peak_mib(),
    });
    println!("{line}");
}
