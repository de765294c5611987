"""What every peer program shares: arguments, seeds, timing, and the one JSON line that it prints."""

import argparse
import json
import resource
import statistics
import time

import torch


def peak_rss_mib():
    """Peak resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


RSS_IMPORTED = peak_rss_mib()


def arguments(about, variants, steps, warmup, extra=()):
    """Parsed command line; also sets the number of threads and the seed."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument("--steps", type=int, default=steps, help="timed steps")
    parser.add_argument("--warmup", type=int, default=warmup, help="untimed steps before (compilation happens there)")
    parser.add_argument("--variant", choices=variants, default=variants[0])
    parser.add_argument("--seed", type=int, default=0)
    for flag, options in extra:
        parser.add_argument(flag, **options)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    torch.manual_seed(args.seed)
    return args


def maybe_compile(function, variant):
    """Compiles when the variant's name ends in `compiled`."""
    return torch.compile(function) if variant.endswith("compiled") else function


def composed(gather, loss, variant):
    """`loss(*gather(ids...), rest...)` as `f(ids, rest)`, two tuples. PyTorch cannot compile sparse gradients: then only `loss` is compiled."""
    if variant.startswith("sparse"):
        loss = maybe_compile(loss, variant)
        return lambda ids, rest: loss(*gather(*ids), *rest)
    return maybe_compile(lambda ids, rest: loss(*gather(*ids), *rest), variant)


def report(name, args, step, rows, **more):
    """Runs `step(i)`, which returns the loss, and prints the figures; `rows` is the number of rows of a step."""
    before = peak_rss_mib()
    for i in range(args.warmup):
        step(i)
    times, cpu, loss = [], time.process_time(), None
    for i in range(args.warmup, args.warmup + args.steps):
        start = time.perf_counter()
        loss = step(i)
        times.append(time.perf_counter() - start)
    median = statistics.median(times)
    print(json.dumps({
        "name": name,
        "variant": args.variant,
        "steps_per_s": round(1.0 / median, 3),
        "rows_per_s": round(rows / median, 1),
        "rows_per_s_mean": round(rows * len(times) / sum(times), 1),
        "ms_per_step": round(1e3 * median, 3),
        "ms_per_step_min": round(1e3 * min(times), 3),
        "cpu_ms_per_step": round(1e3 * (time.process_time() - cpu) / len(times), 3),
        "threads": args.threads,
        "steps": args.steps,
        "last_loss": round(float(loss), 6),
        "peak_rss_mib": round(peak_rss_mib(), 1),
        "rss_before_steps_mib": round(before, 1),
        "rss_imported_mib": round(RSS_IMPORTED, 1),
        "torch": torch.__version__,
        **more,
    }))
