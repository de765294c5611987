"""Writes every golden file anew, or compares the stored ones with fresh ones.

    python reference/run_all.py            write reference/golden/*.json
    python reference/run_all.py --check    compare, relative difference at most 1e-9; exit status 1 if any differs
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
PROGRAMS = ["layers", "losses", "adapter", "film", "maml", "optim"]
TOLERANCE = 1e-9


def differences(stored, fresh, path=""):
    """Paths at which two JSON values differ."""
    if isinstance(stored, dict) and isinstance(fresh, dict) and stored.keys() == fresh.keys():
        for key in stored:
            yield from differences(stored[key], fresh[key], f"{path}/{key}")
    elif isinstance(stored, list) and isinstance(fresh, list) and len(stored) == len(fresh):
        for i, (a, b) in enumerate(zip(stored, fresh)):
            yield from differences(a, b, f"{path}/{a['name'] if isinstance(a, dict) and 'name' in a else i}")
    elif isinstance(stored, float) and isinstance(fresh, float):
        if not math.isclose(stored, fresh, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{path}: {stored} stored, {fresh} now"
    elif stored != fresh:
        yield f"{path}: differs"


def generate(program, folder):
    subprocess.run([sys.executable, str(HERE / f"{program}.py"), str(folder)], check=True)


def check():
    """Number of differing files."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for program in PROGRAMS:
            generate(program, folder)
            stored = json.loads((GOLDEN / f"{program}.json").read_text())
            found = list(differences(stored, json.loads((Path(folder) / f"{program}.json").read_text())))
            wrong += bool(found)
            for line in found[:10]:
                print(f"{program}.json{line}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if parser.parse_args().check:
        sys.exit(1 if check() else 0)
    for program in PROGRAMS:
        generate(program, GOLDEN)


if __name__ == "__main__":
    main()
