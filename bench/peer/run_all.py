"""Runs every variant of every peer program, each in a process of its own, one after the other; prints their JSON lines and then the fastest of each.

    python bench/peer/run_all.py --threads 1 [--only ctr maml] [--out FILE.jsonl]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import ctr
import krl1
import maml
import nextitnet
import sasrec
import star
import user

PROGRAMS = {"ctr": ctr, "maml": maml, "nextitnet": nextitnet, "sasrec": sasrec, "star": star, "user": user, "krl1": krl1}


def measured(name, variant, options):
    """The JSON line of one run, or nothing when it failed."""
    program = Path(__file__).parent / f"{name}.py"
    done = subprocess.run([sys.executable, str(program), "--variant", variant, *options], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"{name} {variant} failed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--steps", help="timed steps of every run; left out, each program's own number")
    parser.add_argument("--only", nargs="+", choices=list(PROGRAMS), default=list(PROGRAMS))
    parser.add_argument("--out", help="file that gets one JSON line a run")
    args = parser.parse_args()
    options = ["--threads", args.threads] + (["--steps", args.steps] if args.steps else [])
    lines = []
    for name in args.only:
        program = PROGRAMS[name]
        for more, variant in getattr(program, "RUNS", [([], variant) for variant in program.VARIANTS]):
            line = measured(name, variant, options + more)
            if line is not None:
                lines.append(line)
                print(json.dumps(line), flush=True)
    if args.out:
        Path(args.out).write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in dict.fromkeys(line["name"] for line in lines):
        runs = [line for line in lines if line["name"] == name and not line["variant"].startswith("first_order")]
        if runs:
            best = min(runs, key=lambda line: line["ms_per_step"])
            print(f"fastest {name}: {best['variant']}, {best['ms_per_step']} ms a step, {best['peak_rss_mib']} MiB at the peak")


if __name__ == "__main__":
    main()
